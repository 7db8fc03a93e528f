//! Schedules decoded frames into the recording. Has no clock: times are nanoseconds of media time.
//!
//! A moment of the recording is settled as soon as all frames up to it are there. Frames come in
//! order, so that each one settles everything before it. If no frame comes, the moment is settled
//! without it after a patience that follows the lateness of recent frames and ends when a lost
//! packet could no longer arrive.

use std::collections::VecDeque;
use std::sync::Arc;

use gstreamer as gst;

use crate::media::Feed;
use crate::plan::encoding::Cadence;
use crate::source::pacing::{Format, FormatError, Presenter, Progress};
use crate::source::tracks::sync::SETTLED;
use crate::source::{CaptureCounters, Pacing};

const MS: u64 = 1_000_000;
/// Bounds of the patience for the next frame.
const LEAST_PATIENCE: u64 = 250 * MS;
const MOST_PATIENCE: u64 = SETTLED.as_millis() as u64 * MS;
/// Assumed lateness of the first frame, whose decoder has to be set up.
const FIRST_LATENESS: u64 = 400 * MS;
/// How long the lateness of a frame is remembered.
const REMEMBERED: u64 = 10_000 * MS;
/// Patience while no track is shown: a frame may still be in a decoder.
const IDLE: u64 = 100 * MS;

/// Result of [`Playout::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// A frame was pushed; more may be due.
    Pushed,
    /// Nothing is due before this time, unless a frame comes or the expectation changes.
    Waits(u64),
    Done,
}

#[derive(Debug)]
pub(super) struct Playout {
    presenter: Presenter,
    black: gst::Buffer,
    /// Limits the frame rate if frames keep their own times.
    rate: Option<Rate>,
    /// A frame that exceeded the rate. It is shown if no other one follows.
    spare: Option<(u64, gst::Buffer)>,
    /// Everything up to this time is settled.
    known: u64,
    /// Time of the newest frame.
    newest: u64,
    lateness: Lateness,
    /// Whether a track is shown, so that frames are to come.
    is_showing: bool,
    /// Time at which the video turns black; `None` also after it did.
    blank_at: Option<u64>,
    /// The last value that [`Playout::expect`] was given.
    last_blank_at: Option<u64>,
    has_ended: bool,
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
            // The grid limits the rate itself.
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
            is_showing: false,
            blank_at,
            last_blank_at: None,
            has_ended: false,
        })
    }

    /// Takes a frame. One that is older than the newest frame is dropped.
    pub(super) fn push_frame(&mut self, at: u64, buffer: gst::Buffer, now: u64) {
        if at < self.newest {
            return;
        }
        self.lateness.add(now, now.saturating_sub(at));
        self.newest = at;
        self.known = self.known.max(at);
        // Later than its time, if that is already taken.
        let shown_at = at.max(self.presenter.last().map_or(0, |last| last + MS));
        if self.rate.as_mut().is_none_or(|rate| rate.takes(shown_at)) {
            self.spare = None;
            self.presenter.add(at, buffer);
        } else {
            self.spare = Some((at, buffer));
        }
    }

    /// Sets whether frames are to come, and when the video turns black if none does.
    pub(super) fn expect(&mut self, is_showing: bool, blank_at: Option<u64>) {
        self.is_showing = is_showing;
        if std::mem::replace(&mut self.last_blank_at, blank_at) != blank_at {
            self.blank_at = blank_at;
        }
    }

    /// Number of frames that wait for their time.
    pub(super) fn waiting(&self) -> usize {
        self.presenter.waiting()
    }

    /// The recording ended with this length.
    pub(super) fn end_at(&mut self, end: u64) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.known = u64::MAX;
            self.settle(end);
            self.presenter.end_at(end);
        }
    }

    /// Pushes at most one frame. `end` is the recording's length, if it has ended.
    pub(super) fn advance(&mut self, now: u64, end: Option<u64>) -> Turn {
        let delay = if self.is_showing { self.lateness.patience(now) } else { IDLE };
        if !self.has_ended {
            self.known = self.known.max(now.saturating_sub(delay));
            self.settle(end.unwrap_or(u64::MAX));
        }
        let known =
            if self.has_ended { u64::MAX } else { self.known.min(end.map_or(u64::MAX, |end| end - 1)) };
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

    /// Hands the spare frame and the black frame to the presenter when they are due.
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

    /// Time at which the spare frame is shown if no other one follows.
    fn spare_due(&self, at: u64) -> u64 {
        let frame = self.rate.as_ref().map_or(0, |rate| rate.frame);
        at.max(self.presenter.last().map_or(0, |last| last.saturating_add(frame)))
    }
}

/// Limits the average frame rate.
#[derive(Debug)]
struct Rate {
    /// Duration of a frame.
    frame: u64,
    due: u64,
}

impl Rate {
    fn new(fps: u32) -> Self {
        Self { frame: 1000 * MS / u64::from(fps.max(1)), due: 0 }
    }

    fn takes(&mut self, at: u64) -> bool {
        // A quarter of a frame's duration tolerates the jitter of a source with this rate, and is
        // less than the distance of frames at twice the rate.
        if at + self.frame / 4 < self.due {
            return false;
        }
        self.due = self.due.max(at.saturating_sub(self.frame)) + self.frame;
        true
    }
}

/// The lateness of recent frames.
#[derive(Debug, Default)]
struct Lateness {
    /// Time and lateness, the latter falling: each is the maximum of all that came after it.
    seen: VecDeque<(u64, u64)>,
}

impl Lateness {
    fn add(&mut self, now: u64, late: u64) {
        while self.seen.back().is_some_and(|(_, other)| *other <= late) {
            self.seen.pop_back();
        }
        self.seen.push_back((now, late));
    }

    /// How long to wait for a frame.
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
