//! Connections to servers that a request or a configuration names: looked up, looked at, made.
//!
//! A service keeps them from link-local addresses and clouds' metadata services ([`reach`](crate::plan::reach)), as it does its
//! pages: [`refuse_link_local`] says so once for the process. What was looked at is what is connected to, so that a name that
//! changes its mind (DNS rebinding) gains nothing. HTTP clients do not look numbers up: [`check`] is for those.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::{TcpStream, lookup_host};
use url::{Host, Url};

use crate::plan::reach::is_link_local;

static REFUSES_LINK_LOCAL: AtomicBool = AtomicBool::new(false);

/// A server that is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} leads to a link-local address, which this service does not connect to (`allow_link_local`)")]
pub struct LinkLocalError {
    pub host: String,
}

impl From<LinkLocalError> for io::Error {
    fn from(error: LinkLocalError) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

/// Keeps all connections of this process that are made from now on from link-local addresses.
pub fn refuse_link_local() {
    REFUSES_LINK_LOCAL.store(true, Ordering::Relaxed);
}

/// Which addresses are not connected to.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    is_refused: fn(IpAddr) -> bool,
}

/// The process's.
impl Default for Guard {
    fn default() -> Self {
        Self::of_process()
    }
}

impl Guard {
    /// What [`refuse_link_local`] has said for this process.
    #[must_use]
    pub fn of_process() -> Self {
        if REFUSES_LINK_LOCAL.load(Ordering::Relaxed) { Self::refusing(is_link_local) } else { Self::open() }
    }

    /// Refuses nothing.
    #[must_use]
    pub fn open() -> Self {
        Self::refusing(|_| false)
    }

    /// Refuses these addresses.
    #[must_use]
    pub const fn refusing(is_refused: fn(IpAddr) -> bool) -> Self {
        Self { is_refused }
    }

    /// Whether it refuses link-local addresses.
    #[must_use]
    pub fn refuses_link_local(self) -> bool {
        (self.is_refused)(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)))
    }

    /// Looks at an address whose host is a number, which nobody looks up.
    ///
    /// # Errors
    /// When it is refused.
    pub fn check(self, url: &Url) -> Result<(), LinkLocalError> {
        let address: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(v4)) => Some(v4.into()),
            Some(Host::Ipv6(v6)) => Some(v6.into()),
            // The host of a scheme that the URL standard does not know is text, whatever it looks like.
            Some(Host::Domain(host)) => host.parse().ok(),
            None => None,
        };
        self.check_ip(address, url.host_str().unwrap_or_default())
    }

    fn check_ip(self, address: Option<IpAddr>, host: &str) -> Result<(), LinkLocalError> {
        match address {
            Some(address) if (self.is_refused)(address) => {
                tracing::warn!(%address, host, "refused: a link-local address");
                Err(LinkLocalError { host: host.to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The addresses of a host (a name or a number, of IPv6 without brackets) that may be connected to; at least one.
    ///
    /// # Errors
    /// The system's, where it has none; [`LinkLocalError`], where all are refused.
    pub async fn lookup(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in lookup_host((host, port)).await? {
            match self.check_ip(Some(address.ip()), host) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(error)) => Err(error.into()),
            (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))),
        }
    }

    /// Connects to the first address of a host that answers.
    ///
    /// # Errors
    /// Those of [`Guard::lookup`], and of the last address that was tried.
    pub async fn connect(self, host: &str, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect(self.lookup(host, port).await?.as_slice()).await
    }

    /// Connects to an address that needs no look-up.
    ///
    /// # Errors
    /// [`LinkLocalError`], where it is refused; else the system's.
    pub async fn connect_to(self, address: SocketAddr) -> io::Result<TcpStream> {
        self.check_ip(Some(address.ip()), &address.ip().to_string())?;
        TcpStream::connect(address).await
    }

    /// An HTTP client that connects to nothing else.
    pub fn http(self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder();
        if self.refuses_link_local() { builder.dns_resolver(Arc::new(self)) } else { builder }
    }

    /// Sends a request of such a client.
    ///
    /// # Errors
    /// The client's; or [`LinkLocalError`], where the address is a number that is refused.
    pub async fn send(self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, SendError> {
        let (client, request) = request.build_split();
        let request = request?;
        self.check(request.url())?;
        Ok(client.execute(request).await?)
    }
}

/// Why there is no answer to an HTTP request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    LinkLocal(#[from] LinkLocalError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// The refusal among an error's causes.
#[must_use]
pub fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LinkLocalError> {
    let mut causes = std::iter::successors(Some(error), |cause| Error::source(*cause));
    causes.find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<LinkLocalError>());
        let sent = cause.downcast_ref::<SendError>().and_then(|error| match error {
            SendError::LinkLocal(error) => Some(error),
            SendError::Http(_) => None,
        });
        inner.or(sent).or_else(|| cause.downcast_ref::<LinkLocalError>())
    })
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found: Addrs = Box::new(guard.lookup(name.as_str(), 0).await?.into_iter());
            Ok(found)
        })
    }
}

