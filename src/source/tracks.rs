//! Tracks of a LiveKit room as a source: received as they were published, without a browser.
//!
//! ```text
//! RoomClient ─► frames, news ─► TrackRouter ─┬─► Passthrough ───► Feed(published)
//!                                      ├─► SingleView ─► Feed(raw video)
//!                                      ├─► Mixer ──► Feed(raw audio)
//!                                      └─► SourceEvents
//! ```

mod caps;
mod codec;
mod dummy_frames;
mod gap_filler;
mod media_path;
mod mixer;
mod parameter_sets;
mod passthrough;
mod passthrough_switch;
mod peer;
mod presence;
mod reconnect_policy;
pub mod room;
mod signal;
mod single_view;
mod subscription;
mod superframe;
mod sync;
mod track_router;
mod transcode;
mod transport;
mod video_selector;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{SourceContext, standstill};
use crate::media::PipelineError;
use crate::plan::track::{TrackCodec, TrackKind, TracksPlan};
pub use peer::{Frame, PeerError, SenderReport};
use presence::{Awaited, PresenceState};
pub use room::{Listener, RoomClient, RoomEnd, RoomError, RoomEvent, RoomRequests};
pub use signal::SignalError;
pub use single_view::SingleViewError;
use track_router::TrackRouter;

/// Nothing waits longer than this for packets that are missing: before then, what did not come will not.
const SETTLED: Duration = Duration::from_millis(2500);
/// From joining to everybody and everything that is named (docs/reference/signaling.md).
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
    SingleView(#[from] SingleViewError),
    #[error("sound can't be transcoded")]
    Transcode(#[from] PipelineError),
}

/// A recorder in a room, and the tracks that it hands on. Dropping it leaves the room.
#[derive(Debug)]
pub struct TracksSource {
    client: RoomClient,
    router: Shared,
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
        let (presence, mut seen) = watch::channel(PresenceState::Awaited);
        let watch = standstill::Watch::start(context.timeline.clone(), context.events.clone());
        let router = Shared(Arc::new(Mutex::new(TrackRouter::new(plan, context, presence)?)));
        let client = RoomClient::join(plan, Box::new(router.clone())).await?;
        let waiting = seen.wait_for(|presence| *presence != PresenceState::Awaited);
        // The desk lives here: its end of the channel does not go first.
        let presence = match tokio::time::timeout(FOUND_WITHIN, waiting).await {
            Ok(Ok(presence)) => presence.clone(),
            Ok(Err(_)) | Err(_) => PresenceState::Awaited,
        };
        let awaited = router.lock().awaited();
        let error = match presence {
            PresenceState::Complete => return Ok(Self { client, router, watch }),
            PresenceState::WrongKind { track, kind } => TracksError::WrongKind { track, kind },
            PresenceState::Awaited => match awaited {
                Some(Awaited::Participant(identity)) => TracksError::NoParticipant { identity },
                Some(Awaited::Tracks(tracks)) => TracksError::NotFound { track: tracks.join(", ") },
                // In this very moment.
                None => return Ok(Self { client, router, watch }),
            },
        };
        client.leave().await;
        Err(error)
    }

    /// Waits for what is still on its way, leaves the room, and ends the feeds where the recording ends. To be called after
    /// [`Timeline::end`](crate::media::Timeline::end).
    pub async fn close(self) {
        let Self { client, router, watch } = self;
        watch.end();
        let mut whole = router.lock().whole();
        if tokio::time::timeout(SETTLED, whole.wait_for(|whole| *whole)).await.is_err() {
            tracing::debug!("not all came that was on its way");
        }
        client.leave().await;
        let rest = router.lock().finish();
        rest.close().await;
    }
}

/// The desk, of the room's task while there is one.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<TrackRouter>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, TrackRouter> {
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

    fn requests(&mut self) -> RoomRequests {
        self.lock().requests()
    }

    fn on_end(&mut self, end: RoomEnd) {
        self.lock().on_end(end);
    }
}
