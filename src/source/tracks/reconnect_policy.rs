//! How often and how soon a lost server is tried again. Pure.

use std::time::Duration;

/// As LiveKit's own clients do (docs/reference/signaling.md): the n-th attempt waits n² × 300 ms.
const STEP: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(60);
const MOST: u32 = 10;
/// So often a session is taken up again before it is begun anew.
const RESUMES: u32 = 3;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As the participant that is in the room; media goes on meanwhile.
    Resume,
    /// From the start, with a gap.
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

    /// A session that can't be taken up is begun anew; the attempts go on counting.
    pub(super) const fn give_up_resuming(&mut self) {
        self.way = Way::Rejoin;
    }

    /// The same attempts, going on because what they led to did not last.
    pub(super) const fn again(self, way: Way) -> Self {
        Self { way, made: self.made }
    }

    /// How long to wait before the next attempt; `None`: it is over.
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
    fn attempts_get_rarer_begin_anew_and_end() {
        let mut attempts = Attempts::new(Way::Resume);
        let made: Vec<_> = std::iter::from_fn(|| attempts.next()).collect();
        let ways: Vec<Way> = made.iter().map(|(way, _)| *way).collect();
        assert_eq!(ways, [[Way::Resume; 3].as_slice(), &[Way::Rejoin; 7]].concat());
        let waits: Vec<u128> = made.iter().map(|(_, wait)| wait.as_millis()).collect();
        assert_eq!(waits, [0, 300, 1200, 2700, 4800, 7500, 10_800, 14_700, 19_200, 24_300]);
    }

    #[test]
    fn a_session_that_the_server_does_not_know_is_not_taken_up_again() {
        let mut attempts = Attempts::new(Way::Resume);
        assert_eq!(attempts.next(), Some((Way::Resume, Duration::ZERO)));
        attempts.give_up_resuming();
        assert_eq!(attempts.next(), Some((Way::Rejoin, STEP)));
    }
}
