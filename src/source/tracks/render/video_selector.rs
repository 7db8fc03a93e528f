//! Selects which of several video tracks is shown. Pure: times are media time.
//!
//! The newest track that is not muted is shown, from its first key frame on. A track is new when it
//! is published, and again when it is unmuted; until its key frame, the track before it is shown.
//! When the shown track is muted or removed, another one follows. Without another one the video
//! turns black a moment later, so that nothing flashes between two tracks in succession.

use std::time::Duration;

/// The last frame stands for this long if no track can follow …
const GRACE: Duration = Duration::from_millis(300);
/// … and for this long if one can: a publisher takes up to a second for a key frame.
const HANDOVER: Duration = Duration::from_secs(2);
/// A key frame of a muted track that comes later than this was sent after the track was unmuted,
/// and the report of that is late.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// After a loss nothing is shown before the next key frame, unless none comes for this long.
const KEY_FRAME_WITHIN: Duration = Duration::from_secs(3);

/// The decision about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::tracks) enum Verdict {
    Ignore,
    /// The frame belongs to the shown track.
    Decode,
    /// Another track, or the same one after an interruption, is shown from this key frame on.
    Switch,
}

#[derive(Debug, Default)]
pub(in crate::source::tracks) struct VideoSelector {
    tracks: Vec<Candidate>,
    turn: u64,
    shown: Option<Shown>,
    /// Time at which the video turns black if no track is shown until then.
    blank_at: Option<Duration>,
    /// Sids of tracks that need a key frame.
    key_frames: Vec<String>,
}

#[derive(Debug)]
struct Candidate {
    sid: String,
    /// The higher, the newer.
    rank: u64,
    /// Since when it is muted.
    muted: Option<Duration>,
}

#[derive(Debug)]
struct Shown {
    sid: String,
    rank: u64,
    /// Since when frames are missing before the next key frame.
    incomplete_since: Option<Duration>,
}

impl VideoSelector {
    pub(in crate::source::tracks) fn add(&mut self, sid: &str, muted: bool, now: Duration) {
        self.tracks.retain(|track| track.sid != sid);
        let muted = muted.then_some(now);
        self.turn += 1;
        self.tracks.push(Candidate { sid: sid.to_owned(), rank: self.turn, muted });
        if muted.is_none() {
            self.hold_on(now);
        }
    }

    pub(in crate::source::tracks) fn set_muted(&mut self, sid: &str, muted: bool, now: Duration) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.sid == sid) else { return };
        if track.muted.is_some() == muted {
            return;
        }
        if muted {
            track.muted = Some(now);
            self.lose(sid, now);
        } else {
            track.muted = None;
            self.turn += 1;
            track.rank = self.turn;
            self.hold_on(now);
        }
    }

    /// Whether the track may be shown.
    pub(in crate::source::tracks) fn knows(&self, sid: &str) -> bool {
        self.tracks.iter().any(|track| track.sid == sid)
    }

    pub(in crate::source::tracks) fn remove(&mut self, sid: &str, now: Duration) {
        self.tracks.retain(|track| track.sid != sid);
        self.lose(sid, now);
    }

    /// Takes a frame. The frames of one track come in decoding order.
    pub(in crate::source::tracks) fn frame(
        &mut self,
        sid: &str,
        is_key: bool,
        is_contiguous: bool,
        at: Duration,
    ) -> Verdict {
        let Some(track) = self.tracks.iter().find(|track| track.sid == sid) else { return Verdict::Ignore };
        if let Some(since) = track.muted {
            if !is_key || at < since + IN_FLIGHT {
                return Verdict::Ignore;
            }
            self.set_muted(sid, false, at);
        }
        let Some(rank) = self.tracks.iter().find(|track| track.sid == sid).map(|track| track.rank) else {
            return Verdict::Ignore;
        };
        match &mut self.shown {
            Some(shown) if shown.sid == sid => shown.verdict(is_key, is_contiguous, at),
            Some(shown) if shown.rank > rank => Verdict::Ignore,
            _ if is_key => {
                self.shown = Some(Shown { sid: sid.to_owned(), rank, incomplete_since: None });
                self.blank_at = None;
                Verdict::Switch
            }
            _ => Verdict::Ignore,
        }
    }

    /// The shown track could not be decoded. It is shown again from its next key frame on.
    pub(in crate::source::tracks) fn on_decoder_failed(&mut self, now: Duration) {
        if let Some(shown) = self.shown.take() {
            self.blank_at = Some(now + HANDOVER);
            self.key_frames.push(shown.sid);
        }
    }

    /// Whether a track is shown.
    pub(in crate::source::tracks) const fn shows(&self) -> bool {
        self.shown.is_some()
    }

    /// Time at which the video turns black if no track is shown until then.
    pub(in crate::source::tracks) const fn blank_at(&self) -> Option<Duration> {
        self.blank_at
    }

    /// Returns the sids of tracks that need a key frame, each once.
    pub(in crate::source::tracks) fn take_key_frame_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.key_frames)
    }

    /// The track can no longer be shown.
    fn lose(&mut self, sid: &str, now: Duration) {
        let was_shown = self.shown.as_ref().is_some_and(|shown| shown.sid == sid);
        let others = || self.tracks.iter().filter(|track| track.muted.is_none());
        let until = now + if others().next().is_some() { HANDOVER } else { GRACE };
        if was_shown {
            self.shown = None;
            self.blank_at = Some(until);
            // Their last key frames were ignored.
            let others: Vec<String> = others().map(|track| track.sid.clone()).collect();
            self.key_frames.extend(others);
        } else if self.shown.is_none() && self.blank_at.is_some_and(|at| at > until) {
            self.blank_at = Some(until);
        }
    }

    /// A track can follow soon: a frame that still stands stays longer.
    fn hold_on(&mut self, now: Duration) {
        if self.shown.is_none() && self.blank_at.is_some_and(|at| at > now) {
            self.blank_at = Some(now + HANDOVER);
        }
    }
}

impl Shown {
    fn verdict(&mut self, is_key: bool, is_contiguous: bool, at: Duration) -> Verdict {
        if is_key {
            self.incomplete_since = None;
        } else if !is_contiguous {
            self.incomplete_since.get_or_insert(at);
        }
        match self.incomplete_since {
            Some(since) if at < since + KEY_FRAME_WITHIN => Verdict::Ignore,
            _ => {
                self.incomplete_since = None;
                Verdict::Decode
            }
        }
    }
}

#[cfg(test)]
mod tests;
