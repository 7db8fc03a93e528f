//! Tracks of a room as a plan knows them: which one is wanted, and what was found.

use std::fmt;

use super::codec::Container;
use super::room::RoomAccess;

/// What a published track is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackCodec {
    Opus,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl TrackCodec {
    pub const ALL: [Self; 8] =
        [Self::Opus, Self::Pcmu, Self::Pcma, Self::Vp8, Self::Vp9, Self::H264, Self::H265, Self::Av1];

    #[must_use]
    pub const fn kind(self) -> TrackKind {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma => TrackKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => TrackKind::Video,
        }
    }

    /// The file that holds it as it is; of G.711, what it becomes (media.md §1.7).
    #[must_use]
    pub const fn container(self) -> Container {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma => Container::Ogg,
            Self::H264 | Self::H265 => Container::Mp4,
            Self::Vp8 | Self::Vp9 | Self::Av1 => Container::WebM,
        }
    }
}

impl fmt::Display for TrackCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opus => "Opus",
            Self::Pcmu => "G.711 µ-law",
            Self::Pcma => "G.711 A-law",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Av1 => "AV1",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    Audio,
    Video,
}

impl TrackKind {
    /// As it stands for `{track_type}` in a name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// What a publisher says that a track shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackOrigin {
    Unknown,
    Camera,
    Microphone,
    ScreenShare,
    ScreenShareAudio,
}

impl TrackOrigin {
    /// As it stands for `{track_source}` in a name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::ScreenShare => "screen_share",
            Self::ScreenShareAudio => "screen_share_audio",
        }
    }
}

/// One published track, as its room tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// `TR_…`
    pub sid: String,
    pub kind: TrackKind,
    pub origin: TrackOrigin,
    /// Identity of who publishes it.
    pub publisher: String,
    pub is_muted: bool,
}

/// What a track egress found when its first frame came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    pub track: PublishedTrack,
    pub codec: TrackCodec,
}

/// Tracks of a room that are recorded as they come, without a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracksPlan {
    pub room: RoomAccess,
    /// The recorder's name in the room.
    pub identity: String,
    pub wanted: Wanted,
}

/// Which tracks of a room are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly these; a recording of them ends when all are gone.
    Tracks(Vec<String>),
}
