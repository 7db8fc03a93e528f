//! Tracks of a LiveKit room as a source: received as they were published, without a browser.
//!
//! ```text
//! RoomClient ─► frames, news ─► Desk ─┬─► Lane ───► Feed(published)
//!                                      ├─► Screen ─► Feed(raw video)
//!                                      ├─► Mixer ──► Feed(raw audio)
//!                                      └─► SourceEvents
//! ```

mod blank;
mod caps;
mod choice;
mod chosen;
mod codec;
mod desk;
mod lane;
mod line;
mod mixer;
mod muster;
mod outlet;
mod parameters;
mod peer;
mod reconnect;
pub mod room;
mod screen;
mod signal;
mod subscription;
mod superframe;
mod sync;
mod transcode;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{SourceContext, standstill};
use crate::media::PipelineError;
use crate::plan::track::{TrackCodec, TrackKind, TracksPlan};
use desk::Desk;
use muster::{Awaited, Presence};
pub use peer::{Frame, PeerError, SenderReport};
pub use room::{Listener, RoomClient, RoomEnd, RoomError, RoomEvent, Wishes};
pub use screen::ScreenError;
pub use signal::SignalError;

/// Nothing waits longer than this for packets that are missing: before then, what did not come will not.
const SETTLED: Duration = Duration::from_millis(2500);
/// From joining to everybody and everything that is named (media.md §4.1).
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// Why tracks can't be recorded, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum TracksError {
    #[error(transparent)]
    Room(#[from] RoomError),
    /// After it began; what there is is kept.
    #[error("recording ended early: connection to room failed")]
    Lost(#[source] RoomError),
    /// Nobody published it in time.
    #[error("track {track} not found")]
    NotFound { track: String },
    /// They did not come in time.
    #[error("participant {identity} not found")]
    NoParticipant { identity: String },
    /// Named for the other medium.
    #[error(
        "request has missing or invalid field: {}: track {track} is one of {}",
        .kind.asked_by(), .kind.as_str()
    )]
    WrongKind { track: String, kind: TrackKind },
    #[error("track {track} can't be received: {why}")]
    Refused { track: String, why: &'static str },
    /// A file holds one codec.
    #[error(
        "the track's publisher changed its codec to {now}, which the file can't hold beside the former one"
    )]
    CodecChanged { now: TrackCodec },
    #[error(transparent)]
    Screen(#[from] ScreenError),
    #[error("sound can't be transcoded")]
    Transcode(#[from] PipelineError),
}

/// A recorder in a room, and the tracks that it hands on. Dropping it leaves the room.
#[derive(Debug)]
pub struct TracksSource {
    client: RoomClient,
    desk: Shared,
    watch: standstill::Watch,
}

impl TracksSource {
    /// Joins the room and waits until everybody and everything is there that the plan names. Sends
    /// [`SourceEvent::Loaded`](super::SourceEvent) then; with the first frame that can be shown or heard
    /// [`SourceEvent::Ready`](super::SourceEvent), or [`SourceEvent::Discovered`](super::SourceEvent) where the plan leaves
    /// something open.
    ///
    /// # Errors
    /// When the room can't be joined, or something is not there within half a minute.
    pub async fn start(plan: &TracksPlan, context: SourceContext) -> Result<Self, TracksError> {
        let (presence, mut seen) = watch::channel(Presence::Awaited);
        let watch = standstill::Watch::start(context.timeline.clone(), context.events.clone());
        let desk = Shared(Arc::new(Mutex::new(Desk::new(plan, context, presence)?)));
        let client = RoomClient::join(plan, Box::new(desk.clone())).await?;
        let waiting = seen.wait_for(|presence| *presence != Presence::Awaited);
        // The desk lives here: its end of the channel does not go first.
        let presence = match tokio::time::timeout(FOUND_WITHIN, waiting).await {
            Ok(Ok(presence)) => presence.clone(),
            Ok(Err(_)) | Err(_) => Presence::Awaited,
        };
        let awaited = desk.lock().awaited();
        let error = match presence {
            Presence::Complete => return Ok(Self { client, desk, watch }),
            Presence::WrongKind { track, kind } => TracksError::WrongKind { track, kind },
            Presence::Awaited => match awaited {
                Some(Awaited::Participant(identity)) => TracksError::NoParticipant { identity },
                Some(Awaited::Tracks(tracks)) => TracksError::NotFound { track: tracks.join(", ") },
                // In this very moment.
                None => return Ok(Self { client, desk, watch }),
            },
        };
        client.leave().await;
        Err(error)
    }

    /// Waits for what is still on its way, leaves the room, and ends the feeds where the recording ends. To be called after
    /// [`Timeline::end`](crate::media::Timeline::end).
    pub async fn close(self) {
        let Self { client, desk, watch } = self;
        watch.end();
        let mut whole = desk.lock().whole();
        if tokio::time::timeout(SETTLED, whole.wait_for(|whole| *whole)).await.is_err() {
            tracing::debug!("not all came that was on its way");
        }
        client.leave().await;
        let rest = desk.lock().finish();
        rest.close().await;
    }
}

/// The desk, of the room's task while there is one.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Desk>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Shared {
    fn on_event(&mut self, event: RoomEvent) {
        self.lock().on_event(event);
    }

    fn on_tick(&mut self) {
        self.lock().on_tick();
    }

    fn wishes(&mut self) -> Wishes {
        self.lock().wishes()
    }

    fn on_end(&mut self, end: RoomEnd) {
        self.lock().on_end(end);
    }
}
