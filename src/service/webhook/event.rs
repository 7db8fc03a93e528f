//! Webhook events and their bodies.

use axum::body::Bytes;
use jiff::Timestamp;
use livekit_protocol as proto;
use proto::egress_info;
use rand::Rng;
use rand::distr::Alphanumeric;

use crate::plan::info::shown;
use crate::protocol::start_egress_request;
use crate::service::registry::is_over;

/// An event of an egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Started,
    Updated,
    Ended,
}

impl Event {
    /// The event for a new report. A starting egress has none. A reached limit is not an end yet:
    /// files are still being finalized.
    #[must_use]
    pub fn of_update(info: &proto::EgressInfo) -> Option<Self> {
        if is_over(info) {
            return Some(Self::Ended);
        }
        // A status from a version to come is news of one that goes on.
        match proto::EgressStatus::try_from(info.status) {
            Ok(proto::EgressStatus::EgressStarting) => None,
            Ok(_) | Err(_) => Some(Self::Updated),
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "egress_started",
            Self::Updated => "egress_updated",
            Self::Ended => "egress_ended",
        }
    }
}

/// The body of the webhook: a `WebhookEvent` as protobuf JSON. A receiver recognizes a repeated
/// event by its id. It contains no secrets of other receivers.
pub(super) fn body(
    event: Event,
    info: &proto::EgressInfo,
    now: Timestamp,
) -> Result<Bytes, serde_json::Error> {
    let room = (!info.room_name.is_empty()).then(|| proto::Room {
        sid: info.room_id.clone(),
        name: info.room_name.clone(),
        ..proto::Room::default()
    });
    let random = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from);
    let event = proto::WebhookEvent {
        event: event.name().to_owned(),
        room,
        egress_info: Some(shown(info.clone())),
        id: "EV_".chars().chain(random).collect(),
        created_at: now.as_second(),
        ..proto::WebhookEvent::default()
    };
    serde_json::to_vec(&event).map(Bytes::from)
}

/// The receivers that a request names.
#[must_use]
pub fn requested(request: &start_egress_request::Request) -> &[proto::WebhookConfig] {
    use start_egress_request::Request;
    match request {
        Request::Egress(request) => &request.webhooks,
        Request::RoomComposite(request) => &request.webhooks,
        Request::Web(request) => &request.webhooks,
        Request::Participant(request) => &request.webhooks,
        Request::TrackComposite(request) => &request.webhooks,
        Request::Track(request) => &request.webhooks,
        Request::Replay(request) => &request.webhooks,
    }
}

/// The same, of the request that an egress remembers. So they are known again when the service was
/// started anew.
pub(super) fn webhooks_of(info: &proto::EgressInfo) -> &[proto::WebhookConfig] {
    use egress_info::Request;
    match &info.request {
        None => &[],
        Some(Request::Egress(request)) => &request.webhooks,
        Some(Request::RoomComposite(request)) => &request.webhooks,
        Some(Request::Web(request)) => &request.webhooks,
        Some(Request::Participant(request)) => &request.webhooks,
        Some(Request::TrackComposite(request)) => &request.webhooks,
        Some(Request::Track(request)) => &request.webhooks,
        Some(Request::Replay(request)) => &request.webhooks,
    }
}
