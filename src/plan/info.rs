//! The request as an `EgressInfo` shows it: in LiveKit's form, without its secrets
//! (docs/reference/egress.md).

mod as_v1;
mod as_v2;
mod redaction;

use livekit_protocol as proto;
use proto::egress_info::Request;

use super::redact;
use super::request::{EgressRequest, RequestOrigin, SourceRequest};

/// The content of `EgressInfo.request`: the redacted wire request; for a request of the command
/// line, the equivalent one, in v2 if that can express it.
#[must_use]
pub fn redacted_request(request: &EgressRequest) -> Request {
    redaction::redacted(match (&request.origin, &request.source) {
        (RequestOrigin::Wire(wire), _) => wire.expose().as_ref().clone(),
        (RequestOrigin::CommandLine, SourceRequest::Web(web)) => {
            Request::Egress(as_v2::request(request, String::new(), as_v2::web(web)))
        }
        (RequestOrigin::CommandLine, SourceRequest::Room(room)) => {
            Request::Egress(as_v2::request(request, room.room.name.clone(), as_v2::room(room)))
        }
        (RequestOrigin::CommandLine, SourceRequest::Track(track)) => {
            Request::Track(as_v1::track(request, track))
        }
        (RequestOrigin::CommandLine, SourceRequest::Media(media)) => as_v1::media(request, media),
    })
}

/// An egress as shown to people and receivers: without secret values in the addresses of its
/// webhooks. The sender of webhooks needs these, also under the next service; so the original is
/// kept.
#[must_use]
pub fn shown(mut info: proto::EgressInfo) -> proto::EgressInfo {
    let webhooks = info.request.iter_mut().flat_map(redaction::webhooks_of);
    for webhook in webhooks {
        webhook.url = redact::page_secrets(&webhook.url);
    }
    info
}
