//! The thread that gives decoded pictures to the [`Playout`], and tells it the time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use tokio::sync::oneshot;

use super::SingleViewError;
use super::playout::{Playout, Turn};
use crate::media::{Feed, Timeline};
use crate::source::pacing::Format;
use crate::source::{CaptureCounters, Pacing};

/// Decoded pictures that may wait; a decoder that has more is held up.
const MOST_WAITING: usize = 6;
/// At the end, what is left is shown no faster than encoders can take it, for so long.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Shows pictures when they are due, for as long as the recording lasts.
#[derive(Debug)]
pub(super) struct PlayoutThread {
    shared: Arc<Shared>,
    finished: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    mail: Mutex<Mail>,
    /// For the thread: there is mail.
    arrived: Condvar,
    /// For decoders: there is room.
    room: Condvar,
}

#[derive(Default)]
struct Mail {
    frames: VecDeque<(u64, gst::Buffer)>,
    /// Pictures that the thread has and that are not due.
    held: usize,
    expects: bool,
    blank_at: Option<u64>,
    /// Something of the above changed.
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
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        change(&mut mail);
        mail.is_new = true;
        drop(mail);
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
    ) -> Result<Self, SingleViewError> {
        let shared: Arc<Shared> = Arc::default();
        let show = Show {
            shared: Arc::clone(&shared),
            playout: Playout::new(feed, format, pacing, counters)?,
            // Twice as fast as they come: what was late catches up, and an encoder does not have to leave any out.
            gap: Duration::from_secs(1) / (2 * pacing.fps.max(1)),
            timeline: timeline.clone(),
        };
        let (done, finished) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("projector".to_owned())
            .spawn(move || {
                show.run();
                // Nobody listens when the projector was dropped.
                done.send(()).ok();
            })
            .map_err(|source| SingleViewError::Thread { source })?;
        let woken = Arc::clone(&shared);
        timeline.on_begin(move || woken.change(|_| ()));
        Ok(Self { shared, finished: Some(finished), thread: Some(thread) })
    }

    /// Where a decoder leaves its pictures.
    pub(super) fn outlet(&self) -> Outlet {
        let (until, cut) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        Outlet { shared: Arc::clone(&self.shared), until, cut }
    }

    /// Whether pictures are to come, and when the screen turns black if none does.
    pub(super) fn expect(&self, frames: bool, blank_at: Option<Duration>) {
        let blank_at = blank_at.map(nanoseconds);
        let mail = self.shared.lock();
        if (mail.expects, mail.blank_at) == (frames, blank_at) {
            return;
        }
        drop(mail);
        self.shared.change(|mail| (mail.expects, mail.blank_at) = (frames, blank_at));
    }

    /// Shows what is left, up to the end of the recording (call after [`Timeline::end`]), and ends the feed.
    pub(super) async fn finish(mut self) {
        self.shared.change(|mail| {
            mail.closing.get_or_insert(Closing::Finish);
        });
        if let Some(finished) = self.finished.take() {
            // Also an error means that the thread has come to its end.
            finished.await.ok();
        }
    }
}

impl Drop for PlayoutThread {
    fn drop(&mut self) {
        self.shared.change(|mail| mail.closing = Some(Closing::Abandon));
        self.shared.room.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the projector's thread panicked");
        }
    }
}

/// Where one decoder leaves its pictures. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
    /// Pictures from here on are another decoder's.
    until: Arc<AtomicU64>,
    /// Not 0: nothing is taken any more.
    cut: Arc<AtomicU64>,
}

/// The projector takes no more pictures of this decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

impl Outlet {
    /// Leaves a picture. Waits while there is no room, so that a decoder goes no faster than its pictures are shown.
    pub(super) fn leave(&self, at: Duration, buffer: gst::Buffer) -> Result<(), Cut> {
        let at = nanoseconds(at);
        let mut mail = self.shared.lock();
        loop {
            if self.cut.load(Ordering::Relaxed) != 0 || mail.closing.is_some() {
                return Err(Cut);
            }
            if at >= self.until.load(Ordering::Relaxed) {
                return Ok(());
            }
            if mail.frames.len() + mail.held < MOST_WAITING {
                break;
            }
            mail = self.shared.room.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
        // Two decoders may be at work: one that begins, and one that comes to its end.
        let place = mail.frames.partition_point(|(other, _)| *other <= at);
        mail.frames.insert(place, (at, buffer));
        drop(mail);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// What comes from `at` on is left out.
    pub(super) fn until(&self, at: Duration) {
        let held = self.shared.lock();
        self.until.store(nanoseconds(at), Ordering::Relaxed);
        drop(held);
        self.shared.room.notify_all();
    }

    /// Nothing waits any more, nor is taken.
    pub(super) fn cut(&self) {
        // Under the lock, so that nobody misses it between looking and waiting.
        let held = self.shared.lock();
        self.cut.store(1, Ordering::Relaxed);
        drop(held);
        self.shared.room.notify_all();
    }
}

/// What the thread owns.
struct Show {
    shared: Arc<Shared>,
    playout: Playout,
    timeline: Timeline,
    /// Between two pictures, at least.
    gap: Duration,
}

impl Show {
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

    /// Media time, which goes on after the recording's end; `None` before it begins.
    fn now(&self) -> Option<u64> {
        let begun = self.timeline.begun()?;
        Some(self.timeline.now().saturating_sub(begun).nseconds())
    }

    /// Takes what has come.
    fn collect(&mut self) -> Option<Closing> {
        let now = self.now();
        let mut mail = self.shared.lock();
        mail.is_new = false;
        self.playout.expect(mail.expects, mail.blank_at);
        if let Some(now) = now {
            for (at, buffer) in std::mem::take(&mut mail.frames) {
                self.playout.push_frame(at, buffer, now);
            }
        }
        mail.held = self.playout.waiting();
        let closing = mail.closing;
        drop(mail);
        self.shared.room.notify_all();
        closing
    }

    /// Waits for mail.
    fn wait(&self, until: Option<Instant>) {
        let mut mail = self.shared.lock();
        while mail.frames.is_empty() && !mail.is_new {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            mail = match left {
                None => self.shared.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return,
                Some(left) => {
                    self.shared.arrived.wait_timeout(mail, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
