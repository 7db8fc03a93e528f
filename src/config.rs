//! The service's configuration (docs/reference/egress.md).
//!
//! The keys are LiveKit Egress's, so that its file works unchanged; keys that only Weir has say so.
//! An empty value means "not set". [`ServiceConfig::load`] reads a text and the environment and
//! fills in the defaults, so that no other code needs defaults.

pub mod bytes;
mod check;
pub mod chrome;
pub mod cost;
pub mod debug;
mod duration;
mod environment;
pub mod frame_times;
pub mod latency;
pub mod limits;
mod load;
pub mod logging;
pub mod redis;
pub mod storage;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::secret::Secret;
pub use chrome::ChromeFlag;
use cost::CpuCost;
use debug::DebugConfig;
pub use environment::Environment;
use frame_times::FrameTimes;
use latency::{Latency, LatencyOverrides};
use limits::SessionLimits;
pub use load::{LoadError, Loaded};
use logging::LoggingConfig;
use redis::RedisConfig;
use storage::ServerStorage;
pub use yaml::{ConfigError, Finding, Place};

/// The API's default port: next to the templates' port, and not one of livekit-server's (7880 to
/// 7882).
pub const DEFAULT_PORT: u16 = 7981;

/// Whether this build serves tokio-console.
pub const HAS_CONSOLE: bool = cfg!(all(feature = "console", tokio_unstable));

/// The port at which LiveKit Egress serves its layouts.
pub const DEFAULT_TEMPLATE_PORT: u16 = 7980;

/// A service's complete configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceConfig {
    /// Name of the API key that signs room tokens and checks API calls. Default: `LIVEKIT_API_KEY`.
    pub api_key: String,
    /// Default: `LIVEKIT_API_SECRET`.
    pub api_secret: Secret<String>,
    /// Address of livekit-server (`wss://…`) for requests without one. Default: `LIVEKIT_WS_URL`.
    pub ws_url: String,
    /// With Redis, requests come from livekit-server. Without it the service is standalone: it has
    /// its own API, registry and webhooks.
    pub redis: RedisConfig,

    /// Port of LiveKit's health JSON and `/healthz`, on all interfaces. 0: off.
    pub health_port: u16,
    /// Accepted without effect: each recorder serves its layout itself.
    pub template_port: u16,
    /// Port of Prometheus metrics, on all interfaces. 0: off.
    pub prometheus_port: u16,
    /// Port of debugging dumps, on all interfaces. 0: off.
    pub debug_handler_port: u16,
    /// Weir only: port of tokio-console on the loopback interface; needs
    /// [`ServiceConfig::debug_handler_port`] and a build with the feature `console`. 0: off. See
    /// [`ServiceConfig::tokio_console_port`].
    pub tokio_console_port: u16,
    /// Weir only: port of the API (Twirp over HTTP). `None`: [`DEFAULT_PORT`] without Redis, else
    /// off, because livekit-server has the API then. 0: off. See [`ServiceConfig::api_port`].
    pub port: Option<u16>,
    /// Weir only: the interface of the API and the console.
    pub bind: IpAddr,
    /// Weir only: whether the operator's console is served, at the API's port or at `console_port`.
    pub console: bool,
    /// Weir only: a port for the console alone. 0: at the API's port, if there is one.
    pub console_port: u16,

    pub logging: LoggingConfig,
    /// Base address of the layouts, for requests without one. Empty: Weir's own layouts.
    pub template_base: String,
    /// The topic on which requests are received, and a label of the metrics. A livekit-server as
    /// published uses the empty one.
    pub cluster_id: String,
    /// Accepted without effect: the sandbox is on wherever the kernel allows it.
    pub enable_chrome_sandbox: bool,
    /// Lets pages read other origins' data and load unencrypted content.
    pub insecure: bool,
    /// Weir only: lets pages, storages, streams and webhooks reach link-local addresses and cloud
    /// metadata services, which hand out a machine's credentials.
    pub allow_link_local: bool,
    /// Chromium flags by name; they come after Weir's own and override them. Every user of the
    /// machine can read them, like all arguments.
    pub chrome_flags: BTreeMap<String, ChromeFlag>,
    /// Accepted without effect: pending uploads wait on the disk. In minutes.
    pub max_upload_queue: u32,

    /// How long to wait for the answer to `CreateEgress`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_create_timeout: Duration,
    /// How long to wait for the answer to `UpdateEgress` before a retry.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_update_timeout: Duration,
    /// How long to wait for a claim; 0: as long as for the answer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_selection_timeout: Duration,
    /// Number of queues for status updates.
    pub io_workers: i32,

    /// The storage keys, which stand at the top level of the file.
    #[serde(skip)]
    pub storage: ServerStorage,
    pub session_limits: SessionLimits,
    pub cpu_cost: CpuCost,
    /// Cores that recordings may use instead of all of the machine's: the variable
    /// `LIVEKIT_CPU_REQUEST`; not a key of the file.
    #[serde(skip)]
    pub cpu_request: Option<f64>,

    /// Weir only: the frame times of recordings. The default is a constant frame rate, as in
    /// LiveKit Egress.
    #[serde(deserialize_with = "frame_times::deserialize")]
    pub frame_times: FrameTimes,
    pub latency: Latency,
    pub latency_overrides: LatencyOverrides,
    /// Threads of one H.264 encoder; 0: by the machine's share.
    pub video_encoder_threads: u32,
    /// Accepted without effect: sender reports are always synchronized.
    pub enable_one_shot_sender_report_sync: bool,
    /// Accepted without effect: sender reports are always synchronized.
    pub enable_sync_engine: bool,
    /// Accepted without effect.
    pub audio_tempo_controller: AudioTempoController,
    /// Accepted without effect: each recording's audio server ends with it. In seconds.
    pub pulse_sink_reap_grace_sec: i32,
    pub debug: DebugConfig,
    /// Accepted, for LiveKit's own tests.
    pub test_overrides: TestOverrides,

    /// Weir only: directory of running recordings and of what killed ones left. `None` only before
    /// loading. Default: `$STATE_DIRECTORY`, else `/var/lib/weir` for root, else
    /// `$XDG_STATE_HOME/weir` or `~/.local/state/weir`.
    pub work_dir: Option<PathBuf>,
    /// Weir only: recordings stop when a local disk has less free space, in bytes.
    #[serde(deserialize_with = "bytes::deserialize")]
    pub keep_free: u64,
    /// Weir only: how long the end of a recording waits for a storage that does not answer. 0: not
    /// at all.
    #[serde(deserialize_with = "duration::deserialize")]
    pub upload_patience: Duration,
    /// Weir only: how long a recording continues after its service is gone and no other takes over.
    /// Then it ends, finishes its files, and has failed. 0: it ends at once.
    #[serde(deserialize_with = "duration::deserialize")]
    pub orphan_timeout: Duration,
    /// Weir only: the database of a standalone service. `None` only before loading. Default:
    /// `weir.redb` in the work directory.
    pub store: Option<PathBuf>,
    /// Weir only, with livekit-server's keys: the notifications of a standalone service.
    pub webhook: WebhookConfig,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            api_secret: Secret::default(),
            ws_url: String::new(),
            redis: RedisConfig::default(),
            health_port: 0,
            template_port: DEFAULT_TEMPLATE_PORT,
            prometheus_port: 0,
            debug_handler_port: 0,
            tokio_console_port: 0,
            port: None,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            console: true,
            console_port: 0,
            logging: LoggingConfig::default(),
            template_base: String::new(),
            cluster_id: String::new(),
            enable_chrome_sandbox: false,
            insecure: false,
            allow_link_local: false,
            chrome_flags: BTreeMap::new(),
            max_upload_queue: 60,
            io_create_timeout: Duration::from_secs(15),
            io_update_timeout: Duration::from_secs(30),
            io_selection_timeout: Duration::ZERO,
            io_workers: 5,
            storage: ServerStorage::default(),
            session_limits: SessionLimits::default(),
            cpu_cost: CpuCost::default(),
            cpu_request: None,
            frame_times: FrameTimes::Grid,
            latency: Latency::default(),
            latency_overrides: LatencyOverrides::default(),
            video_encoder_threads: 0,
            enable_one_shot_sender_report_sync: false,
            enable_sync_engine: false,
            audio_tempo_controller: AudioTempoController::default(),
            pulse_sink_reap_grace_sec: 30,
            debug: DebugConfig::default(),
            test_overrides: TestOverrides::default(),
            work_dir: None,
            keep_free: 512_000_000,
            upload_patience: Duration::from_secs(60),
            orphan_timeout: Duration::from_hours(1),
            store: None,
            webhook: WebhookConfig::default(),
        }
    }
}

