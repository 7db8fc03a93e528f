//! Why the tracks of a room can't be recorded.

use super::render::RenderError;
use super::room::RoomError;
use crate::media::PipelineError;
use crate::plan::track::{TrackCodec, TrackKind};

#[derive(Debug, thiserror::Error)]
pub enum TracksError {
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The room was lost after the recording began. The recording up to then is kept.
    #[error("recording ended early: connection to room failed")]
    Lost(#[source] RoomError),
    /// The track was not published in time.
    #[error("track {track} not found")]
    NotFound { track: String },
    /// The participant did not join in time.
    #[error("participant {identity} not found")]
    NoParticipant { identity: String },
    /// The request names an audio track as video, or the reverse.
    #[error(
        "request has missing or invalid field: {}: track {track} is one of {}",
        .kind.asked_by(), .kind.as_str()
    )]
    WrongKind { track: String, kind: TrackKind },
    #[error("track {track} can't be received: {why}")]
    Refused { track: String, why: &'static str },
    /// A file holds one codec.
    #[error("the publisher changed the track's codec to {now}; a file holds one codec")]
    CodecChanged { now: TrackCodec },
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("audio can't be transcoded")]
    Transcode(#[from] PipelineError),
}
