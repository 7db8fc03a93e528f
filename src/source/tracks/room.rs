//! A recorder in a room: one task that owns the websocket, the peer and its sockets for as long as
//! the room lasts.
//!
//! ```text
//! websocket ─► Signal ─► offers, candidates ─► Peer ─► frames ─► Listener
//!                 └────► participants ─► Subscription ─► requests
//! UDP, TCP ──► Transport ◄────────────────────► Peer
//! ```
//!
//! A lost websocket is reopened while media continues. A lost peer, or a server that moves the
//! recorder, starts a new session in the same recording. The end of the room, or too many failed
//! attempts, end it.

mod on_signal;
mod reconnect;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, OptionFuture};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use str0m::Candidate;
use str0m::net::Protocol;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dummy_frames;
use super::peer::{Frame, Next, Peer, PeerError, PeerEvent, SenderReport};
use super::reconnect_policy::{Attempts, Way};
use super::signal::{Entrance, Signal, SignalError, Welcome};
use super::subscription::{Change, Subscription};
use super::transport::{Datagram, Transport};
use crate::plan::room::RoomAccess;
use crate::plan::track::{PublishedTrack, TrackKind, TracksPlan, VideoHandling};
use crate::secret::Secret;

/// Deadline from the first offer to the first media, including TCP and a second session.
const MEDIA_WITHIN: Duration = Duration::from_secs(15);
/// A session without media by this time is restarted, once: servers give up an address that does
/// not answer their first checks (pion after 1.5 s), and do not try it again in the same session.
const ANEW_AFTER: Duration = Duration::from_secs(7);
/// TCP is tried after this time. If UDP works, it answers within milliseconds.
const TCP_AFTER: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(500);
/// Deadline for leaving the room, on a busy machine.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Why a recorder can't join or rejoin a room.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("access token could not be created: {0}")]
    Token(String),
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("media socket could not be opened")]
    Socket(#[source] std::io::Error),
    /// `turn` is a hint about TURN, or empty.
    #[error("no media within {} s: neither UDP nor TCP reaches the LiveKit server{turn}", .within.as_secs())]
    NoMedia { within: Duration, turn: &'static str },
    #[error("connection to room failed")]
    Lost,
}

/// Why a recorder is no longer in its room.
#[derive(Debug)]
pub enum RoomEnd {
    /// The room was closed or deleted, or the recorder was removed from it.
    Closed(proto::DisconnectReason),
    /// Another recorder joined with the same identity and records now.
    Duplicate,
    /// The connection was lost and could not be restored.
    Failed(RoomError),
    /// The recorder left.
    Left,
}

/// An event of a room.
#[derive(Debug)]
pub enum RoomEvent {
    /// The room was joined or rejoined, and its id is known.
    Joined {
        room_id: String,
    },
    /// A wanted track is published, and was subscribed to.
    Found(PublishedTrack),
    /// The track's frames start, for the first time or again, with a new RTP clock.
    Started(PublishedTrack),
    Frame(Frame),
    Report(SenderReport),
    Muted(String),
    Unmuted(String),
    /// The track was unpublished, or its publisher left.
    Ended(String),
    /// The plan names the track as one of the other kind.
    WrongKind {
        track: String,
        kind: TrackKind,
    },
    /// A participant whom the plan names joined, or came back.
    Present(String),
    Left(String),
    /// The participant was there before the recorder had to rejoin, and is not there now.
    Missing(String),
    /// The server can't send the track.
    Refused {
        track: String,
        why: &'static str,
    },
    /// Media may be missing from here on …
    Reconnecting {
        why: &'static str,
    },
    /// … until here.
    Reconnected {
        gap: Duration,
    },
}

/// Receives the events of a room. It is called on the room's task, so that it must not block.
pub trait Listener: Send {
    fn on_event(&mut self, event: RoomEvent);
    /// Called every half second.
    fn on_tick(&mut self) {}
    /// Returns what is requested of the room since the last call. Called often.
    fn take_requests(&mut self) -> RoomRequests {
        RoomRequests::default()
    }
    /// Called once; no event follows.
    fn on_end(&mut self, end: RoomEnd);
}

/// Requests of a listener to the room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomRequests {
    /// Sids of tracks that need a key frame.
    pub key_frames: Vec<String>,
    /// Largest size in which video is shown from now on, in pixels.
    pub size: Option<(u32, u32)>,
    /// How long received media may wait to be read.
    pub rest: Duration,
}

