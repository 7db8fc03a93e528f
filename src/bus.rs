//! The message bus that a configuration names. Stands between `config` and `psrpc`, which do not
//! know each other.

use std::path::Path;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::redis::{RedisConfig, RedisTlsConfig};
use crate::psrpc::{RedisOptions, TlsOptions, Topology};
use crate::secret::Secret;

/// A `redis` section that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisConfigError {
    #[error("redis: no server is named; set redis.address to host:port")]
    NoAddress,
    /// Its text is not repeated: a password may be in it.
    #[error("redis.address: not a redis:// address")]
    Address,
    #[error("redis.sentinel_master_name is missing")]
    NoMasterName,
    #[error("redis.tls needs both client_cert_file and client_key_file")]
    HalfClient,
}

/// Redirections of one command in a cluster, where nothing else is said.
const MAX_REDIRECTS: u32 = 2;

/// Converts a `redis` section.
///
/// # Errors
///
/// [`RedisConfigError`], naming the invalid key.
pub fn redis_options(config: &RedisConfig) -> Result<RedisOptions, RedisConfigError> {
    let mut options = RedisOptions::new(Topology::Single { address: String::new() });
    options.username.clone_from(&config.username);
    options.password = config.password.clone();
    options.db = config.db;
    options.tls = match &config.tls {
        Some(tls) if tls.enabled => Some(tls_options(tls)?),
        Some(_) | None => config.use_tls.then(TlsOptions::default),
    };

    options.topology = if !config.sentinel_addresses.is_empty() {
        options.connect_timeout = millis(config.dial_timeout, 2000);
        // LiveKit counts them apart; a command is written and read.
        options.response_timeout = millis(config.write_timeout, 200) + millis(config.read_timeout, 200);
        if config.sentinel_master_name.is_empty() {
            return Err(RedisConfigError::NoMasterName);
        }
        Topology::Sentinel {
            addresses: config.sentinel_addresses.clone(),
            master: config.sentinel_master_name.clone(),
            username: config.sentinel_username.clone(),
            password: config.sentinel_password.clone(),
        }
    } else if !config.cluster_addresses.is_empty() {
        Topology::Cluster {
            addresses: config.cluster_addresses.clone(),
            max_redirects: config.max_redirects.unwrap_or(MAX_REDIRECTS),
        }
    } else {
        Topology::Single { address: single(config.address.expose(), &mut options)? }
    };
    Ok(options)
}

/// The address alone; what else a URL says goes to the options, where they say nothing.
fn single(address: &str, options: &mut RedisOptions) -> Result<String, RedisConfigError> {
    if address.is_empty() {
        return Err(RedisConfigError::NoAddress);
    }
    if !address.contains("://") {
        return Ok(address.to_owned());
    }
    let url = Url::parse(address).map_err(|_| RedisConfigError::Address)?;
    match url.scheme() {
        "redis" => {}
        "rediss" => drop(options.tls.get_or_insert_default()),
        _ => return Err(RedisConfigError::Address),
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    if options.username.is_empty() {
        options.username = decoded(url.username());
    }
    if options.password.expose().is_empty() {
        options.password = Secret::new(decoded(url.password().unwrap_or_default()));
    }
    let db = url.path().trim_matches('/');
    if options.db == 0 && !db.is_empty() {
        options.db = db.parse().map_err(|_| RedisConfigError::Address)?;
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(RedisConfigError::Address)?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn tls_options(config: &RedisTlsConfig) -> Result<TlsOptions, RedisConfigError> {
    let said = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let client = match (said(&config.client_cert_file), said(&config.client_key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(RedisConfigError::HalfClient),
    };
    Ok(TlsOptions {
        insecure: config.insecure,
        server_name: Some(config.server_name.clone()).filter(|name| !name.is_empty()),
        ca_cert: said(&config.ca_cert_file),
        client,
    })
}

fn millis(said: u32, default: u32) -> Duration {
    Duration::from_millis(u64::from(if said == 0 { default } else { said }))
}

#[cfg(test)]
mod tests;
