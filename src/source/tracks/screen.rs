//! The one picture of a recording of tracks: which track is shown, decoded and fitted into the recording's size, and paced.
//!
//! ```text
//! frames ─► Choice ─► Decoder ─► Projector ─► Feed(raw video)
//!            which     NV12,       when
//!            track     fitted
//! ```
//!
//! What is shown is black before there is a picture and when there is none any more; a track that merely stalls keeps its last one.

mod colours;
mod decoder;
mod projector;
mod reel;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::choice::{Choice, Verdict};
use super::peer::Frame;
use crate::media::{Feed, Timeline};
use crate::plan::track::PublishedTrack;
use crate::source::pacing::{Format, FormatError};
use crate::source::{CaptureCounters, Pacing};
use decoder::Decoder;
use projector::Projector;

/// A decoder holds some pictures, and the projector takes what it gives at twice the speed.
const EMPTY_WITHIN: Duration = Duration::from_secs(4);

/// Why pictures of tracks can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("no thread for the recording's pictures: raise the limit of processes")]
    Thread { source: std::io::Error },
}

/// Shows one of several tracks at a time. To be used on the room's task; it blocks for no longer than it takes to set up a decoder.
#[derive(Debug)]
pub(super) struct Screen {
    timeline: Timeline,
    format: Format,
    choice: Choice,
    decoder: Option<Decoder>,
    projector: Projector,
    /// Decoders that are emptied.
    tasks: TaskTracker,
    /// Sids of tracks that can't be shown before their next key frame.
    key_frames: Vec<String>,
}

impl Screen {
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
    ) -> Result<Self, ScreenError> {
        let format = Format::new(width, height, pacing.fps)?;
        let projector = Projector::start(feed, format.clone(), pacing, counters, timeline.clone())?;
        Ok(Self {
            timeline,
            format,
            choice: Choice::default(),
            decoder: None,
            projector,
            tasks: TaskTracker::new(),
            key_frames: Vec::new(),
        })
    }

    /// A track that may be shown.
    pub(super) fn add(&mut self, track: &PublishedTrack) {
        self.choice.add(&track.sid, track.is_muted, self.now());
        self.look();
    }

    pub(super) fn muted(&mut self, sid: &str, muted: bool) {
        self.choice.muted(sid, muted, self.now());
        self.look();
    }

    /// It is no longer published.
    pub(super) fn remove(&mut self, sid: &str) {
        self.choice.remove(sid, self.now());
        self.look();
    }

    /// A frame of a track, in its order, `at` this media time.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) {
        self.look_after_decoder();
        let is_other = self.decoder.as_ref().is_some_and(|decoder| decoder.codec() != frame.codec);
        match self.choice.frame(&frame.track, frame.is_key, frame.is_contiguous, at) {
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
        self.look();
    }

    /// Time goes on, also when nothing comes.
    pub(super) fn advance(&mut self) {
        self.look_after_decoder();
    }

    /// Tracks that can't be shown before their next key frame, each once.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        self.key_frames.append(&mut self.choice.take_wanted());
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
        self.projector.finish().await;
    }

    /// Starts decoding anew, with this key frame.
    fn switch(&mut self, frame: &Frame, at: Duration) {
        tracing::info!(track = %frame.track, codec = %frame.codec, "shown");
        self.retire(Some(at));
        match Decoder::start(frame.codec, &self.format, self.projector.outlet()) {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) => {
                tracing::error!(track = %frame.track, %error, "it can't be shown");
                self.choice.failed(at);
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

    fn look_after_decoder(&mut self) {
        if let Some(why) = self.decoder.as_ref().and_then(Decoder::failure) {
            self.give_up_decoder(&why);
        }
    }

    /// The track is shown again from its next key frame on.
    fn give_up_decoder(&mut self, why: &str) {
        tracing::warn!(why, "decoding is begun anew");
        self.retire(None);
        self.choice.failed(self.now());
        self.look();
    }

    /// Does what the choice wants.
    fn look(&mut self) {
        if !self.choice.shows() {
            self.retire(None);
        }
        self.projector.expect(self.choice.shows(), self.choice.blank_at());
    }

    fn now(&self) -> Duration {
        self.timeline.elapsed().map(Duration::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
