//! `weir serve`: a configuration becomes a service with its front doors, and signals become its
//! end.
//!
//! ```text
//! with `redis:`      livekit-server ◄── psrpc ──► BusListener ──► Service ──► IoRegistry ──► livekit-server
//! without            callers ────────── Twirp ──► API ──────► Service ──► store, webhooks
//! ```

mod console;
mod listeners;
mod pages;
mod signals;

use std::fs::{DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::ListEgressRequest;
use nix::fcntl::Flock;
use rand::Rng;
use rand::distr::Alphanumeric;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::RedisConfigError;
use crate::config::Loaded;
use crate::config::ServiceConfig;
use crate::config::limits::SessionLimits as ConfiguredLimits;
use crate::files;
use crate::ipc::Logs;
use crate::outbound;
use crate::plan::SessionLimits;
use crate::plan::defaults::Defaults;
use crate::plan::room::Rooms;
use crate::plan::source::BrowserSettings;
use crate::psrpc::BusError;
use crate::service::admission::AdmissionController;
use crate::service::bus::{BusListener, Node, Topics};
use crate::service::console::{Console, OneTimeKeys, Recent};
use crate::service::error::ServiceError;
use crate::service::layout::Layouts;
use crate::service::metrics::Metrics;
use crate::service::monitor::{self, Monitor, Relief};
use crate::service::registry::{Registry, Watched, Watcher};
use crate::service::snapshot::{LiveServiceView, ServiceView};
use crate::service::store::StoreError;
use crate::service::{Service, Settings};
use crate::telemetry;
use crate::token::Signer;
pub use console::{ConsoleError, console_address};
use listeners::Listeners;
use signals::{ShutdownRequest, Signals};

/// Deadline of the drain. The next run of the service reports what remains: it is still on the
/// disk.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// Deadline of the clean-up; the next run finishes it.
const TIDY_WITHIN: Duration = Duration::from_secs(10);
/// LiveKit Egress's text.
const SHUTTING_DOWN: &str = "server is shutting down";

/// Errors that keep the service from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("no work directory is known: set work_dir in the configuration")]
    NoWorkDir,
    // The texts have the error in them; as a source it would be said twice.
    #[error("{}: {error}", path.display())]
    WorkDir { path: PathBuf, error: io::Error },
    #[error("{} is another service's work directory: stop that one, or set work_dir", .0.display())]
    WorkDirTaken(PathBuf),
    #[error("the current directory can't be read: {0}")]
    CurrentDir(io::Error),
    #[error("can't listen for signals: {0}")]
    Signals(io::Error),
    #[error("can't listen on {address} ({key}): {error}")]
    Listen { key: &'static str, address: SocketAddr, error: io::Error },
    #[error(transparent)]
    RedisConfig(#[from] RedisConfigError),
    #[error("redis")]
    Redis(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("webhook.urls: invalid address; use http:// or https://")]
    WebhookUrl,
}

/// How a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Everything that it had begun is over and told.
    Ended,
    /// It was interrupted again: recorders finish their files by themselves, and the next run tells
    /// of them.
    Left,
}

/// Serves until a signal says otherwise.
///
/// # Errors
/// When it can't begin.
pub async fn serve(loaded: &Loaded) -> Result<Done, ServeError> {
    // Before anything is begun that would have to be ended.
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let config = &loaded.config;
    let logs =
        Logs { filter: telemetry::service_filter(config.logging.level.as_str()), json: config.logging.json };
    telemetry::init_service(&logs.filter, logs.json, config.tokio_console_port());
    for finding in &loaded.warnings {
        tracing::warn!("configuration: {finding}");
    }
    if !config.allow_link_local {
        outbound::refuse_link_local();
    }
    let settings = settings(config, logs)?;
    let _claim = claim(&settings.work_dir)?;

    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let done = run(config, &settings, &mut signals, &tasks, &stop).await;
    stop.cancel();
    tasks.close();
    let is_over = matches!(done, Ok(Done::Ended));
    if is_over && timeout(TIDY_WITHIN, tasks.wait()).await.is_err() {
        tracing::info!("cleanup unfinished; the next run continues it");
    }
    if let Ok(done) = &done {
        tracing::info!(?done, "ended");
    }
    done
}

/// Builds the service and serves. Owners of bus and store are dropped when this returns, so that
/// their tasks end.
async fn run(
    config: &ServiceConfig,
    settings: &Settings,
    signals: &mut Signals,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Done, ServeError> {
    let node_id = node_id();
    let node = Node { id: &node_id, cluster_id: &config.cluster_id };
    let metrics = Arc::new(Metrics::new(node.id, node.cluster_id)?);
    let connection = listeners::connect(config, &settings.work_dir, &metrics.observer(), tasks, stop).await?;
    let recent = Recent::default();
    if config.is_standalone() {
        recent.fill(connection.registry.list(ListEgressRequest::default()).await?.items);
    }
    let watchers: Vec<Arc<dyn Watcher>> = vec![Arc::clone(&metrics) as _, Arc::new(recent.clone())];
    let registry: Arc<dyn Registry> = Arc::new(Watched::new(Arc::clone(&connection.registry), watchers));
    let cores = monitor::available_cores(config.cpu_request);
    monitor::look_at_size(&config.cpu_cost, cores);
    let gate = AdmissionController::new(config.cpu_cost.clone(), cores);
    let monitor = Monitor::new(gate.clone(), &config.cpu_cost, config.cpu_request);
    let readings = monitor.readings();
    let observer = metrics.observer();
    let topics = connection.bus.as_ref().map(|bus| Topics::new(Arc::clone(bus), node.id, &observer, tasks));
    let service = Service::new(settings.clone(), Arc::clone(&registry), gate.clone(), topics, tasks);
    tasks.spawn(monitor.watch(Arc::clone(&service) as Arc<dyn Relief>, stop.clone()));
    let bus = connection.bus.map(|bus| BusListener::new(bus, &observer, tasks));
    let unreadable = |error| ServeError::WorkDir { path: settings.work_dir.clone(), error };
    service.take_over().await.map_err(unreadable)?;
    let view: Arc<dyn ServiceView> = Arc::new(LiveServiceView::new(&service, gate, readings));
    let console = Console {
        egresses: Arc::clone(&service) as _,
        view: Arc::clone(&view),
        recent,
        keys: listeners::keys(config),
        one_time_keys: OneTimeKeys::of(&settings.work_dir),
        tasks: tasks.clone(),
    };
    // Not before all that is here already has its place.
    let bus = match bus {
        Some(bus) => Some(bus.open(&service, node).await?),
        None => None,
    };
    let doors = Listeners::open(config, bus, &service, console, tasks, stop).await?;
    metrics.set_view(&view);
    pages::open(config, &view, &metrics, tasks, stop).await?;
    console::announce(config, &settings.work_dir);
    tracing::info!(work_dir = %settings.work_dir.display(), standalone = config.is_standalone(), "serving");

    let done = until_told(signals, &service, &doors, &*registry).await;
    doors.close(TIDY_WITHIN).await;
    Ok(done)
}

/// Serves, and ends as the signals say.
async fn until_told(
    signals: &mut Signals,
    service: &Service,
    doors: &Listeners,
    registry: &dyn Registry,
) -> Done {
    let mut wish = signals.next().await;
    tracing::info!(?wish, recordings = service.active().len(), "shutting down");
    service.close();
    doors.take_no_more();
    if wish == ShutdownRequest::End {
        service.kill_all(SHUTTING_DOWN);
    }
    let over = async {
        service.idle().await;
        if timeout(DRAINED_WITHIN, registry.drained()).await.is_err() {
            tracing::warn!("reports undelivered; the next run sends them");
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Done::Ended,
            again = signals.next() => match (wish, again) {
                // Who asks for a drain again gets what he has.
                (_, ShutdownRequest::Drain) => {}
                (ShutdownRequest::Drain, ShutdownRequest::End) => {
                    wish = ShutdownRequest::End;
                    tracing::info!("ending all recordings now");
                    service.kill_all(SHUTTING_DOWN);
                }
                (ShutdownRequest::End, ShutdownRequest::End) => {
                    tracing::warn!(recordings = service.active().len(), "leaving recordings to their recorders");
                    return Done::Left;
                }
            }
        }
    }
}

/// A name for this run of the service: `NE_` and twelve letters and digits.
fn node_id() -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from);
    "NE_".chars().chain(random).collect()
}

