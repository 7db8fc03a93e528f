//! Where the truth about egresses is kept and told.

use async_trait::async_trait;
use livekit_protocol as proto;

use super::error::ServiceError;

/// Keeps what is known of every egress, and tells whoever wants to know. There are two: livekit-server's, over psrpc, and the
/// embedded one.
#[async_trait]
pub trait Registry: Send + Sync {
    /// An egress begins. It is kept for good when this returns.
    ///
    /// # Errors
    /// When it could not be kept; then it must not begin.
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError>;

    /// What is known now. Updates of one egress arrive in order; of several that wait, the latest wins.
    fn update(&self, info: proto::EgressInfo);

    /// Returns when all that was created and updated is kept and told, or nothing more can be done for it.
    async fn drained(&self);
}
