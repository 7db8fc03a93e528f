//! The thread that drives a [`Playout`]: hands it decoded frames and the time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use tokio::sync::oneshot;

use super::error::RenderError;
use super::playout::{Playout, Turn};
use crate::media::{Feed, Timeline};
use crate::source::pacing::Format;
use crate::source::{CaptureCounters, Pacing};

/// Decoded frames that may wait. A decoder with more is blocked.
const MOST_WAITING: usize = 6;
/// At the end, the remaining frames are paced for encoders no longer than this.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Pushes frames when they are due, for as long as the recording lasts.
#[derive(Debug)]
pub(super) struct PlayoutThread {
    shared: Arc<Shared>,
    finished: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Wakes the thread.
    arrived: Condvar,
    /// Wakes decoders that wait for space.
    space: Condvar,
}

#[derive(Default)]
struct Inbox {
    frames: VecDeque<(u64, gst::Buffer)>,
    /// Frames that the thread has taken and that are not due.
    held: usize,
    is_showing: bool,
    blank_at: Option<u64>,
    /// Whether any of the fields changed since the thread last looked.
    is_new: bool,
    closing: Option<Closing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Finish,
    Abandon,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.lock();
        change(&mut inbox);
        inbox.is_new = true;
        drop(inbox);
        self.arrived.notify_one();
    }
}

impl PlayoutThread {
    pub(super) fn start(
        feed: Feed,
        format: Format,
        pacing: Pacing,
        counters: Arc<CaptureCounters>,
        timeline: Timeline,
    ) -> Result<Self, RenderError> {
        let shared: Arc<Shared> = Arc::default();
        let worker = Worker {
            shared: Arc::clone(&shared),
            playout: Playout::new(feed, format, pacing, counters)?,
            // At most twice the frame rate: late frames catch up, and encoders need not drop any.
            gap: Duration::from_secs(1) / (2 * pacing.fps.max(1)),
            timeline: timeline.clone(),
        };
        let (done, finished) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("playout".to_owned())
            .spawn(move || {
                worker.run();
                // The receiver is gone if the playout was dropped.
                done.send(()).ok();
            })
            .map_err(|source| RenderError::Thread { source })?;
        let woken = Arc::clone(&shared);
        timeline.on_begin(move || woken.change(|_| ()));
        Ok(Self { shared, finished: Some(finished), thread: Some(thread) })
    }

    /// A queue for the frames of one decoder.
    pub(super) fn queue(&self) -> FrameQueue {
        let (until, closed) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        FrameQueue { shared: Arc::clone(&self.shared), until, closed }
    }

    /// Sets whether frames are to come, and when the video turns black if none does.
    pub(super) fn expect(&self, is_showing: bool, blank_at: Option<Duration>) {
        let blank_at = blank_at.map(nanoseconds);
        let inbox = self.shared.lock();
        if (inbox.is_showing, inbox.blank_at) == (is_showing, blank_at) {
            return;
        }
        drop(inbox);
        self.shared.change(|inbox| (inbox.is_showing, inbox.blank_at) = (is_showing, blank_at));
    }

    /// Pushes the remaining frames up to the end of the recording, and ends the feed. To be called
    /// after [`Timeline::end`].
    pub(super) async fn finish(mut self) {
        self.shared.change(|inbox| {
            inbox.closing.get_or_insert(Closing::Finish);
        });
        if let Some(finished) = self.finished.take() {
            // An error, too, means that the thread has ended.
            finished.await.ok();
        }
    }
}

impl Drop for PlayoutThread {
    fn drop(&mut self) {
        self.shared.change(|inbox| inbox.closing = Some(Closing::Abandon));
        self.shared.space.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("playout thread panicked");
        }
    }
}

/// Takes the frames of one decoder. Clones share one queue.
#[derive(Debug, Clone)]
pub(super) struct FrameQueue {
    shared: Arc<Shared>,
    /// Frames from this time on are dropped, in nanoseconds of media time.
    until: Arc<AtomicU64>,
    /// Not 0 if no more frames are taken.
    closed: Arc<AtomicU64>,
}

/// The queue takes no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

