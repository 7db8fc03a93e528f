//! Paces timed frames for a recording's plan: repeats the last frame when nothing new arrives.

mod cadence;
mod format;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;

use super::{CaptureCounters, Pacing};
use crate::media::Feed;
use cadence::{Schedule, Step, Which};
pub use format::FormatError;
pub(super) use format::{Format, bt709};

/// Pushes frames into a recording when the [`Schedule`] says so. It has no clock: its owner says up
/// to which moment all frames have arrived. Times are nanoseconds of media time.
#[derive(Debug)]
pub(super) struct Presenter {
    feed: Feed,
    counters: Arc<CaptureCounters>,
    schedule: Schedule,
    current: Current,
    /// Pending frames of the recording in the order of their times.
    waiting: VecDeque<(u64, gst::Buffer)>,
    format: Format,
}

#[derive(Debug)]
struct Current {
    buffer: gst::Buffer,
    shown: bool,
}

/// How far a presenter came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// A frame was pushed; there may be more to do.
    Pushed,
    /// Nothing to do before everything up to `known` has arrived, or another frame.
    Waits { known: u64 },
    /// The recording is complete.
    Done,
}

impl Presenter {
    /// Black is what it shows first.
    pub(super) fn new(
        feed: Feed,
        format: Format,
        pacing: Pacing,
        counters: Arc<CaptureCounters>,
    ) -> Result<Self, FormatError> {
        let current = Current { buffer: format.black()?, shown: true };
        let (schedule, waiting) = (Schedule::new(pacing), VecDeque::new());
        Ok(Self { feed, counters, schedule, current, waiting, format })
    }

    /// Shows this frame from the next push on, without a time of its own: it is from before the
    /// recording.
    pub(super) fn adopt(&mut self, buffer: gst::Buffer) {
        self.current = Current { buffer, shown: false };
    }

    /// Adds a frame. Frames must be added in the order of their times.
    pub(super) fn add(&mut self, at: u64, buffer: gst::Buffer) {
        self.waiting.push_back((at, buffer));
    }

    /// Number of pending frames.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Time of the last pushed frame.
    pub(super) const fn last(&self) -> Option<u64> {
        self.schedule.last()
    }

    /// The recording is this long: from now on everything is known.
    pub(super) fn end_at(&mut self, end: u64) {
        self.schedule.end_at(end);
    }

    /// Pushes at most one frame, when all frames up to `known` have arrived.
    pub(super) fn step(&mut self, known: u64) -> Progress {
        loop {
            match self.schedule.step(known, self.waiting.front().map(|(at, _)| *at)) {
                Step::Adopt => self.adopt_next(),
                Step::Show { which, pts, duration } => {
                    if which == Which::Next {
                        self.adopt_next();
                    }
                    self.push(pts, duration);
                    return Progress::Pushed;
                }
                Step::Wait { known } => return Progress::Waits { known },
                Step::Done => return Progress::Done,
            }
        }
    }

    /// Ends the feed.
    pub(super) fn end(&self) {
        self.feed.end();
    }

    /// Makes the oldest waiting frame the current one. If the one before was never pushed, it
    /// shared a grid point with this one, and does not count as dropped.
    fn adopt_next(&mut self) {
        if let Some((_, buffer)) = self.waiting.pop_front() {
            self.adopt(buffer);
        }
    }

    /// Pushes the current frame: the same memory under a new buffer, so that a repeated frame costs
    /// no copy.
    fn push(&mut self, pts: u64, duration: Option<u64>) {
        count(if self.current.shown { &self.counters.repeated } else { &self.counters.pictures });
        self.current.shown = true;
        let mut buffer = gst::Buffer::new();
        {
            let buffer = buffer.get_mut().expect("a buffer just made has one owner");
            let flags = gst::BufferCopyFlags::MEMORY | gst::BufferCopyFlags::META;
            if self.current.buffer.copy_into(buffer, flags, ..).is_err() {
                // Only a buffer with too many pieces of memory is refused, and ours has one.
                tracing::error!("frame dropped: no buffer");
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
