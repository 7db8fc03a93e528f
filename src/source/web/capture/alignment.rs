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
//! In files it is another picture, and not the same one each time: what a script draws passes the browser's main thread, and is shown
//! one frame of the page after what a video plays, sometimes in the same one, and in every fourth recording at 1080p two frames
//! after. How many is settled when a page begins and then stays. With sound as it comes and pictures 30 ms earlier (`earlier`),
//! pages that paint at 30 Hz, debug build, two cores:
//!
//! | sound after picture, ms | 720p | 1080p |
//! |---|---|---|
//! | flash and beep by script | −5…−17, one of ten +15 | −18, +12 in one of twenty, −52 in one of four |
//! | playing video | +47, +48 | +30, +46 |
//!
//! No figure is right for both. This one has sound rather late than early, as people notice 45 ms of the one and 125 ms of the other
//! (ITU-R BT.1359-1). More raster threads, and no frame of the page begun before the last one is active, change nothing of it.
//!
//! What comes over WebRTC is later yet, as a room's page has it: the jitter buffer of sound holds more than that of pictures, and the
//! browser moves the two against one another only where they are more than 30 ms apart. From a publisher that sends both at one
//! moment, sound came 49, 59 and 77–87 ms late in files (three runs of 30 s, 640x360), each of them by itself steady to a
//! few milliseconds.

use std::time::Duration;

use crate::plan::page::Page;
use crate::plan::request::CaptureKind;

const SOUND: Duration = Duration::ZERO;
/// What WebRTC adds.
const CALL: Duration = Duration::from_millis(68);

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
        CaptureKind::Framebuffer if fps <= 30 => Duration::from_millis(30),
        CaptureKind::Framebuffer => Duration::from_millis(8),
        CaptureKind::XImageSrc => Duration::from_millis(23),
    }
}

/// How long after its stamp the pacer may still expect a picture: the largest of the above, and what settling, converting and
/// waking up cost on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(30 + 40);
