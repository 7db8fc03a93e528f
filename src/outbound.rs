//! Connections to servers named by a request or a configuration: resolve, check, connect.
//!
//! A service refuses link-local addresses and clouds' metadata services
//! ([`link_local`](crate::plan::link_local)), here and for its pages: [`refuse_link_local`] enables
//! this once per process. The checked address is the one that is connected to, so DNS rebinding
//! gains nothing. HTTP clients do not resolve numeric addresses: [`Guard::check`] is for those.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use tokio::net::{TcpStream, lookup_host};
use url::{Host, Url};

use crate::plan::link_local::is_link_local;

/// As many as its own policy lets pass.
const MOST_REDIRECTS: usize = 10;

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

/// The refused addresses.
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
    /// The setting of [`refuse_link_local`] for this process.
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
            // The host of a scheme that the URL standard does not know is text, whatever it looks
            // like.
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

    /// The addresses of a host (a name or a number, of IPv6 without brackets) that may be connected
    /// to; at least one.
    ///
    /// # Errors
    /// The system's, where it has none; [`LinkLocalError`], where all are refused.
    pub async fn lookup(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let (allowed, refused) = self.sift(host, lookup_host((host, port)).await?);
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(error)) => Err(error.into()),
            (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))),
        }
    }

    /// The same for who connects by name: with one address that is refused all are.
    ///
    /// # Errors
    /// As there.
    pub async fn lookup_all(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.sift(host, lookup_host((host, port)).await?) {
            (_, Some(refused)) => Err(refused.into()),
            (allowed, None) => Ok(allowed),
        }
    }

    /// Those of a host's addresses that may be connected to, and a refusal where there are others.
    fn sift(
        self,
        host: &str,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> (Vec<SocketAddr>, Option<LinkLocalError>) {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match self.check_ip(Some(address.ip()), host) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        (allowed, refused)
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

    /// An HTTP client that connects to nothing else, also where it is redirected.
    pub fn http(self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder();
        if !self.refuses_link_local() {
            return builder;
        }
        let redirects = redirect::Policy::custom(move |attempt| match self.check(attempt.url()) {
            Err(refused) => attempt.error(refused),
            Ok(()) if attempt.previous().len() > MOST_REDIRECTS => attempt.error("too many redirects"),
            Ok(()) => attempt.follow(),
        });
        builder.dns_resolver(Arc::new(self)).redirect(redirects)
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
mod tests;
