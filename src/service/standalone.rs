//! The registry of a service without a LiveKit server: the embedded store, and webhooks.

use async_trait::async_trait;
use jiff::Timestamp;
use livekit_protocol as proto;

use super::error::ServiceError;
use super::registry::Registry;
use super::store::{Put, Store};
use super::webhook::{Event, Notifier};

/// Keeps egresses and tells receivers about them, when livekit-server would (service.md §2.7): once when one begins, at every
/// change while it runs, once when it ends.
#[derive(Debug, Clone)]
pub struct Standalone {
    pub store: Store,
    pub webhooks: Notifier,
}

#[async_trait]
impl Registry for Standalone {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        if self.store.create(info).await? {
            self.webhooks.notify(Event::Started, info, Timestamp::now());
        }
        Ok(())
    }

    fn update(&self, info: proto::EgressInfo) {
        // A status from a version to come is news of one that goes on.
        let status = info.status.try_into().unwrap_or(proto::EgressStatus::EgressActive);
        match self.store.put(info.clone()) {
            Put::News => {
                if let Some(event) = Event::of_update(status) {
                    self.webhooks.notify(event, &info, Timestamp::now());
                }
            }
            Put::Same => {}
            Put::Late => tracing::warn!(egress_id = info.egress_id, "an egress that ended is told to go on"),
        }
    }

    async fn delivered(&self, _: &str) {
        // Its receivers have theirs in time; what they don't take is lost in time, too.
        self.store.drained().await;
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        self.store.list(&request)
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        Ok(self.store.active())
    }

    async fn drained(&self) {
        self.store.drained().await;
        self.webhooks.drained().await;
    }
}

#[cfg(test)]
mod tests;
