//! Messages of LiveKit's `rpc` package that the crate `livekit-protocol` lacks
//! (docs/reference/egress.md; tags as in `rpc/egress.proto`, `rpc/io.proto` and
//! `rpc/keepalive.proto`). Nested messages are the crate's types.

use std::fmt;

use livekit_protocol as livekit;
use prost::Message;

/// `EgressInternal.StartEgress`: what livekit-server sends to the recorders. Prints without its
/// token.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct StartEgressRequest {
    /// `EG_…`
    #[prost(string, tag = "1")]
    pub egress_id: String,
    /// Given by the server when the request names a room.
    #[prost(string, tag = "3")]
    pub room_id: String,
    /// Cloud only.
    #[prost(string, tag = "18")]
    pub room_name: String,
    /// For the room. Empty: the recorder makes its own.
    #[prost(string, tag = "8")]
    pub token: String,
    /// Address of the room's server. Empty: the configured one.
    #[prost(string, tag = "9")]
    pub ws_url: String,
    /// Cloud only.
    #[prost(bool, tag = "10")]
    pub cloud_backup_enabled: bool,
    /// Cores; 0: what the kind of request costs.
    #[prost(double, tag = "14")]
    pub estimated_cpu: f64,
    #[prost(int32, tag = "15")]
    pub retry_count: i32,
    #[prost(oneof = "start_egress_request::Request", tags = "16, 17, 5, 11, 13, 6, 7")]
    pub request: Option<start_egress_request::Request>,
}

/// Nested message and enum types in `StartEgressRequest`.
pub mod start_egress_request {
    use livekit_protocol as livekit;

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Request {
        /// v2.
        #[prost(message, tag = "16")]
        Egress(livekit::StartEgressRequest),
        /// Cloud only.
        #[prost(message, tag = "17")]
        Replay(livekit::ExportReplayRequest),
        #[prost(message, tag = "5")]
        RoomComposite(livekit::RoomCompositeEgressRequest),
        #[prost(message, tag = "11")]
        Web(livekit::WebEgressRequest),
        #[prost(message, tag = "13")]
        Participant(livekit::ParticipantEgressRequest),
        #[prost(message, tag = "6")]
        TrackComposite(livekit::TrackCompositeEgressRequest),
        #[prost(message, tag = "7")]
        Track(livekit::TrackEgressRequest),
    }
}

/// Requests hold stream keys and storage credentials, so that none of one is printed but what it is
/// called.
impl fmt::Debug for StartEgressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartEgressRequest")
            .field("egress_id", &self.egress_id)
            .field("room_id", &self.room_id)
            .finish_non_exhaustive()
    }
}

/// `EgressInternal.ListActiveEgress`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListActiveEgressRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListActiveEgressResponse {
    #[prost(string, repeated, tag = "1")]
    pub egress_ids: Vec<String>,
}

/// `IOInfo.GetEgress`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetEgressRequest {
    #[prost(string, tag = "1")]
    pub egress_id: String,
}

/// `IOInfo.UpdateMetrics`
#[derive(Clone, PartialEq, Message)]
pub struct UpdateMetricsRequest {
    #[prost(message, optional, tag = "1")]
    pub info: Option<livekit::EgressInfo>,
    /// Cores.
    #[prost(float, tag = "3")]
    pub avg_cpu_usage: f32,
    /// Cores.
    #[prost(float, tag = "4")]
    pub max_cpu_usage: f32,
}

/// `ReplayExport.EgressReady`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EgressReadyRequest {
    #[prost(string, tag = "1")]
    pub egress_id: String,
    /// It exports from storage, and joins no room.
    #[prost(bool, tag = "2")]
    pub skip_playback: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct EgressReadyResponse {
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    pub start_at: i64,
    #[prost(int64, tag = "2")]
    pub duration_ms: i64,
}

/// `Keepalive.Ping`: livekit-server's nodes, to themselves.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeepalivePing {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
}

#[cfg(test)]
mod tests;
