//! Decoded pictures into a recording, where nobody knows whether another one is on its way. Without a clock: times are nanoseconds
//! of media time.
//!
//! What a recording shows at a moment can be decided when all pictures up to it are there. They come in order, so that with each
//! one everything before it is known. Where none comes, it is decided without: after so long as pictures have lately been late, at
//! the most when nothing that was lost on the way would still come.

use std::collections::VecDeque;
use std::sync::Arc;

use gstreamer as gst;

use super::super::SETTLED;
use crate::media::Feed;
use crate::plan::encoding::Cadence;
use crate::source::pacing::{Format, FormatError, Presenter, Progress};
use crate::source::{CaptureCounters, Pacing};

const MS: u64 = 1_000_000;
/// Pictures are waited for so long at least, and at most.
const LEAST_PATIENCE: u64 = 250 * MS;
const MOST_PATIENCE: u64 = SETTLED.as_millis() as u64 * MS;
/// Before the first one its decoder has to be set up.
const FIRST_LATENESS: u64 = 400 * MS;
/// How long it is remembered that a picture was late.
const REMEMBERED: u64 = 10_000 * MS;
/// Where no picture is expected, one may still come out of a decoder.
const IDLE: u64 = 100 * MS;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// A picture was pushed; there may be more to do.
    Pushed,
    /// Nothing is to be done before this time, unless something happens.
    Waits(u64),
    Done,
}

#[derive(Debug)]
pub(super) struct Playout {
    presenter: Presenter,
    black: gst::Buffer,
    /// Where pictures are shown as they come: how many.
    rate: Option<Rate>,
    /// One that would have been too much, and is shown if none comes after it.
    spare: Option<(u64, gst::Buffer)>,
    /// Everything up to here is there.
    known: u64,
    /// The time of the newest picture.
    newest: u64,
    lateness: Lateness,
    expects: bool,
    /// When the screen turns black; `None` also when it has.
    blank_at: Option<u64>,
    /// What was last said of that.
    told: Option<u64>,
    ended: bool,
}

impl Playout {
    pub(super) fn new(
        feed: Feed,
        format: Format,
        pacing: Pacing,
        counters: Arc<CaptureCounters>,
    ) -> Result<Self, FormatError> {
        let black = format.black()?;
        let rate = match pacing.cadence {
            Cadence::AsDrawn { .. } => Some(Rate::new(pacing.fps)),
            // The grid takes what fits.
            Cadence::Grid => None,
        };
        let presenter = Presenter::new(feed, format, pacing, counters)?;
        let mut lateness = Lateness::default();
        lateness.add(0, FIRST_LATENESS);
        let (spare, blank_at) = (None, None);
        Ok(Self {
            presenter,
            black,
            rate,
            spare,
            known: 0,
            newest: 0,
            lateness,
            expects: false,
            blank_at,
            told: None,
            ended: false,
        })
    }

    /// A picture has come. One that is older than the newest one is late for ever.
    pub(super) fn push_frame(&mut self, at: u64, buffer: gst::Buffer, now: u64) {
        if at < self.newest {
            return;
        }
        self.lateness.add(now, now.saturating_sub(at));
        self.newest = at;
        self.known = self.known.max(at);
        // Later than it should be, where its place is taken.
        let shown_at = at.max(self.presenter.last().map_or(0, |last| last + MS));
        if self.rate.as_mut().is_none_or(|rate| rate.takes(shown_at)) {
            self.spare = None;
            self.presenter.add(at, buffer);
        } else {
            self.spare = Some((at, buffer));
        }
    }

    /// Whether pictures are to come, and when the screen turns black if none does.
    pub(super) fn expect(&mut self, frames: bool, blank_at: Option<u64>) {
        self.expects = frames;
        if std::mem::replace(&mut self.told, blank_at) != blank_at {
            self.blank_at = blank_at;
        }
    }

    /// How many pictures wait for their time.
    pub(super) fn waiting(&self) -> usize {
        self.presenter.waiting()
    }

    /// The recording is this long.
    pub(super) fn end_at(&mut self, end: u64) {
        if !std::mem::replace(&mut self.ended, true) {
            self.known = u64::MAX;
            self.settle(end);
            self.presenter.end_at(end);
        }
    }

    /// Pushes at most one picture. It is `now`; nothing is decided from `end` on, where that is known.
    pub(super) fn advance(&mut self, now: u64, end: Option<u64>) -> Turn {
        let delay = if self.expects { self.lateness.patience(now) } else { IDLE };
        if !self.ended {
            self.known = self.known.max(now.saturating_sub(delay));
            self.settle(end.unwrap_or(u64::MAX));
        }
        let known = if self.ended { u64::MAX } else { self.known.min(end.map_or(u64::MAX, |end| end - 1)) };
        match self.presenter.step(known) {
            Progress::Pushed => Turn::Pushed,
            Progress::Done => Turn::Done,
            Progress::Waits { known } => {
                let spare = self.spare.as_ref().map(|(at, _)| self.spare_due(*at));
                let due = [Some(known), spare, self.blank_at].into_iter().flatten().min().unwrap_or(known);
                Turn::Waits(due.saturating_add(delay).max(now + MS))
            }
        }
    }

    /// Ends the feed.
    pub(super) fn end(&self) {
        self.presenter.end();
    }

    /// Gives what became due to the presenter.
    fn settle(&mut self, end: u64) {
        if let Some((at, buffer)) = self.spare.take() {
            let due = self.spare_due(at);
            if due <= self.known && due < end {
                self.presenter.add(due, buffer);
            } else {
                self.spare = Some((at, buffer));
            }
        }
        if let Some(at) = self.blank_at.filter(|at| *at <= self.known && *at < end) {
            self.blank_at = None;
            self.spare = None;
            self.newest = self.newest.max(at);
            self.presenter.add(self.newest, self.black.clone());
        }
    }

    /// When a picture that would have been too much is shown, if none came after it.
    fn spare_due(&self, at: u64) -> u64 {
        let frame = self.rate.as_ref().map_or(0, |rate| rate.frame);
        at.max(self.presenter.last().map_or(0, |last| last.saturating_add(frame)))
    }
}

/// Lets through so many pictures a second, on an average.
#[derive(Debug)]
struct Rate {
    /// Length of a picture.
    frame: u64,
    due: u64,
}

impl Rate {
    fn new(fps: u32) -> Self {
        Self { frame: 1000 * MS / u64::from(fps.max(1)), due: 0 }
    }

    fn takes(&mut self, at: u64) -> bool {
        // A quarter of a picture's length lies between the jitter of our rate and the next picture of twice our rate; one that came
        // late may be followed by one that is early.
        if at + self.frame / 4 < self.due {
            return false;
        }
        self.due = self.due.max(at.saturating_sub(self.frame)) + self.frame;
        true
    }
}

/// How late pictures have been.
#[derive(Debug, Default)]
struct Lateness {
    /// When, and how late; the latter falling: each is the most of all that came after it.
    seen: VecDeque<(u64, u64)>,
}

impl Lateness {
    fn add(&mut self, now: u64, late: u64) {
        while self.seen.back().is_some_and(|(_, other)| *other <= late) {
            self.seen.pop_back();
        }
        self.seen.push_back((now, late));
    }

    /// How long a picture is waited for.
    fn patience(&mut self, now: u64) -> u64 {
        while self.seen.front().is_some_and(|(then, _)| then + REMEMBERED < now) {
            self.seen.pop_front();
        }
        let late = self.seen.front().map_or(0, |(_, late)| *late);
        (2 * late + 100 * MS).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests;
