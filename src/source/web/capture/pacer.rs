//! The thread that pushes pictures into the recording when the [`Schedule`] says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use tokio::sync::{oneshot, watch};

use super::CaptureError;
use super::alignment::PATIENCE;
use super::cadence::{Schedule, Step, Which};
use super::picture::{Format, Picture};
use super::slot::{Closing, PictureSlot};
use crate::media::{Feed, Timeline};
use crate::source::{CaptureCounters, SourceContext};

/// The thread that decides when a picture gets into the recording; it holds the last one while a capture is gone.
#[derive(Debug)]
pub struct Pacer {
    slot: PictureSlot,
    first: watch::Receiver<bool>,
    finished: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the pacer of a recording with pictures of this size. It pushes nothing before the recording begins.
    ///
    /// # Errors
    /// When the context has no video feed, the size can't be recorded, or there is no thread or memory to be had.
    pub fn start(context: &SourceContext, width: u32, height: u32) -> Result<Self, CaptureError> {
        let feed = context.video.clone().ok_or(CaptureError::NoVideo)?;
        let format = Format::new(width, height, context.pacing.fps)?;
        let slot = PictureSlot::new(format.clone(), Arc::clone(&context.counters));
        let (done, finished) = oneshot::channel();
        let pace = Pace {
            slot: slot.clone(),
            feed,
            timeline: context.timeline.clone(),
            counters: Arc::clone(&context.counters),
            schedule: Schedule::new(context.pacing),
            current: Current { buffer: format.black()?, shown: true },
            waiting: VecDeque::new(),
            format,
        };
        let thread = std::thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || {
                pace.run();
                // Nobody listens when the pacer was dropped.
                done.send(()).ok();
            })
            .map_err(|source| CaptureError::Thread { source })?;
        let woken = slot.clone();
        context.timeline.on_begin(move || woken.begin());
        Ok(Self { first: slot.first(), slot, finished: Some(finished), thread: Some(thread) })
    }

    /// Where captures leave their pictures.
    #[must_use]
    pub fn slot(&self) -> PictureSlot {
        self.slot.clone()
    }

    /// Waits until a picture is there: something was drawn on the display. A page that draws nothing never gives one.
    pub async fn first_picture(&self) {
        // The sender is in the slot, which we hold: the wait can't fail.
        self.first.clone().wait_for(|there| *there).await.ok();
    }

    /// Pushes the last picture once more, at the end of the recording (call after [`Timeline::end`]), and ends the feed.
    /// What the page drew up to the end is awaited first, so leave the capture running; that takes less than 0.1 s.
    pub async fn finish(mut self) {
        self.slot.close(Closing::FinishAt(Instant::now() + PATIENCE));
        if let Some(finished) = self.finished.take() {
            // Also an error means that the thread has come to its end.
            finished.await.ok();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.slot.close(Closing::Abandon);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pacer's thread panicked");
        }
    }
}

/// What the thread owns.
struct Pace {
    slot: PictureSlot,
    feed: Feed,
    timeline: Timeline,
    counters: Arc<CaptureCounters>,
    schedule: Schedule,
    current: Current,
    /// Pictures drawn inside of the recording and not dealt with, in the order of their times.
    waiting: VecDeque<(u64, gst::Buffer)>,
    format: Format,
}

struct Current {
    buffer: gst::Buffer,
    shown: bool,
}

impl Pace {
    fn run(mut self) {
        let mut finish_at = None;
        loop {
            let deadline = earliest(finish_at, self.advance());
            let collected = self.slot.collect(deadline);
            match collected.closing {
                Some(Closing::Abandon) => return,
                Some(Closing::FinishAt(at)) => finish_at = Some(at),
                None => {}
            }
            if let Some(picture) = collected.newest {
                self.receive(picture);
            }
            if finish_at.is_some_and(|at| Instant::now() >= at) {
                self.finish();
                return;
            }
        }
    }

    /// Puts a picture in its place. Until the recording begins, the newest is the current one.
    fn receive(&mut self, picture: Picture) {
        let Some(begun) = self.timeline.begun() else {
            self.adopt(picture.buffer);
            return;
        };
        match picture.drawn.checked_sub(begun) {
            None => self.adopt(picture.buffer),
            Some(media) if self.timeline.place(picture.drawn).is_some() => {
                self.waiting.push_back((media.nseconds(), picture.buffer));
            }
            // Drawn after the end.
            Some(_) => {}
        }
    }

    /// Does what is due, and says when something is due again if no picture arrives before.
    fn advance(&mut self) -> Option<Instant> {
        let begun = self.timeline.begun()?;
        // What fell due before the end is done by `finish` at the latest, and nothing does after it.
        if self.timeline.ended().is_some() {
            return None;
        }
        let now = self.timeline.now();
        let patience = gst::ClockTime::try_from(PATIENCE).unwrap_or(gst::ClockTime::ZERO);
        let until_known = begun + patience;
        let Some(known) = now.checked_sub(until_known) else {
            return Some(Instant::now() + Duration::from(until_known - now));
        };
        loop {
            match self.schedule.step(known.nseconds(), self.waiting.front().map(|(drawn, _)| *drawn)) {
                Step::Wait { known: needed } => {
                    let left = needed.saturating_sub(known.nseconds());
                    return Some(Instant::now() + Duration::from_nanos(left));
                }
                Step::Done => return None,
                step => self.carry_out(step),
            }
        }
    }

    fn finish(mut self) {
        if self.timeline.begun().is_some() {
            self.schedule.end_at(self.timeline.end().nseconds());
            loop {
                match self.schedule.step(u64::MAX, self.waiting.front().map(|(drawn, _)| *drawn)) {
                    Step::Wait { .. } | Step::Done => break,
                    step => self.carry_out(step),
                }
            }
        }
        self.feed.end();
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Adopt | Step::Show { which: Which::Next, .. } => {
                if let Some((_, buffer)) = self.waiting.pop_front() {
                    if !self.current.shown {
                        count(&self.counters.dropped);
                    }
                    self.adopt(buffer);
                }
            }
            Step::Show { which: Which::Current, .. } | Step::Wait { .. } | Step::Done => {}
        }
        if let Step::Show { pts, duration, .. } = step {
            self.push(pts, duration);
        }
    }

    fn adopt(&mut self, buffer: gst::Buffer) {
        self.current = Current { buffer, shown: false };
    }

    /// Pushes the current picture: the same memory under a new buffer, so that a repeated picture costs no copy.
    fn push(&mut self, pts: u64, duration: Option<u64>) {
        count(if self.current.shown { &self.counters.repeated } else { &self.counters.pictures });
        self.current.shown = true;
        let mut buffer = gst::Buffer::new();
        {
            let buffer = buffer.get_mut().expect("a buffer just made has one owner");
            let flags = gst::BufferCopyFlags::MEMORY | gst::BufferCopyFlags::META;
            if self.current.buffer.copy_into(buffer, flags, ..).is_err() {
                // Only a buffer with too many pieces of memory is refused, and ours has one.
                tracing::error!("a picture could not be pushed");
                return;
            }
            // The pool gets its buffer back when the last push of it is gone, not before.
            gst::ParentBufferMeta::add(buffer, &self.current.buffer);
            buffer.set_pts(gst::ClockTime::from_nseconds(pts));
            buffer.set_duration(duration.map(gst::ClockTime::from_nseconds));
        }
        self.feed.push(&gst::Sample::builder().buffer(&buffer).caps(self.format.caps()).build());
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
