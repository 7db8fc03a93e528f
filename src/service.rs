//! The service: takes requests, has each recorded by a process of its own, and tells how it goes.
//!
//! ```text
//! bus, api ──► Service ──► admission ──► supervisor ══ stdin, stdout ══► recorder (a process)
//!                 │                          └──► Registry (livekit-server, or the store and its webhooks)
//!                 └── Topics: StopEgress and UpdateStream of each egress
//! ```
//!
//! No media code is in here: whatever a recording does, the service goes on. Everything that it has
//! started is known by its cell on the disk (`ipc::egress_dir`), so that its next run can take over
//! what still records, and tell how the rest ended.

pub mod admission;
pub mod api;
pub mod bus;
pub mod console;
pub mod egresses;
pub mod error;
pub mod http;
pub mod io;
pub mod keys;
pub mod layout;
pub mod metrics;
pub mod monitor;
pub mod registry;
pub mod snapshot;
pub mod standalone;
pub mod store;
pub mod webhook;

mod active;
mod body;
mod recovery;
mod start;
mod supervisor;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use livekit_protocol as proto;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ipc::{Logs, RecorderProgress};
use crate::plan::SessionLimits;
use crate::plan::bounds;
use crate::plan::defaults::Defaults;
use crate::plan::source::BrowserSettings;
use crate::profile::Length;
use crate::protocol as rpc;
use crate::psrpc::Code;
use active::{ActiveEgresses, Orphans};
use admission::AdmissionController;
use bus::Topics;
use egresses::Egresses;
use error::ServiceError;
use layout::Layouts;
use monitor::Relief;
use monitor::pressure::Step;
use registry::Registry;
use supervisor::Handle;

/// An operator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Defaults for requests.
    pub defaults: Defaults,
    /// Sends layout changes to pages; `None` without a LiveKit server.
    pub layouts: Option<Layouts>,
    pub session: SessionLimits,
    /// Bytes of a local disk that stay free.
    pub keep_free: u64,
    /// How long the end of a recording waits for a storage that is away, for each output.
    pub upload_patience: Duration,
    /// Directory of recordings while they are made. Absolute.
    pub work_dir: PathBuf,
    /// Base of relative local output names. Absolute.
    pub base: PathBuf,
    /// How recorders log.
    pub logs: Logs,
    pub browser: BrowserSettings,
    /// Threads of one H.264 encoder; 0: by the machine's share.
    pub video_encoder_threads: u32,
    /// How long a recording goes on without a service.
    pub orphan_timeout: Duration,
}

/// A recording that is being made.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Its latest report.
    pub info: proto::EgressInfo,
    pub progress: RecorderProgress,
    /// Process id of its recorder, which leads a process group.
    pub pid: i32,
}

/// The service.
pub struct Service {
    settings: Settings,
    registry: Arc<dyn Registry>,
    admission: AdmissionController,
    /// `None` without a bus.
    topics: Option<Topics>,
    active: ActiveEgresses,
    /// Egresses of earlier runs whose recorders still work.
    orphans: Orphans,
    /// Recorders being started, watched, and cleaned up after.
    tasks: TaskTracker,
    /// No more work is taken.
    closed: CancellationToken,
    /// Why everything is to end, what is being started included.
    killed: OnceLock<String>,
    this: Weak<Self>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How long an order waits for a recorder that is being started.
const UP_WITHIN: Duration = Duration::from_secs(15);

impl Service {
    /// A service that has not yet taken over the egresses of an earlier run: see
    /// [`Service::take_over`]. `topics` is `None` without a bus.
    pub fn new(
        settings: Settings,
        registry: Arc<dyn Registry>,
        admission: AdmissionController,
        topics: Option<Topics>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            settings,
            registry,
            admission,
            topics,
            active: ActiveEgresses::default(),
            orphans: Orphans::default(),
            tasks: tasks.clone(),
            closed: CancellationToken::new(),
            killed: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// Takes over everything that an earlier run left, including recorders that still record, and
    /// maintains kept directories from then on. Slow parts continue in the background.
    ///
    /// # Errors
    ///
    /// When the work directory can't be read.
    pub async fn take_over(&self) -> std::io::Result<()> {
        if let Some(this) = self.this.upgrade() {
            recovery::take_over(&this).await?;
        }
        let active = self.active.clone();
        let is_here = move |egress_id: &str| active.has(egress_id);
        let work_dir = self.settings.work_dir.clone();
        self.tasks.spawn(recovery::keep_house(work_dir, self.closed.clone(), is_here));
        Ok(())
    }

    /// Names of the egresses that live here, in order; those of former runs among them.
    #[must_use]
    pub fn active(&self) -> Vec<String> {
        let mut names = self.active.names();
        names.extend(self.orphans.list().into_iter().map(|info| info.egress_id));
        names.sort();
        names
    }

    /// The last reports of recordings of former runs whose recorders can't be reached: they finish
    /// their files, or stand still.
    #[must_use]
    pub fn orphans(&self) -> Vec<proto::EgressInfo> {
        self.orphans.list()
    }

    /// The recordings that are being made.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let running = |handle: Arc<Handle>| Running {
            info: handle.info(),
            progress: handle.progress(),
            pid: handle.pid(),
        };
        self.active.handles().into_iter().map(running).collect()
    }

