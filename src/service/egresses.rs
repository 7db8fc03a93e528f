//! What a front door (Twirp, the bus) asks of the service.

use async_trait::async_trait;
use livekit_protocol as proto;

use super::error::ServiceError;
use crate::protocol as rpc;

/// The service as its front doors see it.
#[async_trait]
pub trait Egresses: Send + Sync {
    /// Starts a recording. Comes back as soon as its process is up, with `EGRESS_STARTING`.
    ///
    /// # Errors
    /// `invalid_argument`, naming the field; `already_exists`; `unavailable`, when there is no room.
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError>;

    /// Ends a recording gracefully, and answers with `EGRESS_ENDING` while its files are finished. Asking again is no error.
    ///
    /// # Errors
    /// `not_found`; `failed_precondition`, when it is over.
    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError>;

    /// Adds addresses to, and removes addresses from, a recording that streams.
    ///
    /// # Errors
    /// `not_found`; `invalid_argument`, when it does not stream, or an address can't be used. Those that can are used.
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
