//! Computes the time of audio from its arrival. Pure: times are nanoseconds of running time, audio
//! is counted in frames (samples of all channels).
//!
//! GStreamer slaves an audio source to a clock in whole buffers: its timestamps differed by up to
//! 20 ms from one start to the next, and were 200 ms wrong after a stall. But the audio server
//! counts frames with the same monotonic clock. So a frame's time is its number plus one offset:
//! the smallest observed delay, as buffers may be late but never early.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// The offset is looked at once in this time.
const WINDOW: u64 = SECOND;
/// An offset that is further off than this for a whole window: sound was lost on its way, or the
/// server stood still. Less than this is how the server's delay changes when a program begins or
/// ends to play (7 ms were seen); following that would only tear holes.
const LOST: i64 = 15_000_000;

/// Gives frames their time.
#[derive(Debug)]
pub(super) struct ArrivalClock {
    /// Frames a second.
    rate: u64,
    /// Frames that came so far.
    frames: u64,
    /// The time of frame number 0.
    offset: Option<i64>,
    /// When the window began, and the smallest offset in it.
    window: Option<(u64, i64)>,
}

impl ArrivalClock {
    pub(super) const fn new(rate: u64) -> Self {
        Self { rate, frames: 0, offset: None, window: None }
    }

    /// `frames` frames have arrived at `now`. Returns the time of the first of them, without the
    /// delay of those behind it.
    ///
    /// Until `recording`, the offset comes from the last window: a server that just started has
    /// some buffered audio, which arrives too early.
    pub(super) fn arrived(&mut self, now: u64, frames: u64, recording: bool) -> u64 {
        let first = self.frames;
        self.frames += frames;
        let seen = signed(now) - signed(self.length(self.frames));
        // Sound that comes long before it is made by our reckoning shows at once that the reckoning
        // is wrong.
        let offset = self.offset.filter(|offset| offset - seen <= LOST).unwrap_or(seen);
        let (began, least) = self.window.map_or((now, seen), |(began, least)| (began, least.min(seen)));
        let over = now.saturating_sub(began) >= WINDOW;
        self.window = (!over).then_some((began, least));
        let offset = if over && (!recording || (least - offset).abs() > LOST) { least } else { offset };
        self.offset = Some(offset);
        u64::try_from(offset + signed(self.length(first))).unwrap_or(0)
    }

    fn length(&self, frames: u64) -> u64 {
        // Whole seconds apart from the rest, so that nothing overflows.
        frames / self.rate * SECOND + frames % self.rate * SECOND / self.rate
    }
}

/// Running time fits for three hundred years.
fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const PIECE: u64 = 960;

    /// Pieces of 20 ms, made from 5 s on, that arrive this much late: how wrong each stamp is, in
    /// nanoseconds.
    fn errors(late: impl IntoIterator<Item = u64>) -> Vec<i64> {
        let mut clock = ArrivalClock::new(48_000);
        let mut now = 0;
        let stamped = (0u64..).zip(late).map(|(n, late)| {
            let made = 5 * SECOND + n * 20 * MS;
            // What is late holds up what comes behind it.
            now = (made + 20 * MS + late).max(now);
            signed(clock.arrived(now, PIECE, n >= 60)) - signed(made)
        });
        stamped.collect()
    }

    #[test]
    fn a_frame_has_its_time_however_late_it_comes() {
        let errors = errors((0..500).map(|n| if n % 7 < 3 { n * 7919 % 40 * MS } else { n % 3 * MS }));
        assert!(errors[60..].iter().all(|error| (0..=MS as i64).contains(error)), "{errors:?}");
    }

    #[test]
    fn what_a_server_has_in_stock_does_not_count() {
        // Three pieces at once, as if they had been made in the future.
        let mut clock = ArrivalClock::new(48_000);
        let mut error = 0;
        for n in 0..200u64 {
            let now = 5 * SECOND + n.saturating_sub(3) * 20 * MS + 20 * MS;
            error = signed(clock.arrived(now, PIECE, n >= 100)) - signed(now - 20 * MS);
        }
        assert_eq!(error, 0);
    }

    #[test]
    fn a_stall_changes_nothing() {
        let errors = errors((0..300).map(|n| if (100..115).contains(&n) { (115 - n) * 20 * MS } else { 0 }));
        assert!(errors.iter().all(|error| *error == 0), "{errors:?}");
    }

    #[test]
    fn lost_sound_leaves_a_gap_within_two_seconds() {
        // From piece 100 on, three pieces are missing.
        let errors = errors((0..300).map(|n| if n >= 100 { 60 * MS } else { 0 }));
        assert!(errors[..100].iter().all(|error| *error == 0));
        assert!(errors[200..].iter().all(|error| *error == 60 * MS as i64), "{errors:?}");
    }

    proptest! {
        #[test]
        fn stamps_never_lie_ahead_of_the_arrival(
            pieces in proptest::collection::vec((0u64..300 * MS, 1u64..5_000), 1..300),
        ) {
            let (mut clock, mut now) = (ArrivalClock::new(48_000), 10 * SECOND);
            for (after, frames) in pieces {
                now += after;
                let start = clock.arrived(now, frames, true);
                prop_assert!(start + frames * SECOND / 48_000 <= now + LOST as u64 + MS, "{start} for {now}");
            }
        }
    }
}