    /// Whether it takes work: it is not shutting down, and its reports get through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.closed.is_cancelled() && self.registry.is_healthy()
    }

    /// Whether requests can reach it, and its reports get through.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.registry.is_healthy() && self.registry.is_connected()
    }

    /// Whether it is shutting down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// How much a request is wanted here (docs/reference/egress.md); below 0: not at all.
    #[must_use]
    pub fn affinity(&self, request: &rpc::StartEgressRequest) -> f32 {
        // Who has it says so at once: a request that is made again must not be recorded twice.
        if self.active.has(&request.egress_id) {
            return 1.0;
        }
        if self.is_open() { self.admission.affinity(request) } else { -1.0 }
    }

    /// Takes no more work.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Comes back when nothing is recorded any more, but by recorders that can't be reached.
    /// Nothing new is begun meanwhile only after [`Service::close`].
    pub async fn idle(&self) {
        self.active.empty().await;
        for info in self.orphans.list().into_iter().filter(|info| !registry::is_over(info)) {
            tracing::warn!(
                egress_id = info.egress_id,
                status = info.status().as_str_name(),
                "recorder unreachable and may go on; the next run of the service reports its end"
            );
        }
    }

    /// Takes no more work, and has everything end, finish its files, and fail with a text.
    pub fn kill_all(&self, error: &str) {
        self.close();
        // The first text stands.
        let error = self.killed.get_or_init(|| error.to_owned());
        for handle in self.active.handles() {
            handle.kill(error);
        }
    }

    /// A recording's handle, once it is up.
    async fn up(&self, egress_id: &str) -> Option<Arc<Handle>> {
        timeout(UP_WITHIN, self.active.up(egress_id)).await.ok().flatten()
    }

    /// The pipelines of a recording that is up, in Graphviz's language.
    ///
    /// # Errors
    /// `not_found` when it is not here, `unavailable` when it can't be reached, `deadline_exceeded`
    /// when it does not answer.
    pub async fn graph(&self, egress_id: &str) -> Result<String, ServiceError> {
        let handle = self.present(egress_id)?;
        handle.graph().await
    }

    /// The current frame of a running recording as a JPEG of at most this width; `None` without
    /// video.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `unavailable` if its recorder is unreachable,
    /// `deadline_exceeded` if it does not answer.
    pub async fn preview(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let handle = self.present(egress_id)?;
        handle.preview(width).await
    }

    /// A CPU profile of a recorder: pprof's protobuf in gzip.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `unavailable` if its recorder is unreachable,
    /// `already_exists` while another profile is taken, `deadline_exceeded` if it does not answer.
    pub async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError> {
        let handle = self.present(egress_id)?;
        handle.profile(length).await
    }

    /// A recording that is up, for what can only be asked now.
    fn present(&self, egress_id: &str) -> Result<Arc<Handle>, ServiceError> {
        self.active.handle(egress_id).ok_or_else(|| {
            if self.orphans.has_unfinished(egress_id) {
                ServiceError::unreached()
            } else {
                ServiceError::egress_not_found()
            }
        })
    }

    /// The report of an egress that is not running.
    async fn known(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError> {
        // Its directory may be newer than the last report of its former service.
        if let Some(info) = self.orphans.info(egress_id) {
            return Ok(info);
        }
        let request = proto::ListEgressRequest { egress_id: egress_id.to_owned(), ..Default::default() };
        let found = self.registry.list(request).await?.items;
        // Without an id all of them were asked for.
        let found = found.into_iter().find(|info| info.egress_id == egress_id);
        found.ok_or_else(|| ServiceError::new(Code::NotFound, "egress does not exist"))
    }
}

