//! A registry that also counts how recordings end.

use std::sync::Arc;

use async_trait::async_trait;
use livekit_protocol as proto;

use super::Metrics;
use crate::service::error::ServiceError;
use crate::service::registry::{Registry, is_over};
use crate::upload::Tried;

/// Tells another registry all, and the metrics each end.
pub struct Counted {
    registry: Arc<dyn Registry>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Counted {
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>, metrics: Arc<Metrics>) -> Self {
        Self { registry, metrics }
    }
}

#[async_trait]
impl Registry for Counted {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        self.registry.create(info).await
    }

    fn update(&self, info: proto::EgressInfo) {
        if is_over(&info) {
            self.metrics.ended(&info);
        }
        self.registry.update(info);
    }

    fn uploaded(&self, tried: &Tried) {
        self.metrics.uploaded(tried);
        self.registry.uploaded(tried);
    }

    async fn delivered(&self, egress_id: &str) {
        self.registry.delivered(egress_id).await;
    }

    async fn drained(&self) {
        self.registry.drained().await;
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        self.registry.list(request).await
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        self.registry.unfinished().await
    }

    fn is_healthy(&self) -> bool {
        self.registry.is_healthy()
    }
}