/// A recorder in a room. Dropping it disconnects without notice; see [`RoomClient::leave`].
#[derive(Debug)]
pub struct RoomClient {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl RoomClient {
    /// Joins the room and reports its events to `listener`.
    ///
    /// # Errors
    /// If the room can't be joined. Later errors are reported to `listener`.
    pub async fn join(plan: &TracksPlan, listener: Box<dyn Listener>) -> Result<Self, RoomError> {
        let token = token(&plan.room, &plan.identity)?;
        let (signal, welcome) = Signal::open(&plan.room.server, &token, Entrance::Join).await?;
        let Welcome::Joined(join) = welcome else { return Err(SignalError::Unexpected.into()) };
        let stop = CancellationToken::new();
        let mut room = Room {
            access: plan.room.clone(),
            identity: plan.identity.clone(),
            listener,
            subscription: Subscription::new(plan.wanted.clone()),
            size: match plan.video {
                VideoHandling::Decoded { width, height } => Some((width, height)),
                VideoHandling::AsPublished | VideoHandling::ByCodec { .. } => None,
            },
            rest: Duration::ZERO,
            looked: Instant::now(),
            arrived: Vec::new(),
            media: Media::new(&signal)?,
            link: Link::Up(signal),
            participant: String::new(),
            refreshed: None,
            last_answer: None,
            offers_turn: false,
            broken_since: None,
            came_back: None,
            is_second: false,
            announced: HashSet::new(),
        };
        room.joined(*join);
        let (stopped, tracker) = (stop.clone(), TaskTracker::new());
        let task = AbortOnDropHandle::new(tracker.spawn(room.run(stopped)));
        Ok(Self { stop, task })
    }

    /// Leaves the room in the ordinary way.
    pub async fn leave(self) {
        self.stop.cancel();
        if tokio::time::timeout(LEAVE_WITHIN, self.task).await.is_err() {
            tracing::debug!("room not left in time");
        }
    }
}

fn token(access: &RoomAccess, identity: &str) -> Result<Secret<String>, RoomError> {
    access.token(identity).map_err(|error| RoomError::Token(error.to_string()))
}

/// A peer and its sockets. A new session gets new ones.
struct Media {
    peer: Peer,
    transport: Transport,
    /// The server's TCP addresses, used if UDP does not work.
    tcp: Vec<(SocketAddr, Candidate)>,
    /// Time at which the first offer was answered.
    answered: Option<Instant>,
    connected: bool,
}

impl Media {
    fn new(signal: &Signal) -> Result<Self, RoomError> {
        let mut media = Self {
            peer: Peer::new(Instant::now()),
            transport: Transport::new(),
            tcp: Vec::new(),
            answered: None,
            connected: false,
        };
        let local = media.transport.bind(signal.local()).map_err(RoomError::Socket)?;
        if let Some(local) = local {
            media.peer.add_local(Protocol::Udp, local)?;
        }
        Ok(media)
    }