/// One that is over meanwhile needs nothing.
impl Relief for Service {
    fn degrade(&self, egress_id: &str, _: Step) {
        // A running encoder can be given fewer frames; its preset is fixed at the start.
        if let Some(handle) = self.active.handle(egress_id) {
            handle.degrade("the machine was short of CPU");
        }
    }

    fn kill(&self, egress_id: &str, error: &str) {
        if let Some(handle) = self.active.handle(egress_id) {
            handle.kill(error);
        }
    }
}

#[async_trait]
impl Egresses for Service {
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError> {
        let Some(this) = self.this.upgrade() else { return Err(ServiceError::shutting_down()) };
        // A caller that goes away leaves no recording half-started.
        let started = self.tasks.spawn(start::start(this, request));
        started.await.unwrap_or_else(|error| Err(ServiceError::internal(error.to_string())))
    }

    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError> {
        if let Some(handle) = self.up(egress_id).await {
            tracing::info!(egress_id, "stop requested");
            return Ok(handle.stop().await);
        }
        if let Some(noted) = self.orphans.stop(egress_id) {
            let is_kept = noted.is_ok();
            tracing::info!(egress_id, is_kept, "stop requested; recorder unreachable now");
            return noted;
        }
        // It was reached between the two, or is still on its way.
        if self.active.has(egress_id) {
            return Err(ServiceError::unreached());
        }
        let info = self.known(egress_id).await?;
        let status = info.status().as_str_name();
        Err(ServiceError::new(
            Code::FailedPrecondition,
            format!("egress with status {status} cannot be stopped"),
        ))
    }

    async fn update_stream(
        &self,
        request: proto::UpdateStreamRequest,
    ) -> Result<proto::EgressInfo, ServiceError> {
        let proto::UpdateStreamRequest { egress_id, add_output_urls, remove_output_urls } = request;
        bounds::stream_update(&add_output_urls, &remove_output_urls)?;
        if let Some(handle) = self.up(&egress_id).await {
            let streams = handle.info().stream_results;
            let active =
                streams.iter().filter(|stream| stream.status() == proto::stream_info::Status::Active);
            if !add_output_urls.is_empty() && active.count() + add_output_urls.len() > bounds::STREAMS {
                return Err(ServiceError::invalid(format!(
                    "request has missing or invalid field: add_output_urls: an egress streams to at most {} addresses; \
                     remove some first",
                    bounds::STREAMS
                )));
            }
            return handle.update_stream(add_output_urls, remove_output_urls).await;
        }
        if self.orphans.has_unfinished(&egress_id) || self.active.has(&egress_id) {
            return Err(ServiceError::unreached());
        }
        let info = self.known(&egress_id).await?;
        let status = info.status().as_str_name();
        Err(ServiceError::new(
            Code::FailedPrecondition,
            format!("egress with status {status} cannot be updated"),
        ))
    }

    async fn update_layout(&self, egress_id: &str, layout: &str) -> Result<proto::EgressInfo, ServiceError> {
        let info = match self.active.handle(egress_id) {
            Some(handle) => handle.info(),
            None => self.known(egress_id).await?,
        };
        match &self.settings.layouts {
            // LiveKit takes a moment to notice who has left.
            _ if registry::is_over(&info) => return Err(ServiceError::not_found(layout::NOT_THERE)),
            Some(layouts) => layouts.update(&info, layout).await?,
            None if info.room_name.is_empty() => return Err(ServiceError::not_found(layout::NOT_THERE)),
            None => return Err(ServiceError::invalid(layout::NO_SERVER)),
        }
        Ok(info)
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        self.registry.list(request).await
    }
}

#[cfg(test)]
mod tests;
