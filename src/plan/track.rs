//! Tracks of a room as a plan knows them: which one is wanted, and what was found.

use std::fmt;

use super::codec::Container;
use super::room::RoomAccess;

/// Codec of a published track.
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

    /// The file that holds it as it is, and is to be called so; of G.711, what it becomes
    /// (docs/reference/media.md). AV1 has two: it is an MP4 that is called one.
    #[must_use]
    pub fn container(self, path: &str) -> Container {
        match self {
            Self::Av1 if path.ends_with(Container::Mp4.row().extension) => Container::Mp4,
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
    /// Its value of `{track_type}` in a name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

impl TrackKind {
    /// The field of a request that names a track of the other kind.
    #[must_use]
    pub const fn asked_by(self) -> &'static str {
        match self {
            Self::Audio => "video_track_id",
            Self::Video => "audio_track_id",
        }
    }
}

/// The source of a track, as declared by its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackOrigin {
    Unknown,
    Camera,
    Microphone,
    ScreenShare,
    ScreenShareAudio,
}

impl TrackOrigin {
    /// Its value of `{track_source}` in a name.
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

/// Kind of a participant, known to the server from their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ParticipantKind {
    /// A person, or a program of the room's own.
    #[default]
    Standard,
    Ingress,
    Egress,
    Sip,
    Agent,
    Connector,
    Bridge,
}

impl ParticipantKind {
    /// All of a kind, for people.
    #[must_use]
    pub const fn everybody(self) -> &'static str {
        match self {
            Self::Standard => "people",
            Self::Ingress => "ingresses",
            Self::Egress => "egresses",
            Self::Sip => "callers by telephone",
            Self::Agent => "agents",
            Self::Connector => "connectors",
            Self::Bridge => "bridges",
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
    pub publisher_kind: ParticipantKind,
    pub is_muted: bool,
}

/// A track whose codec a recording found when it began: for plans that leave something open until
/// then.
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
    pub video: VideoHandling,
    pub audio: AudioHandling,
}

/// Treatment of video tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoHandling {
    /// They are handed on as they were published.
    AsPublished,
    /// They are decoded, and fitted into this size, in pixels.
    Decoded { width: u32, height: u32 },
    /// Handed on where they are H.264, else decoded; see [`TracksPlan::decided`].
    ByCodec { width: u32, height: u32 },
}

/// Treatment of audio tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioHandling {
    /// It is handed on as it was published.
    AsPublished,
    /// It is decoded, and all of it mixed.
    Mixed,
    /// Handed on where it is Opus, else mixed; see [`TracksPlan::decided`].
    ByCodec,
}

/// The tracks of a room to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// One of all matching tracks is shown. Empty: no video.
    pub video: Vec<VideoChoice>,
    /// `None`: no sound.
    pub audio: Option<AudioChoice>,
    pub lasts: Lasts,
}

/// The owner of the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoChoice {
    /// This track, `TR_…`.
    Track(String),
    Participant {
        identity: String,
        shows: Shows,
    },
}

/// Selects a participant's tracks (docs/reference/signaling.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shows {
    /// Camera and microphone.
    Person,
    /// Everything else.
    Screen,
}

/// The audio to record, with channels in the mix. The first matching route counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AudioChoice {
    pub routes: Vec<AudioRoute>,
    /// Treatment of tracks without a matching route; `None`: not subscribed.
    pub rest: Option<Rest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioRoute {
    pub from: AudioFrom,
    pub channel: Channel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioFrom {
    /// This track, `TR_…`.
    Track(String),
    /// `shows`: `None` for all that they are heard by.
    Participant {
        identity: String,
        shows: Option<Shows>,
    },
    Kind(ParticipantKind),
}

/// Channel in a stereo mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    Both,
    Left,
    Right,
}

/// Channels of tracks without a matching route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rest {
    On(Channel),
    /// By turns left and right, as they come.
    ByTurns,
}

/// Start and stop conditions of a recording (docs/reference/signaling.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lasts {
    /// For all tracks that are named; until all of them are gone.
    Tracks,
    /// For this participant; until they leave.
    Participant(String),
    /// For every track and participant that is named; until the room is closed.
    Room,
}

impl Wanted {
    /// One track, whichever medium it is.
    #[must_use]
    pub fn track(sid: &str) -> Self {
        Self::tracks(Some(sid), Some(sid))
    }