    /// When to act if media does not connect. `is_second`: this session is the second attempt.
    fn due(&self, is_second: bool) -> Option<Instant> {
        let answered = self.answered.filter(|_| !self.connected)?;
        Some(
            answered
                + match (self.tcp.is_empty(), is_second) {
                    (false, _) => TCP_AFTER,
                    (true, false) => ANEW_AFTER,
                    (true, true) => MEDIA_WITHIN - ANEW_AFTER,
                },
        )
    }
}

/// The websocket, or an attempt to reopen it.
enum Link {
    Up(Signal),
    Dialling { attempts: Attempts, dialled: BoxFuture<'static, Result<(Signal, Welcome), SignalError>> },
}

struct Room {
    access: RoomAccess,
    identity: String,
    listener: Box<dyn Listener>,
    subscription: Subscription,
    /// The size in which video is shown; `None` if it is recorded as published.
    size: Option<(u32, u32)>,
    /// How long received media may wait to be read.
    rest: Duration,
    /// Time at which received media was last read.
    looked: Instant,
    /// Buffer for received packets.
    arrived: Vec<Datagram>,
    media: Media,
    link: Link,
    /// Our own sid, `PA_…`.
    participant: String,
    /// A token that the server issued for reconnecting.
    refreshed: Option<Secret<String>>,
    last_answer: Option<proto::SessionDescription>,
    offers_turn: bool,
    /// Since when media is interrupted.
    broken_since: Option<Instant>,
    /// Time at which the server was last reached again, and the attempts that it took.
    came_back: Option<(Instant, Attempts)>,
    /// Whether the session was restarted because no media arrived.
    is_second: bool,
    /// Tracks whose start was reported in the current media sections.
    announced: HashSet<Arc<str>>,
}

/// `Err` ends the task with this reason.
type Flow = Result<(), RoomEnd>;

impl Room {
    async fn run(mut self, stop: CancellationToken) {
        let end = match self.live(&stop).await {
            Err(end) => end,
            Ok(()) => RoomEnd::Left,
        };
        // Packets that have arrived were sent before the end.
        self.look(Instant::now());
        if let Link::Up(signal) = self.link {
            signal.leave().await;
        }
        self.listener.on_end(end);
    }

    async fn live(&mut self, stop: &CancellationToken) -> Flow {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            self.fulfil_requests(now);
            let wait = self.drain(now);
            if !self.media.peer.is_alive() && !self.is_rejoining() {
                self.await_reason().await?;
                self.rejoin("media connection closed")?;
                continue;
            }
            self.watch(now).await?;
            let wake = [self.media.due(self.is_second), self.restoring_due()]
                .into_iter()
                .flatten()
                .fold(wait, Instant::min);
            let is_resting = self.media.connected && !self.rest.is_zero();
            if is_resting {
                self.media.transport.start_polling();
            }
            let wake = if is_resting { self.looked + self.rest } else { wake };
            let (link, transport) = (&mut self.link, &mut self.media.transport);
            let (mut signal, mut dialled) = match link {
                Link::Up(signal) => (Some(signal), None),
                Link::Dialling { dialled, .. } => (None, Some(dialled)),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(message) = OptionFuture::from(signal.as_mut().map(|signal| signal.next())) => {
                    // Media that arrived before the message precedes it.
                    self.look(Instant::now());
                    match message {
                        Some(message) => self.on_message(message).await?,
                        None => self.dial(self.attempts(Way::Resume))?,
                    }
                }
                Some(dialled) = OptionFuture::from(dialled.as_mut()) => self.on_dialled(dialled).await?,
                () = transport.arrived() => self.look(Instant::now()),
                _ = ticks.tick() => self.listener.on_tick(),
                () = tokio::time::sleep_until(wake.into()) => {
                    let now = Instant::now();
                    self.look(now);
                    self.media.peer.tick(now);
                }
            }
        }
    }

    /// Reads the packets that have arrived.
    fn look(&mut self, now: Instant) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.media.transport.take(&mut arrived);
        for Datagram { at, protocol, remote, local, bytes } in arrived.drain(..) {
            self.media.peer.receive(at, protocol, remote, local, &bytes);
            // `str0m` requires that its output is drained after every input.
            self.drain(at);
        }
        (self.arrived, self.looked) = (arrived, now);
    }

    /// Handles the peer's output. Returns when to call it again.
    fn drain(&mut self, now: Instant) -> Instant {
        loop {
            match self.media.peer.next(now) {
                Next::Send(transmit) => self.media.transport.send(&transmit),
                Next::Wait(until) => return until,
                Next::Event(event) => self.on_peer(event, now),
            }
        }
    }

