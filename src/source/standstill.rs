//! Tells when the recorder itself stands still: a machine that swaps, a container that was paused, SIGSTOP. It records nothing meanwhile.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::MissedTickBehavior;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::SourceEvent;
use crate::media::Timeline;

/// What it is called.
pub(super) const RECORDER_STALLED: &str = "the recorder stood still";
/// From here on nothing that happens is called a stall. With the time from one look to the next, it is noticed within two seconds.
pub(super) const STALL: Duration = Duration::from_millis(1600);
/// From one look to the next.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Tells of each standstill when it is over, as [`SourceEvent::Stalled`], until it is dropped. For sources that watch nothing else.
pub(super) fn watch(timeline: Timeline, events: UnboundedSender<SourceEvent>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(TaskTracker::new().spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since = Instant::now();
        loop {
            ticks.tick().await;
            let now = Instant::now();
            if let Some(event) = stall(&timeline, since, now) {
                tracing::warn!(gap_ms = (now - since).as_millis(), "{RECORDER_STALLED}");
                if events.send(event).is_err() {
                    return;
                }
            }
            since = now;
        }
    }))
}

/// What is told of a recorder that has woken now and the last time before at `since`.
fn stall(timeline: &Timeline, since: Instant, now: Instant) -> Option<SourceEvent> {
    if now.saturating_duration_since(since) < STALL {
        return None;
    }
    let (from, to) = timeline.media_at(since).zip(timeline.media_at(now))?;
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
        let (timeline, now) = began();
        assert!(stall(&timeline, now, now + STALL / 2).is_none());
        assert!(stall(&Timeline::new(), now, now + 2 * STALL).is_none());
    }

    mod real_time {
        use super::*;

        #[tokio::test]
        async fn a_recorder_that_stands_still_is_told_once() {
            let (timeline, _) = began();
            let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
            let _watch = watch(timeline, events);
            tokio::time::sleep(PERIOD).await;
            std::thread::park_timeout(STALL);
            let Some(SourceEvent::Stalled { what, from, to }) = told.recv().await else {
                panic!("it is told")
            };
            assert_eq!(what, RECORDER_STALLED);
            assert!(to - from >= STALL, "{from:?} {to:?}");
            assert!(told.try_recv().is_err());
        }
    }
}