impl ServiceConfig {
    /// Returns whether the service runs without livekit-server and Redis.
    #[must_use]
    pub fn is_standalone(&self) -> bool {
        !self.redis.is_configured()
    }

    /// Returns the API's port, or `None` if the API is off.
    #[must_use]
    pub fn api_port(&self) -> Option<u16> {
        let unsaid = if self.is_standalone() { DEFAULT_PORT } else { 0 };
        Some(self.port.unwrap_or(unsaid)).filter(|port| *port != 0)
    }

    /// Returns the console's port, or `None` if the console is off.
    #[must_use]
    pub fn console_port(&self) -> Option<u16> {
        let own = Some(self.console_port).filter(|port| *port != 0);
        own.or_else(|| self.api_port()).filter(|_| self.console)
    }

    /// Returns all ports that the service listens on.
    #[must_use]
    pub fn own_ports(&self) -> BTreeSet<u16> {
        let pages = [self.health_port, self.prometheus_port, self.debug_handler_port];
        let rest = [self.api_port(), self.console_port(), self.tokio_console_port()];
        pages.into_iter().filter(|port| *port != 0).chain(rest.into_iter().flatten()).collect()
    }

    /// Returns tokio-console's port, or `None` if it is off.
    #[must_use]
    pub fn tokio_console_port(&self) -> Option<u16> {
        let is_wanted = HAS_CONSOLE && self.debug_handler_port != 0;
        Some(self.tokio_console_port).filter(|port| is_wanted && *port != 0)
    }
}

/// The `webhook` section, as in livekit-server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct WebhookConfig {
    /// Receivers of every notification. The addresses may contain passwords.
    pub urls: Vec<Secret<String>>,
    /// The API key that signs notifications. Empty: [`ServiceConfig::api_key`], the only possible
    /// value.
    pub api_key: String,
    /// Filter of the events to send.
    pub filter_params: WebhookFilter,
}

/// `webhook.filter_params`: event names such as `egress_ended`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct WebhookFilter {
    /// Only these events. Empty: all except the excluded ones.
    pub include_events: Vec<String>,
    pub exclude_events: Vec<String>,
}

/// The `audio_tempo_controller` section.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct AudioTempoController {
    pub enabled: bool,
    pub adjustment_rate: f64,
}

/// The `test_overrides` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct TestOverrides {
    pub failure_injection_room: String,
    pub disconnect_injection_room: String,
}

#[cfg(test)]
mod tests;
