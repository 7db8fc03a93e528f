//! Selects the frames that become images.

use std::time::Duration;

use gstreamer as gst;

use crate::media::{FeedConsumer, Intake, Timeline};

/// Passes, for each due time (0, the interval, twice the interval, …), the frame that was visible
/// then.
///
/// That is the newest frame captured at or before the due time, and it is known when the next one
/// arrives: the last frame is kept until then. (A static page repeats its frame only twice per
/// second: the first frame *after* a due time may show a change from half a second later.) All
/// other frames cost a comparison and a reference.
#[derive(Debug)]
pub(super) struct IntervalFilter {
    inner: Intake,
    interval: Duration,
    due: Duration,
    shown: Option<gst::Sample>,
    timeline: Timeline,
}

impl IntervalFilter {
    pub(super) fn new(inner: Intake, interval: Duration, timeline: Timeline) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self { inner, interval, due: Duration::ZERO, shown: None, timeline }
    }

    fn pass(&mut self, picture: &gst::Sample) {
        if let Some(stamped) = stamped(picture, self.due) {
            self.inner.take(&stamped);
        }
        self.due += self.interval;
    }
}

impl FeedConsumer for IntervalFilter {
    fn take(&mut self, sample: &gst::Sample) {
        let Some(time) = sample.buffer().and_then(gst::BufferRef::pts).map(Duration::from) else { return };
        while self.due < time {
            match self.shown.clone() {
                Some(shown) => self.pass(&shown),
                // The recording begins with its first frame, however late; due times before it have
                // no image.
                None if self.due.is_zero() => self.pass(sample),
                None => self.due += self.interval,
            }
        }
        if self.due == time {
            self.pass(sample);
        }
        self.shown = Some(sample.clone());
    }

    fn end(&mut self) {
        let end = self.timeline.elapsed().map_or(Duration::ZERO, Duration::from);
        while self.due < end
            && let Some(shown) = self.shown.clone()
        {
            self.pass(&shown);
        }
        self.shown = None;
        self.inner.end();
    }
}

/// The same frame with the due time as its time.
fn stamped(picture: &gst::Sample, at: Duration) -> Option<gst::Sample> {
    let mut buffer = picture.buffer_owned()?;
    let stamped = buffer.make_mut();
    stamped.set_pts(gst::ClockTime::try_from(at).ok()?);
    stamped.set_dts(gst::ClockTime::NONE);
    stamped.set_duration(gst::ClockTime::NONE);
    let caps = picture.caps_owned()?;
    Some(gst::Sample::builder().buffer(&buffer).caps(&caps).build())
}
