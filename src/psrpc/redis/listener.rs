//! One connection for all subscriptions, and what happens when it breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use redis::aio::PubSubSink;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::Connector;
use crate::psrpc::bus::{BusError, LinkState, Routes};

/// A connection that says nothing is asked for a sign of life so often; one that is dead without a
/// word is found by this.
const PING: Duration = Duration::from_secs(3);
/// After subscriptions that the server refused.
const REFUSED: Duration = Duration::from_secs(1);

/// Keeps the routes' channels subscribed.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) connector: Arc<Connector>,
    pub(super) routes: Arc<Routes>,
    pub(super) link: watch::Sender<LinkState>,
}

impl Listener {
    /// Runs until `stop`, and then ends all subscriptions.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => break,
                error = self.session() => error,
            };
            self.routes.confirm(|_| false);
            let was = self.link.send_replace(LinkState::Down);
            if was == LinkState::Up {
                backoff = Backoff::default();
                tracing::warn!(%error, "the connection to Redis is lost");
            } else {
                tracing::debug!(%error, "no connection to Redis");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(backoff.next()) => {}
            }
        }
        self.routes.close();
    }

    /// One connection, from its beginning to what ended it.
    async fn session(&self) -> BusError {
        let (sink, mut messages) = match self.connector.subscriptions().await {
            Ok(connected) => connected,
            Err(error) => return error,
        };
        tracing::info!("connected to Redis");
        let within = self.connector.options().response_timeout;
        let mut subscribed = HashSet::new();
        let mut errand: Option<BoxFuture<'_, Errand>> =
            Some(Box::pin(reconcile(sink.clone(), subscribed.clone(), self.routes.wanted(), within)));
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.link.send_replace(LinkState::Up);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        let frame = Bytes::copy_from_slice(message.get_payload_bytes());
                        self.routes.deliver(message.get_channel_name(), &frame);
                    }
                    None => return lost(),
                },
                done = finished(&mut errand) => {
                    errand = None;
                    match done {
                        Errand::Subscribed(now) => {
                            self.routes.confirm(|channel| now.contains(channel));
                            subscribed = now;
                        }
                        Errand::Alive => {}
                        Errand::Refused(error) => {
                            tracing::warn!(%error, "Redis refuses a subscription");
                            // What was accepted before the refusal is subscribed again, which does
                            // no harm.
                            let (sink, wanted) = (sink.clone(), self.routes.wanted());
                            let before = subscribed.clone();
                            errand = Some(Box::pin(async move {
                                sleep(REFUSED).await;
                                reconcile(sink, before, wanted, within).await
                            }));
                        }
                        Errand::Failed(error) => return error,
                    }
                }
                () = self.routes.changed(), if errand.is_none() => {
                    let wanted = self.routes.wanted();
                    errand = Some(Box::pin(reconcile(sink.clone(), subscribed.clone(), wanted, within)));
                }
                _ = ping.tick(), if errand.is_none() => {
                    let mut sink = sink.clone();
                    errand = Some(Box::pin(async move {
                        match timeout(within, sink.ping::<redis::Value>()).await {
                            Ok(Ok(_)) => Errand::Alive,
                            Ok(Err(error)) => Errand::Failed(error.into()),
                            Err(_) => Errand::Failed(BusError::TimedOut { what: "PING", within }),
                        }
                    }));
                }
            }
        }
    }
}

/// The result of one request on the subscriptions' connection. One is pending at a time.
enum Errand {
    /// These channels, and no others.
    Subscribed(HashSet<String>),
    Alive,
    /// The connection is well, the server does not want to.
    Refused(BusError),
    Failed(BusError),
}

/// Brings what is subscribed to what is wanted.
async fn reconcile(
    mut sink: PubSubSink,
    subscribed: HashSet<String>,
    wanted: Vec<String>,
    within: Duration,
) -> Errand {
    let wanted: HashSet<String> = wanted.into_iter().collect();
    let missing: Vec<&String> = wanted.difference(&subscribed).collect();
    let surplus: Vec<&String> = subscribed.difference(&wanted).collect();
    let work = async {
        if !missing.is_empty() {
            sink.subscribe(&missing).await?;
        }
        if !surplus.is_empty() {
            sink.unsubscribe(&surplus).await?;
        }
        redis::RedisResult::Ok(())
    };
    match timeout(within, work).await {
        Ok(Ok(())) => Errand::Subscribed(wanted),
        Ok(Err(error)) if error.is_unrecoverable_error() || error.is_io_error() => {
            Errand::Failed(error.into())
        }
        Ok(Err(error)) => Errand::Refused(error.into()),
        Err(_) => Errand::Failed(BusError::TimedOut { what: "SUBSCRIBE", within }),
    }
}

/// The end of what is under way; never, where nothing is.
async fn finished(errand: &mut Option<BoxFuture<'_, Errand>>) -> Errand {
    match errand {
        Some(errand) => errand.await,
        None => std::future::pending().await,
    }
}

fn lost() -> BusError {
    let closed = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    BusError::from(redis::RedisError::from(closed))
}
