//! The only place that aligns audio and video.
//!
//! A page's video and audio of one moment do not reach the display and the audio server's monitor
//! at the same time: a frame is rastered, composited and drawn, audio passes the buffers of browser
//! and server. Both are late by some 40 ms, and only the difference matters. The table shows how
//! late audio comes after its video, in milliseconds, uncorrected, at the captures, with
//! PulseAudio's null sink (`norewinds=1`) and Chromium 156, on two cores (mean of runs with 8
//! events each; a playing video varies with its phase to the painting).
//!
//! | capture | painting | flash and beep by script | playing video |
//! |---|---|---|---|
//! | framebuffer | 30 Hz | −2, −6 at 1080p | +14, +15 at 1080p |
//! | framebuffer | 60 Hz | +13 | +18 |
//! | `ximagesrc` | 60 Hz | +1 | −2 |
//!
//! In files the result differs, and varies: script drawings pass the browser's main thread, and are
//! shown one frame after a playing video, sometimes in the same frame, and in every fourth
//! recording at 1080p two frames after. The number is fixed when a page begins. With audio
//! unchanged and frames stamped 30 ms earlier (`earlier`), pages that paint at 30 Hz, debug build,
//! two cores:
//!
//! | audio after video, ms | 720p | 1080p |
//! |---|---|---|
//! | flash and beep by script | −5…−17, one of ten +15 | −18, +12 in one of twenty, −52 in one of four |
//! | playing video | +47, +48 | +30, +46 |
//!
//! No constant fits both. This one makes audio late rather than early, as people notice 45 ms of
//! early and 125 ms of late audio (ITU-R BT.1359-1). More raster threads, or not starting a frame
//! before the last one is active, change nothing.
//!
//! Media from WebRTC, on a room's page, is later: the jitter buffer of audio is longer than that of
//! video, and the browser aligns them only if they are more than 30 ms apart. From a publisher that
//! sends both at the same time, audio was 49, 59 and 77–87 ms late in files (three runs of 30 s,
//! 640x360), each steady to a few milliseconds.

use std::time::Duration;

use crate::plan::page::Page;
use crate::plan::request::CaptureKind;

const SOUND: Duration = Duration::ZERO;
/// Additional delay of WebRTC.
const CALL: Duration = Duration::from_millis(68);

/// How much earlier than it came sound of this page is stamped.
pub(in crate::source::web) const fn sound(page: &Page) -> Duration {
    match page {
        Page::Address(_) => SOUND,
        Page::Room(_) => SOUND.saturating_add(CALL),
    }
}

/// How much earlier than its capture a frame is stamped, for a page recorded at `fps`.
pub(super) const fn earlier(kind: CaptureKind, fps: u32) -> Duration {
    match kind {
        // The page paints at 30 Hz (battery saver) up to 30 fps, and at 60 Hz beyond.
        CaptureKind::Framebuffer if fps <= 30 => Duration::from_millis(30),
        CaptureKind::Framebuffer => Duration::from_millis(8),
        CaptureKind::XImageSrc => Duration::from_millis(23),
    }
}

/// How long after its stamp the pacer may still expect a frame: the largest of the above, plus
/// settling, conversion and wake-up on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(30 + 40);