impl FrameQueue {
    /// Adds a frame. Blocks while the queue is full, which slows a decoder down to playout.
    pub(super) fn push(&self, at: Duration, buffer: gst::Buffer) -> Result<(), Closed> {
        let at = nanoseconds(at);
        let mut inbox = self.shared.lock();
        loop {
            if self.closed.load(Ordering::Relaxed) != 0 || inbox.closing.is_some() {
                return Err(Closed);
            }
            if at >= self.until.load(Ordering::Relaxed) {
                return Ok(());
            }
            if inbox.frames.len() + inbox.held < MOST_WAITING {
                break;
            }
            inbox = self.shared.space.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        // Two decoders may be at work: one that was just started, and one that is flushed.
        let place = inbox.frames.partition_point(|(other, _)| *other <= at);
        inbox.frames.insert(place, (at, buffer));
        drop(inbox);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Drops the frames from `at` on.
    pub(super) fn until(&self, at: Duration) {
        let held = self.shared.lock();
        self.until.store(nanoseconds(at), Ordering::Relaxed);
        drop(held);
        self.shared.space.notify_all();
    }

    /// Takes no more frames, and wakes a decoder that waits for space.
    pub(super) fn close(&self) {
        // Under the lock, so that no decoder misses it between its check and its wait.
        let held = self.shared.lock();
        self.closed.store(1, Ordering::Relaxed);
        drop(held);
        self.shared.space.notify_all();
    }
}

/// The state of the thread.
struct Worker {
    shared: Arc<Shared>,
    playout: Playout,
    timeline: Timeline,
    /// Least time between two frames.
    gap: Duration,
}

impl Worker {
    fn run(mut self) {
        let mut finish_by = None;
        let mut not_before = Instant::now();
        loop {
            match self.collect() {
                Some(Closing::Abandon) => return,
                Some(Closing::Finish) if finish_by.is_none() => {
                    finish_by = Some(Instant::now() + FINISH_WITHIN);
                    self.playout.end_at(self.timeline.end().nseconds());
                }
                Some(Closing::Finish) | None => {}
            }
            let now = Instant::now();
            let is_late = finish_by.is_some_and(|by| now >= by);
            let turn = match self.now() {
                None if finish_by.is_some() => Turn::Done,
                None => {
                    self.wait(None);
                    continue;
                }
                Some(_) if now < not_before && !is_late => {
                    self.wait(Some(not_before));
                    continue;
                }
                Some(media) => {
                    self.playout.advance(media, self.timeline.ended().map(gst::ClockTime::nseconds))
                }
            };
            match turn {
                Turn::Pushed => not_before = now + self.gap,
                Turn::Waits(until) => {
                    let left = until.saturating_sub(self.now().unwrap_or_default());
                    self.wait(Some(now + Duration::from_nanos(left)));
                }
                Turn::Done if finish_by.is_some() => {
                    self.playout.end();
                    return;
                }
                Turn::Done => self.wait(None),
            }
        }
    }

    /// Media time, which continues after the recording's end; `None` before it begins.
    fn now(&self) -> Option<u64> {
        let begun = self.timeline.begun()?;
        Some(self.timeline.now().saturating_sub(begun).nseconds())
    }

    /// Takes what is in the inbox.
    fn collect(&mut self) -> Option<Closing> {
        let now = self.now();
        let mut inbox = self.shared.lock();
        inbox.is_new = false;
        self.playout.expect(inbox.is_showing, inbox.blank_at);
        if let Some(now) = now {
            for (at, buffer) in std::mem::take(&mut inbox.frames) {
                self.playout.push_frame(at, buffer, now);
            }
        }
        inbox.held = self.playout.waiting();
        let closing = inbox.closing;
        drop(inbox);
        self.shared.space.notify_all();
        closing
    }

    /// Waits until something is in the inbox.
    fn wait(&self, until: Option<Instant>) {
        let mut inbox = self.shared.lock();
        while inbox.frames.is_empty() && !inbox.is_new {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            inbox = match left {
                None => self.shared.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return,
                Some(left) => {
                    self.shared.arrived.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
