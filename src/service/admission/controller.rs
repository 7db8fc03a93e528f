//! The ledger that everybody asks, with the clock: what is admitted holds a [`Permit`], and its
//! room is free when that is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use livekit_protocol as proto;

use super::cost::{self, Cost, Kind};
use super::{Claim, Id, Ledger, Refusal};
use crate::config::cost::CpuCost;
use crate::protocol as rpc;
use crate::service::error::ServiceError;

/// Lets recordings in. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct AdmissionController {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    reservations: BTreeMap<Id, Reservation>,
    is_closed: bool,
}

/// A recording that has room.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    pub egress_id: String,
    pub kind: Kind,
    pub cost: Cost,
    /// Process id of its recorder; `None` while it starts.
    pub pid: Option<i32>,
}

/// Room for one recording, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    id: Id,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ledger.release(self.id);
        state.reservations.remove(&self.id);
    }
}

impl Permit {
    /// Records the process id of the recorder that the permit is for.
    pub fn set_pid(&self, pid: i32) {
        if let Some(reservation) = self.shared.state().reservations.get_mut(&self.id) {
            reservation.pid = Some(pid);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmissionController {
    /// `cores`: of the machine, or of our share of it.
    #[must_use]
    pub fn new(costs: CpuCost, cores: f64) -> Self {
        let state =
            State { ledger: Ledger::new(costs, cores), reservations: BTreeMap::new(), is_closed: false };
        Self { shared: Arc::new(Shared { epoch: Instant::now(), state: Mutex::new(state) }) }
    }

    /// Room for a request.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn enter(&self, request: &rpc::StartEgressRequest) -> Result<Permit, Refusal> {
        let now = self.now();
        let mut state = self.shared.state();
        if state.is_closed {
            return Err(Refusal::Draining);
        }
        let cost = cost::cost(request, state.ledger.costs());
        let id = state.ledger.admit(cost, estimate(request), now)?;
        let occupant =
            Reservation { egress_id: request.egress_id.clone(), kind: Kind::of(request), cost, pid: None };
        state.reservations.insert(id, occupant);
        drop(state);
        Ok(Permit { shared: Arc::clone(&self.shared), id })
    }

    /// Reserves capacity for a new egress, as long as the permit is held. Logs a refusal.
    ///
    /// # Errors
    ///
    /// `unavailable`, with the reason.
    pub fn admit(&self, request: &rpc::StartEgressRequest) -> Result<Permit, ServiceError> {
        self.enter(request).map_err(|refusal| {
            tracing::info!(egress_id = request.egress_id, reason = %refusal, "egress refused");
            refusal.into()
        })
    }

    /// The affinity to claim a request with, 0 to 1; below 0 it is not claimed
    /// (docs/reference/egress.md).
    #[must_use]
    pub fn affinity(&self, request: &rpc::StartEgressRequest) -> f32 {
        self.claim(request).affinity()
    }

    /// Reserves capacity for an egress whose recorder already runs, even beyond the capacity.
    #[must_use]
    pub fn readmit(&self, info: &proto::EgressInfo) -> Permit {
        let now = self.now();
        let request = cost::request_of(info);
        let mut state = self.shared.state();
        let cost = cost::cost(&request, state.ledger.costs());
        let id = state.ledger.hold(cost, now);
        let egress_id = info.egress_id.clone();
        state.reservations.insert(id, Reservation { egress_id, kind: Kind::of(&request), cost, pid: None });
        drop(state);
        Permit { shared: Arc::clone(&self.shared), id }
    }

    /// How much a request is wanted.
    #[must_use]
    pub fn claim(&self, request: &rpc::StartEgressRequest) -> Claim {
        let now = self.now();
        let state = self.shared.state();
        if state.is_closed {
            return Claim::None;
        }
        state.ledger.claim(cost::cost(request, state.ledger.costs()), estimate(request), now)
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.shared.state().is_closed = true;
    }

    /// Reservations by id.
    #[must_use]
    pub fn reservations(&self) -> BTreeMap<Id, Reservation> {
        self.shared.state().reservations.clone()
    }

    /// Puts in what was measured: cores of each recording, GB of all.
    pub fn set_measured(&self, cores: impl IntoIterator<Item = (Id, f64)>, memory_used: f64) {
        let ledger = &mut self.shared.state().ledger;
        cores.into_iter().for_each(|(id, cores)| ledger.set_measured(id, cores));
        ledger.set_memory_used(memory_used);
    }

    /// Capacity for metrics and the health page.
    #[must_use]
    pub fn room(&self) -> Room {
        let now = self.now();
        let state = self.shared.state();
        let ledger = &state.ledger;
        let web = Cost { cpu: ledger.costs().web_cpu_cost, memory: ledger.costs().memory_cost };
        Room {
            available: ledger.available(now),
            cores: ledger.cores(),
            is_idle: ledger.is_idle(),
            is_closed: state.is_closed,
            takes_web: !state.is_closed && ledger.check(web, None, now).is_ok(),
            cpu_ratio: ledger.cpu_ratio(now),
            memory_ratio: ledger.memory_ratio(now),
            max_memory: ledger.costs().max_memory,
        }
    }

    /// Since the gate was made.
    fn now(&self) -> Duration {
        self.shared.epoch.elapsed()
    }
}

/// Available capacity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Room {
    /// Cores that a new recording may count on.
    pub available: f64,
    /// Cores of the machine, or of our share of it.
    pub cores: f64,
    pub is_idle: bool,
    pub is_closed: bool,
    /// Whether a plain request for a page would be taken.
    pub takes_web: bool,
    /// Cores that are taken or promised, as a part of those that recordings may have.
    pub cpu_ratio: f64,
    /// The same of memory; `None`: memory is not looked at.
    pub memory_ratio: Option<f64>,
    /// GB; 0: memory is not looked at.
    pub max_memory: f64,
}

/// Cores that a request itself names.
fn estimate(request: &rpc::StartEgressRequest) -> Option<f64> {
    Some(request.estimated_cpu).filter(|cores| cores.is_finite() && *cores > 0.0)
}
