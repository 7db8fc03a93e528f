//! From a feed into a pipeline: an `appsrc` with a bound, and a rule for what happens at the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::element::{MissingElement, make};
use super::feed::FeedConsumer;
use super::keyframes::KeyFrames;

/// Behaviour of an [`Intake`] when its queue is full. Each refused sample is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Drop this sample (raw video: the next frame replaces it; audio: the gap is filled
    /// downstream).
    Skip { max_buffers: u64 },
    /// Leave out everything up to the next key frame, so that what follows can be decoded (encoded
    /// video and its sound).
    SkipToKeyFrame { max_time: gst::ClockTime },
    /// Take it all the same up to `max_bytes`: for files, where a slow disk must not lose a frame.
    /// Beyond that, leave out everything up to the next key frame, as above.
    Hold { max_bytes: u64 },
}

impl Overflow {
    /// Whether what follows a sample that was left out is of no use before the next key frame.
    const fn needs_key_frame(self) -> bool {
        match self {
            Self::Skip { .. } => false,
            Self::SkipToKeyFrame { .. } | Self::Hold { .. } => true,
        }
    }
}

/// The taker that puts samples into an `appsrc`. The `appsrc` never blocks, is not live, and
/// carries media time.
#[derive(Debug)]
pub struct Intake {
    src: gst_app::AppSrc,
    overflow: Overflow,
    skipping: bool,
    key_frames: KeyFrames,
    /// A key frame is to be asked for when there is room again.
    must_ask: bool,
    dropped: Arc<AtomicU64>,
}

impl Intake {
    /// An intake and the `appsrc` to put into a pipeline. With `from_key_frame` nothing passes
    /// before the first key frame: for takers that attach while the feed runs.
    ///
    /// # Errors
    /// When GStreamer has no `appsrc`.
    pub fn new(name: &str, overflow: Overflow, from_key_frame: bool) -> Result<Self, MissingElement> {
        let element = make("appsrc")?;
        let src = element.downcast::<gst_app::AppSrc>().map_err(|_| MissingElement {
            element: "appsrc".to_owned(),
            package: "gstreamer1.0-plugins-base",
        })?;
        src.set_property("name", name);
        src.set_format(gst::Format::Time);
        src.set_is_live(false);
        src.set_block(false);
        src.set_max_bytes(0);
        src.set_max_buffers(0);
        src.set_max_time(gst::ClockTime::ZERO);
        let key_frames = KeyFrames::none();
        Ok(Self {
            src,
            overflow,
            skipping: from_key_frame,
            key_frames,
            must_ask: false,
            dropped: Arc::default(),
        })
    }

    /// Asks for a key frame after an overflow: for video that has none by itself.
    #[must_use]
    pub fn asking(mut self, key_frames: KeyFrames) -> Self {
        self.key_frames = key_frames;
        self
    }

    /// The element to add to a pipeline and link.
    #[must_use]
    pub fn element(&self) -> &gst::Element {
        self.src.upcast_ref()
    }

    #[must_use]
    pub const fn app_src(&self) -> &gst_app::AppSrc {
        &self.src
    }

    /// How many samples were left out so far; goes on counting after the intake was given to a
    /// feed.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    fn is_full(&self) -> bool {
        match self.overflow {
            Overflow::Skip { max_buffers } => self.src.current_level_buffers() >= max_buffers,
            Overflow::SkipToKeyFrame { max_time } => self.src.current_level_time() >= max_time,
            Overflow::Hold { max_bytes } => self.src.current_level_bytes() >= max_bytes,
        }
    }
}

/// A buffer that says that nothing comes for its duration, as an event: a muxer then does not wait
/// for it.
fn gap(buffer: &gst::BufferRef) -> Option<gst::Event> {
    let is_gap = buffer.size() == 0 && buffer.flags().contains(gst::BufferFlags::GAP);
    let (at, duration) = buffer.pts().filter(|_| is_gap).zip(buffer.duration())?;
    Some(gst::event::Gap::builder(at).duration(duration).build())
}

impl FeedConsumer for Intake {
    fn take(&mut self, sample: &gst::Sample) {
        let is_key =
            sample.buffer().is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
        if let Some(gap) = sample.buffer().and_then(gap) {
            if !self.skipping && !self.src.send_event(gap) {
                tracing::trace!(element = %self.src.name(), "a gap was refused");
            }
            return;
        }
        let was_skipping = self.skipping;
        if self.skipping && is_key {
            self.skipping = false;
            self.must_ask = false;
        }
        if self.is_full() {
            self.skipping = self.overflow.needs_key_frame();
            self.must_ask = self.skipping;
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(element = %self.src.name(), overflow = ?self.overflow, "queue is full, samples are dropped");
            }
            return;
        }
        if self.skipping {
            if std::mem::take(&mut self.must_ask) {
                self.key_frames.request();
            }
            // Before the first key frame nothing is lost; after an overflow each frame left out is.
            if was_skipping && self.dropped.load(Ordering::Relaxed) > 0 {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // An error here means that the pipeline is flushing or has failed; its bus says so to the
        // one who owns it.
        if self.src.push_sample(sample).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&mut self) {
        // As above: a pipeline that refuses the end has already told its bus why.
        if let Err(error) = self.src.end_of_stream() {
            tracing::debug!(element = %self.src.name(), ?error, "end of stream refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, is_key: bool, bytes: usize) -> gst::Sample {
        let mut buffer = gst::Buffer::from_slice(vec![0u8; bytes]);
        let head = buffer.get_mut().unwrap();
        head.set_pts(gst::ClockTime::from_mseconds(number));
        if !is_key {
            head.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        gst::Sample::builder().buffer(&buffer).build()
    }

    fn number(sample: &gst::Sample) -> u64 {
        sample.buffer().unwrap().pts().unwrap().mseconds()
    }

    #[test]
    fn what_follows_an_overflow_of_a_file_begins_with_a_key_frame() {
        super::super::init().unwrap();
        let asked = Arc::<AtomicU64>::default();
        let asks = Arc::clone(&asked);
        let key_frames = KeyFrames::new(move || {
            asks.fetch_add(1, Ordering::Relaxed);
        });
        let intake = Intake::new("in", Overflow::Hold { max_bytes: 1000 }, false).unwrap();
        let mut intake = intake.asking(key_frames);
        let (pipeline, sink) = (gst::Pipeline::new(), make("appsink").unwrap());
        sink.set_property("sync", false);
        pipeline.add_many([intake.element(), &sink]).unwrap();
        intake.element().link(&sink).unwrap();
        // Nobody takes anything yet: ten frames of 100 bytes fit.
        for number in 0..15 {
            intake.take(&sample(number, number == 0, 100));
        }
        assert_eq!(intake.dropped().load(Ordering::Relaxed), 5);
        assert_eq!(asked.load(Ordering::Relaxed), 0, "there is no room for one");
        pipeline.set_state(gst::State::Playing).unwrap();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        let held: Vec<u64> = (0..10).map(|_| number(&sink.pull_sample().unwrap())).collect();
        assert_eq!(held, (0..10).collect::<Vec<_>>());
        // There is room again, and nothing to do with it before the key frame.
        for number in 15..25 {
            intake.take(&sample(number, number == 20, 100));
        }
        intake.end();
        let rest: Vec<u64> = std::iter::from_fn(|| sink.pull_sample().ok()).map(|it| number(&it)).collect();
        assert_eq!(rest, (20..25).collect::<Vec<_>>());
        assert_eq!(intake.dropped().load(Ordering::Relaxed), 10);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
