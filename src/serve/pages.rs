//! The small pages for those who run the service, each on a port of its own, on all interfaces as
//! LiveKit has them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use crate::config::ServiceConfig;
use crate::http_listener::{self, Bounds};
use crate::process::raise_open_files;
use crate::service::http;
use crate::service::metrics::Metrics;
use crate::service::snapshot::ServiceView;

/// Opens those that the configuration asks for. They are there until `stop`.
pub(super) async fn open(
    config: &ServiceConfig,
    view: &Arc<dyn ServiceView>,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let pages: [(&'static str, u16, Router); 3] = [
        ("health_port", config.health_port, http::health(Arc::clone(view))),
        ("prometheus_port", config.prometheus_port, http::metrics(Arc::clone(view), Arc::clone(metrics))),
        ("debug_handler_port", config.debug_handler_port, http::debug(Arc::clone(view))),
    ];
    for (key, port, router) in pages.into_iter().filter(|(_, port, _)| *port != 0) {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        listen(key, address, router, tasks, stop.clone()).await?;
    }
    Ok(())
}

/// Serves until `stop`.
pub(super) async fn listen(
    key: &'static str,
    address: SocketAddr,
    router: Router,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let failed = |error| ServeError::Listen { key, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(key, %address, "listening");
    let bounds = Bounds::of(raise_open_files());
    tasks.spawn(http_listener::serve(key, listener, router, bounds, stop));
    Ok(())
}
