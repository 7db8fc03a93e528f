//! Keeps a page from link-local addresses and metadata services: whatever it connects to but this machine's own loopback goes
//! through here.
//!
//! ```text
//! browser ── SOCKS5 on loopback (RFC 1928) ──► Guard: looks the name up, drops what is refused ──► what is left
//! ```
//!
//! The addresses that were looked at are those that are connected to, so that a name which changes its mind (DNS rebinding) gains
//! nothing. Redirects, frames, images and websockets are connections like any other. WebRTC's packets do not come through here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::page::PageError;
use crate::plan::reach::is_link_local;

/// A browser says at once what it wants.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// Resolvers give up sooner.
const RESOLVED_WITHIN: Duration = Duration::from_secs(30);
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// From one address of a host to the next, where the first does not answer (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// After a connection that could not be taken.
const BREATH: Duration = Duration::from_millis(100);
/// At the same time. Chromium opens at most 256, and 255 of websockets; every process of the machine can connect.
const CONNECTIONS: usize = 600;
/// Bytes in each direction.
const BUFFER: usize = 64 << 10;

/// Why a connection was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    LinkLocal,
    NotFound,
    Refused,
    Unreachable,
}

/// The way out for one browser. Gone, with all its connections, when dropped.
#[derive(Debug)]
pub(super) struct Guard {
    port: u16,
    last: Arc<Mutex<Option<Failure>>>,
    _serving: JoinSet<()>,
}

impl Guard {
    /// Opens it on a free port of the loopback interface.
    pub(super) async fn open() -> io::Result<Self> {
        Self::refusing(is_link_local).await
    }

    async fn refusing(is_refused: fn(IpAddr) -> bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let last = Arc::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, is_refused, Arc::clone(&last)));
        Ok(Self { port, last, _serving: serving })
    }

    /// What makes Chromium go through it. It leaves addresses of the link out of every proxy by itself, unless told not to.
    pub(super) fn flags(&self) -> [String; 2] {
        [
            format!("--proxy-server=socks5://127.0.0.1:{}", self.port),
            "--proxy-bypass-list=<-loopback>;localhost;*.localhost;127.0.0.0/8;[::1]".to_owned(),
        ]
    }

    /// Chromium knows only that its proxy did not connect; the page's error says why.
    pub(super) fn explain(&self, error: PageError) -> PageError {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, last) {
            (PageError::Network { url, code }, Some(why)) if code.contains("SOCKS") => match why {
                Failure::LinkLocal => PageError::LinkLocal { url },
                Failure::NotFound => PageError::NotFound { url },
                Failure::Refused => PageError::Refused { url },
                Failure::Unreachable => PageError::Network { url, code },
            },
            (error, _) => error,
        }
    }
}

async fn serve(listener: TcpListener, is_refused: fn(IpAddr) -> bool, last: Arc<Mutex<Option<Failure>>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Others wait with the kernel until one ends.
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let last = Arc::clone(&last);
                    connections.spawn(async move {
                        if let Err(error) = relay(stream, is_refused, &last).await {
                            tracing::debug!(%error, "the browser says what is no SOCKS5");
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
async fn relay(
    stream: TcpStream,
    is_refused: fn(IpAddr) -> bool,
    last: &Mutex<Option<Failure>>,
) -> Result<(), SocksServerError> {
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
    match connect(target, is_refused).await {
        Ok(mut there) => {
            let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let mut here = client.reply_success(unspecified).await?;
            // Either end may be cut off at any time, and that is the end.
            copy_bidirectional_with_sizes(&mut here, &mut there, BUFFER, BUFFER).await.ok();
            Ok(())
        }
        Err(failure) => {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            let reply = match failure {
                Failure::LinkLocal => ReplyError::ConnectionNotAllowed,
                Failure::NotFound | Failure::Unreachable => ReplyError::HostUnreachable,
                Failure::Refused => ReplyError::ConnectionRefused,
            };
            client.reply_error(&reply).await
        }
    }
}

async fn connect(target: TargetAddr, is_refused: fn(IpAddr) -> bool) -> Result<TcpStream, Failure> {
    let found: Vec<SocketAddr> = match target {
        TargetAddr::Ip(address) => vec![address],
        TargetAddr::Domain(name, port) => match timeout(RESOLVED_WITHIN, lookup_host((name, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Failure::NotFound),
        },
    };
    let (refused, allowed): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| is_refused(address.ip()));
    if let Some(address) = refused.first() {
        tracing::warn!(%address, "refused: a page wants to connect to a link-local address");
    }
    if allowed.is_empty() {
        return Err(if refused.is_empty() { Failure::NotFound } else { Failure::LinkLocal });
    }
    let there = timeout(CONNECTED_WITHIN, dial(allowed)).await.map_err(|_| Failure::Unreachable)?;
    let there = there.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        _ => Failure::Unreachable,
    })?;
    there.set_nodelay(true).ok();
    Ok(there)
}

/// The first of a host's addresses that answers. Each is tried when the one before it has failed, or has not answered for a while.
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
