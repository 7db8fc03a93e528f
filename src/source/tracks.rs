//! Tracks of a LiveKit room as a source: received as they were published, without a browser.
//!
//! ```text
//! RoomClient ─► frames, news ─► Ingest ─► Feed(track)
//!                                 └─► SourceEvents
//! ```

mod blank;
mod caps;
mod codec;
mod ingest;
mod line;
mod peer;
mod reconnect;
pub mod room;
#[allow(dead_code, reason = "its frames come with plans that decode pictures")]
mod screen;
mod signal;
mod subscription;
mod sync;
mod transcode;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::SourceContext;
use crate::media::PipelineError;
use crate::plan::track::{TrackCodec, TracksPlan};
use ingest::Ingest;
pub use peer::{Frame, PeerError, SenderReport};
pub use room::{Listener, RoomClient, RoomEnd, RoomError, RoomEvent};
pub use screen::ScreenError;
pub use signal::SignalError;

/// From joining to a published track (media.md §4.1).
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
    #[error("track {track} can't be received: {why}")]
    Refused { track: String, why: &'static str },
    /// A file holds one codec.
    #[error(
        "the track's publisher changed its codec to {now}, which the file can't hold beside the former one"
    )]
    CodecChanged { now: TrackCodec },
    #[error("another recorder came into the room for this egress")]
    Duplicate,
    #[error("sound can't be transcoded")]
    Transcode(#[from] PipelineError),
}

/// A recorder in a room, and the track that it hands on. Dropping it leaves the room.
#[derive(Debug)]
pub struct TracksSource {
    client: RoomClient,
    ingest: Shared,
}

impl TracksSource {
    /// Joins the room and waits until the track is there. Sends [`SourceEvent::Loaded`](super::SourceEvent) then, and
    /// [`SourceEvent::Discovered`](super::SourceEvent) with the first frame that can be shown.
    ///
    /// # Errors
    /// When the room can't be joined, or has no such track within half a minute.
    pub async fn start(plan: &TracksPlan, context: SourceContext) -> Result<Self, TracksError> {
        let (found, mut is_found) = watch::channel(false);
        let SourceContext { timeline, track, events, .. } = context;
        let ingest = Shared(Arc::new(Mutex::new(Ingest::new(timeline, track, events, found))));
        let client = RoomClient::join(plan, Box::new(ingest.clone())).await?;
        let waiting = tokio::time::timeout(FOUND_WITHIN, is_found.wait_for(|found| *found));
        // The ingest lives here: its end of the channel does not go first.
        let is_there = waiting.await.is_ok_and(|found| found.is_ok());
        if !is_there {
            client.leave().await;
            return Err(TracksError::NotFound { track: plan.wanted.sids().join(", ") });
        }
        Ok(Self { client, ingest })
    }

    /// Leaves the room, and ends the feed where the recording ends. To be called after
    /// [`Timeline::end`](crate::media::Timeline::end).
    pub async fn close(self) {
        self.client.leave().await;
        let transcoder = self.ingest.lock().finish();
        if let Some(transcoder) = transcoder {
            transcoder.close().await;
        }
    }
}

/// The ingest, of the room's task while there is one.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Ingest>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ingest> {
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

    fn on_end(&mut self, end: RoomEnd) {
        self.lock().on_end(end);
    }
}
