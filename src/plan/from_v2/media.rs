//! A v2 media source → tracks that are put together, or one that is passed through.

use livekit_protocol as proto;
use proto::media_source::Video;

use super::super::error::PlanError;
use super::super::request::{MediaOf, MediaRequest, TrackRequest};
use super::super::room::RoomTicket;
use super::super::track::{
    AudioChoice, AudioFrom, AudioRoute, Channel, ParticipantKind, Rest, Shows, VideoChoice,
};
use super::super::wire;

/// Converts a media source.
pub(super) fn request(source: proto::MediaSource, room: RoomTicket) -> Result<MediaRequest, PlanError> {
    let proto::MediaSource { audio, video } = source;
    let video = video.map(|video| match video {
        Video::VideoTrackId(sid) => VideoChoice::Track(sid),
        Video::ParticipantVideo(proto::ParticipantVideo { identity, prefer_screen_share }) => {
            let shows = if prefer_screen_share { Shows::Screen } else { Shows::Person };
            VideoChoice::Participant { identity, shows }
        }
    });
    let audio = audio.map(choice).transpose()?.flatten();
    Ok(MediaRequest { room, of: MediaOf::Room, video, audio })
}

/// `None`: nobody's sound. Other than in LiveKit's recorder, routes count beside `capture_all`,
/// which is for the rest, as its definition says.
fn choice(audio: proto::AudioConfig) -> Result<Option<AudioChoice>, PlanError> {
    let proto::AudioConfig { capture_all, routes } = audio;
    let routes: Vec<AudioRoute> = routes.into_iter().map(route).collect::<Result<_, _>>()?;
    let rest = capture_all.then_some(Rest::On(Channel::Both));
    Ok((rest.is_some() || !routes.is_empty()).then_some(AudioChoice { routes, rest }))
}

fn route(route: proto::AudioRoute) -> Result<AudioRoute, PlanError> {
    use proto::audio_route::Match;
    let proto::AudioRoute { channel, r#match } = route;
    let from = match r#match {
        Some(Match::TrackId(sid)) => AudioFrom::Track(sid),
        Some(Match::ParticipantIdentity(identity)) => AudioFrom::Participant { identity, shows: None },
        Some(Match::ParticipantKind(kind)) => AudioFrom::Kind(self::kind(kind)?),
        None => {
            return Err(PlanError::invalid(
                "audio route match",
                "a route needs one of `track_id`, `participant_identity`, `participant_kind`",
            ));
        }
    };
    let channel = match wire::known(channel, "audio route channel")? {
        proto::AudioChannel::Both => Channel::Both,
        proto::AudioChannel::Left => Channel::Left,
        proto::AudioChannel::Right => Channel::Right,
    };
    Ok(AudioRoute { from, channel })
}

fn kind(kind: i32) -> Result<ParticipantKind, PlanError> {
    use proto::participant_info::Kind;
    Ok(match wire::known(kind, "audio route participant_kind")? {
        Kind::Standard => ParticipantKind::Standard,
        Kind::Ingress => ParticipantKind::Ingress,
        Kind::Egress => ParticipantKind::Egress,
        Kind::Sip => ParticipantKind::Sip,
        Kind::Agent => ParticipantKind::Agent,
        Kind::Connector => ParticipantKind::Connector,
        Kind::Bridge => ParticipantKind::Bridge,
    })
}

/// Whether an encoding is the preset that encodes nothing.
pub(super) fn is_passed_through(encoding: Option<&proto::start_egress_request::Encoding>) -> bool {
    let preset = i32::from(proto::EncodingOptionsPreset::Passthrough);
    matches!(encoding, Some(proto::start_egress_request::Encoding::Preset(said)) if *said == preset)
}

/// The one track that a media source passes through (docs/reference/media.md).
///
/// # Errors
///
/// If it names anything but exactly one track, or outputs that can't hold a copied track.
pub(super) fn passed_through(
    media: MediaRequest,
    outputs: &[proto::Output],
) -> Result<TrackRequest, PlanError> {
    let MediaRequest { room, video, audio, .. } = media;
    let refused = |field: &str, help: &str| Err(PlanError::invalid(format!("passthrough {field}"), help));
    let video = match video {
        None => None,
        Some(VideoChoice::Track(sid)) if sid.is_empty() => {
            return refused("video_track_id", "it is empty; name the track, TR_…");
        }
        Some(VideoChoice::Track(sid)) => Some(sid),
        Some(VideoChoice::Participant { .. }) => {
            return refused(
                "participant_video",
                "a track is passed through by its id; give `video_track_id`",
            );
        }
    };
    let AudioChoice { routes, rest } = audio.unwrap_or_default();
    if rest.is_some() {
        return refused("capture_all", "one track is passed through; give one route, with its `track_id`");
    }
    let audio = match <[AudioRoute; 1]>::try_from(routes) {
        Ok([AudioRoute { from: AudioFrom::Track(sid), .. }]) if sid.is_empty() => {
            return refused("audio route track_id", "it is empty; name the track, TR_…");
        }
        Ok([AudioRoute { from: AudioFrom::Track(sid), .. }]) => Some(sid),
        Ok(_) => return refused("audio route match", "a track is passed through by its id; give `track_id`"),
        Err(none) if none.is_empty() => None,
        Err(_) => return refused("audio routes", "one track is passed through; give one route"),
    };
    let track_id = match (video, audio) {
        (Some(sid), None) | (None, Some(sid)) => sid,
        (Some(_), Some(_)) | (None, None) => {
            return refused("track_id", "exactly one track is passed through, of audio or video");
        }
    };
    let [output] = outputs else {
        return refused("outputs", "a track that is passed through has one output, a file");
    };
    let Some(proto::output::Config::File(file)) = &output.config else {
        return refused("output", "a track is recorded as it is, which only a file can be");
    };
    if file.file_type != i32::from(proto::EncodedFileType::DefaultFiletype) {
        return refused("file_type", "what its file is, the track's codec decides; leave file_type out");
    }
    Ok(TrackRequest { room, track_id })
}
