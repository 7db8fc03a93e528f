//! Takes pictures off a display and sound off a sound server, and puts them into feeds.
//!
//! ```text
//! XDamage + framebuffer ─┐
//!                        ├─► PictureSlot ─► Pacer ─► Feed(raw video)
//! ximagesrc ─────────────┘
//! pulsesrc ───────────────────────────────────────► Feed(raw audio)
//! ```
//!
//! The pacer lives as long as the recording; captures come and go with the display they look at.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::media::{Feed, PipelineError, Timeline};
use crate::plan::source::CaptureKind;

/// A display to take pictures of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// `:17`
    pub display: String,
    /// The file that the display keeps its picture in (`Xvfb -fbdir`).
    pub framebuffer: PathBuf,
    /// Of the recorded area, from the upper left; the screen itself is two pixels larger each way.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
}

/// Why nothing can be taken from a display or sound server.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// The newest picture of a display, on its way from a capture to the pacer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PictureSlot {}

/// The thread that decides when a picture gets into the recording; it holds the last one while a capture is gone.
#[derive(Debug)]
pub struct Pacer {}

impl Pacer {
    pub fn start(
        context: &super::super::SourceContext,
        width: u32,
        height: u32,
    ) -> Result<Self, CaptureError> {
        let _ = (context, width, height);
        Ok(Self {})
    }

    pub fn slot(&self) -> PictureSlot {
        PictureSlot {}
    }

    /// Waits until a picture is there.
    pub async fn first_picture(&self) {}

    /// Pushes the last picture once more, at the end of the recording (call after [`Timeline::end`]), and ends the feed.
    pub async fn finish(self) {}
}

/// Pictures of one display, as long as it lives.
#[derive(Debug)]
pub struct PictureCapture {}

impl PictureCapture {
    pub fn start(
        kind: CaptureKind,
        screen: &Screen,
        slot: PictureSlot,
        timeline: &Timeline,
    ) -> Result<Self, CaptureError> {
        let _ = (kind, screen, slot, timeline);
        Ok(Self {})
    }

    /// Becomes `Some(why)` when the capture can't go on (the display is gone).
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }
}

/// Sound of one sound server, as long as it lives.
#[derive(Debug)]
pub struct SoundCapture {}

impl SoundCapture {
    /// `server` is the server's socket, `device` the source (`weir.monitor`).
    pub fn start(server: &Path, device: &str, feed: Feed, timeline: &Timeline) -> Result<Self, CaptureError> {
        let _ = (server, device, feed, timeline);
        Ok(Self {})
    }

    /// Becomes `Some(why)` when the capture can't go on (the server is gone).
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }
}
