//! How far a feed has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;

use super::{Attachment, Feed, FeedConsumer};

/// Nothing has come yet. No buffer is half a millennium into its recording.
const NOTHING: u64 = u64::MAX;

/// The newest time on a feed. It keeps nothing of what passes.
#[derive(Debug)]
pub struct Watermark {
    newest: Arc<AtomicU64>,
    _attachment: Attachment,
}

impl Watermark {
    /// Watches a feed from now on.
    #[must_use]
    pub fn of(feed: &Feed) -> Self {
        let newest = Arc::new(AtomicU64::new(NOTHING));
        let attachment = feed.attach(Box::new(Mark(Arc::clone(&newest))));
        Self { newest, _attachment: attachment }
    }

    /// Media time of the newest buffer; `None`: none came.
    #[must_use]
    pub fn newest(&self) -> Option<gst::ClockTime> {
        Some(self.newest.load(Ordering::Relaxed))
            .filter(|newest| *newest != NOTHING)
            .map(gst::ClockTime::from_nseconds)
    }
}

struct Mark(Arc<AtomicU64>);

impl FeedConsumer for Mark {
    fn take(&mut self, sample: &gst::Sample) {
        if let Some(pts) = sample.buffer().and_then(gst::BufferRef::pts) {
            self.0.store(pts.nseconds(), Ordering::Relaxed);
        }
    }

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_time_counts() {
        crate::media::init().unwrap();
        let feed = Feed::new("test");
        let mark = Watermark::of(&feed);
        assert_eq!(mark.newest(), None);
        for seconds in [1, 3] {
            let mut buffer = gst::Buffer::new();
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(seconds));
            feed.push(&gst::Sample::builder().buffer(&buffer).build());
            assert_eq!(mark.newest(), Some(gst::ClockTime::from_seconds(seconds)));
        }
        feed.push(&gst::Sample::builder().build());
        assert_eq!(mark.newest(), Some(gst::ClockTime::from_seconds(3)), "it had no time");
    }
}
