//! Decides where one segment ends and the next begins. Pure.

use std::time::Duration;

/// A key frame so little before a boundary is meant for it: times pass through clocks of 90 kHz.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Cuts at the first place possible at or after each multiple of a duration.
#[derive(Debug)]
pub(super) struct Segmenter {
    every: Duration,
    next: Duration,
}

impl Segmenter {
    pub(super) fn new(every: Duration) -> Self {
        let every = every.max(TOLERANCE);
        Self { every, next: every }
    }

    /// Whether a segment begins at `time`, where one can.
    pub(super) fn cuts_at(&mut self, time: Duration) -> bool {
        if time + TOLERANCE < self.next {
            return false;
        }
        let passed = (time + TOLERANCE).as_nanos() / self.every.as_nanos();
        self.next = self.every.saturating_mul(u32::try_from(passed + 1).unwrap_or(u32::MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(every: u64, times: &[u64]) -> Vec<u64> {
        let mut cutter = Segmenter::new(Duration::from_millis(every));
        times.iter().copied().filter(|time| cutter.cuts_at(Duration::from_millis(*time))).collect()
    }

    #[test]
    fn the_first_key_frame_at_or_after_each_multiple_begins_a_segment() {
        assert_eq!(cuts(4000, &[0, 2000, 4000, 6000, 8000, 10_000, 12_000]), [4000, 8000, 12_000]);
        // Key frames elsewhere: boundaries do not drift with them.
        assert_eq!(cuts(4000, &[0, 3000, 6000, 9000, 12_000, 15_000]), [6000, 9000, 12_000]);
        // A gap swallows boundaries.
        assert_eq!(cuts(4000, &[0, 11_000, 12_000, 14_000, 17_000]), [11_000, 12_000, 17_000]);
        assert_eq!(cuts(4000, &[3999, 4000, 7998, 8000]), [3999, 8000]);
    }
}
