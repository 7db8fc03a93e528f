//! A scripted web server on loopback.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use url::Url;

use crate::ports;

#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// 0: none ever.
    pub(super) status: u16,
    pub(super) mime: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn html(body: &str) -> Self {
        Self { status: 200, mime: "text/html", body: body.to_owned() }
    }

    pub(super) fn silence() -> Self {
        Self { status: 0, ..Self::html("") }
    }
}

#[derive(Debug, Default)]
struct Pages {
    answers: HashMap<String, Answer>,
    hits: HashMap<String, usize>,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub(super) struct Site {
    port: u16,
    pages: Arc<Mutex<Pages>>,
    _server: AbortOnDropHandle<()>,
}

impl Site {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = Arc::new(Mutex::new(Pages::default()));
        let (tasks, served) = (TaskTracker::new(), Arc::clone(&pages));
        let visits = tasks.clone();
        let server = tasks.spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(AbortOnDropHandle::new(visits.spawn(serve(stream, Arc::clone(&served)))));
            }
        });
        Self { port, pages, _server: AbortOnDropHandle::new(server) }
    }

    /// Sets what a path answers from now on.
    pub(super) fn page(&self, path: &str, answer: Answer) -> Url {
        self.pages.lock().unwrap().answers.insert(path.to_owned(), answer);
        format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap()
    }

    pub(super) fn hits(&self, path: &str) -> usize {
        self.pages.lock().unwrap().hits.get(path).copied().unwrap_or_default()
    }

    /// An address at which nobody listens.
    pub(super) fn refused() -> Url {
        format!("{}/", ports::nobody()).parse().unwrap()
    }
}

async fn serve(stream: TcpStream, pages: Arc<Mutex<Pages>>) {
    let mut stream = BufReader::new(stream);
    let (mut path, mut line) = (String::new(), String::new());
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        if let Some(target) = line.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()) {
            path = target.split('?').next().unwrap_or_default().to_owned();
        }
        line.clear();
    }
    let answer = {
        let mut pages = pages.lock().unwrap();
        *pages.hits.entry(path.clone()).or_default() += 1;
        pages.answers.get(&path).cloned()
    };
    let answer = answer.unwrap_or(Answer { status: 404, ..Answer::html("") });
    if answer.status == 0 {
        return std::future::pending().await;
    }
    let Answer { status, mime, body } = answer;
    let login = if status == 401 { "WWW-Authenticate: Basic realm=\"test\"\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: {mime}\r\nContent-Length: {}\r\n{login}Connection: close\r\n\r\n",
        body.len()
    );
    // A browser that disconnects in between is not an error of the server.
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(body.as_bytes()).await);
}
