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
//! From this table sound was stamped 15 ms early, and pictures as much as puts them in the middle of a row: 10, 0 and 15 ms. That
//! was then tuned to what is heard in files, in which sound was another 23 ms late: the delay of AAC at 44.1 kHz, which the encoder takes
//! away by now (`encode::delay`). So that nothing moved in a file, sound is stamped when it comes (15 of the 23 ms), and
//! pictures 8 ms earlier yet. In files of pages that paint at 30 Hz, before and after (debug builds, two busy cores): flash
//! and beep by script −29 and −28 ms, a room −4 and −6 ms; a playing video is at +14 ms, from +4 to +30. A script's beep is earlier than a
//! video's by some 40 ms, so that no figure is right for both.
//!
//! What comes over WebRTC is later yet, as a room's page has it: the jitter buffer of sound holds more than that of pictures, and the
//! browser moves the two against one another only where they are more than 30 ms apart. From a publisher that sends both at one
//! moment, sound came 49, 59 and 77–87 ms late in files (three runs of 30 s, 640x360), each of them by itself steady to a
//! few milliseconds.

use std::time::Duration;

use crate::plan::page::Page;
use crate::plan::source::CaptureKind;

const SOUND: Duration = Duration::ZERO;
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
        CaptureKind::Framebuffer if fps <= 30 => Duration::from_millis(18),
        CaptureKind::Framebuffer => Duration::from_millis(8),
        CaptureKind::XImageSrc => Duration::from_millis(23),
    }
}

/// How long after its stamp the pacer may still expect a picture: the largest of the above, and what settling, converting and
/// waking up cost on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(23 + 40);