    /// A track of each medium, or of one of them.
    #[must_use]
    pub fn tracks(video: Option<&str>, audio: Option<&str>) -> Self {
        let route = |sid: &str| AudioRoute { from: AudioFrom::Track(sid.to_owned()), channel: Channel::Both };
        Self {
            video: video.iter().map(|sid| VideoChoice::Track((*sid).to_owned())).collect(),
            audio: audio.map(|sid| AudioChoice { routes: vec![route(sid)], rest: None }),
            lasts: Lasts::Tracks,
        }
    }

    /// Whether a track is one of them.
    #[must_use]
    pub fn takes(&self, track: &PublishedTrack) -> bool {
        match track.kind {
            TrackKind::Video => self.video.iter().any(|video| video.fits(track)),
            TrackKind::Audio => self.audio.as_ref().is_some_and(|audio| audio.channel(track, 0).is_some()),
        }
    }

    /// Sids of the tracks that are named one by one.
    #[must_use]
    pub fn sids(&self) -> Vec<&str> {
        let video = self.video.iter().filter_map(|video| match video {
            VideoChoice::Track(sid) => Some(sid.as_str()),
            VideoChoice::Participant { .. } => None,
        });
        let routes = self.audio.iter().flat_map(|audio| &audio.routes);
        let audio = routes.filter_map(|route| match &route.from {
            AudioFrom::Track(sid) => Some(sid.as_str()),
            AudioFrom::Participant { .. } | AudioFrom::Kind(_) => None,
        });
        let mut sids: Vec<&str> = video.chain(audio).collect();
        sids.sort_unstable();
        sids.dedup();
        sids
    }
}

impl Wanted {
    /// Identities of the participants that are named.
    #[must_use]
    pub fn identities(&self) -> Vec<&str> {
        let lasts = match &self.lasts {
            Lasts::Participant(identity) => Some(identity.as_str()),
            Lasts::Tracks | Lasts::Room => None,
        };
        let video = self.video.iter().filter_map(|video| match video {
            VideoChoice::Participant { identity, .. } => Some(identity.as_str()),
            VideoChoice::Track(_) => None,
        });
        let routes = self.audio.iter().flat_map(|audio| &audio.routes);
        let audio = routes.filter_map(|route| match &route.from {
            AudioFrom::Participant { identity, .. } => Some(identity.as_str()),
            AudioFrom::Track(_) | AudioFrom::Kind(_) => None,
        });
        let mut identities: Vec<&str> = lasts.into_iter().chain(video).chain(audio).collect();
        identities.sort_unstable();
        identities.dedup();
        identities
    }
}

impl TracksPlan {
    /// Whether what its outputs are depends on what the tracks are.
    #[must_use]
    pub fn awaits_tracks(&self) -> bool {
        let pictures = !self.wanted.video.is_empty() && !matches!(self.video, VideoHandling::Decoded { .. });
        pictures || (self.wanted.audio.is_some() && self.audio != AudioHandling::Mixed)
    }

    /// Whether it depends on what the tracks are which of them are encoded.
    #[must_use]
    pub fn is_by_codec(&self) -> bool {
        matches!(self.video, VideoHandling::ByCodec { .. }) || self.audio == AudioHandling::ByCodec
    }
}

impl VideoChoice {
    #[must_use]
    pub fn fits(&self, track: &PublishedTrack) -> bool {
        match self {
            Self::Track(sid) => *sid == track.sid,
            Self::Participant { identity, shows } => {
                *identity == track.publisher && shows.shown_by(track.origin)
            }
        }
    }
}

impl AudioChoice {
    /// Channel of a track that is the `turn`th one (from 0) without a matching route; `None`: not
    /// subscribed.
    #[must_use]
    pub fn channel(&self, track: &PublishedTrack, turn: usize) -> Option<Channel> {
        let route = self.routes.iter().find(|route| route.from.fits(track)).map(|route| route.channel);
        route.or_else(|| {
            self.rest.map(|rest| match rest {
                Rest::On(channel) => channel,
                Rest::ByTurns if turn.is_multiple_of(2) => Channel::Left,
                Rest::ByTurns => Channel::Right,
            })
        })
    }
}

impl AudioFrom {
    #[must_use]
    pub fn fits(&self, track: &PublishedTrack) -> bool {
        match self {
            Self::Track(sid) => *sid == track.sid,
            Self::Participant { identity, shows } => {
                *identity == track.publisher && shows.is_none_or(|shows| shows.shown_by(track.origin))
            }
            Self::Kind(kind) => *kind == track.publisher_kind,
        }
    }
}

impl Shows {
    #[must_use]
    pub const fn shown_by(self, origin: TrackOrigin) -> bool {
        let is_person = matches!(origin, TrackOrigin::Camera | TrackOrigin::Microphone);
        matches!(self, Self::Person) == is_person
    }
}
