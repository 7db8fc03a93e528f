//! The front door of a fleet: requests of livekit-server over psrpc (docs/reference/psrpc.md).
//!
//! `StartEgress` is claimed by every node with room, and livekit-server chooses; `StopEgress` and
//! `UpdateStream` have a topic for each egress, which is open as long as it lives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livekit_protocol as proto;
use tokio_util::task::TaskTracker;

use super::Service;
use super::egresses::Egresses;
use super::error::ServiceError;
use crate::protocol as rpc;
use crate::psrpc::{
    self, BusError, Code, MessageBus, Method, Observer, Offer, Registration, Server, ServerOptions, typed,
};

const INTERNAL: &str = "EgressInternal";
const HANDLER: &str = "EgressHandler";

/// How long an egress is its node's. livekit-server asks again after 10 s and 20 s, and pauses for
/// up to 6 s in between; whoever then has it answers for itself.
const RESERVED: Duration = Duration::from_secs(60);

/// Identity of a service on the bus.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// This run of the service.
    pub id: &'a str,
    /// The topic on which requests come; livekit-server as it is published uses the empty one.
    pub cluster_id: &'a str,
}

/// The service's place on the bus.
#[derive(Debug)]
pub struct BusListener {
    internal: Server,
    /// `None`: no work is taken yet, or no more.
    start: Mutex<Option<Registration>>,
    list: Option<Registration>,
}

impl BusListener {
    /// A listener that accepts no requests yet. `observer` counts requests.
    pub fn new(bus: Arc<dyn MessageBus>, observer: &Arc<dyn Observer>, tasks: &TaskTracker) -> Self {
        let internal = Server::new(bus, INTERNAL, tasks, ServerOptions::default());
        internal.observed_by(Arc::clone(observer));
        Self { internal, start: Mutex::default(), list: None }
    }

    /// Takes requests for a service from now on.
    ///
    /// # Errors
    /// [`BusError`], when the bus does not confirm it.
    pub async fn open(mut self, service: &Arc<Service>, node: Node<'_>) -> Result<Self, BusError> {
        let internal = &self.internal;
        let listing = Arc::downgrade(service);
        let list = typed(
            |_: &rpc::ListActiveEgressRequest| Offer::Affinity(1.0),
            move |_: rpc::ListActiveEgressRequest, _| {
                let egress_ids = listing.upgrade().map(|service| service.active()).unwrap_or_default();
                async move { Ok(rpc::ListActiveEgressResponse { egress_ids }) }
            },
        );
        self.list = Some(internal.register(Method::broadcast("ListActiveEgress"), list).await?);

        let (offering, starting) = (Arc::downgrade(service), Arc::downgrade(service));
        let start = typed(
            move |request: &rpc::StartEgressRequest| match offering
                .upgrade()
                .map(|service| service.affinity(request))
            {
                Some(affinity) if affinity >= 0.0 => Offer::Affinity(affinity),
                Some(_) | None => Offer::Silence,
            },
            move |request: rpc::StartEgressRequest, _| {
                let service = starting.upgrade();
                async move {
                    let service = service.ok_or_else(ServiceError::shutting_down)?;
                    Ok::<_, psrpc::Error>(service.start(request).await?)
                }
            },
        );
        let start = internal.register(Method::claimed("StartEgress").on(node.cluster_id), start).await?;
        self.start = Mutex::new(Some(start));
        Ok(self)
    }

    /// Stops accepting work. Running egresses can still be controlled.
    pub fn close(&self) {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Leaves the bus; `false`: calls were still in the works after `within`.
    pub async fn shutdown(self, within: Duration) -> bool {
        self.close();
        let Self { internal, list: _list, .. } = self;
        internal.shutdown(within).await
    }
}

/// Opens the topics of egresses on the bus, and reserves egress ids across nodes.
#[derive(Debug)]
pub struct Topics {
    server: Server,
    bus: Arc<dyn MessageBus>,
    node_id: String,
}

/// The topics of one egress. They are open as long as this is held.
#[derive(Debug)]
pub(super) struct EgressTopics {
    _stop: Registration,
    _update: Registration,
}

impl Topics {
    /// `observer` counts requests.
    pub fn new(
        bus: Arc<dyn MessageBus>,
        node_id: &str,
        observer: &Arc<dyn Observer>,
        tasks: &TaskTracker,
    ) -> Self {
        let server = Server::new(Arc::clone(&bus), HANDLER, tasks, ServerOptions::default());
        server.observed_by(Arc::clone(observer));
        Self { server, bus, node_id: node_id.to_owned() }
    }

    /// Opens the topics of an egress of `service`.
    ///
    /// # Errors
    ///
    /// `unavailable` if the bus does not confirm them.
    pub(super) async fn open(
        &self,
        service: &Arc<Service>,
        egress_id: &str,
    ) -> Result<EgressTopics, ServiceError> {
        let stopping = Arc::downgrade(service);
        let stop = typed(
            |_: &proto::StopEgressRequest| Offer::Affinity(1.0),
            move |request: proto::StopEgressRequest, _| {
                let service = stopping.upgrade();
                async move {
                    let service = service.ok_or_else(ServiceError::egress_not_found)?;
                    Ok::<_, psrpc::Error>(service.stop(&request.egress_id).await?)
                }
            },
        );
        let updating = Arc::downgrade(service);
        let update = typed(
            |_: &proto::UpdateStreamRequest| Offer::Affinity(1.0),
            move |request: proto::UpdateStreamRequest, _| {
                let service = updating.upgrade();
                async move {
                    let service = service.ok_or_else(ServiceError::egress_not_found)?;
                    Ok::<_, psrpc::Error>(service.update_stream(request).await?)
                }
            },
        );
        let unavailable = |error: BusError| ServiceError::new(Code::Unavailable, error.to_string());
        let (stop, update) = tokio::try_join!(
            self.server.register(Method::queued("StopEgress").on(egress_id), stop),
            self.server.register(Method::queued("UpdateStream").on(egress_id), update),
        )
        .map_err(unavailable)?;
        Ok(EgressTopics { _stop: stop, _update: update })
    }

    /// Reserves an egress id, so that no other node starts it while its caller may ask again.
    ///
    /// # Errors
    ///
    /// `already_exists` if another node has it; `unavailable` if the bus does not answer.
    pub(super) async fn reserve(&self, egress_id: &str) -> Result<(), ServiceError> {
        match self.bus.hold(&key(egress_id), &self.node_id, RESERVED).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::info!("another node has the egress");
                Err(ServiceError::egress_exists())
            }
            Err(error) => Err(ServiceError::unavailable(error.to_string())),
        }
    }

    /// Releases the id of an egress that was not started.
    pub(super) async fn release(&self, egress_id: &str) {
        if let Err(error) = self.bus.release(&key(egress_id), &self.node_id).await {
            tracing::debug!(%error, reserved_seconds = RESERVED.as_secs(), "egress id not released");
        }
    }
}

/// Key that stores which node has an egress.
fn key(egress_id: &str) -> String {
    format!("weir:egress:{egress_id}")
}
