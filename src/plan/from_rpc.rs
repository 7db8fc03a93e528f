//! `rpc.StartEgressRequest`, as livekit-server sends it → [`EgressRequest`].

use super::error::PlanError;
use super::request::EgressRequest;
use super::room::RoomTicket;
use super::{from_v1, from_v2};
use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request;
use crate::secret::Secret;

/// Converts a request of livekit-server, or of the API in its place.
///
/// # Errors
///
/// [`PlanError`], naming the field.
pub fn start_egress(request: StartEgressRequest) -> Result<EgressRequest, PlanError> {
    // The service handles id and price; cloud backups are not supported.
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
    let Some(request) = request else {
        return Err(PlanError::invalid("request", "say what to record, for example `web`"));
    };
    let request = self::request(request, ticket)?;
    Ok(EgressRequest { retry_count: u32::try_from(retry_count).unwrap_or_default(), ..request })
}

/// A request of any kind; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub(super) fn request(request: Request, ticket: RoomTicket) -> Result<EgressRequest, PlanError> {
    match request {
        Request::Web(web) => from_v1::web(web),
        Request::Egress(egress) => from_v2::start_egress(egress, ticket),
        Request::RoomComposite(room) => from_v1::room_composite(room, ticket),
        Request::Participant(participant) => from_v1::participant(participant, ticket),
        Request::TrackComposite(tracks) => from_v1::track_composite(tracks, ticket),
        Request::Track(track) => from_v1::track(track, ticket),
        Request::Replay(_) => {
            let help = "a replay is not yet supported; record what is going on, for example by a `room_composite` request";
            Err(PlanError::worded("source", "replay", help))
        }
    }
}
