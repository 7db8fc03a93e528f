//! When a capture last gave something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of the newest piece of a capture that never pauses. Shared by whoever takes pieces and
/// whoever watches that they come.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    made: Instant,
    /// Nanoseconds since it was made; 0: nothing has come yet.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    #[must_use]
    pub(super) fn new() -> Self {
        Self { made: Instant::now(), last: Arc::default() }
    }

    /// Something came.
    pub(super) fn record(&self) {
        let since = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(since.max(1), Ordering::Relaxed);
    }

    /// When something came last; `None`: nothing has.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| self.made + Duration::from_nanos(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_piece_counts() {
        let (beat, before) = (Heartbeat::new(), Instant::now());
        assert_eq!(beat.last(), None);
        beat.clone().record();
        let first = beat.last().unwrap();
        assert!(first + Duration::from_millis(1) >= before);
        beat.record();
        assert!(beat.last().unwrap() >= first);
    }
}
