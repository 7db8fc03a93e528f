//! Connections to whichever server counts at the moment.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::{MultiplexedConnection, PubSub, PubSubSink, PubSubStream};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, TlsCertificates, TlsMode,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::options::{RedisOptions, TlsOptions, Topology};
use super::tls;
use crate::psrpc::bus::BusError;
use crate::secret::Secret;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Makes connections.
pub(super) struct Connector {
    options: RedisOptions,
    tls: Option<Arc<ClientConfig>>,
    cluster: Option<ClusterClient>,
    /// The next of several addresses; a failed one is tried last.
    next: AtomicUsize,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("options", &self.options).finish_non_exhaustive()
    }
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection for commands.
pub(super) enum Connection {
    /// With the future that has to run for it.
    Node(MultiplexedConnection, futures::future::BoxFuture<'static, ()>),
    Cluster(Box<ClusterConnection>),
}

impl Connector {
    /// # Errors
    /// [`BusError::Unusable`].
    pub(super) fn new(options: RedisOptions) -> Result<Self, BusError> {
        let tls = options.tls.as_ref().map(tls::configuration).transpose()?.map(Arc::new);
        let cluster = match &options.topology {
            Topology::Cluster { addresses, max_redirects } => {
                Some(cluster(&options, addresses, *max_redirects)?)
            }
            Topology::Single { .. } | Topology::Sentinel { .. } => None,
        };
        if options.topology.addresses().is_empty() {
            return Err(BusError::Unusable("no address of a Redis is given".into()));
        }
        Ok(Self { options, tls, cluster, next: AtomicUsize::new(0) })
    }

    pub(super) const fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// A connection for commands.
    pub(super) async fn commands(&self) -> Result<Connection, BusError> {
        if let Some(cluster) = &self.cluster {
            return self
                .in_time("the cluster", async {
                    Ok(Connection::Cluster(Box::new(cluster.get_async_connection().await?)))
                })
                .await;
        }
        self.in_time("the server", async {
            let stream = self.node().await?;
            let (connection, driver) = self.multiplexed(&self.login(), stream).await?;
            Ok(Connection::Node(connection, driver))
        })
        .await
    }

    /// A connection for subscriptions. In a cluster any node will do: they tell one another.
    pub(super) async fn subscriptions(&self) -> Result<(PubSubSink, PubSubStream), BusError> {
        self.in_time("the server", async {
            let stream = self.node().await?;
            Ok(PubSub::new(&self.login(), stream).await?.split())
        })
        .await
    }

    async fn in_time<T>(
        &self,
        what: &'static str,
        connect: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let within = self.options.connect_timeout;
        timeout(within, connect).await.unwrap_or_else(|_| {
            // Whatever it was that did not answer, ask another first.
            self.next.fetch_add(1, Ordering::Relaxed);
            Err(BusError::TimedOut { what, within })
        })
    }

    /// A stream to the server that counts.
    async fn node(&self) -> Result<Box<dyn Transport>, BusError> {
        match &self.options.topology {
            Topology::Single { address } => self.open(address, PORT).await,
            Topology::Cluster { addresses, .. } => {
                self.first(addresses, |address| self.open(address, PORT)).await
            }
            Topology::Sentinel { addresses, master, username, password } => {
                let found =
                    self.first(addresses, |address| self.ask_sentinel(address, master, username, password));
                let (host, port) = found.await?;
                self.open(&format!("{}:{port}", bracketed(&host)), PORT).await
            }
        }
    }

