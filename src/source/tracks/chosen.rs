//! Pictures of one of several tracks into a feed as they were published: of a participant whose tracks come and go.
//!
//! ```text
//! frames ─► Choice ─► Lane ─► Feed(H.264 …)
//!            which
//!            track
//! ```
//!
//! Where there is none, the last picture stands. A track of another codec than the first one's can't go on in the same file: it is left
//! out, and that is told.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::TracksError;
use super::choice::{Choice, Verdict};
use super::codec::TrackCodec;
use super::lane::Lane;
use super::peer::Frame;
use crate::media::Timeline;
use crate::plan::track::PublishedTrack;
use crate::source::SourceEvent;

#[derive(Debug)]
pub(super) struct Chosen {
    lane: Lane,
    choice: Choice,
    timeline: Timeline,
    events: UnboundedSender<SourceEvent>,
}

impl Chosen {
    pub(super) fn new(lane: Lane, timeline: Timeline, events: UnboundedSender<SourceEvent>) -> Self {
        Self { lane, choice: Choice::default(), timeline, events }
    }

    /// A track that may be shown.
    pub(super) fn add(&mut self, track: &PublishedTrack) {
        self.choice.add(&track.sid, track.is_muted, self.now());
    }

    pub(super) fn muted(&mut self, sid: &str, muted: bool) {
        self.choice.muted(sid, muted, self.now());
    }

    /// It is no longer published.
    pub(super) fn remove(&mut self, sid: &str) {
        self.choice.remove(sid, self.now());
    }

    /// A frame of a track, in its order, `at` this media time.
    ///
    /// # Errors
    /// As [`Lane::frame`].
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        if let Some(first) = self.lane.codec().filter(|first| *first != frame.codec) {
            self.leave_out(frame, first, at);
            return Ok(());
        }
        match self.choice.frame(&frame.track, frame.is_key, frame.is_contiguous, at) {
            Verdict::Ignore => return Ok(()),
            Verdict::Switch => self.lane.is_broken(),
            Verdict::Decode => {}
        }
        self.lane.frame(frame, at)
    }

    pub(super) const fn is_broken(&mut self) {
        self.lane.is_broken();
    }

    /// As [`Lane::pass`].
    pub(super) fn pass(&mut self, until: Duration) {
        self.lane.pass(until);
    }

    /// Tracks that can't go on before their next key frame, each once.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        self.choice.take_wanted()
    }

    /// The lane, to be emptied.
    pub(super) fn into_lane(self) -> Lane {
        self.lane
    }

    /// Once for each track.
    fn leave_out(&mut self, frame: &Frame, first: TrackCodec, at: Duration) {
        if !self.choice.knows(&frame.track) {
            return;
        }
        self.choice.remove(&frame.track, at);
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
