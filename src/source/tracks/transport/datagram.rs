//! A packet that a media socket hands to the peer.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use str0m::net::Protocol;

/// A packet that arrived.
#[derive(Debug)]
pub(in crate::source::tracks) struct Datagram {
    pub(in crate::source::tracks) at: Instant,
    pub(in crate::source::tracks) protocol: Protocol,
    pub(in crate::source::tracks) remote: SocketAddr,
    /// Address of the socket that received it.
    pub(in crate::source::tracks) local: SocketAddr,
    pub(in crate::source::tracks) bytes: Bytes,
}
