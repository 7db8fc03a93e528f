//! `rpc.StartEgressRequest`, as livekit-server sends it → [`EgressRequest`].

use super::error::PlanError;
use super::request::EgressRequest;
use super::room::RoomTicket;
use super::{from_v1, from_v2};
use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request;
use crate::secret::Secret;

/// What livekit-server, or the API in its place, asks for.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn start_egress(request: StartEgressRequest) -> Result<EgressRequest, PlanError> {
    // The id is the recording's, the price the service's affair; copies in the cloud are none of ours.
    let StartEgressRequest {
        egress_id: _,
        room_id,
        room_name,
        token,
        ws_url,
        cloud_backup_enabled: _,
        estimated_cpu: _,
        retry_count,
        request,
    } = request;
    let ticket = RoomTicket { name: room_name, id: room_id, token: Secret::new(token), ws_url };
    let not_yet = |field, what| {
        Err(PlanError::not_yet(field, what, "give a `room_composite`, a `track` or a `web` request"))
    };
    let request = match request {
        Some(Request::Web(web)) => from_v1::web(web)?,
        Some(Request::Egress(egress)) => from_v2::start_egress(egress, ticket)?,
        Some(Request::RoomComposite(room)) => from_v1::room_composite(room, ticket)?,
        Some(Request::Participant(_)) => return not_yet("participant", "a participant"),
        Some(Request::TrackComposite(_)) => return not_yet("track_composite", "a track composite"),
        Some(Request::Track(track)) => from_v1::track(track, ticket)?,
        Some(Request::Replay(_)) => return not_yet("replay", "a replay"),
        None => return Err(PlanError::invalid("request", "say what to record, for example `web`")),
    };
    Ok(EgressRequest { retry_count: u32::try_from(retry_count).unwrap_or_default(), ..request })
}
