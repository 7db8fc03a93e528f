//! The console's address with a one-time key.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::ServiceConfig;
use crate::service::console::{KEY_LASTS, OneTimeKeys};

/// A service on this machine accepts a connection at once, however busy it is.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// Why the console's address is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error(
        "this configuration has no console: remove `console: false`, or set `console_port` (beside `redis`)"
    )]
    None,
    #[error("nothing answers at {address}: start `weir serve` with this configuration ({error})")]
    // Not as a source, which would be said twice.
    NotServed { address: SocketAddr, error: io::Error },
    #[error(
        "the console listens on {0}, which is not the loopback interface: open http://{0}/ and show an access token"
    )]
    NotLocal(SocketAddr),
    #[error("no work directory is known: set `work_dir` in the configuration")]
    NoWorkDir,
    #[error("{}: no key can be made there; run this as the service's user ({error})", path.display())]
    WorkDir { path: PathBuf, error: io::Error },
    #[error("the current directory can't be read: {0}")]
    CurrentDir(io::Error),
}

/// Returns the address of the running service's console with a fresh one-time key. `config` is the
/// service's configuration. Blocks for as long as a connection takes.
///
/// # Errors
/// [`ConsoleError`]
pub fn console_address(config: &ServiceConfig) -> Result<String, ConsoleError> {
    let listens = listens_on(config)?;
    TcpStream::connect_timeout(&listens, TAKEN_WITHIN)
        .map_err(|error| ConsoleError::NotServed { address: listens, error })?;
    let here = std::env::current_dir().map_err(ConsoleError::CurrentDir)?;
    let work_dir = here.join(config.work_dir.as_ref().ok_or(ConsoleError::NoWorkDir)?);
    with_key(listens, &work_dir)
}

/// Logs the console's address when the service starts.
pub(super) fn announce(config: &ServiceConfig, work_dir: &Path) {
    match listens_on(config).and_then(|listens| with_key(listens, work_dir)) {
        Ok(address) => {
            tracing::info!(
                address,
                minutes = KEY_LASTS.as_secs() / 60,
                "console, with a key that is good once"
            );
        }
        Err(ConsoleError::None) => {}
        Err(ConsoleError::NotLocal(address)) => tracing::info!(%address, "console, for access tokens"),
        Err(error) => tracing::warn!(%error, "console key not created"),
    }
}

/// The console's address on this machine.
fn listens_on(config: &ServiceConfig) -> Result<SocketAddr, ConsoleError> {
    let port = config.console_port().ok_or(ConsoleError::None)?;
    let ip = match config.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, port);
    if ip.to_canonical().is_loopback() { Ok(address) } else { Err(ConsoleError::NotLocal(address)) }
}

fn with_key(listens: SocketAddr, work_dir: &Path) -> Result<String, ConsoleError> {
    let made = OneTimeKeys::of(work_dir).create();
    let key = made.map_err(|error| ConsoleError::WorkDir { path: work_dir.to_owned(), error })?;
    let port = listens.port();
    let host = match listens.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => format!("localhost:{port}"),
        _ => listens.to_string(),
    };
    // A fragment: browsers never send it, so no server or proxy logs it.
    Ok(format!("http://{host}/#key={}", key.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(bind: &str, port: u16, work_dir: &Path) -> ServiceConfig {
        ServiceConfig {
            bind: bind.parse().unwrap(),
            port: Some(port),
            work_dir: Some(work_dir.to_owned()),
            ..ServiceConfig::default()
        }
    }

    #[test]
    fn the_address_has_a_fresh_key_behind_the_hash() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for bind in ["127.0.0.1", "0.0.0.0", "127.0.0.1"] {
            let address = console_address(&config(bind, port, dir.path())).unwrap();
            let key = address.strip_prefix(&format!("http://localhost:{port}/#key=")).unwrap().to_owned();
            assert!(OneTimeKeys::of(dir.path()).take(&key), "{address}");
            assert!(!seen.contains(&key));
            seen.push(key);
        }
    }

    #[test]
    fn no_key_is_made_where_nobody_would_take_it() {
        let dir = tempfile::tempdir().unwrap();
        let free = crate::ports::closed();
        let refused = console_address(&config("127.0.0.1", free, dir.path())).unwrap_err();
        assert!(
            matches!(refused, ConsoleError::NotServed { .. }) && refused.to_string().contains("weir serve")
        );
        assert!(std::error::Error::source(&refused).is_none(), "said twice otherwise");
        let refused = console_address(&config("192.0.2.1", 80, dir.path())).unwrap_err();
        assert!(matches!(refused, ConsoleError::NotLocal(_)), "{refused}");
        let none = ServiceConfig { console: false, ..config("127.0.0.1", 80, dir.path()) };
        assert!(matches!(console_address(&none), Err(ConsoleError::None)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
