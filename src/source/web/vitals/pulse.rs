//! Whether the watch itself was there to listen. Pure: the time is an argument.
//!
//! It wakes four times a second and more. Where it does not, the whole recorder stood still (a machine that swaps, a container that
//! was paused, SIGSTOP): it has heard nobody meanwhile, and recorded nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::News;
use crate::source::standstill::{PERIOD, STALL};

/// When the watch woke last. Shared with whoever ends it, who may be the first to wake after a stall: it is told once.
#[derive(Debug)]
pub(super) struct Pulse {
    last: Mutex<Instant>,
    told: mpsc::UnboundedSender<News>,
}

/// How the watch woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// So much later than it should.
    Late(Duration),
    /// After a stall of the recorder, which has been told.
    StoodStill(News),
}

impl Pulse {
    pub(super) fn new(now: Instant, told: mpsc::UnboundedSender<News>) -> Self {
        Self { last: Mutex::new(now), told }
    }

    pub(super) fn wake(&self, now: Instant) -> Woken {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *last;
        *last = since.max(now);
        let gap = now.saturating_duration_since(since);
        if gap < STALL {
            return Woken::Late(gap.saturating_sub(PERIOD));
        }
        let news = News::StoodStill { since, until: now };
        // Before anybody else may ask: who is told of no stall finds it among the news.
        self.tell(news);
        Woken::StoodStill(news)
    }

    pub(super) fn tell(&self, news: News) {
        // The stage may be gone already.
        self.told.send(news).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wakes_first_after_a_stall_tells_it_once() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let (told, mut news) = mpsc::unbounded_channel();
        let pulse = Pulse::new(begun, told);
        assert_eq!(pulse.wake(at(250)), Woken::Late(Duration::ZERO));
        assert_eq!(pulse.wake(at(300)), Woken::Late(Duration::ZERO));
        assert_eq!(pulse.wake(at(1899)), Woken::Late(Duration::from_millis(1349)));
        assert!(news.try_recv().is_err());
        let stall = News::StoodStill { since: at(1899), until: at(9000) };
        assert_eq!(pulse.wake(at(9000)), Woken::StoodStill(stall));
        // The other one looked at the clock before, and comes behind it.
        assert_eq!(pulse.wake(at(8999)), Woken::Late(Duration::ZERO));
        assert_eq!(pulse.wake(at(9250)), Woken::Late(Duration::ZERO));
        assert_eq!(news.try_recv().ok(), Some(stall));
        assert!(news.try_recv().is_err());
    }
}
