//! A bus inside one process, for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bus::{BusError, LinkState, MessageBus, Routes, Subscription};

/// All its clones are the same bus.
#[derive(Debug, Clone)]
pub struct MemoryBus {
    routes: Arc<Routes>,
    locks: Arc<Mutex<HashMap<String, Lock>>>,
    link: Arc<watch::Sender<LinkState>>,
}

#[derive(Debug)]
struct Lock {
    /// Empty: whoever acquired it.
    holder: String,
    until: Instant,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self {
            routes: Routes::new(),
            locks: Arc::default(),
            link: Arc::new(watch::Sender::new(LinkState::Up)),
        }
    }
}

impl MemoryBus {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the connection be lost, or come back, as far as [`MessageBus::link`] tells.
    pub fn set_link(&self, link: LinkState) {
        self.link.send_replace(link);
    }

    /// The locks that hold now.
    fn locks(&self) -> MutexGuard<'_, HashMap<String, Lock>> {
        let now = Instant::now();
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.until > now);
        locks
    }
}

#[async_trait]
impl MessageBus for MemoryBus {
    async fn publish(&self, channel: &str, frame: Bytes) -> Result<(), BusError> {
        self.routes.deliver(channel, &frame);
        Ok(())
    }

    fn subscribe(&self, channel: &str) -> Subscription {
        let subscription = self.routes.add(channel);
        self.routes.confirm(|_| true);
        subscription
    }

    async fn acquire(&self, key: &str, ttl: Duration) -> Result<bool, BusError> {
        let mut locks = self.locks();
        if locks.contains_key(key) {
            return Ok(false);
        }
        locks.insert(key.to_owned(), Lock { holder: String::new(), until: Instant::now() + ttl });
        Ok(true)
    }

    async fn hold(&self, key: &str, holder: &str, ttl: Duration) -> Result<bool, BusError> {
        let new = || Lock { holder: holder.to_owned(), until: Instant::now() + ttl };
        Ok(self.locks().entry(key.to_owned()).or_insert_with(new).holder == holder)
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BusError> {
        self.locks().retain(|name, lock| name != key || lock.holder != holder);
        Ok(())
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }
}
