//! What an operator decides once for every recording: the service's configuration (docs/reference/egress.md).
//!
//! The keys are LiveKit Egress's, so that its file can be taken as it is; what is ours alone says so. An empty value means
//! "not said", as there. [`ServiceConfig::load`] reads a text and the environment and fills in what they leave open: nothing behind it
//! needs defaults of its own.

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

/// The API's port where nothing is said: next to the templates', and none of livekit-server's (7880 to 7882).
pub const DEFAULT_PORT: u16 = 7981;

/// Whether this build answers tokio-console.
pub const HAS_CONSOLE: bool = cfg!(all(feature = "console", tokio_unstable));

/// Where LiveKit Egress serves the layouts' pages.
pub const DEFAULT_TEMPLATE_PORT: u16 = 7980;

/// All of a service's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceConfig {
    /// Names the key with which room tokens are signed and API calls are checked. Else `LIVEKIT_API_KEY`.
    pub api_key: String,
    /// Else `LIVEKIT_API_SECRET`.
    pub api_secret: Secret<String>,
    /// livekit-server, for requests that bring no address: `wss://…`. Else `LIVEKIT_WS_URL`.
    pub ws_url: String,
    /// With it, work comes from livekit-server; without, the service stands alone: it has its own API, store and webhooks.
    pub redis: RedisConfig,

    /// LiveKit's health JSON, and `/healthz`; on all interfaces. 0: off.
    pub health_port: u16,
    /// Accepted, and without meaning: each recorder serves its layout itself.
    pub template_port: u16,
    /// Prometheus, on all interfaces. 0: off.
    pub prometheus_port: u16,
    /// Dumps for debugging, on all interfaces. 0: off.
    pub debug_handler_port: u16,
    /// Ours: tokio's tasks, for tokio-console, on the loopback interface; beside [`ServiceConfig::debug_handler_port`], and in builds
    /// with the feature `console`. 0: off. [`ServiceConfig::console_port`] answers.
    pub tokio_console_port: u16,
    /// Ours: the API (Twirp over HTTP). `None`: [`DEFAULT_PORT`] without Redis, else off, as livekit-server has the API
    /// there. 0: off. [`ServiceConfig::api_port`] answers.
    pub port: Option<u16>,
    /// Ours: the interface of the API and of the console.
    pub bind: IpAddr,
    /// Ours: whether there is an operator's console, at the API's port or at `console_port`.
    pub console: bool,
    /// Ours: a port for the console alone. 0: it is at the API's, where there is one.
    pub console_port: u16,

    pub logging: LoggingConfig,
    /// Base address of the layouts' pages, for requests that bring none. Empty: our own.
    pub template_base: String,
    /// The topic on which requests are awaited, and a label of the metrics. livekit-server as it is published asks on the
    /// empty one.
    pub cluster_id: String,
    /// Accepted, and without meaning: the sandbox is on wherever the kernel allows it.
    pub enable_chrome_sandbox: bool,
    /// Pages may read what other origins have, and load what is not encrypted.
    pub insecure: bool,
    /// Ours: pages, storages, streams and webhooks may reach link-local addresses, and clouds' metadata services, which hand out a
    /// machine's keys.
    pub allow_link_local: bool,
    /// Flags for Chromium, by name, after and over our own. For everybody on the machine to read, as all arguments are.
    pub chrome_flags: BTreeMap<String, ChromeFlag>,
    /// Accepted, and without meaning: what waits for a store waits on the disk. Minutes.
    pub max_upload_queue: u32,

    /// How long an answer to `CreateEgress` is awaited.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_create_timeout: Duration,
    /// How long an answer to `UpdateEgress` is awaited, before it is asked again.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_update_timeout: Duration,
    /// How long a claim is awaited; 0: as long as the answer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub io_selection_timeout: Duration,
    /// Queues of status updates.
    pub io_workers: i32,

    /// The keys about storage, which stand at the top level too.
    #[serde(skip)]
    pub storage: ServerStorage,
    pub session_limits: SessionLimits,
    pub cpu_cost: CpuCost,
    /// Cores that recordings may count on, in place of the machine's: `LIVEKIT_CPU_REQUEST`, which is no key.
    #[serde(skip)]
    pub cpu_request: Option<f64>,

    /// Ours: the frame times of recordings. The service's default is a constant frame rate, as LiveKit Egress has.
    #[serde(deserialize_with = "frame_times::deserialize")]
    pub frame_times: FrameTimes,
    pub latency: Latency,
    pub latency_overrides: LatencyOverrides,
    /// Threads of one H.264 encoder; 0: by the machine's share.
    pub video_encoder_threads: u32,
    /// Accepted, and without meaning: our synchroniser is one.
    pub enable_one_shot_sender_report_sync: bool,
    /// Accepted, and without meaning: our synchroniser is one.
    pub enable_sync_engine: bool,
    /// Accepted, and without meaning.
    pub audio_tempo_controller: AudioTempoController,
    /// Accepted, and without meaning: each recording's sound server ends with it. Seconds.
    pub pulse_sink_reap_grace_sec: i32,
    pub debug: DebugConfig,
    /// Accepted, for LiveKit's own tests.
    pub test_overrides: TestOverrides,

    /// Ours: where recordings are while they are made, and what is left of killed ones. `None` only in what was not
    /// loaded: `$STATE_DIRECTORY`, else `/var/lib/weir` for root, else `$XDG_STATE_HOME/weir` or `~/.local/state/weir`.
    pub work_dir: Option<PathBuf>,
    /// Ours: recordings end before a local disk has less free space than this. Bytes.
    #[serde(deserialize_with = "bytes::deserialize")]
    pub keep_free: u64,
    /// Ours: how long the end of a recording waits for a storage that does not answer. 0: it does not wait.
    #[serde(deserialize_with = "duration::deserialize")]
    pub upload_patience: Duration,
    /// Ours: how long a recording goes on when its service is gone and no other comes. Then it ends, finishes its files, and has failed;
    /// 0: at once.
    #[serde(deserialize_with = "duration::deserialize")]
    pub orphan_timeout: Duration,
    /// Ours: the embedded store of a service that stands alone. `None` only in what was not loaded: `weir.redb` in the work
    /// directory.
    pub store: Option<PathBuf>,
    /// Ours, in livekit-server's words: the notifications of a service that stands alone.
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
    /// Whether the service does without livekit-server and Redis.
    #[must_use]
    pub fn is_standalone(&self) -> bool {
        !self.redis.is_configured()
    }

    /// Where the API listens; `None`: nowhere.
    #[must_use]
    pub fn api_port(&self) -> Option<u16> {
        let unsaid = if self.is_standalone() { DEFAULT_PORT } else { 0 };
        Some(self.port.unwrap_or(unsaid)).filter(|port| *port != 0)
    }

    /// Where the console listens; `None`: there is none.
    #[must_use]
    pub fn console_port(&self) -> Option<u16> {
        let own = Some(self.console_port).filter(|port| *port != 0);
        own.or_else(|| self.api_port()).filter(|_| self.console)
    }

    /// Every port that the service listens on.
    #[must_use]
    pub fn own_ports(&self) -> BTreeSet<u16> {
        let pages = [self.health_port, self.prometheus_port, self.debug_handler_port];
        let rest = [self.api_port(), self.console_port(), self.tokio_console_port()];
        pages.into_iter().filter(|port| *port != 0).chain(rest.into_iter().flatten()).collect()
    }

    /// Where tokio-console is answered; `None`: nowhere.
    #[must_use]
    pub fn tokio_console_port(&self) -> Option<u16> {
        let is_wanted = HAS_CONSOLE && self.debug_handler_port != 0;
        Some(self.tokio_console_port).filter(|port| is_wanted && *port != 0)
    }
}

/// The `webhook` section of livekit-server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct WebhookConfig {
    /// Each gets every notification. They may hold passwords.
    pub urls: Vec<Secret<String>>,
    /// The key that signs them. Empty: [`ServiceConfig::api_key`], and there is no other.
    pub api_key: String,
    /// Which notifications they get.
    pub filter_params: WebhookFilter,
}

/// `webhook.filter_params`: names such as `egress_ended`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct WebhookFilter {
    /// Those alone. Empty: all but the excluded ones.
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
