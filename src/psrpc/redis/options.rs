//! Address and credentials of a Redis.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Address and credentials of a Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub topology: Topology,
    /// Empty: the default user.
    pub username: String,
    /// Empty: none.
    pub password: Secret<String>,
    pub db: i64,
    pub tls: Option<TlsOptions>,
    /// For a connection to be made, TLS and log-in included.
    pub connect_timeout: Duration,
    /// For one command to be answered.
    pub response_timeout: Duration,
}

/// How many servers there are, and who knows which of them counts. Addresses are `host:port`;
/// without a port 6379, for sentinels 26379.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    Single { address: String },
    Sentinel { addresses: Vec<String>, master: String, username: String, password: Secret<String> },
    Cluster { addresses: Vec<String>, max_redirects: u32 },
}

/// TLS 1.2 or 1.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// The server's certificate is not looked at.
    pub insecure: bool,
    /// Name in the server's certificate, where it is not the address's host.
    pub server_name: Option<String>,
    /// PEM; in place of the system's authorities.
    pub ca_cert: Option<PathBuf>,
    /// Our own certificate and its key, PEM; for servers that ask for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl RedisOptions {
    /// One server without credentials.
    pub fn single(address: impl Into<String>) -> Self {
        Self::new(Topology::Single { address: address.into() })
    }

    /// Without credentials, and with the usual timeouts of Redis clients: 5 s to connect, 3 s for
    /// an answer.
    #[must_use]
    pub const fn new(topology: Topology) -> Self {
        Self {
            topology,
            username: String::new(),
            password: Secret::new(String::new()),
            db: 0,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(3),
        }
    }
}
