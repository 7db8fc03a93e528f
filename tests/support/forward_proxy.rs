//! A forward proxy as used in offices: the only way out, with user and password.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::http1::Head;
use super::ports;

/// Serves `CONNECT` and requests in absolute form until dropped. Dropping it closes all
/// connections.
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Expected value of `Proxy-Authorization`.
    wanted: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    over: bool,
    passed: Vec<String>,
    refused: u64,
    connections: u64,
    open: HashMap<u64, Vec<TcpStream>>,
    workers: Vec<JoinHandle<()>>,
}

impl ForwardProxy {
    pub(crate) fn start(user: &str, password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let wanted = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let shared = Arc::new(Shared { wanted, state: Mutex::default() });
        let listener = thread::spawn({
            let shared = shared.clone();
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if !shared.accept(client) {
                        break;
                    }
                }
                ports::stop_listening(listener);
            }
        });
        Self { addr, shared, listener: Some(listener) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without user and password.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Methods and targets of the requests that passed: `CONNECT host:port`, `PUT
    /// http://host:port/path`.
    pub(crate) fn passed(&self) -> Vec<String> {
        self.shared.lock().passed.clone()
    }

    /// Number of requests refused for missing or wrong credentials.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.lock().refused
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        let workers = {
            let mut state = self.shared.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            state.over = true;
            for stream in state.open.values().flatten() {
                stream.shutdown(Shutdown::Both).ok();
            }
            std::mem::take(&mut state.workers)
        };
        // Wakes the listener, which then sees that it has to stop.
        TcpStream::connect(self.addr).ok();
        for worker in self.listener.take().into_iter().chain(workers) {
            worker.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns `false` when the listener has to stop.
    fn accept(self: &Arc<Self>, client: TcpStream) -> bool {
        let mut state = self.lock();
        if state.over {
            return false;
        }
        state.connections += 1;
        let id = state.connections;
        state.open.insert(id, vec![client.try_clone().unwrap()]);
        state.workers.retain(|worker| !worker.is_finished());
        let worker = thread::spawn({
            let shared = self.clone();
            move || {
                // A connection that breaks in the middle of a message has simply ended.
                shared.serve(id, &client).ok();
                for stream in shared.lock().open.remove(&id).into_iter().flatten() {
                    stream.shutdown(Shutdown::Both).ok();
                }
            }
        });
        state.workers.push(worker);
        true
    }

    fn serve(&self, id: u64, client: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(client);
        // The host of the first absolute address; clients keep a connection for one host.
        let mut origin: Option<(String, TcpStream)> = None;
        thread::scope(|threads| {
            let ended = self.requests(id, client, &mut from, &mut origin, |back| {
                threads.spawn(move || pass(back, client));
            });
            if let Some((_, server)) = &origin {
                // The server answers what it received, and closes.
                server.shutdown(if ended.is_ok() { Shutdown::Write } else { Shutdown::Both }).ok();
            }
            ended
        })
    }

    /// Serves a connection and stores its server in `origin`. Calls `answers` with it once.
    fn requests(
        &self,
        id: u64,
        mut client: &TcpStream,
        from: &mut BufReader<&TcpStream>,
        origin: &mut Option<(String, TcpStream)>,
        mut answers: impl FnMut(TcpStream),
    ) -> io::Result<()> {
        while let Some(mut head) = Head::read(from)? {
            let mut words = head.first.split(' ').map(str::to_owned);
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let body = head.body();
            if head.get("proxy-authorization") != Some(self.wanted.as_str()) {
                body.read(from, || usize::MAX, |_| Ok(()))?;
                self.lock().refused += 1;
                let wanted = "Proxy-Authenticate: Basic realm=\"tests\"\r\n";
                say(client, "407 Proxy Authentication Required", wanted)?;
                continue;
            }
            let tunnel = method == "CONNECT";
            let rest = if tunnel { Some(target.as_str()) } else { target.strip_prefix("http://") };
            let Some(rest) = rest else { return say(client, "400 Bad Request", "") };
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if origin.is_none() {
                let Some(server) = self.connect(id, host)? else {
                    return say(client, "502 Bad Gateway", "");
                };
                if tunnel {
                    client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")?;
                }
                answers(server.try_clone()?);
                *origin = Some((host.to_owned(), server));
            }
            let Some((_, server)) = origin.as_mut().filter(|(first, _)| first == host) else {
                return say(client, "421 Misdirected Request", "");
            };
            self.lock().passed.push(format!("{method} {target}"));
            if tunnel {
                return io::copy(from, server).map(drop);
            }
            head.first = format!("{method} {} HTTP/1.1", if path.is_empty() { "/" } else { path });
            head.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("proxy-"));
            server.write_all(&head.bytes())?;
            body.read(from, || usize::MAX, |bytes| server.write_all(bytes))?;
        }
        Ok(())
    }

    /// Connects to a server; `None` if it can't be reached.
    fn connect(&self, id: u64, host: &str) -> io::Result<Option<TcpStream>> {
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let Ok(server) = TcpStream::connect(with_port) else { return Ok(None) };
        let mut state = self.lock();
        if state.over {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.open.entry(id).or_default().push(server.try_clone()?);
        Ok(Some(server))
    }
}

/// Forwards answers until the server closes.
fn pass(mut from: TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}

fn say(mut client: &TcpStream, status: &str, more: &str) -> io::Result<()> {
    client.write_all(format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n").as_bytes())
}
