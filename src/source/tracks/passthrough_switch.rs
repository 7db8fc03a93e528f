//! Writes one of several video tracks at a time into a feed, as they were published: for a
//! participant whose tracks come and go.
//!
//! ```text
//! frames ─► VideoSelector ─► Passthrough ─► Feed(H.264 …)
//!            which
//!            track
//! ```
//!
//! While no track is there, the last frame stands. A file can't hold a second codec: a track of
//! another codec than the first one's is left out, and that is reported.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::codec::TrackCodec;
use super::error::TracksError;
use super::passthrough::Passthrough;
use super::peer::Frame;
use super::render::video_selector::{Verdict, VideoSelector};
use crate::plan::track::PublishedTrack;
use crate::source::SourceEvent;

#[derive(Debug)]
pub(super) struct PassthroughSwitch {
    passthrough: Passthrough,
    selector: VideoSelector,
    events: UnboundedSender<SourceEvent>,
}

impl PassthroughSwitch {
    pub(super) fn new(passthrough: Passthrough, events: UnboundedSender<SourceEvent>) -> Self {
        Self { passthrough, selector: VideoSelector::default(), events }
    }

    /// Adds a track that may be shown.
    pub(super) fn add(&mut self, track: &PublishedTrack, now: Duration) {
        self.selector.add(&track.sid, track.is_muted, now);
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool, now: Duration) {
        self.selector.set_muted(sid, muted, now);
    }

    /// Removes a track that is no longer published.
    pub(super) fn remove(&mut self, sid: &str, now: Duration) {
        self.selector.remove(sid, now);
    }

    /// Takes a frame with its media time `at`. The frames of one track come in decoding order.
    ///
    /// # Errors
    /// The errors of [`Passthrough::frame`].
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

    /// Pushes a gap; see [`Passthrough::mark_gap`].
    pub(super) fn mark_gap(&mut self, until: Duration) {
        self.passthrough.mark_gap(until);
    }

    /// Returns the sids of tracks that can't go on before their next key frame, each once.
    pub(super) fn take_key_frame_requests(&mut self) -> Vec<String> {
        self.selector.take_key_frame_requests()
    }

    pub(super) fn into_passthrough(self) -> Passthrough {
        self.passthrough
    }

    /// Reports each track once.
    fn leave_out(&mut self, frame: &Frame, first: TrackCodec, at: Duration) {
        if !self.selector.knows(&frame.track) {
            return;
        }
        self.selector.remove(&frame.track, at);
        let what = format!("track {}", frame.track);
        let why =
            format!("its codec is {}; this file was begun with {first} and holds one codec", frame.codec);
        if self.events.send(SourceEvent::Lacking { what, why }).is_err() {
            tracing::debug!("source event dropped: recording already ended");
        }
    }
}

#[cfg(test)]
mod tests;
