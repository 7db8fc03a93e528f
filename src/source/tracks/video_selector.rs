//! Which of several tracks is shown. Pure: times are media time.
//!
//! The newest one that is not muted is, from its first key frame on: a track is new when it comes, and again when it is un-muted.
//! Until then the one before it is. When the one that is shown is muted or gone, another one is; when there is none, the screen
//! turns black a moment later, so that nothing flashes between two that follow one another.

use std::time::Duration;

/// The last picture stands for so long where nothing else is to come …
const GRACE: Duration = Duration::from_millis(300);
/// … and for so long where something is: a publisher takes up to a second for a key frame.
const HANDOVER: Duration = Duration::from_secs(2);
/// A key frame of a muted track that comes later than this was not under way when it was muted: word that it is un-muted is late.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// After a loss nothing is shown before the next key frame, unless none comes for so long.
const KEY_FRAME_WITHIN: Duration = Duration::from_secs(3);

/// What is to be done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ignore,
    /// It belongs to the track that is shown.
    Decode,
    /// From this key frame on another track is shown, or the same one anew.
    Switch,
}

#[derive(Debug, Default)]
pub(super) struct VideoSelector {
    tracks: Vec<Candidate>,
    turn: u64,
    shown: Option<Shown>,
    /// When the screen turns black if nothing is shown until then.
    blank_at: Option<Duration>,
    /// Tracks of which a key frame is wanted.
    wanted: Vec<String>,
}

#[derive(Debug)]
struct Candidate {
    sid: String,
    /// The higher, the newer.
    rank: u64,
    /// Since when.
    muted: Option<Duration>,
}

#[derive(Debug)]
struct Shown {
    sid: String,
    rank: u64,
    /// Since when frames are missing.
    broken: Option<Duration>,
}

impl VideoSelector {
    pub(super) fn add(&mut self, sid: &str, muted: bool, now: Duration) {
        self.tracks.retain(|track| track.sid != sid);
        let muted = muted.then_some(now);
        self.turn += 1;
        self.tracks.push(Candidate { sid: sid.to_owned(), rank: self.turn, muted });
        if muted.is_none() {
            self.hold_on(now);
        }
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool, now: Duration) {
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

    /// Whether it is one of those that may be shown.
    pub(super) fn knows(&self, sid: &str) -> bool {
        self.tracks.iter().any(|track| track.sid == sid)
    }

    pub(super) fn remove(&mut self, sid: &str, now: Duration) {
        self.tracks.retain(|track| track.sid != sid);
        self.lose(sid, now);
    }

    /// A frame of a track, in order.
    pub(super) fn frame(&mut self, sid: &str, is_key: bool, is_contiguous: bool, at: Duration) -> Verdict {
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
                self.shown = Some(Shown { sid: sid.to_owned(), rank, broken: None });
                self.blank_at = None;
                Verdict::Switch
            }
            _ => Verdict::Ignore,
        }
    }

    /// What is shown could not be decoded: its next key frame is a new beginning.
    pub(super) fn on_decoder_failed(&mut self, now: Duration) {
        if let Some(shown) = self.shown.take() {
            self.blank_at = Some(now + HANDOVER);
            self.wanted.push(shown.sid);
        }
    }

    /// Whether a track is shown, so that pictures are to come.
    pub(super) const fn shows(&self) -> bool {
        self.shown.is_some()
    }

    pub(super) const fn blank_at(&self) -> Option<Duration> {
        self.blank_at
    }

    /// Tracks of which a key frame is wanted, each told once.
    pub(super) fn take_wanted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wanted)
    }

    /// A track is not to be shown any more.
    fn lose(&mut self, sid: &str, now: Duration) {
        let was_shown = self.shown.as_ref().is_some_and(|shown| shown.sid == sid);
        let others = || self.tracks.iter().filter(|track| track.muted.is_none());
        let until = now + if others().next().is_some() { HANDOVER } else { GRACE };
        if was_shown {
            self.shown = None;
            self.blank_at = Some(until);
            // Their frames were not looked at.
            let others: Vec<String> = others().map(|track| track.sid.clone()).collect();
            self.wanted.extend(others);
        } else if self.shown.is_none() && self.blank_at.is_some_and(|at| at > until) {
            self.blank_at = Some(until);
        }
    }

    /// Something is to come: a picture that still stands goes on standing.
    fn hold_on(&mut self, now: Duration) {
        if self.shown.is_none() && self.blank_at.is_some_and(|at| at > now) {
            self.blank_at = Some(now + HANDOVER);
        }
    }
}

impl Shown {
    fn verdict(&mut self, is_key: bool, is_contiguous: bool, at: Duration) -> Verdict {
        if is_key {
            self.broken = None;
        } else if !is_contiguous {
            self.broken.get_or_insert(at);
        }
        match self.broken {
            Some(since) if at < since + KEY_FRAME_WITHIN => Verdict::Ignore,
            _ => {
                self.broken = None;
                Verdict::Decode
            }
        }
    }
}

#[cfg(test)]
mod tests;
