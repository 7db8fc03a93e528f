//! The life of a recording as a state machine: what happened goes in, what is to be done comes out.
//! Pure.
//!
//! ```text
//! Preparing ──Ready──► Active ──end──► Draining ──Drained──► Storing ──Stored──► Ended
//!     └────────────────end, nothing recorded─────────────────────────────────────►┘
//! ```
//!
//! A recording ends once, with one reason: the first. The first failure is its error, also one that
//! happens while it is ending; that changes no reason. Further failures are for the report, and
//! change nothing here.

use crate::control::{EndReason, Limit, StopCause};
use crate::report::{Failure, Outcome};

/// State of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Display, sound, browser and page are coming up. `loaded`: only the start signal is missing.
    Preparing {
        loaded: bool,
    },
    Active,
    /// The source is closed; encoders and sinks flush.
    Draining,
    /// Every file is closed; the last ones are on their way to where they belong.
    Storing,
    Ended,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    SourceLoaded,
    SourceReady,
    /// The page said that it is over.
    SourceEnded,
    /// The source could not start, or can't go on.
    SourceFailed(Failure),
    Stop(StopCause),
    /// It is not to go on, and to fail with this.
    Kill(Failure),
    /// The recording is as long as was asked for.
    DurationReached,
    LimitReached(Limit),
    /// One output can't go on; `others_left`: some other still can.
    OutputFailed {
        failure: Failure,
        others_left: bool,
    },
    /// The last stream address was removed, and there is no other output.
    AllStreamsStopped,
    EncoderFailed(Failure),
    /// Encoders and sinks are empty and closed. `failure`: the first of those that could not be.
    Drained {
        failure: Option<Failure>,
    },
    /// Everything is where it belongs, or reported as left behind.
    Stored,
}

impl Event {
    /// The failure, if there is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::SourceFailed(failure)
            | Self::Kill(failure)
            | Self::OutputFailed { failure, .. }
            | Self::EncoderFailed(failure) => Some(failure),
            Self::Drained { failure } => failure.as_ref(),
            Self::SourceLoaded
            | Self::SourceReady
            | Self::SourceEnded
            | Self::Stop(_)
            | Self::DurationReached
            | Self::LimitReached(_)
            | Self::AllStreamsStopped
            | Self::Stored => None,
        }
    }
}

/// The action to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Media time is zero now.
    Begin,
    /// Take in no more; let encoders and sinks empty themselves.
    Drain,
    /// Wait for what is still being stored.
    Store,
    /// Everything is over: close what is left and give the outcome.
    Finish,
}

/// Stopped while the page had still to say `START_RECORDING` (docs/reference/egress.md).
pub const NO_START_SIGNAL: &str = "Start signal not received";
/// Stopped before the page was there (docs/reference/egress.md).
pub const STOPPED_BEFORE_START: &str = "Stop called before pipeline could start";
/// A limit was reached before the page was there (docs/reference/egress.md).
pub const LIMIT_BEFORE_START: &str = "Session limit reached before start signal";

/// The machine. Its owner calls [`Lifecycle::handle`] for each event and carries out what it
/// answers, in order.
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
    reason: Option<EndReason>,
    began: bool,
    /// The first thing that went wrong.
    failure: Option<Failure>,
    aborted: Option<&'static str>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Preparing { loaded: false },
            reason: None,
            began: false,
            failure: None,
            aborted: None,
        }
    }

    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why it ends; `None` as long as it goes on.
    #[must_use]
    pub const fn reason(&self) -> Option<EndReason> {
        self.reason
    }

    /// How it ended; `None` before it has.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        if self.state != State::Ended {
            return None;
        }
        Some(match (&self.failure, self.aborted, self.reason) {
            (Some(failure), _, _) => Outcome::Failed(failure.clone()),
            (None, Some(error), _) => Outcome::Aborted { error },
            (None, None, Some(EndReason::LimitReached(_))) => Outcome::LimitReached,
            (None, None, _) => Outcome::Complete,
        })
    }

    /// The first thing that went wrong.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether nothing has gone wrong so far.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.failure.is_none() && self.aborted.is_none()
    }

    /// Takes in what happened; answers what is to be done.
    #[must_use]
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::SourceLoaded => {
                if matches!(self.state, State::Preparing { .. }) {
                    self.state = State::Preparing { loaded: true };
                }
                Vec::new()
            }
            Event::SourceReady => self.begin(),
            Event::SourceEnded => self.end(EndReason::SourceClosed, None),
            Event::Stop(StopCause::Request | StopCause::Signal) => self.end(EndReason::StopRequested, None),
            Event::Stop(StopCause::Orphaned) => self.end(EndReason::Killed, None),
            Event::Kill(failure) => self.end(EndReason::Killed, Some(failure)),
            Event::DurationReached => self.end(EndReason::DurationReached, None),
            Event::LimitReached(limit) => self.end(EndReason::LimitReached(limit), None),
            Event::AllStreamsStopped => self.end(EndReason::AllStreamsStopped, None),
            Event::SourceFailed(failure)
            | Event::EncoderFailed(failure)
            | Event::OutputFailed { failure, others_left: false } => {
                self.end(EndReason::Failure, Some(failure))
            }
            // The recording goes on for the others, and says at its end what it lost.
            Event::OutputFailed { failure, others_left: true } => {
                self.note(Some(failure));
                Vec::new()
            }
            Event::Drained { failure } => {
                self.note(failure);
                self.step(State::Draining, State::Storing, Action::Store)
            }
            Event::Stored => self.step(State::Storing, State::Ended, Action::Finish),
        }
    }

    fn begin(&mut self) -> Vec<Action> {
        if !matches!(self.state, State::Preparing { .. }) {
            return Vec::new();
        }
        self.state = State::Active;
        self.began = true;
        vec![Action::Begin]
    }

    fn end(&mut self, reason: EndReason, failure: Option<Failure>) -> Vec<Action> {
        match self.state {
            State::Preparing { loaded } => {
                if failure.is_none() {
                    self.aborted = Some(match (loaded, reason) {
                        (true, _) => NO_START_SIGNAL,
                        (false, EndReason::LimitReached(_)) => LIMIT_BEFORE_START,
                        (false, _) => STOPPED_BEFORE_START,
                    });
                }
                self.note(failure);
                self.reason = Some(reason);
                self.state = State::Ended;
                vec![Action::Finish]
            }
            State::Active => {
                self.note(failure);
                self.reason = Some(reason);
                self.state = State::Draining;
                vec![Action::Drain]
            }
            // The first reason counts; later failures are reported, too.
            State::Draining | State::Storing => {
                self.note(failure);
                Vec::new()
            }
            State::Ended => Vec::new(),
        }
    }

    fn step(&mut self, from: State, to: State, action: Action) -> Vec<Action> {
        if self.state != from {
            return Vec::new();
        }
        self.state = to;
        vec![action]
    }

    fn note(&mut self, failure: Option<Failure>) {
        if self.state != State::Ended && self.failure.is_none() {
            self.failure = failure;
        }
    }
}

#[cfg(test)]
mod tests;
