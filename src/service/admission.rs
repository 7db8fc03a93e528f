//! Is there room for one more? Pure: time is an argument, measurements are put in.
//!
//! A recording is expected to cost what the operator's table says (`cost`). It takes seconds to
//! show what it really costs, so that its expected cost is held for it meanwhile; then what is
//! measured counts, where it is more. [`AdmissionController`] is the one that everybody asks, with
//! the clock.

mod controller;
pub mod cost;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::cost::CpuCost;
use crate::psrpc::Code;
use crate::service::error::ServiceError;
pub use controller::{AdmissionController, Permit, Reservation, Room};
pub use cost::{Cost, Kind};

/// How long a recording's expected cost is held for it.
pub const RESERVED_FOR: Duration = Duration::from_secs(15);

/// GB of memory that are never given away.
pub const MEMORY_HEADROOM: f64 = 1.0;

/// Reasons for a refusal. The numbers are for the log; callers get LiveKit's text only.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Cores.
    #[error("not enough CPU: {required:.2} cores are needed, {available:.2} are free")]
    NotEnoughCpu { required: f64, available: f64 },
    /// GB.
    #[error(
        "not enough memory: {required:.2} GB are needed beside {used:.2} GB in use and {pending:.2} GB promised, of {max:.2} GB"
    )]
    NotEnoughMemory { required: f64, used: f64, pending: f64, max: f64 },
    #[error("server is shutting down")]
    Draining,
}

impl From<Refusal> for ServiceError {
    /// LiveKit's text is `not enough CPU` for memory, too, and its clients look for it.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotEnoughCpu { .. } | Refusal::NotEnoughMemory { .. } => {
                Self::new(Code::Unavailable, "not enough CPU")
            }
            Refusal::Draining => Self::shutting_down(),
        }
    }
}

/// How much a request is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// No capacity.
    None,
    /// It would have the machine for itself, and needs more than that by the table.
    Stretched,
    /// There is room beside others.
    Beside,
    /// The machine is idle, and large enough.
    Idle,
}

impl Claim {
    /// The affinity claimed on the bus. livekit-server accepts a claim of 1 at once and waits half
    /// a second for a better one otherwise, so an idle node claims 1. A busy node with capacity
    /// comes before an idle node of LiveKit's, which claims 0.5.
    #[must_use]
    pub const fn affinity(self) -> f32 {
        match self {
            Self::None => -1.0,
            Self::Stretched => 0.25,
            Self::Beside => 0.75,
            Self::Idle => 1.0,
        }
    }
}

/// Capacity of the machine, and its reservations.
#[derive(Debug, Clone)]
pub struct Ledger {
    costs: CpuCost,
    /// Cores of the machine, or of our share of it.
    cores: f64,
    /// GB in use by all, as last measured.
    memory_used: f64,
    last: u64,
    held: BTreeMap<Id, ReservedCost>,
}

/// One recording's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

#[derive(Debug, Clone, Copy)]
struct ReservedCost {
    since: Duration,
    cost: Cost,
    /// Cores, as last measured.
    measured: f64,
}

impl ReservedCost {
    fn is_reserved(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < RESERVED_FOR
    }

    fn cpu(&self, now: Duration) -> f64 {
        if self.is_reserved(now) { self.cost.cpu.max(self.measured) } else { self.measured }
    }
}

impl Ledger {
    #[must_use]
    pub const fn new(costs: CpuCost, cores: f64) -> Self {
        Self { costs, cores, memory_used: 0.0, last: 0, held: BTreeMap::new() }
    }

    /// Cores that a new recording may count on: all of an idle machine, else the operator's part of
    /// it without what is taken.
    #[must_use]
    pub fn available(&self, now: Duration) -> f64 {
        if self.held.is_empty() {
            return self.cores;
        }
        self.cores * self.costs.max_cpu_utilization - self.taken(now)
    }

