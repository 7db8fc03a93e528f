//! The front doors that a configuration asks for, and the registry that goes with them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{ServeError, pages};
use crate::bus::redis_options;
use crate::config::{ServiceConfig, WebhookFilter};
use crate::psrpc::{MessageBus, Observer, RedisBus};
use crate::secret::Secret;
use crate::service::Service;
use crate::service::api::{self, Api};
use crate::service::bus::BusListener;
use crate::service::console::{self, Console};
use crate::service::io::{IoRegistry, IoTimes};
use crate::service::keys::ApiKeys;
use crate::service::registry::Registry;
use crate::service::standalone::Standalone;
use crate::service::store::{Store, StoreOptions};
use crate::service::webhook::{Filter, Limits, Notifier, WebhookOptions};

/// The service's connection to its registry, made before it accepts work.
pub(super) struct Connection {
    pub(super) registry: Arc<dyn Registry>,
    /// `None`: it stands alone.
    pub(super) bus: Option<Arc<dyn MessageBus>>,
}

/// Connects to Redis, or opens the store. `observer` counts what is asked over the bus.
pub(super) async fn connect(
    config: &ServiceConfig,
    work_dir: &Path,
    observer: &Arc<dyn Observer>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Connection, ServeError> {
    if config.is_standalone() {
        // The configured path may be a link. A path without a file is not a link, or a dangling
        // one.
        let chosen = config.store.as_ref().map(|file| file.canonicalize().unwrap_or_else(|_| file.clone()));
        let file = chosen.unwrap_or_else(|| work_dir.join("weir.redb"));
        let store = Store::open(&file, StoreOptions::default(), tasks, stop.clone()).await?;
        let urls = config.webhook.urls.iter().map(|url| Url::parse(url.expose()).map(Secret::new));
        let WebhookFilter { include_events: include, exclude_events: exclude } =
            config.webhook.filter_params.clone();
        let options = WebhookOptions {
            urls: urls.collect::<Result<_, _>>().map_err(|_| ServeError::WebhookUrl)?,
            api_key: config.webhook.api_key.clone(),
            filter: Filter { include_events: include, exclude_events: exclude },
            limits: Limits::default(),
        };
        let webhooks = Notifier::new(options, keys(config), tasks.clone())?;
        let registry = Standalone { store, webhooks };
        registry.resume();
        return Ok(Connection { registry: Arc::new(registry), bus: None });
    }
    let bus: Arc<dyn MessageBus> = Arc::new(RedisBus::connect(redis_options(&config.redis)?, tasks).await?);
    let times = IoTimes {
        create: config.io_create_timeout,
        update: config.io_update_timeout,
        selection: Some(config.io_selection_timeout).filter(|timeout| !timeout.is_zero()),
    };
    let registry = IoRegistry::new(Arc::clone(&bus), times, tasks);
    registry.observed_by(Arc::clone(observer));
    Ok(Connection { registry: Arc::new(registry), bus: Some(bus) })
}

pub(super) fn keys(config: &ServiceConfig) -> ApiKeys {
    let key = (config.api_key.clone(), config.api_secret.clone());
    std::iter::once(key).filter(|(name, _)| !name.is_empty()).collect()
}

/// The open doors.
pub(super) struct Listeners {
    bus: Option<BusListener>,
    /// Cancelled: the API takes no more connections.
    shut: CancellationToken,
}

impl Listeners {
    /// Opens those that are reached over HTTP, beside the one that `bus` is.
    pub(super) async fn open(
        config: &ServiceConfig,
        bus: Option<BusListener>,
        service: &Arc<Service>,
        console: Console,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, ServeError> {
        let shut = stop.child_token();
        let mut console = config.console_port().map(|port| (port, console::router(console)));
        if let Some(port) = config.api_port() {
            let address = SocketAddr::new(config.bind, port);
            let egresses = Arc::clone(service) as _;
            let mut router = api::router(Api { egresses, keys: keys(config), tasks: tasks.clone() });
            if let Some((_, console)) = console.take_if(|(at, _)| *at == port) {
                router = router.merge(console);
            }
            pages::listen("port", address, router, tasks, shut.clone()).await?;
        }
        if let Some((port, router)) = console {
            let address = SocketAddr::new(config.bind, port);
            pages::listen("console_port", address, router, tasks, shut.clone()).await?;
        }
        Ok(Self { bus, shut })
    }

    /// Stops accepting start requests. Running egresses can still be listed and stopped.
    pub(super) fn take_no_more(&self) {
        if let Some(bus) = &self.bus {
            bus.close();
        }
    }

    pub(super) async fn close(self, within: Duration) {
        self.shut.cancel();
        if let Some(bus) = self.bus
            && !bus.shutdown(within).await
        {
            tracing::warn!("calls over the bus unfinished at shutdown");
        }
    }
}