    fn on_peer(&mut self, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::Connected => {
                self.media.connected = true;
                tracing::debug!("media connected");
                self.on_link_restored(now);
            }
            PeerEvent::Restored => {
                if self.media.connected {
                    self.on_link_restored(now);
                }
            }
            PeerEvent::Interrupted => self.on_link_lost(now, "media connection interrupted"),
            PeerEvent::Frame(frame) => {
                if !dummy_frames::is_dummy(frame.codec, &frame.bytes) {
                    self.listener.on_event(RoomEvent::Frame(frame));
                }
            }
            PeerEvent::Report(report) => self.listener.on_event(RoomEvent::Report(report)),
        }
    }

    fn on_changes(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Found(track) => {
                    self.subscribe(vec![track.sid.clone()]);
                    self.listener.on_event(RoomEvent::Found(track));
                }
                Change::WrongKind { sid, kind } => {
                    self.listener.on_event(RoomEvent::WrongKind { track: sid, kind });
                }
                Change::Present(identity) => self.listener.on_event(RoomEvent::Present(identity)),
                Change::Left(identity) => self.listener.on_event(RoomEvent::Left(identity)),
                Change::Missing(identity) => self.listener.on_event(RoomEvent::Missing(identity)),
                Change::Muted(sid) => self.listener.on_event(RoomEvent::Muted(sid)),
                Change::Unmuted(sid) => {
                    self.media.peer.request_key_frame(&sid, Instant::now());
                    self.listener.on_event(RoomEvent::Unmuted(sid));
                }
                Change::Gone(sid) => self.listener.on_event(RoomEvent::Ended(sid)),
            }
        }
    }

    fn subscribe(&self, track_sids: Vec<String>) {
        self.send(Request::Subscription(proto::UpdateSubscription {
            track_sids: track_sids.clone(),
            subscribe: true,
            ..proto::UpdateSubscription::default()
        }));
        self.request_size(track_sids);
    }

    /// Requests a size of video tracks. The server then sends the simulcast layer that suffices
    /// instead of the largest one.
    fn request_size(&self, mut track_sids: Vec<String>) {
        let Some((width, height)) = self.size else { return };
        track_sids
            .retain(|sid| self.subscription.track(sid).is_some_and(|track| track.kind == TrackKind::Video));
        if !track_sids.is_empty() {
            self.send(Request::TrackSetting(proto::UpdateTrackSettings {
                track_sids,
                width,
                height,
                ..proto::UpdateTrackSettings::default()
            }));
        }
    }

    fn fulfil_requests(&mut self, now: Instant) {
        let RoomRequests { key_frames, size, rest } = self.listener.take_requests();
        self.rest = rest;
        for sid in key_frames {
            self.media.peer.request_key_frame(&sid, now);
        }
        if size.is_some() && size != self.size {
            self.size = size;
            self.request_size(self.subscription.sids());
        }
    }

    fn send(&self, request: Request) {
        if let Link::Up(signal) = &self.link {
            signal.send(request);
        }
    }

    /// Reports the room's id, which servers may send only after the join.
    fn report_room_id(&mut self, room: Option<&proto::Room>) {
        if let Some(room) = room.filter(|room| !room.sid.is_empty()) {
            self.listener.on_event(RoomEvent::Joined { room_id: room.sid.clone() });
        }
    }

    fn joined(&mut self, join: proto::JoinResponse) {
        self.report_room_id(join.room.as_ref());
        let is_turn = |url: &String| url.starts_with("turn:") || url.starts_with("turns:");
        self.offers_turn = join.ice_servers.iter().any(|server| server.urls.iter().any(is_turn));
        self.participant = join.participant.map(|ours| ours.sid).unwrap_or_default();
        let kept = self.subscription.sids();
        let changes = self.subscription.replace(&join.other_participants);
        let mut still_there = self.subscription.sids();
        still_there.retain(|sid| kept.contains(sid));
        if !still_there.is_empty() {
            self.subscribe(still_there);
        }
        self.on_changes(changes);
    }
}

fn failed(error: impl Into<RoomError>) -> RoomEnd {
    RoomEnd::Failed(error.into())
}