    /// The first of several that answers.
    async fn first<'a, T, F>(
        &self,
        addresses: &'a [String],
        connect: impl Fn(&'a str) -> F,
    ) -> Result<T, BusError>
    where
        F: Future<Output = Result<T, BusError>>,
    {
        let begin = self.next.load(Ordering::Relaxed);
        let mut last = BusError::Unusable("no address of a Redis is given".into());
        for index in 0..addresses.len() {
            let address = &addresses[begin.wrapping_add(index) % addresses.len()];
            match connect(address).await {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    tracing::debug!(address, %error, "asking the next");
                    self.next.fetch_add(1, Ordering::Relaxed);
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The master's address according to a sentinel.
    async fn ask_sentinel(
        &self,
        address: &str,
        master: &str,
        username: &str,
        password: &Secret<String>,
    ) -> Result<(String, u16), BusError> {
        let stream = self.open(address, SENTINEL_PORT).await?;
        let login = login(username, password, 0);
        let (mut connection, driver) = self.multiplexed(&login, stream).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(master);
        let found: Option<(String, u16)> = tokio::select! {
            found = ask.query_async(&mut connection) => found?,
            () = driver => return Err(unreachable(address, io::ErrorKind::ConnectionReset.into())),
        };
        found.ok_or_else(|| {
            BusError::Unusable(format!("the sentinel {address} knows no master named {master:?}"))
        })
    }

    async fn multiplexed(
        &self,
        login: &RedisConnectionInfo,
        stream: Box<dyn Transport>,
    ) -> Result<(MultiplexedConnection, futures::future::BoxFuture<'static, ()>), BusError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.options.response_timeout));
        let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
        Ok((connection, Box::pin(driver)))
    }

    fn login(&self) -> RedisConnectionInfo {
        login(&self.options.username, &self.options.password, self.options.db)
    }

    async fn open(&self, address: &str, default_port: u16) -> Result<Box<dyn Transport>, BusError> {
        let (host, port) = split(address, default_port)?;
        let failed = |error| unreachable(address, error);
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = self.options.tls.as_ref().and_then(|tls| tls.server_name.clone()).unwrap_or(host);
        let name = ServerName::try_from(name)
            .map_err(|error| BusError::Unusable(format!("{address}: no name for TLS: {error}")))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(failed)?;
        Ok(Box::new(stream))
    }
}

impl Topology {
    fn addresses(&self) -> &[String] {
        match self {
            Self::Single { address } => std::slice::from_ref(address),
            Self::Sentinel { addresses, .. } | Self::Cluster { addresses, .. } => addresses,
        }
    }
}

fn unreachable(address: &str, error: io::Error) -> BusError {
    BusError::Unreachable { address: address.to_owned(), source: Arc::new(error) }
}

fn login(username: &str, password: &Secret<String>, db: i64) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(db).set_lib_name("weir", env!("CARGO_PKG_VERSION"));
    if !username.is_empty() {
        login = login.set_username(username);
    }
    if !password.expose().is_empty() {
        login = login.set_password(password.expose());
    }
    login
}

/// `host:port`, `[v6]:port`, or a host alone.
fn split(address: &str, default_port: u16) -> Result<(String, u16), BusError> {
    let wrong = || BusError::Unusable(format!("{address:?}: invalid address; write host:port"));
    let (host, port) = match address.rsplit_once(':') {
        // An IPv6 address without a port has colons, too.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        _ => (address, default_port),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The library's client for a cluster, for the commands: it knows which node has which key.
fn cluster(
    options: &RedisOptions,
    addresses: &[String],
    max_redirects: u32,
) -> Result<ClusterClient, BusError> {
    let mut nodes = Vec::new();
    for address in addresses {
        let (host, port) = split(address, PORT)?;
        let node: ConnectionInfo = (host.clone(), port).into_connection_info()?;
        let addr = match &options.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(tls) => ConnectionAddr::TcpTls { host, port, insecure: tls.insecure, tls_params: None },
        };
        nodes.push(node.set_addr(addr).set_redis_settings(login(&options.username, &options.password, 0)));
    }
    let mut builder = ClusterClientBuilder::new(nodes)
        .retries(max_redirects)
        .connection_timeout(options.connect_timeout)
        .response_timeout(options.response_timeout);
    if let Some(tls) = &options.tls {
        if tls.server_name.is_some() {
            let text =
                "redis.tls.server_name: not possible with cluster_addresses, as each node has its own name";
            return Err(BusError::Unusable(text.into()));
        }
        let mode = if tls.insecure { TlsMode::Insecure } else { TlsMode::Secure };
        builder = builder.tls(mode).certs(pem(tls)?);
    }
    Ok(builder.build()?)
}

fn pem(tls: &TlsOptions) -> Result<TlsCertificates, BusError> {
    let client_tls = match &tls.client {
        Some((certificate, key)) => {
            Some(ClientTlsConfig { client_cert: tls::read(certificate)?, client_key: tls::read(key)? })
        }
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca_cert.as_deref().map(tls::read).transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        let cases = [
            ("redis", ("redis", 6379)),
            ("redis:7000", ("redis", 7000)),
            ("10.0.0.1:1", ("10.0.0.1", 1)),
            ("[::1]:7000", ("::1", 7000)),
            ("[::1]", ("::1", 6379)),
            ("::1", ("::1", 6379)),
        ];
        for (address, (host, port)) in cases {
            assert_eq!(split(address, PORT).unwrap(), (host.to_owned(), port), "{address}");
        }
        for wrong in ["", ":6379", "redis:", "redis:port", "redis:70000", "[]:1"] {
            assert!(split(wrong, PORT).is_err(), "{wrong:?}");
        }
    }
}
