//! The one clock of a recording.

use std::sync::{Arc, OnceLock};

use gstreamer as gst;
use gstreamer::prelude::*;

/// Time of one recording, shared by everything in it.
///
/// Running time counts from the creation of the timeline, on the system's monotonic clock. Media time counts from
/// [`Timeline::begin`], the moment the recording begins, and stops at [`Timeline::end`]: [`Timeline::place`] turns the
/// one into the other, and answers `None` outside of the recording. Buffers in a [`Feed`](super::Feed) carry media time.
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
        Self { inner: Arc::new(Inner { clock, base, zero: OnceLock::new(), end: OnceLock::new() }) }
    }

    /// Running time: since this timeline was made.
    #[must_use]
    pub fn now(&self) -> gst::ClockTime {
        self.inner.clock.time().saturating_sub(self.inner.base)
    }

    /// Begins the recording: media time is zero now. A second call changes nothing.
    pub fn begin(&self) {
        self.inner.zero.get_or_init(|| Zero { running: self.now(), wall: jiff::Timestamp::now() });
    }

    /// Ends the recording and gives its length: no later picture or sound has a place in it. A second call changes
    /// nothing. A recording that never began has length zero.
    pub fn end(&self) -> gst::ClockTime {
        *self.inner.end.get_or_init(|| self.elapsed_unbounded().unwrap_or(gst::ClockTime::ZERO))
    }

    /// Media time now; `None` before the recording began; its length after it ended.
    #[must_use]
    pub fn elapsed(&self) -> Option<gst::ClockTime> {
        self.inner.end.get().copied().or_else(|| self.elapsed_unbounded())
    }

    /// Where a moment of running time lies in the recording; `None` before it began and from its end on.
    #[must_use]
    pub fn place(&self, running: gst::ClockTime) -> Option<gst::ClockTime> {
        let media = running.checked_sub(self.inner.zero.get()?.running)?;
        match self.inner.end.get() {
            Some(end) if media >= *end => None,
            _ => Some(media),
        }
    }

    /// The wall clock's date of a moment of media time; `None` before the recording began.
    #[must_use]
    pub fn wall(&self, media: gst::ClockTime) -> Option<jiff::Timestamp> {
        let zero = self.inner.zero.get()?;
        zero.wall.checked_add(std::time::Duration::from(media)).ok()
    }

    /// Puts a live pipeline (a capture) on this clock, so that the buffers it makes carry our running time.
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
        let length = timeline.end();
        assert_eq!(timeline.place(timeline.now() + gst::ClockTime::SECOND), None);
        assert_eq!(timeline.elapsed(), Some(length));
    }
}
