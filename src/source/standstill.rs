//! Tells when the recorder itself stands still: a machine that swaps, a container that was paused,
//! SIGSTOP. It records nothing meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::MissedTickBehavior;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::SourceEvent;
use crate::media::Timeline;

/// Name of the event in reports.
pub(super) const RECORDER_STALLED: &str = "the recorder stood still";
/// From here on nothing that happens is called a stall. With the time from one look to the next, it
/// is noticed within two seconds.
pub(super) const STALL: Duration = Duration::from_millis(1600);
/// From one look to the next.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Time of a watch's last wake-up. It is shared with the code that ends the watch, which may be the
/// first to wake after a stall: each stall is reported once.
#[derive(Debug)]
pub(super) struct Wakes {
    last: Mutex<Instant>,
}

/// How a watch woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// So much later than it should.
    Late(Duration),
    /// After a stall of the recorder, which has been reported.
    StoodStill(Stall),
}

/// The time in which the recorder stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Wakes {
    pub(super) const fn new(now: Instant) -> Self {
        Self { last: Mutex::new(now) }
    }

    /// `tell` is called before any other caller is served: without a stall in the result it was
    /// reported already.
    pub(super) fn wake(&self, now: Instant, tell: impl FnOnce(Stall)) -> Woken {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *last;
        *last = since.max(now);
        let gap = now.saturating_duration_since(since);
        if gap < STALL {
            return Woken::Late(gap.saturating_sub(PERIOD));
        }
        let stall = Stall { since, until: now };
        tell(stall);
        Woken::StoodStill(stall)
    }
}

/// Tells of each standstill when it is over, as [`SourceEvent::Stalled`], until it is dropped. For
/// sources that watch nothing else.
#[derive(Debug)]
pub(super) struct Watch {
    teller: Arc<Teller>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    pub(super) fn start(timeline: Timeline, events: UnboundedSender<SourceEvent>) -> Self {
        let teller = Arc::new(Teller { wakes: Wakes::new(Instant::now()), timeline, events });
        let task = TaskTracker::new().spawn(watch(Arc::clone(&teller)));
        Self { teller, _task: AbortOnDropHandle::new(task) }
    }

    /// Ends the watch, and tells of a standstill that it has not woken from: an order to end that
    /// came meanwhile may be carried out before.
    pub(super) fn end(self) {
        self.teller.wake(Instant::now());
    }
}

async fn watch(teller: Arc<Teller>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        teller.wake(Instant::now());
    }
}

#[derive(Debug)]
struct Teller {
    wakes: Wakes,
    timeline: Timeline,
    events: UnboundedSender<SourceEvent>,
}

impl Teller {
    fn wake(&self, now: Instant) {
        self.wakes.wake(now, |stall| {
            let Some(event) = told(&self.timeline, stall) else { return };
            let gap = stall.until.saturating_duration_since(stall.since);
            tracing::warn!(gap_ms = gap.as_millis(), "{RECORDER_STALLED}");
            // A recording that does not listen is over.
            self.events.send(event).ok();
        });
    }
}

/// The event for a stall; `None` if nothing was recorded at the time.
fn told(timeline: &Timeline, stall: Stall) -> Option<SourceEvent> {
    let (from, to) = timeline.media_at(stall.since).zip(timeline.media_at(stall.until))?;
    (from < to).then_some(SourceEvent::Stalled { what: RECORDER_STALLED, from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began() -> (Timeline, Instant) {
        crate::media::init().unwrap();
        let timeline = Timeline::new();
        timeline.begin();
        (timeline, Instant::now())
    }

    #[test]
    fn what_is_shorter_is_no_stall_and_before_the_beginning_is_none() {
        let (_, now) = began();
        let wakes = Wakes::new(now);
        assert_eq!(wakes.wake(now + STALL / 2, |stall| panic!("{stall:?}")), Woken::Late(STALL / 2 - PERIOD));
        let stall = Stall { since: now, until: now + 2 * STALL };
        assert!(told(&Timeline::new(), stall).is_none());
    }

    mod real_time {
        use super::*;

        #[tokio::test]
        async fn a_recorder_that_stands_still_is_told_once() {
            let (timeline, _) = began();
            let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
            let watch = Watch::start(timeline, events);
            tokio::time::sleep(PERIOD).await;
            std::thread::park_timeout(STALL);
            let Some(SourceEvent::Stalled { what, from, to }) = told.recv().await else {
                panic!("the stall is reported")
            };
            assert_eq!(what, RECORDER_STALLED);
            assert!(to - from >= STALL, "{from:?} {to:?}");
            watch.end();
            assert!(told.recv().await.is_none(), "its end tells nothing more");
        }

        #[tokio::test]
        async fn a_standstill_that_its_end_comes_upon_is_told_once() {
            let (timeline, _) = began();
            let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
            let watch = Watch::start(timeline, events);
            tokio::time::sleep(PERIOD).await;
            std::thread::park_timeout(STALL);
            // The watch has had no thread to wake on.
            watch.end();
            let Ok(SourceEvent::Stalled { what, from, to }) = told.try_recv() else {
                panic!("the stall is reported at once")
            };
            assert_eq!(what, RECORDER_STALLED);
            assert!(to - from > STALL / 2, "{from:?} {to:?}");
            assert!(told.recv().await.is_none(), "and not again");
        }
    }
}
