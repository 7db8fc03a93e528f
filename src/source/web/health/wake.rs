//! Whether the watch itself was there to listen. Pure: the time is an argument.
//!
//! It wakes four times a second and more. Where it does not, the whole recorder stood still (a
//! machine that swaps, a container that was paused, SIGSTOP): it has heard nobody meanwhile, and
//! recorded nothing.

use std::time::Instant;

use tokio::sync::mpsc;

use super::News;
use crate::source::standstill::{Wakes, Woken};

/// Time of the watch's last wake-up, and the receiver of its observations.
#[derive(Debug)]
pub(super) struct Pulse {
    wakes: Wakes,
    told: mpsc::UnboundedSender<News>,
}

impl Pulse {
    pub(super) const fn new(now: Instant, told: mpsc::UnboundedSender<News>) -> Self {
        Self { wakes: Wakes::new(now), told }
    }

    /// Without a stall in the result, an earlier caller has already sent it as an observation.
    pub(super) fn wake(&self, now: Instant) -> Woken {
        self.wakes.wake(now, |stall| self.tell(stall.into()))
    }

    pub(super) fn tell(&self, news: News) {
        // The stage may be gone already.
        self.told.send(news).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::source::standstill::Stall;

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
        let stall = Stall { since: at(1899), until: at(9000) };
        assert_eq!(pulse.wake(at(9000)), Woken::StoodStill(stall));
        // The other one looked at the clock before, and comes behind it.
        assert_eq!(pulse.wake(at(8999)), Woken::Late(Duration::ZERO));
        assert_eq!(pulse.wake(at(9250)), Woken::Late(Duration::ZERO));
        assert_eq!(news.try_recv().ok(), Some(stall.into()));
        assert!(news.try_recv().is_err());
    }
}
