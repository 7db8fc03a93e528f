//! The Redis through which livekit-server gives us work (docs/reference/egress.md).
//!
//! The keys are LiveKit's, and so is what an empty value means: "not said".

use std::path::PathBuf;

use serde::Deserialize;

use crate::secret::Secret;

/// The `redis` section. Of several ways to name servers the first counts: sentinels, a cluster, one address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RedisConfig {
    /// `host:port`, or `redis://user:password@host:port/db` (`rediss://` for TLS), which may hold a password.
    pub address: Secret<String>,
    pub username: String,
    pub password: Secret<String>,
    pub db: i64,
    /// Deprecated: TLS with the system's authorities. [`RedisConfig::tls`] wins.
    pub use_tls: bool,
    pub tls: Option<RedisTlsConfig>,
    pub sentinel_master_name: String,
    pub sentinel_username: String,
    pub sentinel_password: Secret<String>,
    pub sentinel_addresses: Vec<String>,
    pub cluster_addresses: Vec<String>,
    /// Milliseconds; with sentinels only, there 2000 by default.
    pub dial_timeout: u32,
    /// Milliseconds; with sentinels only, there 200 by default.
    pub read_timeout: u32,
    /// Milliseconds; with sentinels only, there 200 by default.
    pub write_timeout: u32,
    /// Redirections of one command in a cluster; 2 by default.
    pub max_redirects: Option<u32>,
    /// For clients with a pool of connections. There is none here; accepted, and without meaning.
    pub pool_timeout: u64,
    /// As [`RedisConfig::pool_timeout`].
    pub pool_size: u64,
}

/// The `redis.tls` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RedisTlsConfig {
    pub enabled: bool,
    /// The server's certificate is not looked at.
    pub insecure: bool,
    /// Name in the server's certificate, where it is not the address's host.
    pub server_name: String,
    /// PEM; in place of the system's authorities.
    pub ca_cert_file: PathBuf,
    /// PEM; both or none.
    pub client_cert_file: PathBuf,
    pub client_key_file: PathBuf,
}

impl RedisConfig {
    /// Whether any server is named.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !(self.address.expose().is_empty()
            && self.sentinel_addresses.is_empty()
            && self.cluster_addresses.is_empty())
    }
}
