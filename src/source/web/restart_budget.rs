//! When to stop bringing a stage back. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Attempts that may be made in [`WINDOW`], and that may fail one after the other.
pub(super) const ATTEMPTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// The attempts of bringing a stage back.
#[derive(Debug, Default)]
pub(super) struct RestartBudget {
    /// When the last attempts were made.
    recent: VecDeque<Instant>,
    /// Failed since the last that went well.
    failed_in_a_row: usize,
}

/// Whether it is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    TryAgain,
    GiveUp,
}

impl RestartBudget {
    /// To be asked before each attempt; one that is allowed counts as made.
    pub(super) fn on_restart(&mut self, now: Instant) -> Verdict {
        self.recent.retain(|at| now.duration_since(*at) < WINDOW);
        if self.recent.len() >= ATTEMPTS || self.failed_in_a_row >= ATTEMPTS {
            return Verdict::GiveUp;
        }
        self.recent.push_back(now);
        // Until it is known better.
        self.failed_in_a_row += 1;
        Verdict::TryAgain
    }

    pub(super) fn on_success(&mut self) {
        self.failed_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_attempts_in_a_minute_and_no_more() {
        let (mut relapses, start) = (RestartBudget::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in [0, 10, 20] {
            assert_eq!(relapses.on_restart(at(second)), Verdict::TryAgain);
            relapses.on_success();
        }
        assert_eq!(relapses.on_restart(at(30)), Verdict::GiveUp);
        assert_eq!(relapses.on_restart(at(61)), Verdict::TryAgain, "the first is a minute ago");
    }

    #[test]
    fn three_failures_in_a_row_however_slow() {
        let (mut relapses, start) = (RestartBudget::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(120 * minutes);
        assert_eq!(relapses.on_restart(at(0)), Verdict::TryAgain);
        relapses.on_success();
        for minute in 1..=3 {
            assert_eq!(relapses.on_restart(at(minute)), Verdict::TryAgain);
        }
        assert_eq!(relapses.on_restart(at(4)), Verdict::GiveUp);
    }
}