    /// Cores that are taken or promised, as a part of those that recordings may have.
    #[must_use]
    pub fn cpu_ratio(&self, now: Duration) -> f64 {
        let all = self.cores * self.costs.max_cpu_utilization;
        if all > 0.0 { self.taken(now) / all } else { 0.0 }
    }

    fn taken(&self, now: Duration) -> f64 {
        self.held.values().map(|hold| hold.cpu(now)).sum()
    }

    /// GB that recordings will need that have just begun.
    #[must_use]
    pub fn pending_memory(&self, now: Duration) -> f64 {
        let reserved = self.held.values().filter(|hold| hold.is_reserved(now));
        reserved.map(|hold| hold.cost.memory).sum()
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Checks capacity. `required`: cores named by the request; the table's otherwise.
    ///
    /// An idle machine accepts one recording even if the table says that it is too small: the table
    /// is an estimate, a recording degrades before it fails, and a service that refuses everything
    /// is useless.
    ///
    /// # Errors
    ///
    /// [`Refusal`], memory before CPU.
    pub fn check(&self, cost: Cost, required: Option<f64>, now: Duration) -> Result<(), Refusal> {
        let max = self.costs.max_memory;
        let (used, pending) = (self.memory_used, self.pending_memory(now));
        if max > 0.0 && used + pending + cost.memory + MEMORY_HEADROOM >= max {
            return Err(Refusal::NotEnoughMemory { required: cost.memory, used, pending, max });
        }
        let (required, available) = (required.unwrap_or(cost.cpu), self.available(now));
        if required > available && !self.is_idle() {
            return Err(Refusal::NotEnoughCpu { required, available });
        }
        Ok(())
    }

    /// Reserves capacity for a recording. The reserved cost is the table's, whatever the request
    /// names.
    ///
    /// # Errors
    ///
    /// See [`Ledger::check`].
    pub fn admit(&mut self, cost: Cost, required: Option<f64>, now: Duration) -> Result<Id, Refusal> {
        self.check(cost, required, now)?;
        Ok(self.hold(cost, now))
    }

    /// Holds room for a recording that has it already, whether there is any or not.
    pub fn hold(&mut self, cost: Cost, now: Duration) -> Id {
        self.last += 1;
        let id = Id(self.last);
        self.held.insert(id, ReservedCost { since: now, cost, measured: 0.0 });
        id
    }

    /// How much a request is wanted.
    #[must_use]
    pub fn claim(&self, cost: Cost, required: Option<f64>, now: Duration) -> Claim {
        match self.check(cost, required, now) {
            Err(_) => Claim::None,
            Ok(()) if !self.is_idle() => Claim::Beside,
            Ok(()) if required.unwrap_or(cost.cpu) > self.cores => Claim::Stretched,
            Ok(()) => Claim::Idle,
        }
    }

    /// Sets the measured cores of a recording.
    pub fn set_measured(&mut self, id: Id, cores: f64) {
        if let Some(hold) = self.held.get_mut(&id) {
            hold.measured = if cores.is_finite() { cores.max(0.0) } else { 0.0 };
        }
    }

    /// Sets the measured memory of all recordings in GB.
    pub const fn set_memory_used(&mut self, gigabytes: f64) {
        self.memory_used = gigabytes;
    }

    /// A recording is over.
    pub fn release(&mut self, id: Id) {
        self.held.remove(&id);
    }

    /// The expected cost of a recording.
    #[must_use]
    pub fn cost(&self, id: Id) -> Option<Cost> {
        self.held.get(&id).map(|hold| hold.cost)
    }

    #[must_use]
    pub const fn costs(&self) -> &CpuCost {
        &self.costs
    }

    #[must_use]
    pub const fn cores(&self) -> f64 {
        self.cores
    }

    /// Used or promised memory against what may be used; `None`: memory is not looked at.
    #[must_use]
    pub fn memory_ratio(&self, now: Duration) -> Option<f64> {
        let max = self.costs.max_memory;
        (max > 0.0).then(|| (self.memory_used + self.pending_memory(now)) / max)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
