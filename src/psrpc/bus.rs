//! The message bus: named channels on which every subscriber gets every frame, and locks.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

/// A carrier of frames. Fire and forget: nobody learns who received a frame, and one that is sent
/// while nobody listens is lost.
#[async_trait]
pub trait MessageBus: Debug + Send + Sync + 'static {
    /// Sends a frame to all subscribers of a channel. Frames of one caller arrive in the order in
    /// which it sent them.
    ///
    /// # Errors
    /// [`BusError`], when the carrier does not take it within its own deadline.
    async fn publish(&self, channel: &str, frame: Bytes) -> Result<(), BusError>;

    /// Begins to listen to a channel, and goes on after interruptions until the subscription is
    /// dropped.
    fn subscribe(&self, channel: &str) -> Subscription;

    /// Sets a key that nobody has set in the last `ttl`: `true` for exactly one of all that try.
    ///
    /// # Errors
    /// [`BusError`], when the carrier does not answer within its own deadline.
    async fn acquire(&self, key: &str, ttl: Duration) -> Result<bool, BusError>;

    /// Acquires a key for `ttl` unless another holder has it; returns whether `holder` has it now.
    /// Repeating the call does not extend the time.
    ///
    /// # Errors
    ///
    /// [`BusError`] if the bus does not answer within its own deadline.
    async fn hold(&self, key: &str, holder: &str, ttl: Duration) -> Result<bool, BusError>;

    /// Forgets who has a key, if that is `holder`.
    ///
    /// # Errors
    /// [`BusError`], when the carrier does not answer within its own deadline.
    async fn release(&self, key: &str, holder: &str) -> Result<(), BusError>;

    /// Whether there is a connection, now and when it changes.
    fn link(&self) -> watch::Receiver<LinkState>;
}

/// Whether a bus has its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Up,
    Down,
}

/// A carrier that did not carry. Its text has no credentials in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    #[error("{what} did not answer within {within:?}")]
    TimedOut { what: &'static str, within: Duration },
    #[error("redis: {0}")]
    Redis(Arc<redis::RedisError>),
    #[error("no connection to {address}: {source}")]
    Unreachable {
        address: String,
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The configuration can't work, whatever the network does.
    #[error("{0}")]
    Unusable(String),
    #[error("the bus is closed")]
    Closed,
}

impl From<redis::RedisError> for BusError {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(Arc::new(error))
    }
}

/// Frames that may wait for one subscriber. Further ones are dropped: who is that far behind would
/// answer too late.
const BACKLOG: usize = 1000;

/// Listens to one channel until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    frames: mpsc::Receiver<Bytes>,
    standing: watch::Receiver<bool>,
    channel: String,
    id: u64,
    routes: Arc<Routes>,
}

impl Subscription {
    /// The next frame; `None` when the bus is closed. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.frames.recv().await
    }

    /// Waits until the carrier has confirmed the subscription: from then on nothing is missed while
    /// the link is up. Has no deadline of its own.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    pub async fn standing(&self) -> Result<(), BusError> {
        self.watch().wait().await
    }

    /// The same, apart from the subscription itself.
    #[must_use]
    pub fn watch(&self) -> Standing {
        Standing(self.standing.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.routes.remove(&self.channel, self.id);
    }
}

/// Whether a subscription is confirmed.
#[derive(Debug, Clone)]
pub struct Standing(watch::Receiver<bool>);

impl Standing {
    /// Waits until it is.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    pub async fn wait(&self) -> Result<(), BusError> {
        let mut standing = self.0.clone();
        standing.wait_for(|standing| *standing).await.map(drop).map_err(|_| BusError::Closed)
    }
}

/// Subscribers by channel; shared by all buses.
#[derive(Debug)]
pub(super) struct Routes {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    channels: HashMap<String, Route>,
    next_id: u64,
    dropped: u64,
    closed: bool,
}

#[derive(Debug)]
struct Route {
    subscribers: Vec<(u64, mpsc::Sender<Bytes>)>,
    standing: watch::Sender<bool>,
}

impl Routes {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), changed: Notify::new() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that holds it can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>, channel: &str) -> Subscription {
        let (sender, frames) = mpsc::channel(BACKLOG);
        let mut table = self.table();
        table.next_id += 1;
        let id = table.next_id;
        let closed = table.closed;
        let route = table
            .channels
            .entry(channel.to_owned())
            .or_insert_with(|| Route { subscribers: Vec::new(), standing: watch::Sender::new(false) });
        let standing = route.standing.subscribe();
        route.subscribers.push((id, sender));
        if closed {
            table.channels.clear();
        }
        drop(table);
        self.changed.notify_one();
        Subscription { frames, standing, channel: channel.to_owned(), id, routes: Arc::clone(self) }
    }

    fn remove(&self, channel: &str, id: u64) {
        let mut table = self.table();
        if let Some(route) = table.channels.get_mut(channel) {
            route.subscribers.retain(|(subscriber, _)| *subscriber != id);
            if route.subscribers.is_empty() {
                table.channels.remove(channel);
                drop(table);
                self.changed.notify_one();
            }
        }
    }

    /// Hands a frame to all subscribers of a channel; one that has no room goes without it.
    pub(super) fn deliver(&self, channel: &str, frame: &Bytes) {
        let mut table = self.table();
        let Some(route) = table.channels.get(channel) else { return };
        let full = route.subscribers.iter().filter(|(_, to)| to.try_send(frame.clone()).is_err()).count();
        if full > 0 {
            let before = table.dropped;
            table.dropped += full as u64;
            // As often as their number doubles: a flood must not become one of the log.
            if before.checked_ilog2() != table.dropped.checked_ilog2() {
                tracing::warn!(
                    channel,
                    dropped = table.dropped,
                    "a subscriber is behind, frames are dropped"
                );
            }
        }
    }

    /// The channels that somebody wants.
    pub(super) fn wanted(&self) -> Vec<String> {
        self.table().channels.keys().cloned().collect()
    }

    /// Says of each channel whether the carrier has confirmed it.
    pub(super) fn confirm(&self, confirmed: impl Fn(&str) -> bool) {
        for (channel, route) in &self.table().channels {
            route.standing.send_replace(confirmed(channel));
        }
    }

    /// Comes back when a channel was added or removed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends all subscriptions, those to come included.
    pub(super) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.channels.clear();
    }
}
