//! The one clock of a recording.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

/// Time of one recording, shared by everything in it.
///
/// Running time counts from the creation of the timeline, on the system's monotonic clock. Media
/// time counts from [`Timeline::begin`], the moment the recording begins, and stops at
/// [`Timeline::end`]: [`Timeline::place`] turns the one into the other, and answers `None` outside
/// of the recording. Buffers in a [`Feed`](super::Feed) carry media time.
#[derive(Clone, Debug)]
pub struct Timeline {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: gst::Clock,
    base: gst::ClockTime,
    zero: OnceLock<Zero>,
    end: OnceLock<gst::ClockTime>,
    limit: OnceLock<gst::ClockTime>,
    waiting: Waiting,
}

/// Callbacks for the start of the recording.
#[derive(Default)]
struct Waiting(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

#[derive(Debug, Clone, Copy)]
struct Zero {
    running: gst::ClockTime,
    wall: jiff::Timestamp,
}

impl Timeline {
    /// A timeline whose running time starts now. GStreamer must be initialised ([`super::init`]).
    #[must_use]
    pub fn new() -> Self {
        let clock = gst::SystemClock::obtain();
        let base = clock.time();
        Self {
            inner: Arc::new(Inner {
                clock,
                base,
                zero: OnceLock::new(),
                end: OnceLock::new(),
                limit: OnceLock::new(),
                waiting: Waiting::default(),
            }),
        }
    }

    /// Running time: since this timeline was made.
    #[must_use]
    pub fn now(&self) -> gst::ClockTime {
        self.inner.clock.time().saturating_sub(self.inner.base)
    }

    /// Begins the recording: media time is zero now. A second call changes nothing.
    pub fn begin(&self) {
        self.begin_at(gst::ClockTime::MAX);
    }

    /// As [`Timeline::begin`], from a moment of running time that is past: media time was zero
    /// then.
    pub fn begin_at(&self, running: gst::ClockTime) {
        self.inner.zero.get_or_init(|| {
            let (now, wall) = (self.now(), jiff::Timestamp::now());
            let running = running.min(now);
            let ago = std::time::Duration::from(now.saturating_sub(running));
            Zero { running, wall: wall.checked_sub(ago).unwrap_or(wall) }
        });
        // Zero is set before the list is taken, and `on_begin` looks at zero under the list's lock:
        // nobody is missed.
        let waiting =
            std::mem::take(&mut *self.inner.waiting.0.lock().unwrap_or_else(PoisonError::into_inner));
        for call in waiting {
            call();
        }
    }

    /// The running time at which the recording began: zero of media time. `None` before.
    #[must_use]
    pub fn begun(&self) -> Option<gst::ClockTime> {
        self.inner.zero.get().map(|zero| zero.running)
    }

    /// Calls once when the recording begins (on the thread that begins it), or at once when it
    /// already has. The call only wakes somebody up: it must not block.
    pub fn on_begin(&self, call: impl FnOnce() + Send + 'static) {
        let mut waiting = self.inner.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.zero.get().is_none() {
            waiting.push(Box::new(call));
            return;
        }
        drop(waiting);
        call();
    }

    /// Ends the recording and returns its length: later frames are outside of it. A second call
    /// changes nothing. A recording that never began has length zero.
    pub fn end(&self) -> gst::ClockTime {
        self.end_by(gst::ClockTime::MAX)
    }

    /// As [`Timeline::end`], with no more than this length: a recording whose length was asked for
    /// ends there, however late its end was noticed.
    pub fn end_by(&self, length: gst::ClockTime) -> gst::ClockTime {
        *self.inner.end.get_or_init(|| self.elapsed_unbounded().unwrap_or(gst::ClockTime::ZERO).min(length))
    }

    /// The recording will end by this length: nothing later has a place in it, also before its end
    /// is noticed. A second call changes nothing.
    pub fn limit(&self, length: gst::ClockTime) {
        self.inner.limit.get_or_init(|| length);
    }

    /// From where on nothing has a place in the recording, as far as that is known.
    #[must_use]
    pub fn bound(&self) -> Option<gst::ClockTime> {
        self.ended().or_else(|| self.inner.limit.get().copied())
    }

    /// Media time now; `None` before the recording began; its length after it ended.
    #[must_use]
    pub fn elapsed(&self) -> Option<gst::ClockTime> {
        self.inner.end.get().copied().or_else(|| self.elapsed_unbounded())
    }

    /// The length of the recording, once it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<gst::ClockTime> {
        self.inner.end.get().copied()
    }

    /// Media time of a moment of running time; `None` before the start and from the end on.
    #[must_use]
    pub fn place(&self, running: gst::ClockTime) -> Option<gst::ClockTime> {
        let media = running.checked_sub(self.inner.zero.get()?.running)?;
        self.bound().is_none_or(|end| media < end).then_some(media)
    }

    /// Media time of a past moment, clamped to the recording; `None` before the start.
    #[must_use]
    pub fn media_at(&self, moment: std::time::Instant) -> Option<std::time::Duration> {
        let running = std::time::Duration::from(self.now()).saturating_sub(moment.elapsed());
        let media = running.saturating_sub(self.begun()?.into());
        Some(self.ended().map_or(media, |length| media.min(length.into())))
    }

    /// The wall clock's date of a moment of media time; `None` before the recording began.
    #[must_use]
    pub fn wall(&self, media: gst::ClockTime) -> Option<jiff::Timestamp> {
        let zero = self.inner.zero.get()?;
        zero.wall.checked_add(std::time::Duration::from(media)).ok()
    }

    /// Puts a live pipeline (a capture) on this clock, so that the buffers it makes carry our
    /// running time.
    pub fn drive(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.inner.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.inner.base);
    }

    fn elapsed_unbounded(&self) -> Option<gst::ClockTime> {
        self.inner.zero.get().map(|zero| self.now().saturating_sub(zero.running))
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_only_what_lies_inside_the_recording() {
        super::super::init().unwrap();
        let timeline = Timeline::new();
        let before = timeline.now();
        assert_eq!(timeline.place(before), None);
        timeline.begin();
        let inside = timeline.now();
        assert!(timeline.place(inside).is_some());
        assert_eq!(timeline.place(gst::ClockTime::ZERO), None);
        assert_eq!(timeline.ended(), None);
        let length = timeline.end();
        assert_eq!(timeline.ended(), Some(length));
        assert_eq!(timeline.place(timeline.now() + gst::ClockTime::SECOND), None);
        assert_eq!(timeline.elapsed(), Some(length));
    }

    #[test]
    fn the_beginning_is_told_once_to_those_who_wait_and_to_those_who_come_late() {
        use std::sync::atomic::{AtomicU32, Ordering};
        super::super::init().unwrap();
        let (timeline, told) = (Timeline::new(), Arc::new(AtomicU32::new(0)));
        let tell = |told: &Arc<AtomicU32>| {
            let told = Arc::clone(told);
            move || {
                told.fetch_add(1, Ordering::Relaxed);
            }
        };
        timeline.on_begin(tell(&told));
        assert_eq!((told.load(Ordering::Relaxed), timeline.begun()), (0, None));
        timeline.begin();
        timeline.begin();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        timeline.on_begin(tell(&told));
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert_eq!(timeline.place(timeline.begun().unwrap()), Some(gst::ClockTime::ZERO));
    }
}
