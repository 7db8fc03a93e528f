//! How long nothing has come of something that should never be silent. Pure: the time is an
//! argument.

use std::time::{Duration, Instant};

use crate::source::standstill::STALL;

/// Something that is heard of again and again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Silence {
    /// Time of the last sign of life. A part that never gave one is not expected to.
    last: Option<Instant>,
    is_stalled: bool,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Stalled { since: Instant },
    Resumed { since: Instant, until: Instant },
}

impl Silence {
    /// It was heard at this moment.
    pub(super) fn heard(&mut self, at: Instant) -> Option<Change> {
        let before = self.last.unwrap_or(at);
        if at < before || (self.is_stalled && at == before) {
            return None;
        }
        self.last = Some(at);
        std::mem::take(&mut self.is_stalled).then_some(Change::Resumed { since: before, until: at })
    }

    /// Nobody could have heard it for so long.
    pub(super) fn excuse(&mut self, time: Duration) {
        if !self.is_stalled {
            self.last = self.last.map(|last| last + time);
        }
    }

    /// The recorder itself stalled; the stall noticed before ends here, and a full period starts
    /// again.
    pub(super) fn restart(&mut self, now: Instant) {
        self.last = self.last.map(|_| now);
        self.is_stalled = false;
    }

    /// Looks whether it is silent for too long.
    pub(super) fn look(&mut self, now: Instant) -> Option<Change> {
        let since =
            self.last.filter(|last| !self.is_stalled && now.saturating_duration_since(*last) >= STALL)?;
        self.is_stalled = true;
        Some(Change::Stalled { since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_silence_is_a_stall_and_it_is_told_once_when_it_is_over() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut silence = Silence::default();
        assert_eq!(silence.look(at(9000)), None, "it was never heard");
        assert_eq!(silence.heard(at(10_000)), None);
        assert_eq!(silence.heard(at(10_500)), None);
        assert_eq!(silence.look(at(12_099)), None);
        assert_eq!(silence.look(at(12_100)), Some(Change::Stalled { since: at(10_500) }));
        assert_eq!(silence.look(at(20_000)), None, "told once");
        // The same last sign of life is looked at again and again.
        assert_eq!(silence.heard(at(10_500)), None);
        let resumed = Change::Resumed { since: at(10_500), until: at(20_500) };
        assert_eq!(silence.heard(at(20_500)), Some(resumed));
        assert_eq!(silence.heard(at(20_600)), None);
        assert_eq!(silence.look(at(21_000)), None);
    }

    #[test]
    fn who_was_not_listening_calls_nobody_silent() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        silence.heard(at(1));
        silence.excuse(Duration::from_secs(9));
        assert_eq!(silence.look(at(11)), None);
        // A stall that is known began when it did.
        assert_eq!(silence.look(at(12)), Some(Change::Stalled { since: at(10) }));
        silence.excuse(Duration::from_secs(5));
        let resumed = silence.heard(at(20));
        assert_eq!(resumed, Some(Change::Resumed { since: at(10), until: at(20) }));
    }
}
