//! Makes a medium begin at zero.

use gstreamer as gst;

use crate::media::FeedConsumer;

/// Moves the first sample of a medium to media time zero, and leaves all others at their times.
///
/// `mp4mux` writes fragments that begin at zero whatever the time of their first buffer: a medium
/// that begins 15 ms after the other would be early by 15 ms to its end. Here only the first sample
/// is: the first frame is visible from the beginning, the first 20 ms of audio come a few
/// milliseconds early, and all later samples keep their times.
#[derive(Debug)]
pub(super) struct FromZero<T> {
    inner: T,
    begun: bool,
}

impl<T> FromZero<T> {
    pub(super) const fn new(inner: T) -> Self {
        Self { inner, begun: false }
    }
}

impl<T: FeedConsumer> FeedConsumer for FromZero<T> {
    fn take(&mut self, sample: &gst::Sample) {
        // What says that nothing comes is not what something begins with.
        let is_gap = sample.buffer().is_some_and(|buffer| buffer.flags().contains(gst::BufferFlags::GAP));
        if self.begun || is_gap {
            return self.inner.take(sample);
        }
        self.begun = true;
        match moved_to_zero(sample) {
            Some(moved) => self.inner.take(&moved),
            None => self.inner.take(sample),
        }
    }

    fn end(&mut self) {
        self.inner.end();
    }
}

/// `None` if it is at zero already. The data is shared, not copied.
fn moved_to_zero(sample: &gst::Sample) -> Option<gst::Sample> {
    let mut buffer = sample.buffer_owned()?;
    let pts = buffer.pts().filter(|pts| *pts > gst::ClockTime::ZERO)?;
    let moved = buffer.make_mut();
    moved.set_pts(gst::ClockTime::ZERO);
    moved.set_dts(moved.dts().map(|dts| dts.saturating_sub(pts)));
    moved.set_duration(moved.duration().map(|duration| duration + pts));
    let mut builder = gst::Sample::builder().buffer(&buffer);
    if let Some(caps) = sample.caps() {
        let caps = caps.to_owned();
        builder = builder.caps(&caps);
        return Some(builder.build());
    }
    Some(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Times(Arc<Mutex<Vec<u64>>>);

    impl FeedConsumer for Times {
        fn take(&mut self, sample: &gst::Sample) {
            self.0.lock().unwrap().push(sample.buffer().unwrap().pts().unwrap().mseconds());
        }
        fn end(&mut self) {}
    }

    #[test]
    fn only_the_first_sample_is_moved() {
        crate::media::init().unwrap();
        let times = Times::default();
        let mut taker = FromZero::new(times.clone());
        for at in [15, 36, 57] {
            let mut buffer = gst::Buffer::new();
            buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(at));
            taker.take(&gst::Sample::builder().buffer(&buffer).build());
        }
        assert_eq!(*times.0.lock().unwrap(), [0, 36, 57]);
    }
}
