//! Sources: video and audio as samples in feeds, raw ones of a page, or tracks as published.

pub mod pacing;
mod standstill;
pub mod tracks;
pub mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;

use crate::media::{Feed, KeyFrames, Timeline};
use crate::plan::encoding::Cadence;
use crate::plan::source::SourcePlan;
use crate::plan::track::Discovered;
use tracks::{TracksError, TracksSource};
use web::{StartReport, WebError, WebSource};

/// Feeds and services of a source.
#[derive(Debug, Clone)]
pub struct SourceContext {
    pub timeline: Timeline,
    /// NV12 (bt709, limited range) at the plan's size, stamped with media time; frames outside of
    /// the recording are not pushed.
    pub video: Option<Feed>,
    /// S16LE, 48 kHz, stereo, interleaved, stamped with media time.
    pub audio: Option<Feed>,
    pub published: Published,
    /// Frame timing.
    pub pacing: Pacing,
    pub counters: Arc<CaptureCounters>,
    /// A private directory on tmpfs, short enough for socket names; gone when the recording is.
    pub run_dir: PathBuf,
    /// A directory that is kept when the recording fails: screenshot, console, browser log.
    pub report_dir: PathBuf,
    pub events: mpsc::UnboundedSender<SourceEvent>,
}

/// Feeds for tracks as published, stamped with media time: one per medium.
#[derive(Debug, Clone)]
pub struct Published {
    /// From a key frame on. Of H.264 and H.265 a byte stream, of AV1 units with their sizes.
    pub video: Feed,
    /// Opus without gaps. Silence was muted, or was never received.
    pub audio: Feed,
    /// Something that takes the video can't go on before the next one.
    needs_key_frame: Arc<AtomicBool>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            video: Feed::new("published video"),
            audio: Feed::new("published audio"),
            needs_key_frame: Arc::default(),
        }
    }
}

impl Published {
    /// Asks whoever publishes the video for a key frame.
    #[must_use]
    pub fn key_frames(&self) -> KeyFrames {
        let needs = Arc::clone(&self.needs_key_frame);
        KeyFrames::new(move || needs.store(true, Ordering::Relaxed))
    }

    /// Whether a key frame was asked for since this was last called.
    fn take_request(&self) -> bool {
        self.needs_key_frame.swap(false, Ordering::Relaxed)
    }
}

/// Frame timing of the recording; see [`Cadence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    pub cadence: Cadence,
    /// Frames per second: a maximum (capture times) or exact (constant rate).
    pub fps: u32,
    /// A frame is pushed at each multiple of this, new or repeated, so that it can become a key
    /// frame.
    pub key_interval: Duration,
}

/// Counters of the capture.
#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Different frames pushed.
    pub pictures: AtomicU64,
    /// Frames pushed again because nothing new was drawn.
    pub repeated: AtomicU64,
    /// Frames drawn and dropped because the machine was too slow.
    pub dropped: AtomicU64,
}

/// An event of a source.
#[derive(Debug)]
pub enum SourceEvent {
    /// The page is loaded, or the track is found; with
    /// [`StartRule::OnSignal`](crate::plan::source::StartRule) the signal is still to come.
    Loaded,
    /// A room was joined, with this id.
    InRoom { room_id: String },
    /// The recording may begin.
    Ready,
    /// The recording may begin, and did when its first frame came, at this running time: the tracks
    /// that are known by then, so that what the plan left open can be decided.
    Discovered(Vec<Discovered>, gst::ClockTime),
    /// The page said that it is over, or what was recorded is no longer published.
    Ended,
    /// Another recorder came into the room as this one: the egress is that one's now.
    Evicted,
    /// All sound that is wanted is muted now, or no longer.
    Muted(bool),
    /// Something that is wanted is left out; the recording goes on.
    Lacking { what: String, why: String },
    /// A part died and is being restarted; meanwhile the last frame is shown, and audio is silent.
    Interrupted { why: String },
    /// It is back; how long it was away.
    Resumed { gap: Duration },
    /// Something gave nothing for a while although it lives: all that is recorded of it is the last
    /// frame, or silence. `what`: `the page did not respond`. Media time. Told when it is over.
    Stalled { what: &'static str, from: Duration, to: Duration },
    /// A part died and was replaced by itself.
    Died { what: &'static str },
    /// It can't be brought back, or the start failed.
    Failed(SourceError),
}

/// Reasons why a source can't start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error(transparent)]
    Tracks(#[from] TracksError),
}

/// A running source. Dropping it ends everything that it started.
#[derive(Debug)]
pub enum Source {
    Web(WebSource),
    Tracks(TracksSource),
}

impl Source {
    /// Starts what the plan names. The context's channel tells how it goes on.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(plan: &SourcePlan, context: SourceContext) -> Result<Self, SourceError> {
        match plan {
            SourcePlan::Web(plan) => Ok(Self::Web(WebSource::start(plan, context).await?)),
            SourcePlan::Tracks(plan) => Ok(Self::Tracks(TracksSource::start(plan, context).await?)),
        }
    }

    /// Evidence of a source that never signalled its start; `None` without any.
    pub async fn explain(&self) -> Option<StartReport> {
        match self {
            Self::Web(source) => source.explain().await,
            Self::Tracks(_) => None,
        }
    }

    /// Ends it, and the feeds after their last sample. To be called after [`Timeline::end`].
    pub async fn close(self) {
        match self {
            Self::Web(source) => source.close().await,
            Self::Tracks(source) => source.close().await,
        }
    }
}
