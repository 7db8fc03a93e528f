//! The one place that says how long after the event its picture is taken, compared to its sound.
//!
//! A page that flashes and beeps at one moment is heard on the sound server's monitor before it is seen on the display: the
//! browser still has to raster, composite and put the picture on the screen, while sound is written at once. So pictures are
//! stamped earlier than they were taken, by what was measured (the flash and beep of `alignment`'s test page, in the recorded
//! media; milliseconds in the table of each function).

use std::time::Duration;

use crate::plan::source::CaptureKind;

/// How much earlier than it was taken a picture is stamped, for a page recorded at `fps`.
pub(super) const fn earlier(kind: CaptureKind, fps: u32) -> Duration {
    match kind {
        // The page paints at 30 Hz (battery saver) up to 30 fps, and at 60 Hz beyond.
        CaptureKind::Framebuffer if fps <= 30 => Duration::from_millis(45),
        CaptureKind::Framebuffer => Duration::from_millis(28),
        CaptureKind::XImageSrc => Duration::from_millis(40),
    }
}

/// How long after its stamp the pacer may still expect a picture: the largest of the above, and what taking, converting and
/// waking up cost on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(45 + 40);
