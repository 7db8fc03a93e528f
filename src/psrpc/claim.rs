//! Rules of the claim handshake, which selects the server of a call (docs/reference/psrpc.md). Time
//! is an argument.
//!
//! ```text
//! client                         servers
//!   │── Request ──────────────────►│  Offer: an affinity, or silence
//!   │◄───────────── ClaimRequest ──│  (from each interested server)
//!   │  Selection decides           │
//!   │── ClaimResponse ────────────►│  Offers: the chosen server begins, the others forget
//!   │◄───────────────── Response ──│
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::error::{Code, Error, NO_RESPONSE};

/// A server's reaction to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offer {
    /// It takes the request; of several servers, the one with the highest affinity gets it. One of
    /// 0 is counted, and never chosen.
    Affinity(f32),
    /// It lets others take it.
    Silence,
}

/// How a client chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectionRules {
    /// The first server that comes forward gets the call.
    pub accept_first: bool,
    /// When the choice is made at the latest; `None`: when the call's time is over.
    pub timeout: Option<Duration>,
    /// When the choice is made after the first claim that could win.
    pub short_circuit: Option<Duration>,
    /// A claim at or above it wins at once.
    pub maximum: Option<f32>,
}

impl SelectionRules {
    /// For methods without affinity.
    pub const FIRST: Self = Self {
        accept_first: true,
        timeout: Some(Duration::from_secs(1)),
        short_circuit: None,
        maximum: None,
    };

    /// livekit-server's rules for recorders.
    pub const BY_AFFINITY: Self = Self {
        accept_first: false,
        timeout: Some(Duration::from_secs(1)),
        short_circuit: Some(Duration::from_millis(500)),
        maximum: Some(1.0),
    };
}

/// A client's choice in the making.
#[derive(Debug)]
pub struct Selection {
    rules: SelectionRules,
    due: Instant,
    shorted: bool,
    claims: u32,
    best: Option<(String, f32)>,
    malformed: Option<Error>,
}

impl Selection {
    /// Begins when the request is sent; `deadline` is the call's own.
    #[must_use]
    pub fn new(rules: SelectionRules, now: Instant, deadline: Instant) -> Self {
        let due = after(now, rules.timeout).map_or(deadline, |due| due.min(deadline));
        Self { rules, due, shorted: false, claims: 0, best: None, malformed: None }
    }

    /// When [`Selection::decide`] is to be called.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// A server came forward. Returns its name when it is chosen at once.
    pub fn claim(&mut self, now: Instant, server_id: String, affinity: f32) -> Option<String> {
        self.claims = self.claims.saturating_add(1);
        if affinity.is_nan() || affinity <= 0.0 {
            return None;
        }
        if self.rules.accept_first || self.rules.maximum.is_some_and(|maximum| affinity >= maximum) {
            return Some(server_id);
        }
        if self.best.as_ref().is_none_or(|(_, best)| affinity > *best) {
            self.best = Some((server_id, affinity));
        }
        if !self.shorted {
            self.shorted = true;
            if let Some(due) = after(now, self.rules.short_circuit) {
                self.due = self.due.min(due);
            }
        }
        None
    }

    /// An answer came before the choice: a server could not read the request.
    pub fn refused(&mut self, error: Error) {
        self.malformed = Some(error);
    }

    /// The choice, when its time has come.
    ///
    /// # Errors
    /// When nobody can be chosen: with what a server said of the request, or as `unavailable`.
    pub fn decide(self) -> Result<String, Error> {
        match (self.best, self.malformed, self.claims) {
            (Some((server_id, _)), ..) => Ok(server_id),
            (None, Some(error), _) => Err(error),
            (None, None, 0) => Err(Error::new(Code::Unavailable, NO_RESPONSE)),
            (None, None, claims) => Err(Error::new(
                Code::Unavailable,
                format!("no servers available (received {claims} responses)"),
            )),
        }
    }
}

fn after(now: Instant, wait: Option<Duration>) -> Option<Instant> {
    wait.and_then(|wait| now.checked_add(wait))
}

/// A server's offers that wait for their clients' decisions; `T` is what stands behind an offer.
#[derive(Debug)]
pub struct Offers<T> {
    open: HashMap<String, T>,
    limit: usize,
}

/// Why an offer can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOffer {
    /// One was made for the same request.
    Twice,
    /// Too many are open.
    Full,
}

/// Meaning of a client's decision for a server.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// The call is ours.
    Ours(T),
    /// It went to another server.
    Theirs(T),
    /// We had not offered, or no longer do.
    Unconcerned,
}

impl<T> Offers<T> {
    /// At most `limit` may be open.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { open: HashMap::new(), limit }
    }

    /// Notes an offer, before it is sent.
    ///
    /// # Errors
    /// [`NoOffer`]; the server stays silent then.
    pub fn open(&mut self, request_id: &str, behind: T) -> Result<(), NoOffer> {
        if self.open.contains_key(request_id) {
            return Err(NoOffer::Twice);
        }
        if self.open.len() >= self.limit {
            return Err(NoOffer::Full);
        }
        self.open.insert(request_id.to_owned(), behind);
        Ok(())
    }

    /// A client has decided for `chosen`; `own` is this server.
    pub fn decide(&mut self, request_id: &str, chosen: &str, own: &str) -> Decision<T> {
        match self.open.remove(request_id) {
            Some(behind) if chosen == own => Decision::Ours(behind),
            Some(behind) => Decision::Theirs(behind),
            None => Decision::Unconcerned,
        }
    }

    /// The request's time is over.
    pub fn withdraw(&mut self, request_id: &str) {
        self.open.remove(request_id);
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
