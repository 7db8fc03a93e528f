//! The one place that puts picture and sound of one moment together.
//!
//! What a page shows and plays at one moment does not reach the display and the sound server's monitor at one moment: the
//! picture is rastered, composited and put on the screen, the sound passes the browser's and the server's buffers. Both are
//! late by some 40 ms, and only the difference counts. It was measured in what the captures give, with PulseAudio's null sink
//! (`norewinds=1`) and Chromium 156, on two cores: how long the sound comes after its picture, in milliseconds, when neither is
//! corrected (mean of runs with 8 events each; a playing video varies with how its pictures fall on the painting).
//!
//! | capture | painting | flash and beep by script | playing video |
//! |---|---|---|---|
//! | framebuffer | 30 Hz | −2, −6 at 1080p | +14, +15 at 1080p |
//! | framebuffer | 60 Hz | +13 | +18 |
//! | `ximagesrc` | 60 Hz | +1 | −2 |
//!
//! So sound is stamped 15 ms earlier than it came, and pictures as much earlier as puts them in the middle of a row.
//!
//! What comes over WebRTC is later yet, as a room's page has it: the jitter buffer of sound holds more than that of pictures, and the
//! browser moves the two against one another only where they are more than 30 ms apart. From a publisher that sends both at one
//! moment, sound came 49, 59 and 77–87 ms late (three runs of 30 s, 640x360, with the 15 ms above), each of them by itself steady to a
//! few milliseconds.

use std::time::Duration;

use crate::plan::page::Page;
use crate::plan::source::CaptureKind;

const SOUND: Duration = Duration::from_millis(15);
/// What WebRTC adds.
const CALL: Duration = Duration::from_millis(60);

/// How much earlier than it came sound of this page is stamped.
pub(in crate::source::web) const fn sound(page: &Page) -> Duration {
    match page {
        Page::Address(_) => SOUND,
        Page::Room(_) => SOUND.saturating_add(CALL),
    }
}

/// How much earlier than it was taken a picture is stamped, for a page recorded at `fps`.
pub(super) const fn earlier(kind: CaptureKind, fps: u32) -> Duration {
    match kind {
        // The page paints at 30 Hz (battery saver) up to 30 fps, and at 60 Hz beyond.
        CaptureKind::Framebuffer if fps <= 30 => Duration::from_millis(10),
        CaptureKind::Framebuffer => Duration::ZERO,
        CaptureKind::XImageSrc => Duration::from_millis(15),
    }
}

/// How long after its stamp the pacer may still expect a picture: the largest of the above, and what settling, converting and
/// waking up cost on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(15 + 40);
