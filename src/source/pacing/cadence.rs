//! Decides when a frame is recorded, and with which time. Pure: times are nanoseconds of media
//! time.
//!
//! A frame arrives some time after its capture. So the schedule has no clock: its caller says up to
//! which moment all captured frames have arrived, and it decides about a moment only when that has
//! passed.
//!
//! ```text
//!            known: everything captured up to here has arrived
//!               ▼
//! ──●──────●────┼─────────── media time
//!    frames     └─ repeats and grid points left of here can be decided
//! ```

use crate::plan::encoding::Cadence;
use crate::source::Pacing;

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Step {
    /// Make the oldest waiting frame the current one, without pushing it.
    Adopt,
    /// Push a frame with this time; with its duration if known.
    Show { which: Which, pts: u64, duration: Option<u64> },
    /// Wait until everything up to `known` has arrived, or another frame.
    Wait { known: u64 },
    /// The recording is complete.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Which {
    /// The oldest waiting frame, which becomes the current one.
    Next,
    /// The current frame: repeated, or for the first time if it was only adopted.
    Current,
}

/// The schedule of one recording's frames.
#[derive(Debug)]
pub(in crate::source) struct Schedule {
    rule: Rule,
    /// Frame duration at the full rate.
    frame: u64,
    /// When the recording ends; nothing is pushed from then on.
    end: Option<u64>,
    /// Time of the last pushed frame.
    last: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Capture times; at most `longest` without a frame, and one at each multiple of `key`.
    AsDrawn { longest: u64, key: u64 },
    /// Frame `next` of the grid of `fps` is due. `fresh`: the current frame was never pushed.
    Grid { fps: u64, next: u64, fresh: bool },
}

const SECOND: u64 = 1_000_000_000;
/// Minimum distance of two frames: the coarsest container counts milliseconds.
const APART: u64 = SECOND / 1000;
/// A frame captured this close to a key time gets the key time, instead of a repeated frame beside
/// it.
const SNAP: u64 = 4 * SECOND / 1000;

impl Schedule {
    pub(in crate::source) fn new(pacing: Pacing) -> Self {
        let fps = u64::from(pacing.fps.max(1));
        let frame = SECOND / fps;
        let rule = match pacing.cadence {
            Cadence::AsDrawn { at_least } => Rule::AsDrawn {
                longest: SECOND / u64::from(at_least.max(1)),
                key: u64::try_from(pacing.key_interval.as_nanos()).unwrap_or(u64::MAX).max(frame),
            },
            Cadence::Grid => Rule::Grid { fps, next: 0, fresh: false },
        };
        Self { rule, frame, end: None, last: None }
    }

    /// The recording ends at `end`: from now on everything is known.
    pub(in crate::source) fn end_at(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// Time of the last pushed frame.
    pub(in crate::source) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// The next action, when everything captured up to `known` has arrived and the oldest pending
    /// frame was captured at `waiting`. The caller executes it and asks again.
    pub(in crate::source) fn step(&mut self, known: u64, waiting: Option<u64>) -> Step {
        let known = if self.end.is_some() { u64::MAX } else { known };
        let step = match self.rule {
            Rule::AsDrawn { longest, key } => self.as_drawn(longest, key, known, waiting),
            Rule::Grid { fps, next, fresh } => self.on_grid(fps, next, fresh, known, waiting),
        };
        self.within_end(step)
    }

    fn as_drawn(&self, longest: u64, key: u64, known: u64, waiting: Option<u64>) -> Step {
        let snap = SNAP.min(self.frame / 4);
        // The next push that is due without new frames, and how long a slightly later frame may
        // replace it.
        let (due, slack, key_at) = match self.last {
            None => (0, snap, 0),
            Some(last) => {
                let key_at = (last / key).saturating_add(1).saturating_mul(key);
                let repeat = last.saturating_add(longest);
                // Half a frame: a page that paints at the rate of the repeats must not get both.
                let slack = self.frame / 2;
                if key_at <= repeat.saturating_add(slack) {
                    (key_at, snap, key_at)
                } else {
                    (repeat, slack, key_at)
                }
            }
        };
        if let Some(drawn) = waiting {
            let pts = drawn.max(self.last.map_or(0, |last| last.saturating_add(APART)));
            if pts <= due.saturating_add(slack) {
                let pts = if pts.abs_diff(key_at) <= snap { key_at } else { pts };
                if pts > drawn && known < pts {
                    // A time ahead of the drawing may lie behind the end of the recording.
                    return Step::Wait { known: pts };
                }
                return Step::Show { which: Which::Next, pts, duration: None };
            }
        } else if known < due.saturating_add(slack) {
            return Step::Wait { known: due.saturating_add(slack) };
        }
        Step::Show { which: Which::Current, pts: due, duration: None }
    }

    fn on_grid(&self, fps: u64, next: u64, fresh: bool, known: u64, waiting: Option<u64>) -> Step {
        let due = grid(fps, next);
        // A page that paints at the rate of the grid may fall to either side of a grid point in
        // turns. A frame that is a little late still gets the point if it would otherwise be a
        // repeat: so the two lock in.
        let late = due + self.frame / 4;
        let duration = Some(grid(fps, next + 1) - due);
        match waiting {
            Some(drawn) if drawn <= due => Step::Adopt,
            Some(drawn) if drawn <= late && !fresh => Step::Show { which: Which::Next, pts: due, duration },
            Some(_) => Step::Show { which: Which::Current, pts: due, duration },
            None => {
                let decided = if fresh { due } else { late };
                if known < decided {
                    Step::Wait { known: decided }
                } else {
                    Step::Show { which: Which::Current, pts: due, duration }
                }
            }
        }
    }

    /// Keeps a step inside of the recording, and notes what it changes.
    fn within_end(&mut self, step: Step) -> Step {
        let step = match (step, self.end) {
            (Step::Show { pts, .. }, Some(end)) if pts >= end => self.last_picture(end),
            (Step::Show { which, pts, duration }, Some(end)) if end - pts <= self.frame => {
                Step::Show { which, pts, duration: Some(duration.unwrap_or(end - pts).min(end - pts)) }
            }
            (Step::Wait { .. }, Some(_)) => Step::Done,
            (step, _) => step,
        };
        match step {
            Step::Show { pts, .. } => {
                self.last = Some(pts);
                if let Rule::Grid { next, fresh, .. } = &mut self.rule {
                    *next += 1;
                    *fresh = false;
                }
            }
            Step::Adopt => {
                if let Rule::Grid { fresh, .. } = &mut self.rule {
                    *fresh = true;
                }
            }
            Step::Wait { .. } | Step::Done => {}
        }
        step
    }

    /// One more frame, one frame duration before the end, so that the video is as long as the
    /// recording; then nothing.
    fn last_picture(&self, end: u64) -> Step {
        let pts = end.saturating_sub(self.frame);
        match (self.rule, self.last) {
            (Rule::AsDrawn { .. }, Some(last)) if last.saturating_add(APART) <= pts => {
                Step::Show { which: Which::Current, pts, duration: Some(end - pts) }
            }
            _ => Step::Done,
        }
    }
}

/// Point `n` of the grid.
const fn grid(fps: u64, n: u64) -> u64 {
    // Whole seconds apart from the rest: a point of the grid is exact for any length.
    (n / fps) * SECOND + (n % fps) * SECOND / fps
}

#[cfg(test)]
mod tests;
