//! A websocket server that keeps the messages it receives.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, accept_hdr};

use super::ports;

/// Polling interval of a connection for the server's end.
const LOOK: Duration = Duration::from_millis(50);

/// The content of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    /// Path with query.
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) authorization: Option<String>,
    /// Binary messages.
    pub(crate) audio: Vec<Vec<u8>>,
    pub(crate) texts: Vec<String>,
    pub(crate) pings: Vec<Vec<u8>>,
    /// Whether it ended with a close frame.
    pub(crate) is_closed: bool,
    pub(crate) is_over: bool,
}

impl Connection {
    /// Samples of the left and the right channel.
    pub(crate) fn channels(&self) -> [Vec<i16>; 2] {
        let samples: Vec<i16> = self
            .audio
            .iter()
            .flat_map(|message| message.chunks_exact(2))
            .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
            .collect();
        [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
    }
}

/// Behaviour of a server towards its clients.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// Status with which every handshake is refused, instead of an open websocket.
    pub(crate) refuses_with: Option<u16>,
    /// Number of audio messages after which the first connection is cut without a close frame.
    pub(crate) cuts_first_after: Option<usize>,
}

/// A server on a port of its own. Dropping it cuts all connections.
#[derive(Debug)]
pub(crate) struct WebSocketServer {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
    stops: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl WebSocketServer {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), behaviour)
    }

    /// Listens at the address of an earlier server.
    pub(crate) fn on(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (connections, stops) = (Arc::<Mutex<Vec<Connection>>>::default(), Arc::<AtomicBool>::default());
        let (kept, stopped) = (Arc::clone(&connections), Arc::clone(&stops));
        let accepts = std::thread::spawn(move || {
            let mut served = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((socket, _)) => {
                        let (kept, stopped) = (Arc::clone(&kept), Arc::clone(&stopped));
                        served.push(std::thread::spawn(move || serve(socket, behaviour, &kept, &stopped)));
                    }
                    Err(_) => std::thread::park_timeout(LOOK),
                }
            }
            ports::stop_listening(listener);
            for thread in served {
                thread.join().unwrap();
            }
        });
        Self { address, connections, stops, accepts: Some(accepts) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `user` may be empty, or end in `@`.
    pub(crate) fn url(&self, user: &str, path: &str) -> String {
        format!("ws://{user}{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().clone()
    }

    /// Waits until a client connected, and its messages satisfy a condition.
    pub(crate) fn until(
        &self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&[Connection]) -> bool,
    ) -> Vec<Connection> {
        let by = Instant::now() + within;
        loop {
            let connections = self.connections();
            if !connections.is_empty() && is_so(&connections) {
                return connections;
            }
            let counts: Vec<usize> = connections.iter().map(|connection| connection.audio.len()).collect();
            assert!(Instant::now() < by, "{what}: not within {within:?}; messages of sound: {counts:?}");
            std::thread::park_timeout(LOOK);
        }
    }
}

impl Drop for WebSocketServer {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(accepts) = self.accepts.take() {
            accepts.join().ok();
        }
    }
}

fn serve(socket: TcpStream, behaviour: Behaviour, kept: &Mutex<Vec<Connection>>, stops: &AtomicBool) {
    socket.set_nonblocking(false).unwrap();
    let mut connection = Connection::default();
    #[expect(clippy::result_large_err, reason = "the form of a callback")]
    let shake = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        connection.path = request.uri().to_string();
        connection.content_type = header("content-type").unwrap_or_default();
        connection.authorization = header("authorization");
        match behaviour.refuses_with {
            None => Ok(response),
            Some(status) => {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = status.try_into().unwrap();
                Err(refusal)
            }
        }
    };
    let Ok(socket) = accept_hdr(socket, shake) else { return };
    socket.get_ref().set_read_timeout(Some(LOOK)).unwrap();
    let at = {
        let mut kept = kept.lock().unwrap();
        kept.push(connection);
        kept.len() - 1
    };
    receive(socket, at, behaviour.cuts_first_after.filter(|_| at == 0), kept, stops);
    kept.lock().unwrap()[at].is_over = true;
}

fn receive(
    mut socket: WebSocket<TcpStream>,
    at: usize,
    cut_after: Option<usize>,
    kept: &Mutex<Vec<Connection>>,
    stops: &AtomicBool,
) {
    while !stops.load(Ordering::Relaxed) {
        let message = match socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => return,
        };
        let connection = &mut kept.lock().unwrap()[at];
        match message {
            Message::Binary(audio) => connection.audio.push(audio.to_vec()),
            Message::Text(text) => connection.texts.push(text.to_string()),
            Message::Ping(payload) => connection.pings.push(payload.to_vec()),
            Message::Close(_) => connection.is_closed = true,
            Message::Pong(_) | Message::Frame(_) => {}
        }
        if cut_after.is_some_and(|most| connection.audio.len() >= most) {
            return;
        }
    }
}
