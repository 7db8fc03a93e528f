//! Requests as protobuf JSON, in camel case or snake case.
//!
//! The generated types skip fields they don't know and say nothing; here each of them is an error
//! with its path, as is a value of the wrong type: a mistyped option must not be lost silently.

use livekit_protocol as proto;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::PlanError;
use super::request::EgressRequest;
use super::room::RoomTicket;
use super::{from_rpc, from_v1, from_v2};
use crate::protocol::start_egress_request::Request;
use crate::secret::Secret;

/// Reasons why a text is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the request is not JSON: {0}")]
    Syntax(serde_json::Error),
    #[error("request has missing or invalid field: {path}: {problem}")]
    Mistyped { path: String, problem: String },
    #[error("request has missing or invalid field: {}: no such field; look for a misspelling, or leave it out", .paths.join(", "))]
    UnknownFields { paths: Vec<String> },
    #[error(
        "request has missing or invalid field: request: this is neither a v1 request (`url` or \
         `room_name`, `file_outputs`, …) nor a v2 StartEgressRequest (`web`, `template` or `media`, `outputs`, …)"
    )]
    Unrecognised,
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl RequestError {
    /// The field at fault; `request` where it is the whole.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Syntax(_) | Self::Unrecognised => "request",
            Self::Mistyped { path, .. } => path,
            Self::UnknownFields { paths } => paths.first().map_or("request", String::as_str),
            Self::Plan(error) => error.field(),
        }
    }
}

/// Reads a v1 request (web, room composite, participant, track composite, track), a v2
/// `StartEgressRequest`, or any of them in the envelope that livekit-server puts around it; which
/// one it is, its fields tell.
///
/// # Errors
/// [`RequestError`], with the path of the field at fault.
pub fn parse(text: &str) -> Result<EgressRequest, RequestError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(RequestError::Syntax)?;
    let object = value.as_object().ok_or(RequestError::Unrecognised)?;
    let request = match kind_of(object)? {
        Kind::V1Web => from_v1::web(strict(text)?)?,
        Kind::V1RoomComposite => from_v1::room_composite(strict(text)?, RoomTicket::default())?,
        Kind::V1Participant => from_v1::participant(strict(text)?, RoomTicket::default())?,
        Kind::V1TrackComposite => from_v1::track_composite(strict(text)?, RoomTicket::default())?,
        Kind::V1Track => from_v1::track(strict(text)?, RoomTicket::default())?,
        Kind::V2 => from_v2::start_egress(strict(text)?, RoomTicket::default())?,
        Kind::Envelope => from_envelope(strict(text)?)?,
    };
    // A request in a file is one to the command line. It would keep still about them, if it took
    // them.
    if !request.webhooks.is_empty() {
        let help = "the command line sends none; leave `webhooks` out, or ask a service";
        return Err(PlanError::invalid("webhooks", help).into());
    }
    Ok(request)
}

enum Kind {
    V1Web,
    V1RoomComposite,
    V1Participant,
    V1TrackComposite,
    V1Track,
    V2,
    Envelope,
}

fn kind_of(object: &serde_json::Map<String, serde_json::Value>) -> Result<Kind, RequestError> {
    let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
    if has(&["outputs", "template", "media"]) {
        return Ok(Kind::V2);
    }
    if has(&["replay", "replay_id", "replayId"]) {
        let help = "record what is going on: a room, a participant, tracks or a web page";
        return Err(PlanError::not_yet("request", "a replay", help).into());
    }
    // A v2 request without outputs is one for nobody; in the envelope the outputs stand inside of
    // `web`.
    let enveloped = ["web", "egress", "participant", "track"];
    if has(&enveloped) || has(&["room_composite", "roomComposite", "track_composite", "trackComposite"]) {
        return Ok(Kind::Envelope);
    }
    if has(&["url"]) {
        return Ok(Kind::V1Web);
    }
    if has(&["audio_track_id", "audioTrackId", "video_track_id", "videoTrackId"]) {
        return Ok(Kind::V1TrackComposite);
    }
    if has(&["track_id", "trackId"]) {
        return Ok(Kind::V1Track);
    }
    if has(&["identity"]) {
        return Ok(Kind::V1Participant);
    }
    if has(&["room_name", "roomName"]) {
        return Ok(Kind::V1RoomComposite);
    }
    // No source of another kind: a web request whose `url` was forgotten or misspelt.
    let v1_outputs = ["file_outputs", "stream_outputs", "segment_outputs", "image_outputs"];
    let v1_outputs_camel = ["fileOutputs", "streamOutputs", "segmentOutputs", "imageOutputs"];
    if has(&v1_outputs) || has(&v1_outputs_camel) || has(&["file", "stream", "segments"]) {
        return Ok(Kind::V1Web);
    }
    Err(RequestError::Unrecognised)
}

