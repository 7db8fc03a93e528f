//! From a feed into a pipeline: an `appsrc` with a bound, and a rule for what happens at the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::element::{MissingElement, make};
use super::feed::Taker;

/// What an [`Intake`] does with a sample when its queue is at the bound. Each refused sample is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Leave this sample out (raw pictures: the next one replaces it; sound: a gap is filled downstream).
    Skip { max_buffers: u64 },
    /// Leave out everything up to the next key frame, so that what follows can be decoded (encoded video and its sound).
    SkipToKeyFrame { max_time: gst::ClockTime },
    /// Take it all the same up to `max_bytes`, then refuse: for files, where a slow disk must not lose a frame.
    Hold { max_bytes: u64 },
}

/// The taker that puts samples into an `appsrc`. The `appsrc` never blocks, is not live, and carries media time.
#[derive(Debug)]
pub struct Intake {
    src: gst_app::AppSrc,
    overflow: Overflow,
    skipping: bool,
    dropped: Arc<AtomicU64>,
}

impl Intake {
    /// An intake and the `appsrc` to put into a pipeline. With `from_key_frame` nothing passes before the first key
    /// frame: for takers that attach while the feed runs.
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
        Ok(Self { src, overflow, skipping: from_key_frame, dropped: Arc::default() })
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

    /// How many samples were left out so far; goes on counting after the intake was given to a feed.
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

/// A buffer that says that nothing comes for its duration, as an event: a muxer then does not wait for it.
fn gap(buffer: &gst::BufferRef) -> Option<gst::Event> {
    let is_gap = buffer.size() == 0 && buffer.flags().contains(gst::BufferFlags::GAP);
    let (at, duration) = buffer.pts().filter(|_| is_gap).zip(buffer.duration())?;
    Some(gst::event::Gap::builder(at).duration(duration).build())
}

impl Taker for Intake {
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
        }
        if self.is_full() {
            self.skipping = matches!(self.overflow, Overflow::SkipToKeyFrame { .. });
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.skipping {
            // Before the first key frame nothing is lost; after an overflow each frame left out is.
            if was_skipping && self.dropped.load(Ordering::Relaxed) > 0 {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // An error here means that the pipeline is flushing or has failed; its bus says so to the one who owns it.
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