fn settings(config: &ServiceConfig, logs: Logs) -> Result<Settings, ServeError> {
    let here = std::env::current_dir().map_err(ServeError::CurrentDir)?;
    let work_dir = config.work_dir.as_ref().ok_or(ServeError::NoWorkDir)?;
    let defaults = defaults(config);
    Ok(Settings {
        layouts: Layouts::of(&defaults.rooms),
        defaults,
        session: session_limits(&config.session_limits),
        keep_free: config.keep_free,
        upload_patience: config.upload_patience,
        work_dir: here.join(work_dir),
        base: here,
        logs,
        browser: BrowserSettings {
            insecure: config.insecure,
            refuse_link_local: !config.allow_link_local,
            own_ports: config.own_ports(),
            flags: config.chrome_flags.clone(),
        },
        video_encoder_threads: config.video_encoder_threads,
        orphan_timeout: config.orphan_timeout,
    })
}

fn defaults(config: &ServiceConfig) -> Defaults {
    let signer = Signer::new(&config.api_key, &config.api_secret);
    let (ws_url, template_base) = (config.ws_url.clone(), config.template_base.clone());
    let rooms = Rooms { ws_url, signer, template_base };
    Defaults { storage: config.storage.clone(), rooms, frame_times: config.frame_times }
}

fn session_limits(config: &ConfiguredLimits) -> SessionLimits {
    let said = |duration: Duration| (!duration.is_zero()).then_some(duration);
    SessionLimits {
        file: said(config.file_output_max_duration),
        file_size: (config.file_output_max_size > 0).then_some(config.file_output_max_size),
        stream: said(config.stream_output_max_duration),
        segments: said(config.segment_output_max_duration),
        images: said(config.image_output_max_duration),
    }
}

/// Makes the work directory, for its owner alone, and holds it as long as what this gives lives.
fn claim(work_dir: &Path) -> Result<Flock<File>, ServeError> {
    let failed = |error: io::Error| ServeError::WorkDir { path: work_dir.to_owned(), error };
    if let Some(parent) = work_dir.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    files::chosen_dir(work_dir).map_err(failed)?;
    let lock = files::lock(&work_dir.join("lock")).map_err(failed)?;
    lock.ok_or_else(|| ServeError::WorkDirTaken(work_dir.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_work_directory_is_made_held_once_and_may_be_a_link_that_was_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let (work, link) = (dir.path().join("a/work"), dir.path().join("link"));
        symlink(&work, &link).unwrap();
        let held = claim(&work).unwrap();
        assert!(matches!(claim(&link), Err(ServeError::WorkDirTaken(_))));
        drop(held);
        drop(claim(&link).unwrap());
    }

    #[test]
    fn a_work_directory_that_is_a_pipe_is_an_error_that_says_why_once() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        nix::unistd::mkfifo(&work, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = format!("{:#}", anyhow::Error::from(claim(&work).unwrap_err()));
        assert_eq!(error.matches("not a directory").count(), 1, "{error}");
    }
}
