//! The interface of the service for its listeners (Twirp, bus).

use async_trait::async_trait;
use livekit_protocol as proto;

use super::error::ServiceError;
use crate::protocol as rpc;

/// The service as its front doors see it.
#[async_trait]
pub trait Egresses: Send + Sync {
    /// Starts a recording. Returns as soon as its process runs, with `EGRESS_STARTING`.
    ///
    /// # Errors
    ///
    /// `invalid_argument`, naming the field; `already_exists`; `unavailable` without capacity.
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError>;

    /// Ends a recording gracefully, and returns `EGRESS_ENDING` while its files are finalized. A
    /// repeated call is valid.
    ///
    /// # Errors
    ///
    /// `not_found`; `failed_precondition` if it has ended.
    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError>;

    /// Adds addresses to, and removes addresses from, a recording that streams.
    ///
    /// # Errors
    /// `not_found`; `invalid_argument`, when it does not stream, or an address can't be used. Those
    /// that can are used.
    async fn update_stream(
        &self,
        request: proto::UpdateStreamRequest,
    ) -> Result<proto::EgressInfo, ServiceError>;

    /// Changes the layout of a recording of a room.
    ///
    /// # Errors
    /// `not_found`; `invalid_argument`, when it has none.
    async fn update_layout(&self, egress_id: &str, layout: &str) -> Result<proto::EgressInfo, ServiceError>;

    /// The recordings that are known.
    ///
    /// # Errors
    /// When they can't be looked up.
    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError>;
}
