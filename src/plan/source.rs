//! Where pictures and sound come from.

use std::fmt;

use url::Url;

use super::redact;

/// Where pictures and sound come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlan {
    /// A page in Chromium on a virtual display.
    Web(WebPlan),
}

#[derive(Clone, PartialEq, Eq)]
pub struct WebPlan {
    /// http or https; the command line also takes `file:`, `data:` and `chrome:`.
    pub url: Url,
    pub start: StartRule,
    pub capture: CaptureKind,
    /// Of the display, in pixels: that of the video, or 16x16 where there is none.
    pub width: u32,
    pub height: u32,
    /// Pictures a second that are recorded; the page paints no more often where that can be had.
    pub fps: u32,
    pub has_video: bool,
    pub has_audio: bool,
}

impl fmt::Debug for WebPlan {
    /// The address prints without what may be secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, start, capture, width, height, fps, has_video, has_audio } = self;
        f.debug_struct("WebPlan")
            .field("url", &redact::page_url(url.as_str()))
            .field("start", start)
            .field("capture", capture)
            .field("width", width)
            .field("height", height)
            .field("fps", fps)
            .field("has_video", has_video)
            .field("has_audio", has_audio)
            .finish()
    }
}

/// When the recording begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRule {
    /// When the page is loaded.
    OnLoad,
    /// When the page logs `START_RECORDING`.
    OnSignal,
}

/// How pictures are taken from the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// Out of the display's own framebuffer, when something was drawn.
    Framebuffer,
    /// By `ximagesrc`, on its own clock.
    XImageSrc,
}
