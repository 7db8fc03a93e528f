//! The wire's time is the wall clock in nanoseconds; ours is monotonic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Nanoseconds since 1970.
pub(super) fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The wire's time `after` from a wire's time.
pub(super) fn plus(sent_at: i64, after: Duration) -> i64 {
    sent_at.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX))
}

/// When a request's expiry is, and at the latest `longest` from now; `None` when it is over. Both
/// hosts' clocks are in this: what they differ by comes off a call's time.
pub(super) fn deadline(expiry: i64, longest: Duration) -> Option<Instant> {
    let left = u64::try_from(expiry.saturating_sub(unix_nanos())).ok().filter(|left| *left > 0)?;
    Some(Instant::now() + Duration::from_nanos(left).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn an_expiry_of_any_value_is_met() {
        for over in [i64::MIN, -1, 0, 1, unix_nanos()] {
            assert_eq!(deadline(over, LONGEST), None, "{over}");
        }
        for far in [i64::MAX, plus(unix_nanos(), Duration::MAX)] {
            let left = deadline(far, LONGEST).unwrap() - Instant::now();
            assert!(left <= LONGEST && left > LONGEST / 2, "{left:?}");
        }
        let left = deadline(plus(unix_nanos(), LONGEST / 2), LONGEST).unwrap() - Instant::now();
        assert!(left <= LONGEST / 2 && left > LONGEST / 4, "{left:?}");
    }
}
