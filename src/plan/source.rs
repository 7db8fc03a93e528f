//! Where pictures and sound come from.

use url::Url;

/// Where pictures and sound come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlan {
    /// A page in Chromium on a virtual display.
    Web(WebPlan),
}

#[derive(Debug, Clone, PartialEq, Eq)]
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
