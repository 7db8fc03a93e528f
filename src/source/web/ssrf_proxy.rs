//! SOCKS5 proxy of the browser. Refuses link-local addresses, metadata services, and the ports of
//! the service that records the page. All of the browser's connections go through it, those to
//! loopback included.
//!
//! ```text
//! browser ── SOCKS5 on loopback (RFC 1928) ──► SsrfProxy: looks the name up, drops what is refused ──► what is left
//! ```
//!
//! The addresses that were looked at are those that are connected to, so that a name which changes
//! its mind (DNS rebinding) gains nothing. Redirects, frames, images and websockets are connections
//! like any other. WebRTC's packets do not come through here.

mod failures;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nix::errno::Errno;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::page::PageError;
use crate::plan::link_local::is_link_local;
use crate::plan::source::BrowserSettings;
use failures::{Failure, Failures, Target};

/// A browser says at once what it wants.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// Resolvers give up sooner.
const RESOLVED_WITHIN: Duration = Duration::from_secs(30);
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// From one address of a host to the next, where the first does not answer (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// After a connection that could not be taken.
const BREATH: Duration = Duration::from_millis(100);
/// At the same time. Chromium opens at most 256, and 255 of websockets; every process of the
/// machine can connect.
const CONNECTIONS: usize = 600;
/// Bytes in each direction.
const BUFFER: usize = 64 << 10;

/// Refused addresses that are logged per browser.
const LOGGED: usize = 64;

/// The addresses that a page may not connect to.
#[derive(Debug)]
pub(super) struct Refusals {
    link_local: Option<fn(IpAddr) -> bool>,
    /// Refused on every address of this machine.
    own_ports: BTreeSet<u16>,
    /// Addresses that were logged.
    logged: Mutex<BTreeSet<SocketAddr>>,
}

impl Refusals {
    pub(super) fn of(terms: &BrowserSettings) -> Self {
        Self {
            link_local: terms.refuse_link_local.then_some(is_link_local as fn(IpAddr) -> bool),
            own_ports: terms.own_ports.clone(),
            logged: Mutex::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.link_local.is_none() && self.own_ports.is_empty()
    }

    /// Why an address is refused; `None`: it is allowed.
    fn refuse(&self, address: SocketAddr) -> Option<Failure> {
        if self.link_local.is_some_and(|is_refused| is_refused(address.ip())) {
            return Some(Failure::LinkLocal);
        }
        let is_own = self.own_ports.contains(&address.port()) && is_this_machine(address);
        is_own.then_some(Failure::OwnPort)
    }

    /// Logs a refused address, each once, up to [`LOGGED`] of them.
    fn log(&self, address: SocketAddr, why: Failure) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert(address) {
            tracing::warn!(%address, ?why, "refused: a page wants to connect to what it must not reach");
            if logged.len() == LOGGED {
                tracing::warn!("further refusals of this browser are not logged");
            }
        }
    }
}

/// Whether an address is one of this machine's, in any form. Binding a socket succeeds on these
/// only, also on addresses that were added later.
fn is_this_machine(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    ip.is_loopback() || ip.is_unspecified() || {
        let mut here = address;
        here.set_ip(ip);
        here.set_port(0);
        may_be_here(&UdpSocket::bind(here))
    }
}

/// Whether an address may belong to this machine, by the result of binding it. A page may have used
/// up the descriptors: then the answer is unknown, and counts as yes.
fn may_be_here(bound: &io::Result<UdpSocket>) -> bool {
    match bound {
        Ok(_) => true,
        Err(error) => matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
        ),
    }
}

/// The way out for one browser. Gone, with all its connections, when dropped.
#[derive(Debug)]
pub(super) struct SsrfProxy {
    port: u16,
    failures: Arc<Failures>,
    _serving: JoinSet<()>,
}

