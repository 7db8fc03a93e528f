//! How long a recorder has said nothing. Pure: time is an argument.
//!
//! Only time counts in which it could have been heard. A service that itself stood still (a machine
//! that swaps, a container that was paused, SIGSTOP) has heard nobody, and its recorders may have
//! stood still with it.

use std::time::Duration;

use tokio::time::Instant;

/// A recorder speaks twice a second. One that says nothing for this long has hung.
pub(super) const LONGEST: Duration = Duration::from_secs(120);
/// From one look at the silence to the next.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A look that comes this long after the one before says that we were not there. An order that is
/// not read takes 5 s.
const LATE: Duration = Duration::from_secs(15);

/// A recorder's silence.
#[derive(Debug)]
pub(in crate::service) struct Silence {
    lasted: Duration,
    /// Up to here it is counted.
    counted: Instant,
}

impl Silence {
    pub(in crate::service) const fn begin(now: Instant) -> Self {
        Self { lasted: Duration::ZERO, counted: now }
    }

    /// It has said something.
    pub(in crate::service) const fn end(&mut self, now: Instant) {
        *self = Self::begin(now);
    }

    /// Counts what has passed. Whether it has hung.
    pub(in crate::service) fn look(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted);
        self.counted = now;
        self.lasted = if passed < LATE { self.lasted + passed } else { Duration::ZERO };
        self.lasted >= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a silence as often as is meant, for a while. Gives when it counted as hung.
    fn look_for(silence: &mut Silence, from: Instant, length: Duration) -> Result<Instant, Duration> {
        let mut now = from;
        while now < from + length {
            now += LOOK_EVERY;
            if silence.look(now) {
                return Err(now - from);
            }
        }
        Ok(now)
    }

    #[test]
    fn a_recorder_that_says_nothing_has_hung() {
        let begun = Instant::now();
        assert_eq!(look_for(&mut Silence::begin(begun), begun, LONGEST * 2), Err(LONGEST));
        let mut silence = Silence::begin(begun);
        let later = look_for(&mut silence, begun, LONGEST - LOOK_EVERY).unwrap();
        silence.end(later);
        assert_eq!(look_for(&mut silence, later, LONGEST * 2), Err(LONGEST), "from its last word");
    }

    #[test]
    fn time_in_which_nobody_could_hear_it_does_not_count() {
        let begun = Instant::now();
        let mut silence = Silence::begin(begun);
        let stopped = look_for(&mut silence, begun, LONGEST - LOOK_EVERY).unwrap();
        // Minutes later the machine goes on.
        let back = stopped + LONGEST * 3;
        assert!(!silence.look(back));
        assert_eq!(look_for(&mut silence, back, LONGEST * 2), Err(LONGEST), "all its time again");

        // A machine that stands still again and again says nothing of its recorders.
        let mut silence = Silence::begin(begun);
        for stall in 1..100 {
            assert!(!silence.look(begun + LATE * stall));
        }
    }
}
