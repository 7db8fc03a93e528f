//! Where pictures and sound come from, as raw samples put into feeds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::media::{Feed, Timeline};
use crate::plan::encoding::Cadence;

/// What a source fills, and what it needs to work.
#[derive(Debug, Clone)]
pub struct SourceContext {
    pub timeline: Timeline,
    /// NV12 (bt709, limited range) at the plan's size, stamped with media time; pictures outside of the recording are not
    /// pushed.
    pub video: Option<Feed>,
    /// S16LE, 48 kHz, stereo, interleaved, stamped with media time.
    pub audio: Option<Feed>,
    /// When a picture gets into the recording.
    pub pacing: Pacing,
    pub counters: Arc<CaptureCounters>,
    /// A private directory on tmpfs, short enough for socket names; gone when the recording is.
    pub run_dir: PathBuf,
    /// A directory that is kept when the recording fails: screenshot, console, browser log.
    pub report_dir: PathBuf,
    pub events: mpsc::UnboundedSender<SourceEvent>,
}

/// When a picture gets into the recording; see [`Cadence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    pub cadence: Cadence,
    /// Pictures a second, at most (as drawn) or exactly (on the grid).
    pub fps: u32,
    /// A picture is pushed at each multiple of this, new or not, so that a key frame can stand there.
    pub key_interval: Duration,
}

/// What the capture counted.
#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Different pictures that were pushed.
    pub pictures: AtomicU64,
    /// Pictures pushed again because nothing new was drawn.
    pub repeated: AtomicU64,
    /// Pictures drawn and not taken because the machine was too slow.
    pub dropped: AtomicU64,
}

/// What a source tells the recording.
#[derive(Debug)]
pub enum SourceEvent {
    /// The page is loaded; with [`StartRule::OnSignal`](crate::plan::source::StartRule) the signal is still to come.
    Loaded,
    /// The recording may begin.
    Ready,
    /// The page said that it is over.
    Ended,
    /// A part died and is being brought back; meanwhile the last picture stands and there is silence.
    Interrupted { why: String },
    /// It is back; how long it was away.
    Resumed { gap: Duration },
    /// It can't be brought back, or the start failed.
    Failed(web::WebError),
}

pub mod tracks;
pub mod web;
