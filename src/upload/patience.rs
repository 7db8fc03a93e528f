//! How long the end of a recording waits for a storage that is away. Pure: moments come in.

use std::time::Duration;

use tokio::time::Instant;

/// Patience without an end is as good as this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Stall limit when a storage is unavailable and each file has one more attempt: an upload without
/// progress for this long is given up. Each one given up halves the limit, so that thousands of
/// files have an attempt in bounded time.
pub(super) const FIRST_STALL: Duration = Duration::from_secs(10);
const SHORTEST_STALL: Duration = Duration::from_millis(50);

/// The next one after a storage did not answer for `took`.
pub(super) fn shorter_stall(stall: Duration, took: Duration) -> Duration {
    (stall.min(took) / 2).max(SHORTEST_STALL)
}

/// One output's patience since its recording ended: time in which its storage fails uses it up,
/// time in which files are taken does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    left: Duration,
    failing_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(patience: Duration) -> Self {
        Self { left: patience.min(LONGEST), failing_since: None }
    }

    /// The storage did not take a file that it may take later.
    pub(super) fn on_failure(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
    }

    /// It took one.
    pub(super) fn on_success(&mut self, now: Instant) {
        self.left = self.left_at(now);
        self.failing_since = None;
    }

    /// When it is over if nothing is taken any more; `None`: nothing has failed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.failing_since.map(|since| since + self.left)
    }

    /// When an upload is given up of which nothing has moved since `since`, and not before `least`.
    pub(super) fn silent_until(&self, since: Instant, least: Instant) -> Instant {
        self.until().unwrap_or(since + self.left).max(least)
    }

    pub(super) fn left_at(&self, now: Instant) -> Duration {
        let failing = self.failing_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.left.saturating_sub(failing)
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_the_storage_fails_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(Duration::from_secs(60));
        assert_eq!((patience.until(), patience.left_at(at(100))), (None, Duration::from_secs(60)));
        patience.on_failure(at(100));
        patience.on_failure(at(110));
        assert_eq!((patience.until(), patience.left_at(at(120))), (Some(at(160)), Duration::from_secs(40)));
        patience.on_success(at(120));
        assert_eq!((patience.until(), patience.left_at(at(500))), (None, Duration::from_secs(40)));
        patience.on_failure(at(500));
        assert_eq!((patience.until(), patience.left_at(at(600))), (Some(at(540)), Duration::ZERO));
    }

    #[test]
    fn silence_has_what_is_left_and_a_short_attempt_at_least() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(Duration::from_secs(60));
        assert_eq!(patience.silent_until(at(10), at(15)), at(70));
        patience.on_failure(at(10));
        assert_eq!(patience.silent_until(at(40), at(45)), at(70));
        assert_eq!(patience.silent_until(at(69), at(74)), at(74));
    }

    #[test]
    fn the_longest_patience_is_no_overflow() {
        let mut patience = Patience::new(Duration::MAX);
        patience.on_failure(Instant::now());
        assert!(patience.until().is_some());
    }
}
