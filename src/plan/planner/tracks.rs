//! Decoded tracks of a room, without a browser: a participant, a track composite, a media source,
//! or room audio (docs/reference/media.md). Selects the tracks and the duration of the recording.

use super::super::defaults::Defaults;
use super::super::egress_id::EgressId;
use super::super::error::PlanError;
use super::super::request::{AudioMixing, MediaOf, MediaRequest, RoomRequest, TrackRequest};
use super::super::room::RoomTicket;
use super::super::track::{
    AudioChoice, AudioFrom, AudioHandling, AudioRoute, Channel, Lasts, ParticipantKind, Rest, TracksPlan,
    VideoChoice, VideoHandling, Wanted,
};

/// The tracks of a request. Their treatment depends on the outputs; see [`fitted`].
///
/// # Errors
///
/// [`PlanError`] if no track or participant is named.
pub(super) fn decoded(
    request: &MediaRequest,
    defaults: &Defaults,
    egress_id: &EgressId,
) -> Result<TracksPlan, PlanError> {
    let MediaRequest { room, of, video, audio } = request;
    if video.is_none() && audio.is_none() {
        return Err(nothing(of));
    }
    if let MediaOf::Participant(identity) = of
        && identity.is_empty()
    {
        return Err(PlanError::invalid("identity", "it is empty; name the participant to record"));
    }
    if let Some(video) = video {
        named_video(video)?;
    }
    audio.iter().flat_map(|audio| &audio.routes).try_for_each(named_audio)?;
    let lasts = match of {
        MediaOf::Tracks => Lasts::Tracks,
        MediaOf::Participant(identity) => Lasts::Participant(identity.clone()),
        MediaOf::Room => Lasts::Room,
    };
    let wanted = Wanted { video: video.iter().cloned().collect(), audio: audio.clone(), lasts };
    plan(room, wanted, defaults, egress_id)
}

/// Room audio, without anything that needs a page.
///
/// # Errors
///
/// [`PlanError`] without access to the room.
pub(super) fn room_audio(
    request: &RoomRequest,
    defaults: &Defaults,
    egress_id: &EgressId,
) -> Result<TracksPlan, PlanError> {
    let audio = match request.audio_mixing {
        AudioMixing::Both => AudioChoice { routes: Vec::new(), rest: Some(Rest::On(Channel::Both)) },
        AudioMixing::DualChannelAgent => {
            let from = AudioFrom::Kind(ParticipantKind::Agent);
            let agents = AudioRoute { from, channel: Channel::Left };
            AudioChoice { routes: vec![agents], rest: Some(Rest::On(Channel::Right)) }
        }
        AudioMixing::DualChannelAlternate => AudioChoice { routes: Vec::new(), rest: Some(Rest::ByTurns) },
    };
    let wanted = Wanted { video: Vec::new(), audio: Some(audio), lasts: Lasts::Room };
    plan(&request.room, wanted, defaults, egress_id)
}

/// One track's sound, decoded.
///
/// # Errors
/// [`PlanError`], where no track is named.
pub(super) fn track_audio(
    request: &TrackRequest,
    defaults: &Defaults,
    egress_id: &EgressId,
) -> Result<TracksPlan, PlanError> {
    if request.track_id.is_empty() {
        return Err(PlanError::invalid("track_id", "it is empty; name the track to record, TR_…"));
    }
    plan(&request.room, Wanted::tracks(None, Some(&request.track_id)), defaults, egress_id)
}

/// The plan for the outputs' needs: video of `size`, if any, and audio. Unused media are not
/// subscribed.
pub(super) fn fitted(tracks: TracksPlan, size: Option<(u32, u32)>, has_audio: bool) -> TracksPlan {
    let TracksPlan { room, identity, mut wanted, .. } = tracks;
    let video = match size {
        Some((width, height)) => VideoHandling::Decoded { width, height },
        None => {
            wanted.video.clear();
            VideoHandling::AsPublished
        }
    };
    let audio = match has_audio {
        true => AudioHandling::Mixed,
        false => {
            wanted.audio = None;
            AudioHandling::AsPublished
        }
    };
    TracksPlan { room, identity, wanted, video, audio }
}

fn plan(
    room: &RoomTicket,
    wanted: Wanted,
    defaults: &Defaults,
    egress_id: &EgressId,
) -> Result<TracksPlan, PlanError> {
    Ok(TracksPlan {
        room: defaults.rooms.access(room)?,
        identity: egress_id.to_string(),
        wanted,
        video: VideoHandling::AsPublished,
        audio: AudioHandling::AsPublished,
    })
}

fn nothing(of: &MediaOf) -> PlanError {
    match of {
        MediaOf::Tracks => PlanError::invalid(
            "audio_track_id or video_track_id",
            "there is neither; name at least one track, TR_…",
        ),
        MediaOf::Participant(_) | MediaOf::Room => PlanError::invalid(
            "audio or video",
            "there is neither; name a `video_track_id`, a `participant_video`, or `audio` with `routes` or `capture_all`",
        ),
    }
}

fn named_video(video: &VideoChoice) -> Result<(), PlanError> {
    match video {
        VideoChoice::Track(sid) if sid.is_empty() => {
            Err(PlanError::invalid("video_track_id", "it is empty; name the track, TR_…"))
        }
        VideoChoice::Participant { identity, .. } if identity.is_empty() => {
            Err(PlanError::invalid("participant_video.identity", "it is empty; name the participant"))
        }
        VideoChoice::Track(_) | VideoChoice::Participant { .. } => Ok(()),
    }
}

fn named_audio(route: &AudioRoute) -> Result<(), PlanError> {
    match &route.from {
        AudioFrom::Track(sid) if sid.is_empty() => {
            Err(PlanError::invalid("audio route track_id", "it is empty; name the track, TR_…"))
        }
        AudioFrom::Participant { identity, .. } if identity.is_empty() => {
            Err(PlanError::invalid("audio route participant_identity", "it is empty; name the participant"))
        }
        AudioFrom::Track(_) | AudioFrom::Participant { .. } | AudioFrom::Kind(_) => Ok(()),
    }
}
