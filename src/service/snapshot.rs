//! The service at one moment, for those who watch it: health, metrics, debugging.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::watch;

use super::admission::{AdmissionController, Kind, Room};
use super::error::ServiceError;
use super::monitor::{Reading, Use};
use super::{Running, Service};
use crate::ipc::RecorderProgress;
use crate::profile::Length;

/// State of the service at one moment, without secrets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    pub room: Room,
    pub reading: Reading,
    pub recordings: Vec<RecordingView>,
    /// Recordings of former runs of the service that are still being finished.
    pub orphans: Vec<OrphanView>,
    pub state: State,
}

/// Whether work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Serving,
    /// Reports do not get through, or Redis is unreachable: no new work is accepted.
    Unheard,
    /// It ends when its recordings have.
    Terminating,
}

/// One recording.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingView {
    pub egress_id: String,
    pub kind: Kind,
    /// Process id of its recorder; `None` while it starts.
    pub pid: Option<i32>,
    pub used: Use,
    pub progress: RecorderProgress,
}

/// One recording of a former run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanView {
    pub egress_id: String,
    pub kind: Kind,
}

/// Makes snapshots.
pub trait Snapshots: Send + Sync {
    fn snapshot(&self) -> Snapshot;
}

/// Gives access to recorders for debugging.
#[async_trait]
pub trait Insight: Send + Sync {
    /// A recording's pipelines, in Graphviz's language.
    ///
    /// # Errors
    /// `not_found` when it is not here, `deadline_exceeded` when its recorder does not answer.
    async fn graph(&self, egress_id: &str) -> Result<String, ServiceError>;

    /// A CPU profile of a recorder: pprof's protobuf in gzip.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `already_exists` while another profile is taken,
    /// `deadline_exceeded` if its recorder does not answer.
    async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError>;
}

/// Gives access to running recordings.
#[async_trait]
pub trait Live: Send + Sync {
    /// Those that are up.
    fn running(&self) -> Vec<Running>;

    /// The current frame of one as a JPEG of at most this width; `None` without video.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `deadline_exceeded` if its recorder does not answer.
    async fn picture(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError>;
}

/// Combines service, admission controller and monitor.
pub struct Outlook {
    service: Weak<Service>,
    gate: AdmissionController,
    readings: watch::Receiver<Reading>,
}

impl std::fmt::Debug for Outlook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlook").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Outlook {
    #[must_use]
    pub fn new(
        service: &Arc<Service>,
        gate: AdmissionController,
        readings: watch::Receiver<Reading>,
    ) -> Self {
        Self { service: Arc::downgrade(service), gate, readings }
    }
}

#[async_trait]
impl Insight for Outlook {
    async fn graph(&self, egress_id: &str) -> Result<String, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.graph(egress_id).await
    }

    async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.profile(egress_id, length).await
    }
}

#[async_trait]
impl Live for Outlook {
    fn running(&self) -> Vec<Running> {
        self.service.upgrade().map(|service| service.running()).unwrap_or_default()
    }

    async fn picture(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.picture(egress_id, width).await
    }
}

impl Snapshots for Outlook {
    fn snapshot(&self) -> Snapshot {
        let reading = self.readings.borrow().clone();
        let service = self.service.upgrade();
        let running = service.as_ref().map(|service| service.running()).unwrap_or_default();
        let recordings = self.gate.reservations().into_iter().map(|(id, occupant)| {
            let running = running.iter().find(|running| running.info.egress_id == occupant.egress_id);
            RecordingView {
                used: reading.recordings.get(&id).copied().unwrap_or_default(),
                kind: occupant.kind,
                pid: occupant.pid,
                progress: running.map(|running| running.progress).unwrap_or_default(),
                egress_id: occupant.egress_id,
            }
        });
        let state = match &service {
            Some(service) if !service.is_closed() && service.is_heard() => State::Serving,
            Some(service) if !service.is_closed() => State::Unheard,
            Some(_) | None => State::Terminating,
        };
        let orphans = service.as_ref().map(|service| service.orphans()).unwrap_or_default();
        let orphans = orphans
            .into_iter()
            .map(|info| OrphanView { kind: Kind::of_report(&info), egress_id: info.egress_id });
        let orphans = orphans.collect();
        Snapshot { recordings: recordings.collect(), orphans, room: self.gate.room(), reading, state }
    }
}
