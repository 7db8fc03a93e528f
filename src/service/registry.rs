//! The registry: receives and keeps the state of every recording.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use livekit_protocol as proto;
use proto::EgressStatus;

use super::error::ServiceError;
use crate::upload::UploadAttempt;

/// Receives the reports of every recording.
///
/// The order of an egress's reports is kept, and a newer one may replace one in transit. No report
/// about an egress is sent before its [`Registry::create`] has returned; only egresses of an
/// earlier run may be updated without it.
#[async_trait]
pub trait Registry: Send + Sync {
    /// A recording is being started.
    ///
    /// # Errors
    /// When it can't be kept; the recording is not started then.
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError>;

    /// A recording's report has changed. Does not wait.
    fn update(&self, info: proto::EgressInfo);

    /// A recording ended of which nothing more is reported: another service has its egress. Only
    /// who counts wants to know.
    fn evicted(&self, info: &proto::EgressInfo) {
        let _ = info;
    }

    /// A recording has offered a file to a store. Only who counts wants to know.
    fn uploaded(&self, tried: &UploadAttempt) {
        let _ = tried;
    }

    /// Comes back when the last update of an egress is safe: what else is known of it may be
    /// forgotten.
    async fn delivered(&self, egress_id: &str);

    /// Comes back when every update is safe.
    async fn drained(&self);

    /// Lists egresses by livekit-server's filters.
    ///
    /// # Errors
    ///
    /// When the lookup fails.
    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError>;

    /// Recordings that have not ended as far as is known here. A registry that others use, too,
    /// knows none: whose they are it can't tell.
    ///
    /// # Errors
    /// When they can't be looked up.
    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError>;

    /// Whether reports get through. New work is refused while they do not.
    fn is_healthy(&self) -> bool {
        true
    }

    /// Whether there is a connection to where reports go, and where requests may come from. One
    /// that is lost is made again; what is recorded goes on meanwhile.
    fn is_connected(&self) -> bool {
        true
    }
}

/// Whether a recording is over: the one answer for all of the service. A limit that was reached is
/// in the status before the files are finished, and a status from a version to come counts as one
/// that goes on.
#[must_use]
pub fn is_over(info: &proto::EgressInfo) -> bool {
    match info.status() {
        EgressStatus::EgressStarting | EgressStatus::EgressActive | EgressStatus::EgressEnding => false,
        EgressStatus::EgressComplete
        | EgressStatus::EgressFailed
        | EgressStatus::EgressAborted
        | EgressStatus::EgressLimitReached => info.ended_at != 0,
    }
}

/// Whether a report says that its recording goes on. One with a last status that is not over is
/// finishing its files: its end is reported when they are finished.
#[must_use]
pub fn goes_on(info: &proto::EgressInfo) -> bool {
    matches!(
        info.status(),
        EgressStatus::EgressStarting | EgressStatus::EgressActive | EgressStatus::EgressEnding
    )
}

/// Observes the reports to a registry.
pub trait Watcher: Send + Sync {
    /// Called with the last report of an ended recording. It may be repeated.
    fn record_end(&self, info: &proto::EgressInfo);

    /// A recording ended of which nothing more is reported: another service has its egress.
    fn evicted(&self, info: &proto::EgressInfo) {
        let _ = info;
    }

    /// A recording has offered a file to a store.
    fn uploaded(&self, tried: &UploadAttempt) {
        let _ = tried;
    }
}

/// A registry with watchers: they hear first.
pub struct Watched {
    registry: Arc<dyn Registry>,
    watchers: Vec<Arc<dyn Watcher>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("watchers", &self.watchers.len()).finish_non_exhaustive()
    }
}

impl Watched {
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>, watchers: Vec<Arc<dyn Watcher>>) -> Self {
        Self { registry, watchers }
    }
}

#[async_trait]
impl Registry for Watched {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        self.registry.create(info).await
    }

    fn update(&self, info: proto::EgressInfo) {
        if is_over(&info) {
            self.watchers.iter().for_each(|watcher| watcher.record_end(&info));
        }
        self.registry.update(info);
    }

    fn evicted(&self, info: &proto::EgressInfo) {
        self.watchers.iter().for_each(|watcher| watcher.evicted(info));
        self.registry.evicted(info);
    }

    fn uploaded(&self, tried: &UploadAttempt) {
        self.watchers.iter().for_each(|watcher| watcher.uploaded(tried));
        self.registry.uploaded(tried);
    }

    async fn delivered(&self, egress_id: &str) {
        self.registry.delivered(egress_id).await;
    }

    async fn drained(&self) {
        self.registry.drained().await;
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        self.registry.list(request).await
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        self.registry.unfinished().await
    }

    fn is_healthy(&self) -> bool {
        self.registry.is_healthy()
    }

    fn is_connected(&self) -> bool {
        self.registry.is_connected()
    }
}

/// Keeps everything in memory, as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryRegistry {
    infos: Mutex<BTreeMap<String, proto::EgressInfo>>,
}

impl MemoryRegistry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn infos(&self) -> MutexGuard<'_, BTreeMap<String, proto::EgressInfo>> {
        self.infos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        self.infos().entry(info.egress_id.clone()).or_insert_with(|| info.clone());
        Ok(())
    }

    fn update(&self, info: proto::EgressInfo) {
        self.infos().insert(info.egress_id.clone(), info);
    }

    async fn delivered(&self, _: &str) {}

    async fn drained(&self) {}

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        let wanted = |info: &&proto::EgressInfo| {
            (request.egress_id.is_empty() || info.egress_id == request.egress_id)
                && (request.room_name.is_empty() || info.room_name == request.room_name)
                && (!request.active || !is_over(info))
        };
        let items = self.infos().values().filter(wanted).cloned().collect();
        Ok(proto::ListEgressResponse { items, ..Default::default() })
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        Ok(self.infos().values().filter(|info| !is_over(info)).cloned().collect())
    }
}