impl ResolveDns for Guard {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = self.lookup(name, 0).await.map_err(ResolveDnsError::new)?;
            Ok(found.into_iter().map(|address| address.ip()).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// Nothing may listen on a link-local address here: one of the loopback stands for it.
    const SECRET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    fn guard() -> Guard {
        Guard::refusing(|address| address == IpAddr::V4(SECRET) || is_link_local(address))
    }

    fn is_refused(error: &(dyn Error + 'static)) -> bool {
        refusal_in(error).is_some_and(|refusal| refusal.to_string().contains("allow_link_local"))
    }

    #[tokio::test]
    async fn what_is_refused_is_not_connected_to_by_number_or_by_name() {
        let listener = TcpListener::bind((SECRET, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Resolvers take numbers for names, too.
        for host in ["127.0.0.2", "169.254.169.254", "2852039166", "fe80::1", "::ffff:169.254.169.254"] {
            let refused = guard().connect(host, port).await.unwrap_err();
            assert!(is_refused(&refused), "{host}: {refused}");
        }
        Guard::open().connect("127.0.0.2", port).await.unwrap();
        drop(listener);
        let refused = guard().lookup("does-not-exist.invalid", 80).await.unwrap_err();
        assert!(!is_refused(&refused), "{refused}");
    }

    #[tokio::test]
    async fn an_http_client_does_not_get_there_by_number_or_by_name() {
        let listener = TcpListener::bind((SECRET, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = guard().http().no_proxy().build().unwrap();
        for host in ["127.0.0.2", "169.254.169.254", "[fd00:ec2::254]", "2852039166"] {
            let refused = guard().send(client.get(format!("http://{host}:{port}/"))).await.unwrap_err();
            assert!(is_refused(&refused), "{host}: {refused}");
        }
        // A name that leads there.
        let refusing_all = Guard::refusing(|_| true);
        let client = refusing_all.http().no_proxy().build().unwrap();
        let refused = refusing_all.send(client.get(format!("http://localhost:{port}/"))).await.unwrap_err();
        assert!(is_refused(&refused), "{refused}");
        let came = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
        assert!(came.is_err(), "nobody came: {came:?}");
    }

    #[test]
    fn addresses_of_streams_are_looked_at_too() {
        for (url, is_refused) in [
            ("rtmp://169.254.169.254/app/key", true),
            ("srt://169.254.169.254:9000", true),
            ("srt://[fe80::1]:9000", true),
            ("wss://[::ffff:169.254.169.254]/", true),
            ("srt://10.0.0.1:9000", false),
            ("rtmps://example.com/app/key", false),
        ] {
            assert_eq!(guard().check(&Url::parse(url).unwrap()).is_err(), is_refused, "{url}");
        }
    }
}
