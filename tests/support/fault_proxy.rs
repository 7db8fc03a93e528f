//! A proxy in front of a storage or any other server that injects network and server faults.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::http1::{Body, Head};
use super::ports;

/// A fault. It applies to everything that arrives after it was set, including requests in progress,
/// except for faults that count whole requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Everything passes.
    None,
    /// Connections are cut, and new ones refused.
    Refused,
    /// Connections stay or are accepted, but nothing passes in either direction until the fault is
    /// over.
    Offline,
    /// The first `after_bytes` bytes of each new request's body pass, then nothing until the fault
    /// is over.
    Stall { after_bytes: u64 },
    /// The next `requests` requests are read completely and answered with this status; then the
    /// fault is over.
    Status { code: u16, requests: u64 },
    /// Requests whose first line contains `part` are read and answered with this status; all others
    /// pass.
    StatusOf { code: u16, part: &'static str },
    /// Upload bandwidth over all connections. Answers are not slowed down.
    Slow { bytes_per_second: u64 },
    /// Cuts the connection after this share (0 to 1) of each new request's body. A body of unknown
    /// length is cut at its start; requests without a body pass.
    CutAt { fraction: f64 },
}

/// Traffic received from clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) connections: u64,
    /// Requests whose heads arrived.
    pub(crate) requests: u64,
    /// Body bytes forwarded to the server, including chunk framing; for plain bytes, all bytes that
    /// clients sent.
    pub(crate) bytes: u64,
    /// Requests that the proxy answered itself.
    pub(crate) answered: u64,
    /// Connections cut by [`Fault::CutAt`].
    pub(crate) cut: u64,
}

/// Listens on loopback and forwards HTTP/1.1 or plain bytes until dropped. Dropping it closes all
/// connections.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    store: SocketAddr,
    passes: Passes,
    state: Mutex<State>,
    changed: Condvar,
}

/// Protocol of the forwarded traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    Http,
    Bytes,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    traffic: Traffic,
    listening: bool,
    over: bool,
    /// Both ends of each open connection.
    open: HashMap<u64, [TcpStream; 2]>,
    workers: Vec<JoinHandle<()>>,
    /// Earliest time of the next byte, for [`Fault::Slow`].
    pace: Instant,
}

impl FaultProxy {
    pub(crate) fn to(store: SocketAddr) -> Self {
        Self::passing(Passes::Http, store)
    }

    /// Forwards any protocol, for example RTMP. Plain bytes have no requests, so only
    /// [`Fault::None`], [`Fault::Refused`] and [`Fault::Offline`] apply. Its sockets hold about 10
    /// kB, so a sender notices within seconds that nothing is read any more.
    pub(crate) fn of_bytes(server: SocketAddr) -> Self {
        Self::passing(Passes::Bytes, server)
    }

    fn passing(passes: Passes, store: SocketAddr) -> Self {
        // This port stays free while it is closed.
        let [port] = ports::free();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let state = State {
            fault: Fault::None,
            traffic: Traffic::default(),
            listening: false,
            over: false,
            open: HashMap::new(),
            workers: Vec::new(),
            pace: Instant::now(),
        };
        let shared = Arc::new(Shared { store, passes, state: Mutex::new(state), changed: Condvar::new() });
        let listener = thread::spawn({
            let shared = shared.clone();
            move || shared.listen(addr)
        });
        let proxy = Self { addr, shared, listener: Some(listener) };
        proxy.set(Fault::None);
        proxy
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the fault; it applies when this returns.
    pub(crate) fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.fault = fault;
        state.pace = Instant::now();
        self.shared.changed.notify_all();
        let refused = fault == Fault::Refused;
        if refused {
            state.cut_all();
            drop(state);
            self.wake_listener();
            state = self.shared.lock();
        }
        while state.listening == refused {
            state = self.shared.changed.wait(state).unwrap();
        }
    }

    /// The current fault; [`Fault::Status`] ends by itself.
    pub(crate) fn fault(&self) -> Fault {
        self.shared.lock().fault
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }

    /// Waits until the traffic satisfies `wanted`; panics at the deadline.
    pub(crate) fn until(&self, what: &str, deadline: Duration, wanted: impl Fn(&Traffic) -> bool) -> Traffic {
        let state = self.shared.lock();
        let (state, _) =
            self.shared.changed.wait_timeout_while(state, deadline, |state| !wanted(&state.traffic)).unwrap();
        assert!(wanted(&state.traffic), "{what}: not within {deadline:?}: {:?}", state.traffic);
        state.traffic
    }

