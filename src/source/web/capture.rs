//! Captures video from a display and audio from an audio server into feeds.
//!
//! ```text
//! XDamage + framebuffer ─┐
//!                        ├─► LatestFrame ─► Pacer ─► Feed(raw video)
//! ximagesrc ─────────────┘
//! pulsesrc ───────────────────────────────────────► Feed(raw audio)
//! ```
//!
//! The pacer lives as long as the recording; captures live as long as their display.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::media::{MissingElement, PipelineError, Timeline};
use crate::plan::request::CaptureKind;
use crate::source::pacing::FormatError;

pub(super) mod alignment;
mod arrival_clock;
mod convert;
mod damage;
mod display;
mod framebuffer;
mod heartbeat;
mod latest_frame;
mod live;
mod mapping;
mod pacer;
mod pulseaudio;
mod ximage;
mod xwd;

pub use heartbeat::Heartbeat;
pub use latest_frame::LatestFrame;
pub use pacer::Pacer;
pub use pulseaudio::AudioCapture;

use framebuffer::FramebufferCapture;
use ximage::XImageCapture;

/// A display to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenArea {
    /// `:17`
    pub display: String,
    /// The display's framebuffer file (`Xvfb -fbdir`).
    pub framebuffer: PathBuf,
    /// Of the recorded area, from the upper left; the screen itself is two pixels larger each way.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
}

/// Reasons why a display or audio server can't be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A bug of the caller: the recording has no video feed.
    #[error("video capture for a recording without video")]
    NoVideo,
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A defect of the caller: pacer and capture were started for different sizes.
    #[error("frame size {capture} of the capture differs from {recording} of the recording")]
    SizesDiffer { capture: String, recording: String },
    #[error("no connection to display {display}: is its X server running, and may we use it?")]
    Connect { display: String, source: x11rb::errors::ConnectError },
    #[error(
        "display {display} has no DAMAGE extension: start its X server with it, or use --capture ximagesrc"
    )]
    NoDamage { display: String },
    #[error("display {display} is lost: {what}")]
    Display { display: String, what: String },
    #[error(
        "the display's framebuffer {path} can't be mapped: start Xvfb with `-fbdir`, or use --capture ximagesrc"
    )]
    Framebuffer { path: PathBuf, source: std::io::Error },
    #[error(
        "the display's framebuffer {path} can't be read: {what}; start Xvfb with a 24-bit screen, or use --capture ximagesrc"
    )]
    Header { path: PathBuf, what: String },
    #[error("frame conversion failed: {what}")]
    Conversion { what: String },
    #[error("no thread for the capture: raise the limit of processes or open files")]
    Thread { source: std::io::Error },
}

impl From<MissingElement> for CaptureError {
    fn from(missing: MissingElement) -> Self {
        Self::Pipeline(missing.into())
    }
}

/// Video of one display while it lives. Dropping it stops the capture; the last frame stays
/// available.
#[derive(Debug)]
pub struct VideoCapture {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Framebuffer(FramebufferCapture),
    XImage(XImageCapture),
}

impl VideoCapture {
    /// Starts capturing a running display. Blocks for the few milliseconds of connecting.
    ///
    /// # Errors
    ///
    /// When the display is unreachable or unreadable, with the next step.
    pub fn start(
        kind: CaptureKind,
        screen: &ScreenArea,
        slot: LatestFrame,
        timeline: &Timeline,
    ) -> Result<Self, CaptureError> {
        let (width, height) = (slot.format().width(), slot.format().height());
        if (screen.width, screen.height) != (width, height) {
            return Err(CaptureError::SizesDiffer {
                capture: format!("{}x{}", screen.width, screen.height),
                recording: format!("{width}x{height}"),
            });
        }
        let kind = match kind {
            CaptureKind::Framebuffer => Kind::Framebuffer(FramebufferCapture::start(screen, slot, timeline)?),
            CaptureKind::XImageSrc => Kind::XImage(XImageCapture::start(screen, slot, timeline)?),
        };
        Ok(Self { kind })
    }

    /// When a frame was grabbed last, where that goes on without a pause. `None`: frames come when
    /// something is drawn, and a display that is silent is asked whether it still works.
    #[must_use]
    pub fn beat(&self) -> Option<Heartbeat> {
        match &self.kind {
            Kind::Framebuffer(_) => None,
            Kind::XImage(capture) => Some(capture.beat()),
        }
    }

    /// Becomes `Some(why)` when the capture can't go on (the display is gone).
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        match &self.kind {
            Kind::Framebuffer(capture) => capture.failure(),
            Kind::XImage(capture) => capture.failure(),
        }
    }
}

#[cfg(test)]
mod tests;
