//! Shows one video track at a time: decodes it, fits it into the recording's size and paces it.
//!
//! ```text
//! frames ─► VideoSelector ─► Decoder ─► PlayoutThread ─► Feed(raw video)
//!            which track     NV12,       when
//!                            fitted
//! ```
//!
//! The video is black before the first frame and while no track can be shown. A track that stalls
//! keeps its last frame.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::decoder::Decoder;
use super::error::RenderError;
use super::playout_thread::PlayoutThread;
use super::video_renderer::VideoRenderer;
use super::video_selector::{Verdict, VideoSelector};
use crate::media::{Feed, Timeline};
use crate::plan::track::PublishedTrack;
use crate::source::pacing::Format;
use crate::source::tracks::peer::Frame;
use crate::source::{CaptureCounters, Pacing};

/// Deadline for a decoder to give its last frames. It holds a few, and they are played out at twice
/// the speed.
const FLUSH_WITHIN: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct SingleView {
    format: Format,
    selector: VideoSelector,
    decoder: Option<Decoder>,
    playout_thread: PlayoutThread,
    /// Flush the decoders of tracks that were shown before.
    flushing: TaskTracker,
}

impl SingleView {
    /// `width` and `height` are in pixels, both even.
    ///
    /// # Errors
    /// If the size is not possible, or the playout thread can't be started.
    pub(super) fn new(
        feed: Feed,
        (width, height): (u32, u32),
        pacing: Pacing,
        counters: Arc<CaptureCounters>,
        timeline: Timeline,
    ) -> Result<Self, RenderError> {
        let format = Format::new(width, height, pacing.fps)?;
        let playout_thread = PlayoutThread::start(feed, format.clone(), pacing, counters, timeline)?;
        Ok(Self {
            format,
            selector: VideoSelector::default(),
            decoder: None,
            playout_thread,
            flushing: TaskTracker::new(),
        })
    }

    /// Starts a new decoder with this key frame.
    fn switch(&mut self, frame: &Frame, at: Duration) {
        tracing::info!(track = %frame.track, codec = %frame.codec, "track shown");
        self.retire_decoder(Some(at));
        match Decoder::start(frame.codec, &self.format, self.playout_thread.queue()) {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) => {
                tracing::error!(track = %frame.track, %error, "decoder could not be started");
                self.selector.on_decoder_failed(at);
            }
        }
    }

    /// Flushes the decoder in the background. Its frames from `until` on are not shown.
    fn retire_decoder(&mut self, until: Option<Duration>) {
        if let Some(decoder) = self.decoder.take() {
            if let Some(until) = until {
                decoder.until(until);
            }
            self.flushing.spawn_blocking(move || decoder.flush(FLUSH_WITHIN));
        }
    }

    fn check_decoder(&mut self, now: Duration) {
        if let Some(why) = self.decoder.as_ref().and_then(Decoder::failure) {
            self.abandon_decoder(&why, now);
        }
    }

    /// The track is shown again from its next key frame on.
    fn abandon_decoder(&mut self, why: &str, now: Duration) {
        tracing::warn!(error = why, "decoder failed; restarting it at the next key frame");
        self.retire_decoder(None);
        self.selector.on_decoder_failed(now);
        self.update();
    }

    /// Carries out what the selector decided.
    fn update(&mut self) {
        if !self.selector.shows() {
            self.retire_decoder(None);
        }
        self.playout_thread.expect(self.selector.shows(), self.selector.blank_at());
    }
}

impl VideoRenderer for SingleView {
    fn add(&mut self, track: &PublishedTrack, now: Duration) {
        self.selector.add(&track.sid, track.is_muted, now);
        self.update();
    }

    fn set_muted(&mut self, sid: &str, muted: bool, now: Duration) {
        self.selector.set_muted(sid, muted, now);
        self.update();
    }

    fn remove(&mut self, sid: &str, now: Duration) {
        self.selector.remove(sid, now);
        self.update();
    }

    fn frame(&mut self, frame: &Frame, at: Duration, now: Duration) {
        self.check_decoder(now);
        let is_other = self.decoder.as_ref().is_some_and(|decoder| decoder.codec() != frame.codec);
        match self.selector.frame(&frame.track, frame.is_key, frame.is_contiguous, at) {
            Verdict::Ignore => return,
            Verdict::Decode if self.decoder.is_some() && !is_other => {}
            Verdict::Decode if !frame.is_key => return,
            Verdict::Decode | Verdict::Switch => self.switch(frame, at),
        }
        if let Some(decoder) = &mut self.decoder
            && !decoder.push(frame, at)
        {
            self.abandon_decoder("too slow", now);
        }
        self.update();
    }

    fn advance(&mut self, now: Duration) {
        self.check_decoder(now);
    }

    fn take_key_frame_requests(&mut self) -> Vec<String> {
        self.selector.take_key_frame_requests()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            if let Some(decoder) = self.decoder.take() {
                self.flushing.spawn_blocking(move || decoder.flush(FLUSH_WITHIN));
            }
            self.flushing.close();
            // Each task has a deadline.
            self.flushing.wait().await;
            self.playout_thread.finish().await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
