//! A bad network between a participant and a LiveKit server: datagrams that are lost, late or out of order, and a cable that is
//! pulled.
//!
//! ```text
//! participant ── websocket ──► link ──► server      candidates that either tells of become the link's own
//! participant ◄── datagrams ──► link ◄──► server      what happens to each, chance says
//! ```
//!
//! There is no other way: the server's addresses for TCP are told on only where they are wanted, and no address of the participant's
//! own, which the server would call by itself.

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

/// What happens on the way, in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weather {
    /// Of datagrams, 0 to 1.
    pub(crate) loss: f64,
    /// Each datagram is late by a time of its own up to this: they overtake one another.
    pub(crate) jitter: Duration,
    /// Nothing gets through, neither datagrams nor what is on the websocket, which stays open.
    pub(crate) cut: bool,
    /// Of what the server sends, sender reports are lost, all of them.
    pub(crate) unreported: bool,
}

impl Weather {
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

/// Listens on loopback until it is dropped.
#[derive(Debug)]
pub(crate) struct LossyLink {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Sender reports that were kept back.
    kept_back: Arc<AtomicUsize>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl LossyLink {
    /// `server`: `ws://127.0.0.1:…`
    pub(crate) fn start(server: String, weather: Weather) -> Self {
        Self::start_beside(server, weather, Beside::Nothing)
    }

    /// The same, with the server's own addresses for TCP told on.
    pub(crate) fn start_beside_tcp(server: String, weather: Weather) -> Self {
        Self::start_beside(server, weather, Beside::Tcp)
    }

    fn start_beside(server: String, weather: Weather, beside: Beside) -> Self {
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

    pub(crate) fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many sender reports were kept back.
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

/// Until the cable is in.
async fn connected(weather: &mut watch::Receiver<Weather>) {
    drop(weather.wait_for(|weather| !weather.cut).await);
}

/// One participant's websocket, and the datagrams that belong to it.
async fn pass_on(
    stream: TcpStream,
    server: String,
    mut weather: watch::Receiver<Weather>,
    mut relays: Relays,
) {
    connected(&mut weather).await;
    let Some((mut client, mut server)) = both_sides(stream, &server).await else { return };
    loop {
        connected(&mut weather).await;
        let mut changed = weather.clone();
        tokio::select! {
            // Looks at the weather again.
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

/// The ways to the server that lead past the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Tcp,
}

/// A socket of the link's own for each address of the server, and one where the server finds the participant.
struct Relays {
    far: Arc<UdpSocket>,
    weather: watch::Receiver<Weather>,
    beside: Beside,
    kept_back: Arc<AtomicUsize>,
    known: HashMap<SocketAddr, SocketAddr>,
    running: JoinSet<()>,
}

impl Relays {
    fn new(weather: watch::Receiver<Weather>, beside: Beside, kept_back: Arc<AtomicUsize>) -> Self {
        Self {
            far: Arc::new(bound()),
            weather,
            beside,
            kept_back,
            known: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// What a participant says, with the link's address in place of its own; `None` where nothing is left. A server that knows no
    /// address of somebody does not always answer them.
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

    /// A participant's candidate as one of the link's; `None` for one that is not at this machine's own address, or not of UDP.
    fn ours(&self, line: &str) -> Option<String> {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let is_ours = words.get(2)?.eq_ignore_ascii_case("udp") && words.get(4)? == "127.0.0.1";
        words[5] = self.far.local_addr().unwrap().port().to_string();
        is_ours.then(|| words.join(" "))
    }

    /// What the server says, with the link's addresses in it; `None` for an address that it has no way to.
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

    /// `candidate:<foundation> <component> <protocol> <priority> <address> <port> …` (RFC 8839 §5.1).
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

/// A socket on loopback, had without a wait; within a runtime.
fn bound() -> UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Puts what `each` makes of the candidate in its place; `None` where that is nothing.
fn in_trickle(trickle: &mut proto::TrickleRequest, each: impl FnOnce(&str) -> Option<String>) -> Option<()> {
    let mut init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).unwrap();
    init["candidate"] = each(init["candidate"].as_str().unwrap_or_default())?.into();
    trickle.candidate_init = init.to_string();
    Some(())
}

/// Puts what `each` makes of a candidate in its place, and leaves those out of which that is nothing.
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
    weather: watch::Receiver<Weather>,
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
        let Weather { loss, jitter, cut, unreported } = *weather.borrow();
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
            // Without a delay all stay in order.
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            // A socket that is full loses what it is given, as networks do.
            match target {
                Some(participant) => drop(near.send_to(&bytes, participant).await),
                None => drop(far.send_to(&bytes, server).await),
            }
        });
    }
}

/// What a datagram of RTCP begins with is not encrypted (RFC 3711 §3.4): version 2, type 200 (RFC 3550 §6.4.1).
fn is_sender_report(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 200, ..] if first >> 6 == 2)
}
