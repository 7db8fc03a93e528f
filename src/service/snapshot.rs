//! The view of the service for metrics, pages and console.

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

/// The view of the service for metrics, pages and console. The default methods are those of a
/// service without recordings.
#[async_trait]
pub trait ServiceView: Send + Sync {
    /// The state of the service at this moment.
    fn snapshot(&self) -> Snapshot;

    /// The running recordings.
    fn running(&self) -> Vec<Running> {
        Vec::new()
    }

    /// The current frame of a recording as a JPEG of at most this width; `None` without video.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `deadline_exceeded` if its recorder does not answer.
    async fn preview(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let _ = (egress_id, width);
        Err(ServiceError::egress_not_found())
    }

    /// The pipelines of a recording in Graphviz's language.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `deadline_exceeded` if its recorder does not answer.
    async fn graph(&self, egress_id: &str) -> Result<String, ServiceError> {
        let _ = egress_id;
        Err(ServiceError::egress_not_found())
    }

    /// A CPU profile of a recorder: pprof's protobuf in gzip.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `already_exists` while another profile is taken,
    /// `deadline_exceeded` if its recorder does not answer.
    async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError> {
        let _ = (egress_id, length);
        Err(ServiceError::egress_not_found())
    }
}

/// The view that combines service, admission controller and monitor. It does not keep the service
/// alive.
pub struct LiveServiceView {
    service: Weak<Service>,
    admission: AdmissionController,
    readings: watch::Receiver<Reading>,
}

impl std::fmt::Debug for LiveServiceView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveServiceView").field("admission", &self.admission).finish_non_exhaustive()
    }
}

impl LiveServiceView {
    #[must_use]
    pub fn new(
        service: &Arc<Service>,
        admission: AdmissionController,
        readings: watch::Receiver<Reading>,
    ) -> Self {
        Self { service: Arc::downgrade(service), admission, readings }
    }
}

#[async_trait]
impl ServiceView for LiveServiceView {
    fn snapshot(&self) -> Snapshot {
        let reading = self.readings.borrow().clone();
        let service = self.service.upgrade();
        let running = service.as_ref().map(|service| service.running()).unwrap_or_default();
        let recordings = self.admission.reservations().into_iter().map(|(id, reservation)| {
            let running = running.iter().find(|running| running.info.egress_id == reservation.egress_id);
            RecordingView {
                used: reading.recordings.get(&id).copied().unwrap_or_default(),
                kind: reservation.kind,
                pid: reservation.pid,
                progress: running.map(|running| running.progress).unwrap_or_default(),
                egress_id: reservation.egress_id,
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
        Snapshot { recordings: recordings.collect(), orphans, room: self.admission.room(), reading, state }
    }

    fn running(&self) -> Vec<Running> {
        self.service.upgrade().map(|service| service.running()).unwrap_or_default()
    }

    async fn preview(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.preview(egress_id, width).await
    }

    async fn graph(&self, egress_id: &str) -> Result<String, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.graph(egress_id).await
    }

    async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError> {
        let service = self.service.upgrade().ok_or_else(ServiceError::egress_not_found)?;
        service.profile(egress_id, length).await
    }
}