impl SsrfProxy {
    /// Opens it on a free port of the loopback interface.
    pub(super) async fn open(refusals: Refusals) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let failures = Arc::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::new(refusals), Arc::clone(&failures)));
        Ok(Self { port, failures, _serving: serving })
    }

    /// Chromium's flags for this proxy. `<-loopback>`: by default Chromium connects to loopback and
    /// link-local addresses directly.
    pub(super) fn flags(&self) -> [String; 2] {
        [
            format!("--proxy-server=socks5://127.0.0.1:{}", self.port),
            "--proxy-bypass-list=<-loopback>".to_owned(),
        ]
    }

    /// Chromium knows only that its proxy did not connect; the page's error says why. `asked`:
    /// where the page's own last request went.
    pub(super) fn explain(&self, error: PageError, asked: Option<&str>) -> PageError {
        match error {
            PageError::Network { url, code } if code.contains("SOCKS") => {
                match self.failures.of(asked.unwrap_or(&url)) {
                    Some(Failure::LinkLocal) => PageError::LinkLocal { url },
                    Some(Failure::OwnPort) => PageError::OwnPort { url },
                    Some(Failure::NotFound) => PageError::NotFound { url },
                    Some(Failure::Refused) => PageError::Refused { url },
                    Some(Failure::Unreachable) | None => PageError::Network { url, code },
                }
            }
            error => error,
        }
    }
}

async fn serve(listener: TcpListener, refusals: Arc<Refusals>, failures: Arc<Failures>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Others wait with the kernel until one ends.
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let (refusals, failures) = (Arc::clone(&refusals), Arc::clone(&failures));
                    connections.spawn(async move {
                        if let Err(error) = relay(stream, &refusals, &failures).await {
                            tracing::debug!(%error, "invalid SOCKS5 request from the browser");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of the browser can't be taken");
                    sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from its request to its end.
async fn relay(stream: TcpStream, refusals: &Refusals, failures: &Failures) -> Result<(), SocksServerError> {
    stream.set_nodelay(true).ok();
    let asked = async {
        let client = Socks5ServerProtocol::accept_no_auth(stream).await?;
        client.read_command().await
    };
    let Ok(asked) = timeout(ASKED_WITHIN, asked).await else { return Ok(()) };
    let (client, command, target) = asked?;
    if command != Socks5Command::TCPConnect {
        return client.reply_error(&ReplyError::CommandNotSupported).await;
    }
    let asked = Target::asked(&target);
    let connected = connect(target, refusals).await;
    failures.set(&asked, connected.as_ref().err().copied());
    match connected {
        Ok(mut there) => {
            let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let mut here = client.reply_success(unspecified).await?;
            // Either end may be cut off at any time, and that is the end.
            copy_bidirectional_with_sizes(&mut here, &mut there, BUFFER, BUFFER).await.ok();
            Ok(())
        }
        Err(failure) => {
            let reply = match failure {
                Failure::LinkLocal | Failure::OwnPort => ReplyError::ConnectionNotAllowed,
                Failure::NotFound | Failure::Unreachable => ReplyError::HostUnreachable,
                Failure::Refused => ReplyError::ConnectionRefused,
            };
            client.reply_error(&reply).await
        }
    }
}

async fn connect(target: TargetAddr, refusals: &Refusals) -> Result<TcpStream, Failure> {
    let found: Vec<SocketAddr> = match target {
        TargetAddr::Ip(address) => vec![address],
        TargetAddr::Domain(name, port) if is_localhost(&name) => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        TargetAddr::Domain(name, port) => match timeout(RESOLVED_WITHIN, lookup_host((name, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Failure::NotFound),
        },
    };
    let (mut allowed, mut refused) = (Vec::new(), None);
    for address in found {
        match refusals.refuse(address) {
            Some(why) => {
                refusals.log(address, why);
                refused = Some(why);
            }
            None => allowed.push(address),
        }
    }
    if allowed.is_empty() {
        return Err(refused.unwrap_or(Failure::NotFound));
    }
    let there = timeout(CONNECTED_WITHIN, dial(allowed)).await.map_err(|_| Failure::Unreachable)?;
    let there = there.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        _ => Failure::Unreachable,
    })?;
    there.set_nodelay(true).ok();
    Ok(there)
}

/// Names that always mean loopback (RFC 6761 §6.3). Not every resolver knows `*.localhost`.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The first of a host's addresses that answers. Each is tried when the one before it has failed,
/// or has not answered for a while.
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::HostUnreachable);
    loop {
        attempts.extend(waiting.next().map(TcpStream::connect));
        tokio::select! {
            Some(done) = attempts.next() => match done {
                Ok(there) => return Ok(there),
                Err(error) => last = error,
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
            else => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests;
