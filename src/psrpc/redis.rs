//! The bus on Redis: plain publish and subscribe, and `SET … NX` (docs/reference/psrpc.md).
//!
//! ```text
//! publish, acquire ──► Commands ──► one connection, made again when it broke   ┐
//! subscribe ─► Routes ◄─ Listener ─► one connection for all subscriptions      ┴─ Connector: single, sentinel, cluster; TLS
//! ```
//!
//! Redis keeps no frame for who is not there. After a lost connection the listener subscribes to
//! everything again, and what was sent in between is gone; clients call again.

mod backoff;
mod commands;
mod connect;
mod listener;
mod options;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bus::{BusError, LinkState, MessageBus, Routes, Subscription};

pub use options::{RedisOptions, TlsOptions, Topology};

use commands::Commands;
use connect::Connector;
use listener::Listener;

/// A bus on one Redis. Ends, with all its subscriptions, when it is dropped.
#[derive(Debug)]
pub struct RedisBus {
    routes: Arc<Routes>,
    commands: Commands,
    link: watch::Receiver<LinkState>,
    _stop: DropGuard,
}

impl RedisBus {
    /// Connects, and asks for a sign of life. Its tasks run on `tasks`.
    ///
    /// # Errors
    /// [`BusError`], when the server can't be reached, does not let us in, or the options can't
    /// work. Later on, a connection that is lost is made again.
    pub async fn connect(options: RedisOptions, tasks: &TaskTracker) -> Result<Self, BusError> {
        let (connect, response) = (options.connect_timeout, options.response_timeout);
        let connector = Arc::new(Connector::new(options)?);
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();

        let commands = Commands::new(Arc::clone(&connector), tasks.clone(), stop.clone());
        commands.run::<String>("PING", &redis::cmd("PING")).await?;

        let routes = Routes::new();
        let (says, mut link) = watch::channel(LinkState::Down);
        let listener = Listener { connector, routes: Arc::clone(&routes), link: says };
        tasks.spawn(listener.run(stop));
        let within = connect + response;
        match timeout(within, link.wait_for(|link| *link == LinkState::Up)).await {
            Ok(up) => drop(up.map_err(|_| BusError::Closed)?),
            Err(_) => return Err(BusError::TimedOut { what: "the subscriptions' connection", within }),
        }
        Ok(Self { routes, commands, link, _stop: guard })
    }
}

#[async_trait]
impl MessageBus for RedisBus {
    async fn publish(&self, channel: &str, frame: Bytes) -> Result<(), BusError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(&frame[..]);
        self.commands.run::<i64>("PUBLISH", &publish).await.map(drop)
    }

    fn subscribe(&self, channel: &str) -> Subscription {
        self.routes.add(channel)
    }

    async fn acquire(&self, key: &str, ttl: Duration) -> Result<bool, BusError> {
        let ours = rand::rng().random::<i64>();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(ours).arg("EX").arg(ttl.as_secs().max(1)).arg("NX");
        let set = self.commands.run::<Option<String>>("SET", &set).await?;
        if set.value.is_some() || !set.again {
            return Ok(set.value.is_some());
        }
        // A connection that broke before the reply makes a further attempt find what an earlier one
        // set.
        let mut get = redis::cmd("GET");
        get.arg(key);
        let held = self.commands.run::<Option<String>>("GET", &get).await?.value;
        Ok(held.is_some_and(|value| value == ours.to_string()))
    }

    async fn hold(&self, key: &str, holder: &str, ttl: Duration) -> Result<bool, BusError> {
        let mut set = redis::cmd("SET");
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        set.arg(key).arg(holder).arg("PX").arg(millis).arg("NX");
        if self.commands.run::<Option<String>>("SET", &set).await?.value.is_some() {
            return Ok(true);
        }
        let mut get = redis::cmd("GET");
        get.arg(key);
        let held = self.commands.run::<Option<String>>("GET", &get).await?.value;
        // It may have been ours: a connection that broke before the reply, or a second request.
        Ok(held.is_some_and(|value| value == holder))
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BusError> {
        const SCRIPT: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
        let mut release = redis::cmd("EVAL");
        release.arg(SCRIPT).arg(1).arg(key).arg(holder);
        self.commands.run::<i64>("EVAL", &release).await.map(drop)
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }
}

#[cfg(test)]
mod tests;
