//! Records the tracks of a LiveKit room without a browser.
//!
//! ```text
//! RoomClient ─► RoomEvent ─► TrackRouter ─┬─► Passthrough ───► Feed(published)
//!                                         ├─► VideoRenderer ─► Feed(raw video)
//!                                         ├─► Mixer ─────────► Feed(raw audio)
//!                                         └─► SourceEvents
//! ```

mod caps;
mod codec;
mod dummy_frames;
mod error;
mod frame_clocks;
mod gap_filler;
mod media_path;
mod mixer;
mod moment;
mod parameter_sets;
mod passthrough;
mod passthrough_switch;
mod peer;
mod presence;
mod reconnect_policy;
mod render;
pub mod room;
mod signal;
mod start_decision;
mod subscription;
mod superframe;
mod sync;
mod track_router;
mod transcode;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{SourceContext, standstill};
use crate::media::Timeline;
use crate::plan::track::TracksPlan;
pub use error::TracksError;
use moment::Moment;
pub use peer::{Frame, PeerError, SenderReport};
use presence::{Awaited, PresenceState};
pub use render::RenderError;
pub use room::{Listener, RoomClient, RoomEnd, RoomError, RoomEvent, RoomRequests};
pub use signal::SignalError;
use sync::SETTLED;
use track_router::TrackRouter;

/// Deadline, from joining the room, for everybody and everything that the plan names to be there.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// A recorder in a room, and the tracks that it records. Dropping it leaves the room.
#[derive(Debug)]
pub struct TracksSource {
    client: RoomClient,
    router: SharedRouter,
    watch: standstill::Watch,
}

impl TracksSource {
    /// Joins the room and waits until everybody and everything that the plan names is there. Then
    /// it sends [`SourceEvent::Loaded`](super::SourceEvent), and with the first frame that can be
    /// shown or heard [`SourceEvent::Discovered`](super::SourceEvent).
    ///
    /// # Errors
    /// If the room can't be joined, or something is not there within 30 s.
    pub async fn start(plan: &TracksPlan, context: SourceContext) -> Result<Self, TracksError> {
        let (presence, mut seen) = watch::channel(PresenceState::Awaited);
        let timeline = context.timeline.clone();
        let watch = standstill::Watch::start(timeline.clone(), context.events.clone());
        let router = TrackRouter::new(plan, context, presence)?;
        let router = SharedRouter { router: Arc::new(Mutex::new(router)), timeline };
        let client = RoomClient::join(plan, Box::new(router.clone())).await?;
        let waiting = seen.wait_for(|presence| *presence != PresenceState::Awaited);
        // The router owns the other end of the channel and lives as long as this function.
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
                // It came at the moment of the deadline.
                None => return Ok(Self { client, router, watch }),
            },
        };
        client.leave().await;
        Err(error)
    }

    /// Waits for frames that are still on their way, leaves the room, and ends the feeds at the end
    /// of the recording. To be called after [`Timeline::end`](crate::media::Timeline::end).
    pub async fn close(self) {
        let Self { client, router, watch } = self;
        watch.end();
        let mut complete = router.lock().completion(router.now());
        if tokio::time::timeout(SETTLED, complete.wait_for(|complete| *complete)).await.is_err() {
            tracing::debug!("last frames did not arrive in time");
        }
        client.leave().await;
        let paths = router.lock().finish(router.now());
        paths.close().await;
    }
}

/// The router, which the room's task drives, and the clock that it is driven by.
#[derive(Debug, Clone)]
struct SharedRouter {
    router: Arc<Mutex<TrackRouter>>,
    timeline: Timeline,
}

impl SharedRouter {
    fn lock(&self) -> MutexGuard<'_, TrackRouter> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&self.timeline)
    }
}

impl Listener for SharedRouter {
    fn on_event(&mut self, event: RoomEvent) {
        self.lock().on_event(event, self.now());
    }

    fn on_tick(&mut self) {
        self.lock().on_tick(self.now());
    }

    fn take_requests(&mut self) -> RoomRequests {
        self.lock().take_requests()
    }

    fn on_end(&mut self, end: RoomEnd) {
        self.lock().on_end(end);
    }
}
