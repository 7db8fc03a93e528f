//! A small HTTP server for the tests of stores: it records what it is asked, and answers, stalls or
//! hangs up as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::retry::{Patience, Persistence};
use crate::plan::storage::RetryPolicy;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// As in the request line: a path, an address where a proxy is asked, a host and port for
    /// `CONNECT`.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// A value of the query, decoded; empty where a key has none.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into())
    }
}

/// Scripted outcome of a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// No answer, ever.
    Stall,
    /// The connection is closed.
    HangUp,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    pub(super) fn body(status: u16, body: impl Into<String>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

/// The server; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _accepting: JoinSet<()>,
}

type Answer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

impl Server {
    /// `answer` gets a request, and how many came before it.
    pub(super) async fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::reading(usize::MAX, answer).await
    }

    /// A server that stops reading after `most` bytes of a body.
    pub(super) async fn reading(
        most: usize,
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, recorded): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&requests));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, most, Arc::clone(&answer), Arc::clone(&recorded)));
            }
        });
        Self { address, requests, _accepting: accepting }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Requests of one connection, until it or the server ends.
async fn serve(mut stream: TcpStream, most: usize, answer: Arc<Answer>, recorded: Arc<Mutex<Vec<Request>>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, most).await {
        let reply = {
            let mut recorded = recorded.lock().unwrap();
            recorded.push(request.clone());
            answer(&request, recorded.len() - 1)
        };
        match reply {
            Reply::Answer { status, headers, body } => {
                let mut text = format!("HTTP/1.1 {status} X\r\n");
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                let sized = text.contains("content-length");
                // What answers a `HEAD` has no body, and may tell the length of one.
                let body = if request.method == "HEAD" { "" } else { body.as_str() };
                if !sized {
                    text.push_str(&format!("content-length: {}\r\n", body.len()));
                }
                text.push_str("\r\n");
                text.push_str(body);
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Stall => std::future::pending().await,
            Reply::HangUp => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, most: usize) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    buffer.drain(..end + 4);
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    if request.header("transfer-encoding") == Some("chunked") {
        request.body = read_chunks(stream, buffer).await?;
        return Some(request);
    }
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if buffer.len() >= most {
            std::future::pending::<()>().await;
        }
        read_more(stream, buffer).await?;
    }
    request.body = buffer.drain(..length).collect();
    Some(request)
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            read_more(stream, buffer).await?;
        };
        let length = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).ok()?, 16).ok()?;
        while buffer.len() < end + 2 + length + 2 {
            read_more(stream, buffer).await?;
        }
        body.extend_from_slice(&buffer[end + 2..end + 2 + length]);
        buffer.drain(..end + 4 + length);
        if length == 0 {
            return Some(body);
        }
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 64 * 1024];
    let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&chunk[..read]);
    Some(())
}

/// Quick tries, and the usual patience.
pub(super) fn quick() -> Persistence {
    let policy =
        RetryPolicy { attempts: 3, min_delay: Duration::from_millis(1), max_delay: Duration::from_millis(4) };
    Persistence { policy, patience: Patience::default() }
}

/// Two quick tries and next to no patience.
pub(super) fn impatient() -> Persistence {
    let mut quick = quick();
    quick.policy.attempts = 2;
    quick.patience =
        Patience { grace: Duration::from_millis(400), floor_bytes_per_second: 100 * 1024 * 1024 };
    quick
}

/// A file of `size` bytes, no two MiB of which are alike.
pub(super) fn file_of(dir: &std::path::Path, size: usize) -> (std::path::PathBuf, Vec<u8>) {
    let bytes: Vec<u8> =
        (0..size).map(|at| u8::try_from((at.wrapping_mul(2_654_435_761) >> 7) & 0xff).unwrap()).collect();
    let path = dir.join(format!("{size}.bin"));
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}
