//! HTTP/1.1 on one address, whoever connects and however many: a flood of connections takes neither
//! the descriptors that recordings need nor the place of a caller who says something.
//!
//! ```text
//! accept ─► connection ─► head within 5 s ─► router ─► answer ─► kept for two minutes ─► next head within 5 s of its first byte
//!    └── too many: the oldest is closed whose request is not whole; else the one that has asked nothing for the longest time
//! ```
//!
//! A request is being answered from when its body is there, too: what is half sent keeps no place.

mod heads;
mod in_flight;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use heads::Heads;
use in_flight::Answering;

/// A request's head has to be there within this: after its connection is made, or after its first
/// byte.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection is kept between two requests. Longer than clients keep theirs (Go's and
/// reqwest's 90 s): a request that is sent while its connection is being closed is lost.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// Bytes of a request's head.
const LARGEST_HEAD: usize = 64 << 10;
/// Connections of one listener.
const MOST: usize = 256;
/// One listener takes at most this part of all descriptors: five of them leave two thirds for
/// recorders, uploads and Redis.
const PART: u64 = 16;
/// The pauses after a connection that could not be taken, as there are no descriptors: from the
/// first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Limits of a listener: number of connections, and time for a request head.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections: usize,
    pub head_within: Duration,
}

impl Bounds {
    /// For a process that may have so many open files.
    #[must_use]
    pub fn of(open_files: u64) -> Self {
        let connections = usize::try_from(open_files / PART).unwrap_or(MOST).clamp(4, MOST);
        Self { connections, head_within: HEAD_WITHIN }
    }
}

/// One connection, from the outside.
struct Connection {
    task: AbortHandle,
    answering: Answering,
    heads: Heads,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.answering.is_idle()
    }
}

/// Serves until `stop`, and then until what is being answered is answered.
pub async fn serve(
    key: &'static str,
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<Connection> = VecDeque::new();
    let mut shortage = Shortage::default();
    let idle = Arc::new(Notify::new());
    loop {
        // Those that have ended.
        while tasks.try_join_next().is_some() {}
        open.retain(|connection| !connection.task.is_finished());
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                shortage = Shortage::default();
                let has_room = tokio::select! {
                    () = make_room(&mut open, &mut tasks, &idle, bounds.connections) => true,
                    () = stop.cancelled() => false,
                };
                if !has_room {
                    break;
                }
                let answering = Answering::new(&idle);
                let heads = Heads::new();
                let followed = (answering.clone(), heads.clone());
                let one = connection(stream, peer, router.clone(), bounds, followed, stop.clone());
                open.push_back(Connection { task: tasks.spawn(one), answering, heads });
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                let pause = shortage.next(key, &error);
                close_oldest_idle(&mut open);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Waits until there is room for one more connection. If all are being answered, which takes a
/// bounded time, further ones wait in the kernel.
async fn make_room(
    open: &mut VecDeque<Connection>,
    tasks: &mut JoinSet<()>,
    idle: &Notify,
    connections: usize,
) {
    loop {
        open.retain(|connection| !connection.task.is_finished());
        if open.len() < connections || close_oldest_idle(open) {
            return;
        }
        tokio::select! {
            () = idle.notified() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Closes a connection that is not being answered: the oldest with an incomplete request; otherwise
/// the one answered least recently, as a connection with repeated requests is an active caller.
/// Returns `false` without such a connection.
fn close_oldest_idle(open: &mut VecDeque<Connection>) -> bool {
    let idle = open.iter().enumerate().filter(|(_, connection)| connection.is_idle());
    // `None` is less than any time, and of several the first is taken.
    let oldest = idle.min_by_key(|(_, connection)| connection.heads.answered_at()).map(|(at, _)| at);
    let oldest = oldest.and_then(|at| open.remove(at));
    if let Some(oldest) = &oldest {
        oldest.task.abort();
    }
    oldest.is_some()
}

/// Whether a connection failed before it was taken.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Connections that can't be taken, one after the other. Nothing tells when there are descriptors
/// again.
#[derive(Debug, Default)]
struct Shortage {
    pause: Option<Duration>,
}

impl Shortage {
    /// How long to wait. The first one is logged.
    fn next(&mut self, key: &str, error: &io::Error) -> Duration {
        let [first, longest] = PAUSES;
        if self.pause.is_none() {
            let is_short =
                matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE));
            let help = if is_short { "raise the limit of open files (ulimit -n)" } else { "" };
            tracing::warn!(key, %error, help, "accepting connections failed");
        }
        let pause = self.pause.map_or(first, |pause| (pause * 2).min(longest));
        self.pause = Some(pause);
        pause
    }
}

/// One connection, from its first request to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    bounds: Bounds,
    (answering, heads): (Answering, Heads),
    stop: CancellationToken,
) {
    stream.set_nodelay(true).ok();
    let router = TowerToHyperService::new(router);
    let read = heads.clone();
    let stream = InspectReader::new(stream, move |bytes| {
        if !bytes.is_empty() {
            read.read();
        }
    });
    let followed = heads.clone();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        followed.arrived();
        // Who asks matters to the console.
        request.extensions_mut().insert(ConnectInfo(peer));
        let (request, in_flight) = answering.follow(request);
        let (answer, heads) = (router.call(request), followed.clone());
        async move {
            let answer = answer.await;
            drop(in_flight);
            heads.answered();
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEPT_FOR)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = heads.late(bounds.head_within) => {
            tracing::debug!(%peer, "request head timed out");
            return;
        }
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // A peer that is gone, says nothing, or does not speak HTTP.
        tracing::debug!(%peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests;
