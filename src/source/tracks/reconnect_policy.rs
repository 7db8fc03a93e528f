//! When to reconnect to a lost server, and when to give up. Pure.

use std::time::Duration;

/// The n-th attempt, from 0, waits n² times this, as LiveKit's clients do
/// (docs/reference/signaling.md).
const STEP: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(60);
const MOST: u32 = 10;
/// Attempts to resume a session before a new one is started.
const RESUMES: u32 = 3;

/// How to reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Resume the session, while media continues.
    Resume,
    /// Start a new session, with a gap in the recording.
    Rejoin,
}

/// Attempts since the server was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempts {
    way: Way,
    made: u32,
}

impl Attempts {
    pub(super) const fn new(way: Way) -> Self {
        Self { way, made: 0 }
    }

    pub(super) const fn way(self) -> Way {
        self.way
    }

    /// The session can't be resumed: the remaining attempts start a new one.
    pub(super) const fn give_up_resuming(&mut self) {
        self.way = Way::Rejoin;
    }

    /// Continues these attempts, because the session that they reached did not last.
    pub(super) const fn again(self, way: Way) -> Self {
        Self { way, made: self.made }
    }

    /// The next attempt and how long to wait before it; `None` if all were made.
    pub(super) fn next(&mut self) -> Option<(Way, Duration)> {
        if self.made >= MOST {
            return None;
        }
        if self.made >= RESUMES {
            self.way = Way::Rejoin;
        }
        let wait = (STEP * self.made.pow(2)).min(LONGEST);
        self.made += 1;
        Some((self.way, wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_slow_down_start_a_new_session_and_end() {
        let mut attempts = Attempts::new(Way::Resume);
        let made: Vec<_> = std::iter::from_fn(|| attempts.next()).collect();
        let ways: Vec<Way> = made.iter().map(|(way, _)| *way).collect();
        assert_eq!(ways, [[Way::Resume; 3].as_slice(), &[Way::Rejoin; 7]].concat());
        let waits: Vec<u128> = made.iter().map(|(_, wait)| wait.as_millis()).collect();
        assert_eq!(waits, [0, 300, 1200, 2700, 4800, 7500, 10_800, 14_700, 19_200, 24_300]);
    }

    #[test]
    fn a_session_unknown_to_the_server_is_not_resumed() {
        let mut attempts = Attempts::new(Way::Resume);
        assert_eq!(attempts.next(), Some((Way::Resume, Duration::ZERO)));
        attempts.give_up_resuming();
        assert_eq!(attempts.next(), Some((Way::Rejoin, STEP)));
    }
}
