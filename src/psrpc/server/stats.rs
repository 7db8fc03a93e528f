//! Counters of a server.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: Count,
    pub(super) malformed: Count,
    pub(super) expired: Count,
    pub(super) overloaded: Count,
    pub(super) elsewhere: Count,
    pub(super) answered: Count,
}

/// Frames received by a server since its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Frames on its methods' request channels.
    pub received: u64,
    /// Frames that were neither requests nor decisions.
    pub malformed: u64,
    /// Requests whose time was over when they came.
    pub expired: u64,
    /// Requests for which there was no room.
    pub overloaded: u64,
    /// Requests that another server got, or nobody.
    pub elsewhere: u64,
    /// Calls that were carried out, whatever came of them.
    pub answered: u64,
}

impl Counters {
    pub(super) fn read(&self) -> ServerStats {
        ServerStats {
            received: self.received.read(),
            malformed: self.malformed.read(),
            expired: self.expired.read(),
            overloaded: self.overloaded.read(),
            elsewhere: self.elsewhere.read(),
            answered: self.answered.read(),
        }
    }
}
