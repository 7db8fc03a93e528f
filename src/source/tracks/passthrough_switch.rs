//! Pictures of one of several tracks into a feed as they were published: of a participant whose tracks come and go.
//!
//! ```text
//! frames ─► VideoSelector ─► Passthrough ─► Feed(H.264 …)
//!            which
//!            track
//! ```
//!
//! Where there is none, the last picture stands. A track of another codec than the first one's can't go on in the same file: it is left
//! out, and that is told.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::TracksError;
use super::codec::TrackCodec;
use super::passthrough::Passthrough;
use super::peer::Frame;
use super::video_selector::{Verdict, VideoSelector};
use crate::media::Timeline;
use crate::plan::track::PublishedTrack;
use crate::source::SourceEvent;

#[derive(Debug)]
pub(super) struct PassthroughSwitch {
    passthrough: Passthrough,
    selector: VideoSelector,
    timeline: Timeline,
    events: UnboundedSender<SourceEvent>,
}

impl PassthroughSwitch {
    pub(super) fn new(
        passthrough: Passthrough,
        timeline: Timeline,
        events: UnboundedSender<SourceEvent>,
    ) -> Self {
        Self { passthrough, selector: VideoSelector::default(), timeline, events }
    }

    /// A track that may be shown.
    pub(super) fn add(&mut self, track: &PublishedTrack) {
        self.selector.add(&track.sid, track.is_muted, self.now());
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        self.selector.set_muted(sid, muted, self.now());
    }

    /// It is no longer published.
    pub(super) fn remove(&mut self, sid: &str) {
        self.selector.remove(sid, self.now());
    }

    /// A frame of a track, in its order, `at` this media time.
    ///
    /// # Errors
    /// As [`Passthrough::frame`].
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        if let Some(first) = self.passthrough.codec().filter(|first| *first != frame.codec) {
            self.leave_out(frame, first, at);
            return Ok(());
        }
        match self.selector.frame(&frame.track, frame.is_key, frame.is_contiguous, at) {
            Verdict::Ignore => return Ok(()),
            Verdict::Switch => self.passthrough.mark_discontinuity(),
            Verdict::Decode => {}
        }
        self.passthrough.frame(frame, at)
    }

    pub(super) const fn mark_discontinuity(&mut self) {
        self.passthrough.mark_discontinuity();
    }

    /// As [`Passthrough::pass`].
    pub(super) fn pass(&mut self, until: Duration) {
        self.passthrough.pass(until);
    }

    /// Tracks that can't go on before their next key frame, each once.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        self.selector.take_wanted()
    }

    /// The lane, to be emptied.
    pub(super) fn into_lane(self) -> Passthrough {
        self.passthrough
    }

    /// Once for each track.
    fn leave_out(&mut self, frame: &Frame, first: TrackCodec, at: Duration) {
        if !self.selector.knows(&frame.track) {
            return;
        }
        self.selector.remove(&frame.track, at);
        let what = format!("track {}", frame.track);
        let why = format!(
            "its codec is {}, and a file of {first} as it was published holds nothing else",
            frame.codec
        );
        if self.events.send(SourceEvent::Lacking { what, why }).is_err() {
            tracing::debug!("nobody listens to the source any more");
        }
    }

    fn now(&self) -> Duration {
        self.timeline.elapsed().map(Duration::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
