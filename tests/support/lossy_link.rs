//! A bad network between a participant and a LiveKit server: datagrams that are lost, late or out
//! of order, and a cable that is pulled.
//!
//! ```text
//! participant ── websocket ──► link ──► server      candidates that either tells of become the link's own
//! participant ◄── datagrams ──► link ◄──► server      what happens to each, chance says
//! ```
//!
//! No other path remains: the server's TCP addresses are forwarded only on request, and the
//! participant's own addresses, which the server would connect to, never.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::signal_proxy::both_sides;

/// Network conditions, in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NetworkConditions {
    /// Share of lost datagrams, 0 to 1.
    pub(crate) loss: f64,
    /// Largest delay of a datagram. Delays are random, so datagrams overtake one another.
    pub(crate) jitter: Duration,
    /// Nothing passes: no datagrams, and nothing on the websocket, which stays open.
    pub(crate) cut: bool,
    /// Drops all sender reports of the server.
    pub(crate) unreported: bool,
}

impl NetworkConditions {
    pub(crate) const FAIR: Self = Self { loss: 0.0, jitter: Duration::ZERO, cut: false, unreported: false };
    pub(crate) const CUT: Self = Self { cut: true, ..Self::FAIR };
    pub(crate) const UNREPORTED: Self = Self { unreported: true, ..Self::FAIR };

    pub(crate) const fn losing(loss: f64) -> Self {
        Self { loss, ..Self::FAIR }
    }

    pub(crate) const fn jittery(jitter: Duration) -> Self {
        Self { jitter, ..Self::FAIR }
    }
}

/// Listens on loopback until dropped.
#[derive(Debug)]
pub(crate) struct LossyLink {
    addr: SocketAddr,
    weather: watch::Sender<NetworkConditions>,
    /// Number of dropped sender reports.
    kept_back: Arc<AtomicUsize>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl LossyLink {
    /// `server`: `ws://127.0.0.1:…`
    pub(crate) fn start(server: String, weather: NetworkConditions) -> Self {
        Self::start_beside(server, weather, Beside::Nothing)
    }

    /// The same, with the server's TCP candidates passed on.
    pub(crate) fn start_beside_tcp(server: String, weather: NetworkConditions) -> Self {
        Self::start_beside(server, weather, Beside::Tcp)
    }

    fn start_beside(server: String, weather: NetworkConditions, beside: Beside) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (weather, end) = (watch::Sender::new(weather), watch::Sender::new(false));
        let (felt, mut ended) = (weather.clone(), end.subscribe());
        let kept_back = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&kept_back);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut open = JoinSet::new();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let relays = Relays::new(felt.subscribe(), beside, Arc::clone(&counted));
                            open.spawn(pass_on(accepted.unwrap().0, server.clone(), felt.subscribe(), relays));
                        }
                        _ = ended.wait_for(|ended| *ended) => return,
                    }
                }
            });
        });
        Self { addr, weather, kept_back, end, thread: Some(thread) }
    }

    pub(crate) fn ws_url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    pub(crate) fn turns(&self, weather: NetworkConditions) {
        self.weather.send_replace(weather);
    }

    /// Number of dropped sender reports.
    pub(crate) fn kept_back(&self) -> usize {
        self.kept_back.load(Ordering::Relaxed)
    }
}

impl Drop for LossyLink {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Waits until the cable is plugged in.
async fn connected(weather: &mut watch::Receiver<NetworkConditions>) {
    drop(weather.wait_for(|weather| !weather.cut).await);
}

/// Forwards one participant's websocket and its datagrams.
async fn pass_on(
    stream: TcpStream,
    server: String,
    mut weather: watch::Receiver<NetworkConditions>,
    mut relays: Relays,
) {
    connected(&mut weather).await;
    let Some((mut client, mut server)) = both_sides(stream, &server).await else { return };
    loop {
        connected(&mut weather).await;
        let mut changed = weather.clone();
        tokio::select! {
            // Re-reads the network conditions.
            _ = changed.changed() => {}
            message = client.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let Some(bytes) = relays.readdress(&bytes) else { continue };
                    if server.send(Message::Binary(bytes.into())).await.is_err() { return }
                }
                Some(Ok(message)) => if server.send(message).await.is_err() { return },
                Some(Err(_)) | None => return,
            },
            message = server.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let Some(bytes) = relays.rewrite(&bytes) else { continue };
                    if client.send(Message::Binary(bytes.into())).await.is_err() { return }
                }
                Some(Ok(message)) => if client.send(message).await.is_err() { return },
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// Candidates of the server that bypass the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Tcp,
}

/// One socket of the link for each address of the server, and one at which the server finds the
/// participant.
struct Relays {
    far: Arc<UdpSocket>,
    weather: watch::Receiver<NetworkConditions>,
    beside: Beside,
    kept_back: Arc<AtomicUsize>,
    known: HashMap<SocketAddr, SocketAddr>,
    running: JoinSet<()>,
}

