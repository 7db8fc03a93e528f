//! What may be asked of the service, by whichever road the question comes.

use async_trait::async_trait;
use livekit_protocol as proto;

use super::error::ServiceError;
use crate::protocol as rpc;

/// What may be asked about egresses. Answers are what the service knows at that moment.
#[async_trait]
pub trait Egresses: Send + Sync {
    /// Starts the one that the request describes; its `egress_id` is set.
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError>;

    /// Ends one, and keeps what it has recorded.
    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError>;

    /// Adds and removes addresses that one streams to.
    async fn update_stream(
        &self,
        request: proto::UpdateStreamRequest,
    ) -> Result<proto::EgressInfo, ServiceError>;

    /// Has the page of one show another layout.
    async fn update_layout(&self, egress_id: &str, layout: &str) -> Result<proto::EgressInfo, ServiceError>;

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError>;
}