    /// Waits for more traffic; `None` without any within `patience`.
    pub(crate) fn wait_for_more(&self, patience: Duration) -> Option<Traffic> {
        let state = self.shared.lock();
        let before = state.traffic;
        let same = |state: &mut State| state.traffic == before;
        let (state, waited) = self.shared.changed.wait_timeout_while(state, patience, same).unwrap();
        (!waited.timed_out()).then_some(state.traffic)
    }

    /// A new connection makes the listener look at the state.
    fn wake_listener(&self) {
        TcpStream::connect(self.addr).ok();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let workers = {
            // A panicking worker has poisoned the lock; the panic is reported elsewhere.
            let mut state = self.shared.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            state.over = true;
            state.cut_all();
            self.shared.changed.notify_all();
            std::mem::take(&mut state.workers)
        };
        self.wake_listener();
        for worker in self.listener.take().into_iter().chain(workers) {
            worker.join().ok();
        }
    }
}

impl State {
    fn cut_all(&mut self) {
        for stream in self.open.values().flatten() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn count(&self, add: impl FnOnce(&mut Traffic)) {
        add(&mut self.lock().traffic);
        self.changed.notify_all();
    }

    /// Listens whenever connections are not refused.
    fn listen(self: &Arc<Self>, addr: SocketAddr) {
        loop {
            let mut state = self.lock();
            while state.fault == Fault::Refused && !state.over {
                state = self.changed.wait(state).unwrap();
            }
            if state.over {
                return;
            }
            let listener = TcpListener::bind(addr).unwrap();
            if self.passes == Passes::Bytes {
                // The kernel buffers megabytes for a client on loopback, as its large segments
                // require. Connections inherit buffer sizes from the listening socket.
                setsockopt(&listener, sockopt::RcvBuf, &(8 << 10)).unwrap();
                setsockopt(&listener, sockopt::TcpMaxSeg, &1400).unwrap();
            }
            state.listening = true;
            self.changed.notify_all();
            drop(state);
            for client in listener.incoming().map_while(Result::ok) {
                if !self.accept(client) {
                    break;
                }
            }
            ports::stop_listening(listener);
            self.lock().listening = false;
            self.changed.notify_all();
        }
    }

    /// Returns `false` when the listener has to stop.
    fn accept(self: &Arc<Self>, client: TcpStream) -> bool {
        let mut state = self.lock();
        if state.over || state.fault == Fault::Refused {
            return false;
        }
        state.traffic.connections += 1;
        let id = state.traffic.connections;
        state.workers.retain(|worker| !worker.is_finished());
        self.changed.notify_all();
        // The server is on loopback: it answers at once or not at all. Without it, the client's
        // connection is closed.
        let Ok(store) = TcpStream::connect(self.store) else { return true };
        let ends = [&client, &store].map(|stream| stream.try_clone().unwrap());
        state.open.insert(id, ends);
        let requests = thread::spawn({
            let (shared, client, store) =
                (self.clone(), client.try_clone().unwrap(), store.try_clone().unwrap());
            move || {
                // A connection that breaks in the middle of a message has simply ended.
                match shared.passes {
                    Passes::Http => shared.requests(&client, &store).ok(),
                    Passes::Bytes => shared.bytes(&client, &store).ok(),
                };
                client.shutdown(Shutdown::Read).ok();
                store.shutdown(Shutdown::Write).ok();
            }
        });
        let answers = thread::spawn({
            let shared = self.clone();
            move || {
                shared.answers(&store, &client).ok();
                for stream in shared.lock().open.remove(&id).into_iter().flatten() {
                    stream.shutdown(Shutdown::Both).ok();
                }
            }
        });
        state.workers.extend([requests, answers]);
        true
    }

    /// Waits while nothing may pass.
    fn online(&self) -> io::Result<()> {
        self.wait_while(|fault| fault == Fault::Offline)
    }

    fn wait_while(&self, waits: impl Fn(Fault) -> bool) -> io::Result<()> {
        let mut state = self.lock();
        while waits(state.fault) && !state.over {
            state = self.changed.wait(state).unwrap();
        }
        if state.over || state.fault == Fault::Refused {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Forwards a client's bytes of any protocol.
    fn bytes(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 4 << 10];
        loop {
            self.online()?;
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            self.online()?;
            self.count(|traffic| traffic.bytes += n as u64);
            to.write_all(&buffer[..n])?;
        }
    }

    fn answers(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            self.online()?;
            to.write_all(&buffer[..n])?;
        }
    }

    fn requests(&self, client: &TcpStream, mut store: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::with_capacity(64 << 10, client);
        loop {
            self.online()?;
            let Some(head) = Head::read(&mut from)? else { return Ok(()) };
            self.online()?;
            let fault = self.begin_request();
            let status = match fault {
                Fault::Status { code, .. } => Some(code),
                Fault::StatusOf { code, part } => head.first.contains(part).then_some(code),
                _ => None,
            };
            if let Some(code) = status {
                take(&head, &mut from, client)?;
                self.count(|traffic| traffic.answered += 1);
                refuse(code, &head, client)?;
                continue;
            }
            store.write_all(&head.bytes())?;
            let body = head.body();
            let cut = match (fault, body) {
                (Fault::CutAt { fraction }, Body::Length(length)) if length > 0 => {
                    Some((length as f64 * fraction) as u64)
                }
                (Fault::CutAt { .. }, Body::Chunked) => Some(0),
                _ => None,
            };
            let mut passed = 0;
            body.read(
                &mut from,
                || self.piece(),
                |mut bytes| {
                    while !bytes.is_empty() {
                        let cut_after = cut.map(|cut| cut - passed);
                        if cut_after == Some(0) {
                            return Err(self.cut(client, store));
                        }
                        let room = match fault {
                            Fault::Stall { after_bytes } if self.lock().fault == fault => {
                                if passed >= after_bytes {
                                    self.wait_while(|now| now == fault)?;
                                    continue;
                                }
                                Some(after_bytes - passed)
                            }
                            _ => cut_after,
                        };
                        let n = room.map_or(bytes.len(), |room| bytes.len().min(room as usize));
                        self.pace(n)?;
                        self.online()?;
                        // Counted first, so that a client with an answer finds it counted.
                        self.count(|traffic| traffic.bytes += n as u64);
                        store.write_all(&bytes[..n])?;
                        passed += n as u64;
                        bytes = &bytes[n..];
                    }
                    Ok(())
                },
            )?;
        }
    }

    /// Counts a request and returns the fault that applies to it.
    fn begin_request(&self) -> Fault {
        let mut state = self.lock();
        state.traffic.requests += 1;
        let fault = state.fault;
        if let Fault::Status { code, requests } = fault {
            let left = requests.saturating_sub(1);
            state.fault = if left == 0 { Fault::None } else { Fault::Status { code, requests: left } };
        }
        drop(state);
        self.changed.notify_all();
        fault
    }

    /// Bytes to forward at once: at a limited rate, a twentieth of a second's worth.
    fn piece(&self) -> usize {
        match self.lock().fault {
            Fault::Slow { bytes_per_second } => usize::try_from(bytes_per_second / 20).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// Waits until `bytes` more may pass.
    fn pace(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.lock();
        let Fault::Slow { bytes_per_second } = state.fault else { return Ok(()) };
        let slow = state.fault;
        let now = Instant::now();
        let until = state.pace.max(now) + Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        state.pace = until;
        let goes_on = |state: &mut State| state.fault == slow && !state.over;
        let (state, _) = self.changed.wait_timeout_while(state, until - now, goes_on).unwrap();
        if state.over { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn cut(&self, client: &TcpStream, store: &TcpStream) -> io::Error {
        self.count(|traffic| traffic.cut += 1);
        for stream in [client, store] {
            stream.shutdown(Shutdown::Both).ok();
        }
        io::ErrorKind::ConnectionAborted.into()
    }
}

/// Reads and drops a request's body.
fn take(head: &Head, from: &mut BufReader<&TcpStream>, mut client: &TcpStream) -> io::Result<()> {
    if head.get("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    head.body().read(from, || usize::MAX, |_| Ok(()))
}

/// Answers a request with an error, as S3 does.
fn refuse(code: u16, head: &Head, mut client: &TcpStream) -> io::Result<()> {
    let (reason, name) = match code {
        400 => ("Bad Request", "KeyTooLongError"),
        403 => ("Forbidden", "AccessDenied"),
        503 => ("Service Unavailable", "SlowDown"),
        _ => ("As Asked", "InternalError"),
    };
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{name}</Code><Message>As asked</Message></Error>");
    let body = if head.first.starts_with("HEAD ") { "" } else { &body };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes())
}
