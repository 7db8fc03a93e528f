//! The time of a call, as an argument: what handles events of a room asks no clock.

use std::time::{Duration, Instant};

use crate::media::Timeline;

/// One moment, on the monotonic clock and in running time of the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) running: Duration,
}

impl Moment {
    pub(super) fn now(timeline: &Timeline) -> Self {
        Self { instant: Instant::now(), running: timeline.now().into() }
    }

    /// The running time of an earlier instant.
    pub(super) fn running_at(self, earlier: Instant) -> Duration {
        self.running.saturating_sub(self.instant.saturating_duration_since(earlier))
    }
}
