//! The life of one address, decided: when to connect, when it works, when to try again, when to
//! give up. Pure; time is a number, counted from any zero.
//!
//! ```text
//!            Attempt            Sent (progress)
//!  Waiting ─────────► Connecting ─────────────► Sending          Over: given up, nothing more happens
//!     ▲                   │ Lost, Tick (overdue)    │
//!     └───────────────────┴─────────────────────────┘ Lost, Tick (stalled)
//! ```

use std::time::Duration;

use super::timing::Timing;

/// An event of the address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Event {
    /// A connection is being made.
    Attempt,
    /// There is media to send: from now on the connection has to show progress.
    Offered,
    /// Bytes that the connection has sent so far.
    Sent(u64),
    /// The connection failed. `jitter` (0 to 1) spreads the next attempt.
    Lost { loss: Loss, jitter: f64 },
    /// Time passed.
    Tick { jitter: f64 },
}

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The other side, or the address itself, says no: trying again won't help unless it worked
    /// before.
    Refused,
    /// Something on the way; the same attempt may work later.
    Interrupted,
}

/// The action to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Media is going out: say so.
    Started,
    /// Bring the connection down; make the next one at this time.
    Retry { at: Duration, retries: u32, cause: Cause },
    /// Bring the connection down for good.
    GiveUp { cause: Cause },
}

/// Why a connection is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It failed, and the caller knows how.
    Lost,
    /// Nothing was sent in all the time that connecting may take.
    NotConnected,
    /// It worked, and takes nothing any more.
    Stalled,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Waiting,
    Connecting {
        /// Since when there is media for it.
        offered: Option<Duration>,
        /// Bytes sent when first measured: an RTMP handshake is not media.
        base: Option<u64>,
    },
    Sending {
        since: Duration,
        base: u64,
        progress: Duration,
    },
    Over,
}

/// One address.
#[derive(Debug)]
pub(super) struct Lifecycle {
    timing: Timing,
    phase: Phase,
    has_worked: bool,
    retries: u32,
    /// The next wait without its jitter.
    wait: Duration,
    outage_since: Option<Duration>,
}

impl Lifecycle {
    pub(super) const fn new(timing: Timing) -> Self {
        Self {
            timing,
            phase: Phase::Waiting,
            has_worked: false,
            retries: 0,
            wait: timing.first_wait,
            outage_since: None,
        }
    }

    /// Whether media ever went out.
    pub(super) const fn has_worked(&self) -> bool {
        self.has_worked
    }

    /// Takes what happened and says what to do. `now` must not go backwards.
    pub(super) fn handle(&mut self, now: Duration, event: Event) -> Option<Action> {
        match event {
            Event::Attempt => {
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Connecting { offered: None, base: None };
                }
                None
            }
            Event::Offered => {
                if let Phase::Connecting { offered, .. } = &mut self.phase {
                    offered.get_or_insert(now);
                }
                None
            }
            Event::Sent(bytes) => self.sent(now, bytes),
            Event::Lost { loss, jitter } => self.lost(now, loss, jitter, Cause::Lost),
            Event::Tick { jitter } => self.tick(now, jitter),
        }
    }

    fn sent(&mut self, now: Duration, bytes: u64) -> Option<Action> {
        match self.phase {
            Phase::Connecting { offered, base } => {
                let base = base.unwrap_or(bytes).min(bytes);
                if bytes - base <= self.timing.progress {
                    // Zero bytes are not a base: the bytes seen first are the handshake.
                    let base = (bytes > 0).then_some(base);
                    self.phase = Phase::Connecting { offered, base };
                    return None;
                }
                self.phase = Phase::Sending { since: now, base: bytes, progress: now };
                self.has_worked = true;
                Some(Action::Started)
            }
            Phase::Sending { since, base, .. } => {
                if bytes.saturating_sub(base) > self.timing.progress {
                    self.phase = Phase::Sending { since, base: bytes, progress: now };
                    if now.saturating_sub(since) >= self.timing.settle {
                        self.outage_since = None;
                        self.wait = self.timing.first_wait;
                    }
                }
                None
            }
            Phase::Waiting | Phase::Over => None,
        }
    }

    fn tick(&mut self, now: Duration, jitter: f64) -> Option<Action> {
        match self.phase {
            Phase::Connecting { offered: Some(offered), .. }
                if now.saturating_sub(offered) >= self.timing.connect =>
            {
                self.lost(now, Loss::Interrupted, jitter, Cause::NotConnected)
            }
            Phase::Sending { progress, .. } if now.saturating_sub(progress) >= self.timing.liveness => {
                // Nothing was tried meanwhile: an outage before it goes on where the connection
                // stalled, so that a server that came back and stalls is still dialled again.
                let stalled = now.saturating_sub(progress);
                self.outage_since = self.outage_since.map(|since| since + stalled);
                self.lost(now, Loss::Interrupted, jitter, Cause::Stalled)
            }
            Phase::Connecting { .. } | Phase::Sending { .. } | Phase::Waiting | Phase::Over => None,
        }
    }

    fn lost(&mut self, now: Duration, loss: Loss, jitter: f64, cause: Cause) -> Option<Action> {
        match self.phase {
            Phase::Connecting { .. } | Phase::Sending { .. } => {}
            Phase::Waiting | Phase::Over => return None,
        }
        let outage_since = *self.outage_since.get_or_insert(now);
        let is_hopeless = loss == Loss::Refused && !self.has_worked;
        if is_hopeless || now.saturating_sub(outage_since) >= self.timing.outage {
            self.phase = Phase::Over;
            return Some(Action::GiveUp { cause });
        }
        // Between half of the wait and all of it: many recorders that lost one server come back one
        // after the other.
        let wait = self.wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        let at = (now + wait).min(outage_since + self.timing.outage);
        self.wait = (self.wait * 2).min(self.timing.longest_wait);
        self.retries += 1;
        self.phase = Phase::Waiting;
        Some(Action::Retry { at, retries: self.retries, cause })
    }
}

#[cfg(test)]
mod tests;
