//! `rpc.StartEgressRequest`, as livekit-server sends it → [`EgressRequest`].

use super::error::PlanError;
use super::request::EgressRequest;
use super::{from_v1, from_v2};
use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request;

/// What livekit-server, or the API in its place, asks for.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn start_egress(request: StartEgressRequest) -> Result<EgressRequest, PlanError> {
    // Rooms, tokens and servers' addresses mean nothing to a page.
    let StartEgressRequest { request, retry_count, .. } = request;
    let only_web = |field, what| Err(PlanError::not_yet(field, what, "give a `web` request"));
    let request = match request {
        Some(Request::Web(web)) => from_v1::web(web)?,
        Some(Request::Egress(egress)) => from_v2::start_egress(egress)?,
        Some(Request::RoomComposite(_)) => return only_web("room_composite", "a room composite"),
        Some(Request::Participant(_)) => return only_web("participant", "a participant"),
        Some(Request::TrackComposite(_)) => return only_web("track_composite", "a track composite"),
        Some(Request::Track(_)) => return only_web("track", "a track"),
        Some(Request::Replay(_)) => return only_web("replay", "a replay"),
        None => return Err(PlanError::invalid("request", "say what to record, for example `web`")),
    };
    Ok(EgressRequest { retry_count: u32::try_from(retry_count).unwrap_or_default(), ..request })
}
