//! The registry of a service without a LiveKit server: the embedded store, and webhooks.

use async_trait::async_trait;
use jiff::Timestamp;
use livekit_protocol as proto;

use super::error::ServiceError;
use super::registry::Registry;
use super::store::{Put, Store};
use super::webhook::{Event, Notifier};

/// Stores egresses and notifies webhook receivers in place of livekit-server
/// (docs/reference/egress.md): at the start, at every change, and at the end. The end is delivered
/// at least once: if the service ends before all receivers have it, its next run delivers it.
#[derive(Debug, Clone)]
pub struct Standalone {
    pub store: Store,
    pub webhooks: Notifier,
}

impl Standalone {
    /// Tells what the last run did not get to tell. To be called once, at the start.
    pub fn resume(&self) {
        for info in self.store.unreported() {
            self.tell_end(&info);
        }
    }

    fn tell_end(&self, info: &proto::EgressInfo) {
        let (store, egress_id) = (self.store.clone(), info.egress_id.clone());
        self.webhooks.notify(Event::Ended, info, Timestamp::now(), move || store.mark_reported(&egress_id));
    }
}

#[async_trait]
impl Registry for Standalone {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        if self.store.create(info).await? {
            self.webhooks.notify(Event::Started, info, Timestamp::now(), || ());
        }
        Ok(())
    }

    fn update(&self, info: proto::EgressInfo) {
        match self.store.put(info.clone()) {
            Put::News => match Event::of_update(&info) {
                Some(Event::Ended) => self.tell_end(&info),
                Some(event) => self.webhooks.notify(event, &info, Timestamp::now(), || ()),
                None => {}
            },
            Put::Same => {}
            Put::Late => tracing::warn!(egress_id = info.egress_id, "late report of an ended egress ignored"),
        }
    }

    async fn delivered(&self, _: &str) {
        // Receivers get theirs in time, from the next run if need be.
        if self.store.drained().await.is_err() {
            // What is left in the egress's directory tells the next run.
            std::future::pending::<()>().await;
        }
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
        self.webhooks.drained().await;
        // That it could not be written has been logged.
        self.store.drained().await.ok();
    }
}

#[cfg(test)]
mod tests;
