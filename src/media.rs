//! Our small words over GStreamer: one clock, fan-out of buffers, pipelines that close themselves.
//!
//! A recording is not one pipeline but several, joined by [`Feed`]s:
//!
//! ```text
//! capture ──► Feed(raw video) ──► encoder ──► Feed(h264) ──┬─► file      each box is a GstPipeline of its own:
//!                  └────────────► images                   ├─► segments  what fails, stalls or is added while the
//! sound ────► Feed(raw audio) ──► encoder ──► Feed(aac) ───┴─► stream    recording runs touches no other.
//! ```
//!
//! All times are running times of one [`Timeline`]; no pipeline here is live in GStreamer's sense,
//! so nothing waits for a latency deadline, and a muxer always has its two streams in step.
//!
//! This module knows nothing of recordings: it must import nothing of ours.

pub mod element;
pub mod feed;
pub mod graph;
pub mod intake;
pub mod keyframes;
pub mod opus;
pub mod pcm;
pub mod pipeline;
pub mod snapshot;
pub mod timeline;
pub mod watermark;

pub use element::{MissingElement, make};
pub use feed::{Attachment, Feed, FeedConsumer};
pub use intake::{Intake, Overflow};
pub use keyframes::KeyFrames;
pub use pipeline::{MediaPipeline, PipelineError, PipelineEvent};
pub use timeline::Timeline;
pub use watermark::Watermark;

/// Initialises GStreamer; cheap when done before.
///
/// # Errors
/// When GStreamer's registry or core can't be loaded.
pub fn init() -> Result<(), gstreamer::glib::Error> {
    gstreamer::init()
}

/// GStreamer's version, as it says it.
#[must_use]
pub fn version() -> String {
    gstreamer::version_string().to_string()
}
