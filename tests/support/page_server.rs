//! A small web server on loopback for the pages of `tests/pages`, with faults.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Serves until it is dropped.
///
/// - `/pages/NAME`: a file of `tests/pages`
/// - `/basic/pages/NAME`: the same for the user `ann` with the password `s3cret`
/// - `/401/…`: asks everybody for a password
/// - `/status/CODE`: an empty page with that status
/// - `/redirect/PLACE`: leads to `http://PLACE`
/// - `/hang`: takes the request and never answers
/// - what [`PageServer::serve`] was given
#[derive(Debug)]
pub(crate) struct PageServer {
    address: Ipv4Addr,
    port: u16,
    shared: Arc<Shared>,
    /// `None` while the server is away.
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<HashMap<String, PathBuf>>,
    /// Requested paths.
    asked: Mutex<Vec<String>>,
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl PageServer {
    /// Listens on loopback.
    pub(crate) fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST)
    }

    /// Listens on another address of this machine.
    pub(crate) fn start_on(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { open: Mutex::new(Some(Vec::new())), ..Shared::default() });
        let listening = Some(listen(listener, shared.clone()));
        Self { address, port, shared, listening }
    }

    /// Stops listening and closes all connections.
    pub(crate) fn go_away(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        let open = self.shared.open.lock().unwrap().take();
        // One more connection wakes the listener, which then sees that it has to stop.
        TcpStream::connect((self.address, self.port)).ok();
        listening.join().ok();
        for stream in open.into_iter().flatten() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Listens again on the same port.
    pub(crate) fn come_back(&mut self) {
        assert!(self.listening.is_none(), "it is not away");
        let listener = TcpListener::bind((self.address, self.port)).unwrap();
        *self.shared.open.lock().unwrap() = Some(Vec::new());
        self.listening = Some(listen(listener, self.shared.clone()));
    }

    /// Serves a file under a path.
    pub(crate) fn serve(&self, path: &str, file: PathBuf) {
        self.shared.files.lock().unwrap().insert(path.to_owned(), file);
    }

    /// Whether a path was requested.
    pub(crate) fn was_requested(&self, path: &str) -> bool {
        self.shared.asked.lock().unwrap().iter().any(|asked| asked == path)
    }

    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("http://{}:{}{path_and_query}", self.address, self.port)
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn listen(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            match shared.open.lock().unwrap().as_mut() {
                Some(open) => open.push(stream.try_clone().unwrap()),
                None => break,
            }
            let shared = shared.clone();
            thread::spawn(move || {
                // A client that disconnects in the middle of an answer does not matter to the
                // server.
                answer(&stream, &shared).ok();
                // The list of open streams holds this stream, too: dropping it would not close it.
                stream.shutdown(Shutdown::Both).ok();
            });
        }
    })
}

fn answer(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let (mut range, mut is_ann) = (None, false);
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.split_once('-').map(|(from, to)| (from.to_owned(), to.trim().to_owned()));
        }
        // `ann:s3cret`
        is_ann |= line.ends_with(" Basic YW5uOnMzY3JldA==");
    }
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    shared.asked.lock().unwrap().push(path.to_owned());

    if path == "/hang" {
        // Holds the connection until the browser or the server gives up.
        return stream.read_to_end(&mut Vec::new()).map(drop);
    }
    if let Some(code) = path.strip_prefix("/status/") {
        let body = format!("<!doctype html><title>{code}</title>");
        return respond(stream, &format!("{code} As Asked"), "text/html", "", body.as_bytes());
    }
    if let Some(place) = path.strip_prefix("/redirect/") {
        return respond(stream, "302 Found", "text/plain", &format!("Location: http://{place}\r\n"), b"");
    }
    let is_private = path.starts_with("/basic/") && !is_ann;
    if is_private || path.starts_with("/401/") {
        let login = "WWW-Authenticate: Basic realm=\"pages\"\r\n";
        return respond(stream, "401 Unauthorized", "text/html", login, b"<!doctype html>who?");
    }
    let file = match path.strip_prefix("/basic").unwrap_or(path).strip_prefix("/pages/") {
        Some(name) => Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(name)),
        None => shared.files.lock().unwrap().get(path).cloned(),
    };
    let Some(bytes) = file.as_ref().and_then(|file| std::fs::read(file).ok()) else {
        return respond(stream, "404 Not Found", "text/plain", "", b"no such page");
    };
    let mime = match file.as_ref().and_then(|file| file.extension()?.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("webm") => "video/webm",
        _ => "application/octet-stream",
    };
    // Media elements request ranges, and can't seek back in a response without ranges.
    let Some((from, to)) = range else {
        return respond(stream, "200 OK", mime, "Accept-Ranges: bytes\r\n", &bytes);
    };
    let from: usize = from.parse().unwrap_or(0).min(bytes.len());
    let end = to.parse().map_or(bytes.len(), |to: usize| (to + 1).min(bytes.len())).max(from);
    let part = format!("Content-Range: bytes {from}-{}/{}\r\n", end.saturating_sub(1), bytes.len());
    respond(stream, "206 Partial Content", mime, &part, &bytes[from..end])
}

fn respond(mut stream: &TcpStream, status: &str, mime: &str, more: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
