//! Reduces the encoder's frame rate during a recording: dropped frames cost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;

/// Tolerance for early frames in nanoseconds. Captures are within 5 ms.
const JITTER: u64 = 8_000_000;

/// The minimum time between two encoded frames. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Thinning {
    /// Nanoseconds; 0: unlimited.
    gap: Arc<AtomicU64>,
}

impl Thinning {
    /// Limits the frame rate from now on; at least 1 fps.
    pub fn limit(&self, fps: u32) {
        self.gap.store(gst::ClockTime::SECOND.nseconds() / u64::from(fps.max(1)), Ordering::Relaxed);
    }

    /// Whether a frame is too close to the last encoded one. Frames come a little early or late.
    pub(super) fn leaves_out(&self, pts: gst::ClockTime, last: Option<gst::ClockTime>) -> bool {
        let gap = self.gap.load(Ordering::Relaxed);
        let Some(last) = last.filter(|_| gap > 0) else { return false };
        pts.nseconds().saturating_sub(last.nseconds()) < gap - (gap / 10).min(JITTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_pictures_are_left_out_and_those_of_a_still_page_are_not() {
        let thinning = Thinning::default();
        let kept = |step_ms: f64, count: u32| {
            let mut last = None;
            let times =
                (0..count).map(|at| gst::ClockTime::from_nseconds((f64::from(at) * step_ms * 1e6) as u64));
            times
                .filter(|pts| {
                    let keep = !thinning.leaves_out(*pts, last);
                    last = if keep { Some(*pts) } else { last };
                    keep
                })
                .count()
        };
        assert_eq!(kept(1000.0 / 30.0, 300), 300, "nothing is left out by itself");
        thinning.limit(15);
        assert_eq!(kept(1000.0 / 30.0, 300), 150);
        assert_eq!(kept(1000.0 / 5.0, 50), 50);
        thinning.limit(0);
        assert_eq!(kept(1000.0 / 30.0, 300), 10, "at least one a second");
    }
}