/// `rpc.StartEgressRequest`, as far as it is understood. The generated types have none of the rpc
/// package.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    web: Option<proto::WebEgressRequest>,
    egress: Option<proto::StartEgressRequest>,
    #[serde(alias = "roomComposite")]
    room_composite: Option<proto::RoomCompositeEgressRequest>,
    participant: Option<proto::ParticipantEgressRequest>,
    #[serde(alias = "trackComposite")]
    track_composite: Option<proto::TrackCompositeEgressRequest>,
    track: Option<proto::TrackEgressRequest>,
    #[serde(alias = "retryCount")]
    retry_count: u32,
    #[serde(alias = "roomId")]
    room_id: String,
    #[serde(alias = "roomName")]
    room_name: String,
    token: Secret<String>,
    #[serde(alias = "wsUrl")]
    ws_url: String,
    // Fields for services only: known, so not misspellings, and ignored. (`IgnoredAny` would count
    // as an absent field.)
    #[serde(alias = "egressId")]
    egress_id: serde_json::Value,
    #[serde(alias = "cloudBackupEnabled")]
    cloud_backup_enabled: serde_json::Value,
    #[serde(alias = "estimatedCpu")]
    estimated_cpu: serde_json::Value,
}

fn from_envelope(envelope: Envelope) -> Result<EgressRequest, RequestError> {
    let Envelope {
        web,
        egress,
        room_composite,
        participant,
        track_composite,
        track,
        retry_count,
        room_id,
        room_name,
        token,
        ws_url,
        egress_id: _,
        cloud_backup_enabled: _,
        estimated_cpu: _,
    } = envelope;
    let ticket = RoomTicket { name: room_name, id: room_id, token, ws_url };
    let requests = [
        web.map(Request::Web),
        egress.map(Request::Egress),
        room_composite.map(Request::RoomComposite),
        participant.map(Request::Participant),
        track_composite.map(Request::TrackComposite),
        track.map(Request::Track),
    ];
    let mut requests = requests.into_iter().flatten();
    let request = match (requests.next(), requests.next()) {
        (None, _) => return Err(PlanError::invalid("request", "it is null").into()),
        (Some(_), Some(_)) => {
            let help = "`web`, `room_composite`, `participant`, `track_composite`, `track` and `egress` exclude each other";
            return Err(PlanError::invalid("request", help).into());
        }
        (Some(request), None) => request,
    };
    let request = from_rpc::request(request, ticket)?;
    Ok(EgressRequest { retry_count, ..request })
}

/// Reads a message and refuses what it does not know.
fn strict<T: DeserializeOwned>(text: &str) -> Result<T, RequestError> {
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let paths = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let message =
        T::deserialize(serde_ignored::Deserializer::new(paths, &mut |path: serde_ignored::Path<'_>| {
            unknown.push(path_text(&path));
        }));
    match message {
        Ok(message) if unknown.is_empty() => Ok(message),
        Ok(_) => Err(RequestError::UnknownFields { paths: unknown }),
        Err(error) => Err(RequestError::Mistyped {
            path: track.path().to_string(),
            problem: unquoted(&error.to_string()),
        }),
    }
}

/// A problem without the text that it quotes, which may be a key that stands in the wrong place.
fn unquoted(problem: &str) -> String {
    match (problem.find("string \""), problem.rfind("\", expected")) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}a text{}", &problem[..begin], &problem[end + 1..])
        }
        _ => problem.to_owned(),
    }
}

/// `file_outputs[0].filepath`; the crate's own text has a `?` for each optional field on the way.
fn path_text(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_text(parent)),
        Path::Map { parent, key } => match path_text(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            path_text(parent)
        }
    }
}

#[cfg(test)]
mod tests;
