//! Pauses between attempts to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// None at first, then from 100 ms on twice as long each, up to a second (docs/reference/psrpc.md).
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = match self.failed {
            0 => Duration::ZERO,
            failed => (FIRST * (1 << (failed - 1).min(8))).min(LONGEST),
        };
        self.failed = self.failed.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_none_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1000, 1000]);
        backoff.failed = u32::MAX;
        assert_eq!(backoff.next(), LONGEST);
    }
}
