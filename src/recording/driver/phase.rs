//! State of a driver that is valid in one phase of its recording only.
//!
//! ```text
//! Preparing ──► Active ──► Ending
//!     └──────────────────────┘
//! ```

use gstreamer as gst;
use tokio::time::Instant;

use super::opening::Opening;
use crate::recording::lifecycle::Event;

/// The phase of a recording, with the state that belongs to it.
#[derive(Debug)]
pub(super) enum Phase {
    /// Source, encoders and outputs start.
    Preparing(Preparing),
    /// Media is recorded.
    Active(Active),
    /// Encoders and sinks flush, uploads complete.
    Ending,
}

#[derive(Debug, Default)]
pub(super) struct Preparing {
    /// Outputs being opened, until [`Driver::take_opening`](super::Driver::take_opening).
    pub(super) opening: Option<Opening>,
    pub(super) is_opening: bool,
    /// The source is ready: the recording begins as soon as its outputs are open.
    pub(super) is_ready: bool,
    /// Events of the source while a ready recording waits for its outputs.
    pub(super) held_events: Vec<Event>,
    /// Running time of the first frame, if the recording begins with it.
    pub(super) first_frame: Option<gst::ClockTime>,
    /// End of `Limits::session`; set once the page is loaded.
    pub(super) session_deadline: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Active {
    /// End of `Limits::duration`.
    pub(super) deadline: Option<Instant>,
    /// End of `Limits::session`.
    pub(super) session_deadline: Option<Instant>,
    /// Whether the report warns of the disk already.
    pub(super) has_warned_of_disk: bool,
}

impl Phase {
    pub(super) const fn preparing(&mut self) -> Option<&mut Preparing> {
        match self {
            Self::Preparing(preparing) => Some(preparing),
            Self::Active(_) | Self::Ending => None,
        }
    }

    pub(super) const fn active(&mut self) -> Option<&mut Active> {
        match self {
            Self::Active(active) => Some(active),
            Self::Preparing(_) | Self::Ending => None,
        }
    }

    /// End of `Limits::duration`; known while media is recorded.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Active(active) => active.deadline,
            Self::Preparing(_) | Self::Ending => None,
        }
    }

    /// End of `Limits::session`; known from the loaded page to the end.
    pub(super) const fn session_deadline(&self) -> Option<Instant> {
        match self {
            Self::Preparing(Preparing { session_deadline, .. })
            | Self::Active(Active { session_deadline, .. }) => *session_deadline,
            Self::Ending => None,
        }
    }

    pub(super) const fn set_session_deadline(&mut self, deadline: Option<Instant>) {
        match self {
            Self::Preparing(Preparing { session_deadline, .. })
            | Self::Active(Active { session_deadline, .. }) => *session_deadline = deadline,
            Self::Ending => {}
        }
    }
}
