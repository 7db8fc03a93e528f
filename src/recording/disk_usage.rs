//! How full the work directory and its disk are, measured on a thread of its own, at its own pace:
//! a file system that hangs, as one of a network whose server is away, holds up nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From one measurement to the next.
const PACE: Duration = Duration::from_millis(500);
/// A measurement takes milliseconds. When it takes this long that is logged.
const SLOW: Duration = Duration::from_secs(10);

/// A disk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DiskUsage {
    /// Bytes of the recording: in its work directory, and stored before.
    pub(super) size: u64,
    /// Bytes that can still be written; `None`: that is not known.
    pub(super) free: Option<u64>,
}

/// Measures until the recording is over.
#[derive(Debug)]
pub(super) struct DiskMeter {
    usage: watch::Receiver<DiskUsage>,
    /// Bytes that have left the work directory, as they are stored where they belong.
    stored: Arc<AtomicU64>,
}

impl DiskMeter {
    /// `measure` gives bytes in the work directory, and free ones of its disk. It may take its
    /// time.
    pub(super) fn start(
        measure: impl Fn() -> (u64, Option<u64>) + Send + Sync + 'static,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let stored = Arc::new(AtomicU64::new(0));
        let (sender, usage) = watch::channel(DiskUsage::default());
        let (so_far, stop) = (Arc::clone(&stored), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(keep_measuring(Arc::new(measure), &so_far, &sender)).await
        });
        Self { usage, stored }
    }

    /// The last measurement.
    pub(super) fn usage(&self) -> DiskUsage {
        let DiskUsage { size, free } = *self.usage.borrow();
        DiskUsage { size: size.max(self.stored()), free }
    }

    /// Bytes that are stored where they belong.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Some more are, and no longer in the work directory.
    pub(super) fn add_stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::AcqRel);
    }
}

async fn keep_measuring(
    measure: Arc<impl Fn() -> (u64, Option<u64>) + Send + Sync + 'static>,
    stored: &AtomicU64,
    usage: &watch::Sender<DiskUsage>,
) {
    let mut looks = interval(PACE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // Before it is looked: what leaves the directory meanwhile counts once, and not twice.
        let before = stored.load(Ordering::Acquire);
        let measure = Arc::clone(&measure);
        let mut measuring = spawn_blocking(move || measure());
        let measured = match timeout(SLOW, &mut measuring).await {
            Ok(measured) => measured,
            Err(_) => {
                tracing::warn!("the disk of the work directory does not answer; how full it is is not known");
                measuring.await
            }
        };
        let Ok((size, free)) = measured else { return };
        usage.send_replace(DiskUsage { size: before.saturating_add(size), free });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (go_on, may_go_on) = mpsc::channel::<(u64, Option<u64>)>();
        let may_go_on = std::sync::Mutex::new(may_go_on);
        let measure = move || may_go_on.lock().unwrap().recv().unwrap_or_default();
        let mut meter = DiskMeter::start(measure, &tasks, &stop);
        assert_eq!(meter.usage(), DiskUsage::default(), "nothing is known yet, and nobody waits");
        go_on.send((100, Some(7))).unwrap();
        meter.usage.changed().await.unwrap();
        assert_eq!(meter.usage(), DiskUsage { size: 100, free: Some(7) });
        // It hangs from now on.
        meter.add_stored(250);
        assert_eq!(meter.usage(), DiskUsage { size: 250, free: Some(7) });
        stop.cancel();
        tasks.close();
        timeout(Duration::from_secs(20), tasks.wait()).await.expect("its end waits for no disk");
        drop(go_on);
    }

    #[tokio::test]
    async fn what_is_stored_while_it_is_measured_counts_once() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (seen, is_seen) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let once = std::sync::Mutex::new(Some((seen, may_go_on)));
        let measure = move || {
            let Some((seen, may_go_on)) = once.lock().unwrap().take() else { return (0, None) };
            // A file of 100 bytes is in the directory when it is looked at.
            seen.send(()).unwrap();
            may_go_on.recv().unwrap();
            (100, None)
        };
        let mut meter = DiskMeter::start(measure, &tasks, &stop);
        is_seen.await.unwrap();
        meter.add_stored(100);
        go_on.send(()).unwrap();
        for _ in 0..2 {
            meter.usage.changed().await.unwrap();
            assert_eq!(meter.usage().size, 100);
        }
        stop.cancel();
    }
}
