//! One connection for commands, made again when it broke.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::connect::{Connection, Connector};
use crate::psrpc::bus::BusError;

/// A command's answer.
#[derive(Debug)]
pub(super) struct Ran<T> {
    pub(super) value: T,
    /// It was sent more than once, and may have been carried out as often.
    pub(super) again: bool,
}

/// Runs commands.
pub(super) struct Commands {
    connector: Arc<Connector>,
    tasks: TaskTracker,
    stop: CancellationToken,
    live: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Counts connections, so that one that broke is dropped once and not its successor.
    generation: u64,
}

#[derive(Clone)]
enum Live {
    Node(
        MultiplexedConnection,
        #[expect(dead_code, reason = "ends the connection's driver when dropped")] Arc<DropGuard>,
    ),
    Cluster(Box<ClusterConnection>),
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl Commands {
    pub(super) fn new(connector: Arc<Connector>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { connector, tasks, stop, live: Mutex::default() }
    }

    /// Runs a command that may be run twice; on a new connection, when the one there was broke.
    ///
    /// # Errors
    /// The server's, or what stood in the way until the time for an answer was over.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        what: &'static str,
        command: &Cmd,
    ) -> Result<Ran<T>, BusError> {
        let options = self.connector.options();
        // Long enough for a connection that fails by its timeout, a new one, and the command.
        let within = options.connect_timeout + options.response_timeout;
        let began = Instant::now();
        let mut backoff = Backoff::default();
        let mut again = false;
        let attempts = async {
            loop {
                let error = match self.attempt(command).await {
                    Ok(value) => return Ok(Ran { value, again }),
                    Err(error) => error,
                };
                let pause = backoff.next();
                if !may_pass(&error) || began.elapsed() + pause >= options.response_timeout {
                    return Err(error);
                }
                tracing::debug!(what, %error, "trying again");
                sleep(pause).await;
                again = true;
            }
        };
        timeout(within, attempts).await.unwrap_or(Err(BusError::TimedOut { what, within }))
    }

    async fn attempt<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, BusError> {
        let (mut live, generation) = self.live().await?;
        let done = match &mut live {
            Live::Node(connection, _) => command.query_async(connection).await,
            Live::Cluster(connection) => command.query_async(connection.as_mut()).await,
        };
        if let Err(error) = &done
            && is_broken(error)
        {
            let mut state = self.live.lock().await;
            if state.generation == generation {
                state.live = None;
            }
        }
        Ok(done?)
    }

    async fn live(&self) -> Result<(Live, u64), BusError> {
        let mut state = self.live.lock().await;
        if let Some(live) = &state.live {
            return Ok((live.clone(), state.generation));
        }
        if self.stop.is_cancelled() {
            return Err(BusError::Closed);
        }
        let live = match self.connector.commands().await? {
            Connection::Cluster(connection) => Live::Cluster(connection),
            Connection::Node(connection, driver) => {
                let stop = self.stop.child_token();
                let stopped = stop.clone();
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = driver => {}
                        () = stopped.cancelled() => {}
                    }
                });
                Live::Node(connection, Arc::new(stop.drop_guard()))
            }
        };
        state.generation += 1;
        state.live = Some(live.clone());
        Ok((live, state.generation))
    }
}

/// Whether the next command needs another connection, for example because this server is not the
/// master any more.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

/// Whether the same command may succeed a moment later.
fn may_pass(error: &BusError) -> bool {
    match error {
        BusError::Redis(error) => {
            let loading = matches!(
                error.kind(),
                ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown)
            );
            let barred = error.kind() == ErrorKind::AuthenticationFailed || is_mistrust(error.as_ref());
            !barred && (loading || is_broken(error))
        }
        BusError::Unreachable { source, .. } => !is_mistrust(source.as_ref()),
        BusError::TimedOut { .. } | BusError::Unusable(_) | BusError::Closed => false,
    }
}

/// Whether TLS failed, on either side. It would fail again.
fn is_mistrust(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        // What the library wraps an error in hides its type.
        let error: &(dyn Error + 'static) = match error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            Some(wrapped) => wrapped.as_ref(),
            None => error,
        };
        let io = error.downcast_ref::<io::Error>();
        if io.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        at = error.source();
    }
    false
}
