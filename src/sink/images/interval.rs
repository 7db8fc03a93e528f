//! Which of many pictures becomes an image.

use std::time::Duration;

use gstreamer as gst;

use crate::media::{FeedConsumer, Intake, Timeline};

/// Lets through, for each due time (0, the interval, twice the interval, …), the picture that was on the screen then.
///
/// That is the newest one drawn at or before the due time, and it is known when the next one comes: the last picture is
/// kept until then. (A still page repeats its picture only twice a second: the first picture *after* a due time may show
/// what came half a second later.) All other pictures cost a comparison and a reference.
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
                // The recording begins with its first picture, however late that comes; images that nothing could be
                // seen on are left out.
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

/// The same picture with the due time for its time.
fn stamped(picture: &gst::Sample, at: Duration) -> Option<gst::Sample> {
    let mut buffer = picture.buffer_owned()?;
    let stamped = buffer.make_mut();
    stamped.set_pts(gst::ClockTime::try_from(at).ok()?);
    stamped.set_dts(gst::ClockTime::NONE);
    stamped.set_duration(gst::ClockTime::NONE);
    let caps = picture.caps_owned()?;
    Some(gst::Sample::builder().buffer(&buffer).caps(&caps).build())
}
