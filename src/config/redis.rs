//! The Redis through which livekit-server sends requests (docs/reference/psrpc.md).
//!
//! The keys are LiveKit's; an empty value means "not set".

use std::path::PathBuf;

use serde::Deserialize;

use crate::secret::Secret;

/// The `redis` section. If servers are named in several ways, the first of these applies:
/// sentinels, a cluster, one address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RedisConfig {
    /// `host:port`, or `redis://user:password@host:port/db` (`rediss://` for TLS); may contain a
    /// password.
    pub address: Secret<String>,
    pub username: String,
    pub password: Secret<String>,
    pub db: i64,
    /// Deprecated: TLS with the system's certificate authorities. [`RedisConfig::tls`] wins.
    pub use_tls: bool,
    pub tls: Option<RedisTlsConfig>,
    pub sentinel_master_name: String,
    pub sentinel_username: String,
    pub sentinel_password: Secret<String>,
    pub sentinel_addresses: Vec<String>,
    pub cluster_addresses: Vec<String>,
    /// In milliseconds; used with sentinels only, where the default is 2000.
    pub dial_timeout: u32,
    /// In milliseconds; used with sentinels only, where the default is 200.
    pub read_timeout: u32,
    /// In milliseconds; used with sentinels only, where the default is 200.
    pub write_timeout: u32,
    /// Redirections of one command in a cluster; 2 by default.
    pub max_redirects: Option<u32>,
    /// Accepted without effect: Weir has no connection pool.
    pub pool_timeout: u64,
    /// Accepted without effect, like [`RedisConfig::pool_timeout`].
    pub pool_size: u64,
}

/// The `redis.tls` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RedisTlsConfig {
    pub enabled: bool,
    /// Skip the verification of the server's certificate.
    pub insecure: bool,
    /// Name in the server's certificate, if it differs from the address's host.
    pub server_name: String,
    /// PEM file that replaces the system's authorities.
    pub ca_cert_file: PathBuf,
    /// PEM files; both or neither.
    pub client_cert_file: PathBuf,
    pub client_key_file: PathBuf,
}

impl RedisConfig {
    /// Returns whether a server is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !(self.address.expose().is_empty()
            && self.sentinel_addresses.is_empty()
            && self.cluster_addresses.is_empty())
    }
}