impl Relays {
    fn new(weather: watch::Receiver<NetworkConditions>, beside: Beside, kept_back: Arc<AtomicUsize>) -> Self {
        Self {
            far: Arc::new(bound()),
            weather,
            beside,
            kept_back,
            known: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Replaces the participant's address by the link's in its message; `None` if nothing is left.
    /// A server that knows no address of a participant does not always answer.
    fn readdress(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut said = proto::SignalRequest::decode(bytes).unwrap();
        match &mut said.message {
            Some(Request::Trickle(trickle)) => in_trickle(trickle, |line| self.ours(line))?,
            Some(Request::Offer(description) | Request::Answer(description)) => {
                in_description(description, |line| self.ours(line));
            }
            _ => {}
        }
        Some(said.encode_to_vec())
    }

    /// Rewrites a participant's candidate to the link; `None` if it is not at this machine's own
    /// address, or not UDP.
    fn ours(&self, line: &str) -> Option<String> {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let is_ours = words.get(2)?.eq_ignore_ascii_case("udp") && words.get(4)? == "127.0.0.1";
        words[5] = self.far.local_addr().unwrap().port().to_string();
        is_ours.then(|| words.join(" "))
    }

    /// Rewrites the server's message to the link's addresses; `None` for an address that the link
    /// can't reach.
    fn rewrite(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut said = proto::SignalResponse::decode(bytes).unwrap();
        match &mut said.message {
            Some(Response::Trickle(trickle)) => in_trickle(trickle, |line| self.candidate(line))?,
            Some(Response::Offer(description) | Response::Answer(description)) => {
                in_description(description, |line| self.candidate(line));
            }
            _ => {}
        }
        Some(said.encode_to_vec())
    }

    /// `candidate:<foundation> <component> <protocol> <priority> <address> <port> …` (RFC 8839
    /// §5.1).
    fn candidate(&mut self, line: &str) -> Option<String> {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let address: SocketAddr = format!("{}:{}", words.get(4)?, words.get(5)?).parse().ok()?;
        if self.beside == Beside::Tcp && words[2].eq_ignore_ascii_case("tcp") {
            return Some(line.to_owned());
        }
        if !words[2].eq_ignore_ascii_case("udp") || !address.ip().is_loopback() {
            return None;
        }
        let relay = match self.known.get(&address) {
            Some(relay) => *relay,
            None => {
                let socket = bound();
                let relay = socket.local_addr().unwrap();
                let kept_back = Arc::clone(&self.kept_back);
                let far = Arc::clone(&self.far);
                self.running.spawn(carry(socket, far, address, self.weather.clone(), kept_back));
                self.known.insert(address, relay);
                relay
            }
        };
        words[5] = relay.port().to_string();
        Some(words.join(" "))
    }
}

/// Binds a socket on loopback without waiting; needs a runtime.
fn bound() -> UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Replaces the candidate by the result of `each`; `None` if that is `None`.
fn in_trickle(trickle: &mut proto::TrickleRequest, each: impl FnOnce(&str) -> Option<String>) -> Option<()> {
    let mut init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).unwrap();
    init["candidate"] = each(init["candidate"].as_str().unwrap_or_default())?.into();
    trickle.candidate_init = init.to_string();
    Some(())
}

/// Replaces each candidate by the result of `each`, and drops candidates without a result.
fn in_description(description: &mut proto::SessionDescription, mut each: impl FnMut(&str) -> Option<String>) {
    let line = |line: &str| match line.strip_prefix("a=") {
        Some(candidate) if candidate.starts_with("candidate:") => {
            each(candidate).map(|candidate| format!("a={candidate}"))
        }
        _ => Some(line.to_owned()),
    };
    let lines: Vec<String> = description.sdp.lines().filter_map(line).collect();
    description.sdp = lines.join("\r\n") + "\r\n";
}

/// Carries datagrams between one participant and the server.
async fn carry(
    near: UdpSocket,
    far: Arc<UdpSocket>,
    server: SocketAddr,
    weather: watch::Receiver<NetworkConditions>,
    kept_back: Arc<AtomicUsize>,
) {
    let near = Arc::new(near);
    let mut chance = StdRng::seed_from_u64(7);
    let mut participant = None;
    let mut late = JoinSet::new();
    let (mut out, mut back) = ([0; 2048], [0; 2048]);
    loop {
        let (bytes, target) = tokio::select! {
            Ok((len, from)) = near.recv_from(&mut out) => {
                participant = Some(from);
                (out[..len].to_vec(), None)
            }
            Ok((len, _)) = far.recv_from(&mut back) => match participant {
                Some(participant) => (back[..len].to_vec(), Some(participant)),
                None => continue,
            },
            Some(_) = late.join_next() => continue,
        };
        let NetworkConditions { loss, jitter, cut, unreported } = *weather.borrow();
        if unreported && target.is_some() && is_sender_report(&bytes) {
            kept_back.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if cut || chance.random_bool(loss) {
            continue;
        }
        let delay = jitter.mul_f64(chance.random::<f64>());
        let (near, far) = (Arc::clone(&near), Arc::clone(&far));
        late.spawn(async move {
            // Without delays, datagrams stay in order.
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            // A full socket drops datagrams, as networks do.
            match target {
                Some(participant) => drop(near.send_to(&bytes, participant).await),
                None => drop(far.send_to(&bytes, server).await),
            }
        });
    }
}

/// The first bytes of an RTCP datagram are not encrypted (RFC 3711 §3.4): version 2, type 200 (RFC
/// 3550 §6.4.1).
fn is_sender_report(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 200, ..] if first >> 6 == 2)
}
