//! The one picture of a recording of tracks: which track is shown, decoded and fitted into the recording's size, and paced.
//!
//! ```text
//! frames ─► VideoSelector ─► Decoder ─► PlayoutThread ─► Feed(raw video)
//!            which     NV12,       when
//!            track     fitted
//! ```
//!
//! What is shown is black before there is a picture and when there is none any more; a track that merely stalls keeps its last one.

mod colorimetry;
mod decoder;
mod playout;
mod playout_thread;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::peer::Frame;
use super::video_selector::{Verdict, VideoSelector};
use crate::media::{Feed, Timeline};
use crate::plan::track::PublishedTrack;
use crate::source::pacing::{Format, FormatError};
use crate::source::{CaptureCounters, Pacing};
use decoder::Decoder;
use playout_thread::PlayoutThread;

/// A decoder holds some pictures, and the projector takes what it gives at twice the speed.
const EMPTY_WITHIN: Duration = Duration::from_secs(4);

/// Why pictures of tracks can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum SingleViewError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("no thread for the recording's pictures: raise the limit of processes")]
    Thread { source: std::io::Error },
}

/// Shows one of several tracks at a time. To be used on the room's task; it blocks for no longer than it takes to set up a decoder.
#[derive(Debug)]
pub(super) struct SingleView {
    timeline: Timeline,
    format: Format,
    selector: VideoSelector,
    decoder: Option<Decoder>,
    playout_thread: PlayoutThread,
    /// Decoders that are emptied.
    tasks: TaskTracker,
    /// Sids of tracks that can't be shown before their next key frame.
    key_frames: Vec<String>,
}

impl SingleView {
    /// A black screen of this size in pixels, both even, that fills `feed` from the recording's beginning on.
    ///
    /// # Errors
    /// When there is no such size, or no thread to be had.
    pub(super) fn new(
        feed: Feed,
        (width, height): (u32, u32),
        pacing: Pacing,
        counters: Arc<CaptureCounters>,
        timeline: Timeline,
    ) -> Result<Self, SingleViewError> {
        let format = Format::new(width, height, pacing.fps)?;
        let playout_thread = PlayoutThread::start(feed, format.clone(), pacing, counters, timeline.clone())?;
        Ok(Self {
            timeline,
            format,
            selector: VideoSelector::default(),
            decoder: None,
            playout_thread,
            tasks: TaskTracker::new(),
            key_frames: Vec::new(),
        })
    }

    /// A track that may be shown.
    pub(super) fn add(&mut self, track: &PublishedTrack) {
        self.selector.add(&track.sid, track.is_muted, self.now());
        self.update();
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        self.selector.set_muted(sid, muted, self.now());
        self.update();
    }

    /// It is no longer published.
    pub(super) fn remove(&mut self, sid: &str) {
        self.selector.remove(sid, self.now());
        self.update();
    }

    /// A frame of a track, in its order, `at` this media time.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) {
        self.tend_decoder();
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
            self.give_up_decoder("it can't keep up");
        }
        self.update();
    }

    /// Time goes on, also when nothing comes.
    pub(super) fn advance(&mut self) {
        self.tend_decoder();
    }

    /// Tracks that can't be shown before their next key frame, each once.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        self.key_frames.append(&mut self.selector.take_wanted());
        std::mem::take(&mut self.key_frames)
    }

    /// Shows what is on its way, and ends the feed. To be called after [`Timeline::end`].
    pub(super) async fn finish(mut self) {
        if let Some(decoder) = self.decoder.take() {
            self.tasks.spawn_blocking(move || decoder.empty(EMPTY_WITHIN));
        }
        self.tasks.close();
        // Each of them has a deadline.
        self.tasks.wait().await;
        self.playout_thread.finish().await;
    }

    /// Starts decoding anew, with this key frame.
    fn switch(&mut self, frame: &Frame, at: Duration) {
        tracing::info!(track = %frame.track, codec = %frame.codec, "shown");
        self.retire(Some(at));
        match Decoder::start(frame.codec, &self.format, self.playout_thread.outlet()) {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) => {
                tracing::error!(track = %frame.track, %error, "it can't be shown");
                self.selector.on_decoder_failed(at);
            }
        }
    }

    /// Lets the decoder come to its end. What it has from `until` on is not shown.
    fn retire(&mut self, until: Option<Duration>) {
        if let Some(decoder) = self.decoder.take() {
            if let Some(until) = until {
                decoder.until(until);
            }
            self.tasks.spawn_blocking(move || decoder.empty(EMPTY_WITHIN));
        }
    }

    fn tend_decoder(&mut self) {
        if let Some(why) = self.decoder.as_ref().and_then(Decoder::failure) {
            self.give_up_decoder(&why);
        }
    }

    /// The track is shown again from its next key frame on.
    fn give_up_decoder(&mut self, why: &str) {
        tracing::warn!(why, "decoding is begun anew");
        self.retire(None);
        self.selector.on_decoder_failed(self.now());
        self.update();
    }

    /// Does what the choice wants.
    fn update(&mut self) {
        if !self.selector.shows() {
            self.retire(None);
        }
        self.playout_thread.expect(self.selector.shows(), self.selector.blank_at());
    }

    fn now(&self) -> Duration {
        self.timeline.elapsed().map(Duration::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
