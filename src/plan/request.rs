//! The internal form of every request, independent of its origin.
//!
//! Nothing here has defaults or is checked against other fields: `None` and empty names mean
//! "unset". [`RecordingPlan::new`](super::RecordingPlan::new) decides what a request means.

use std::fmt;
use std::time::Duration;

use livekit_protocol as proto;

use super::codec::{AudioCodec, Container};
use super::encoding::{H264Profile, Preset};
use super::error::PlanError;
use super::limits::Limits;
use super::output::ManifestPolicy;
use super::output::{ImageSuffix, SegmentSuffix};
use super::redact;
use super::room::RoomTicket;
use super::storage::Backend;
use super::stream_url::StreamProtocol;
use super::track::{AudioChoice, AudioFrom, AudioRoute, Channel, Shows, VideoChoice};
use crate::config::frame_times::FrameTimes;
use crate::secret::Secret;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressRequest {
    pub origin: RequestOrigin,
    pub source: SourceRequest,
    pub encoding: EncodingRequest,
    pub outputs: Vec<OutputRequest>,
    /// Webhook receivers. Only a service notifies them.
    pub webhooks: Vec<WebhookRequest>,
    pub capture: CaptureKind,
    /// The times of encoded frames. `None`: what the server provides; a request on the wire can't
    /// say it.
    pub frame_times: Option<FrameTimes>,
    pub limits: Limits,
    /// How often this recording was tried before; 0 the first time.
    pub retry_count: u32,
}

impl EgressRequest {
    /// A request as it came, without what the wire has no words for.
    pub(super) fn of_wire(
        wire: proto::egress_info::Request,
        source: SourceRequest,
        encoding: EncodingRequest,
        outputs: Vec<OutputRequest>,
        webhooks: Vec<WebhookRequest>,
    ) -> Self {
        Self {
            origin: RequestOrigin::Wire(Secret::new(Box::new(wire))),
            source,
            encoding,
            outputs,
            webhooks,
            capture: CaptureKind::Framebuffer,
            frame_times: None,
            limits: Limits::default(),
            retry_count: 0,
        }
    }
}

/// Where a request came from, with its first form: an `EgressInfo` shows it again, redacted.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestOrigin {
    /// A person at a terminal, who may also record local pages.
    CommandLine,
    /// v1 or v2, whatever brought it.
    Wire(Secret<Box<proto::egress_info::Request>>),
}

/// The source to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRequest {
    Web(WebRequest),
    /// A room composite: all of a room, as a page shows it.
    Room(RoomRequest),
    /// One track of a room, as it is.
    Track(TrackRequest),
    /// Tracks of a room, decoded and put together.
    Media(MediaRequest),
}

impl SourceRequest {
    #[must_use]
    pub const fn media(&self) -> Media {
        match self {
            Self::Web(web) => web.media,
            Self::Room(room) => room.media,
            // Which one it is, the track tells.
            Self::Track(_) => Media::AudioAndVideo,
            Self::Media(media) => match (&media.video, &media.audio) {
                (Some(_), None) => Media::VideoOnly,
                (None, Some(_)) => Media::AudioOnly,
                (Some(_), Some(_)) | (None, None) => Media::AudioAndVideo,
            },
        }
    }

    /// The room whose recording it is, where it is one's. A page does not join it.
    #[must_use]
    pub const fn room(&self) -> Option<&RoomTicket> {
        match self {
            Self::Web(web) => web.room.as_ref(),
            Self::Room(room) => Some(&room.room),
            Self::Track(track) => Some(&track.room),
            Self::Media(media) => Some(&media.room),
        }
    }
}

/// The video capture of a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// Out of the display's own framebuffer, when something was drawn.
    Framebuffer,
    /// By `ximagesrc`, on its own clock.
    XImageSrc,
}

/// One track, recorded without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackRequest {
    pub room: RoomTicket,
    /// `TR_…`
    pub track_id: String,
}

/// Tracks of a room, chosen by what they are: a participant, a track composite, a v2 media source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRequest {
    pub room: RoomTicket,
    pub of: MediaOf,
    pub video: Option<VideoChoice>,
    pub audio: Option<AudioChoice>,
}

impl MediaRequest {
    /// Video and audio of one participant.
    #[must_use]
    pub fn participant(room: RoomTicket, identity: String, shows: Shows) -> Self {
        let from = AudioFrom::Participant { identity: identity.clone(), shows: Some(shows) };
        let routes = vec![AudioRoute { from, channel: Channel::Both }];
        Self {
            room,
            of: MediaOf::Participant(identity.clone()),
            video: Some(VideoChoice::Participant { identity, shows }),
            audio: Some(AudioChoice { routes, rest: None }),
        }
    }

    /// One track of each medium, by their ids; an empty one is not said.
    #[must_use]
    pub fn tracks(room: RoomTicket, audio: &str, video: &str) -> Self {
        let said = |sid: &str| (!sid.is_empty()).then(|| sid.to_owned());
        let route = |sid| AudioRoute { from: AudioFrom::Track(sid), channel: Channel::Both };
        Self {
            room,
            of: MediaOf::Tracks,
            video: said(video).map(VideoChoice::Track),
            audio: said(audio).map(|sid| AudioChoice { routes: vec![route(sid)], rest: None }),
        }
    }
}

/// The owner of the media: determines the duration of the recording, and the names of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaOf {
    /// One audio and one video track, or one of them.
    Tracks,
    /// One participant.
    Participant(String),
    /// Everybody.
    Room,
}

/// A web page.
#[derive(Clone, PartialEq, Eq)]
pub struct WebRequest {
    /// The room of the recording, if a v2 request names it: only for names and reports.
    pub room: Option<RoomTicket>,
    pub url: String,
    pub media: Media,
    pub await_start_signal: bool,
}

impl fmt::Debug for WebRequest {
    /// The address prints without what may be secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { room, url, media, await_start_signal } = self;
        f.debug_struct("WebRequest")
            .field("room", room)
            .field("url", &redact::page_url(url))
            .field("media", media)
            .field("await_start_signal", await_start_signal)
            .finish()
    }
}

/// A room, as a layout shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomRequest {
    pub room: RoomTicket,
    /// Empty: the page's own choice.
    pub layout: String,
    /// Base address of the page; empty: the server's.
    pub custom_base_url: String,
    pub media: Media,
    pub audio_mixing: AudioMixing,
}

impl RoomRequest {
    /// Whether there is nothing that only a page could show or mix.
    #[must_use]
    pub const fn is_audio_only(&self) -> bool {
        matches!(self.media, Media::AudioOnly) && self.layout.is_empty() && self.custom_base_url.is_empty()
    }
}

impl fmt::Debug for RoomRequest {
    /// The address prints without what may be secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { room, layout, custom_base_url, media, audio_mixing } = self;
        f.debug_struct("RoomRequest")
            .field("room", room)
            .field("layout", layout)
            .field("custom_base_url", &redact::page_url(custom_base_url))
            .field("media", media)
            .field("audio_mixing", audio_mixing)
            .finish()
    }
}

/// The channels of participants in a room's mixed audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioMixing {
    /// All of them on both channels.
    #[default]
    Both,
    /// Agents on the left, all others on the right.
    DualChannelAgent,
    /// By turns left and right, as they come.
    DualChannelAlternate,
}

/// Where news of this recording is sent, beside the service's own receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    /// `http` or `https`. May have a receiver's token in it.
    pub url: Secret<url::Url>,
    /// The name of the API key that signs; empty: the service's.
    pub signing_key: String,
    /// Names of events, such as `egress_ended`; empty: all.
    pub include_events: Vec<String>,
    /// Counts where `include_events` is empty.
    pub exclude_events: Vec<String>,
}

/// The recorded media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    AudioAndVideo,
    AudioOnly,
    VideoOnly,
}

impl Media {
    /// # Errors
    /// When both are asked for alone.
    pub fn from_flags(audio_only: bool, video_only: bool) -> Result<Self, PlanError> {
        match (audio_only, video_only) {
            (false, false) => Ok(Self::AudioAndVideo),
            (true, false) => Ok(Self::AudioOnly),
            (false, true) => Ok(Self::VideoOnly),
            (true, true) => Err(PlanError::invalid(
                "audio_only and video_only",
                "each excludes the other; leave both out to record audio and video",
            )),
        }
    }

    #[must_use]
    pub const fn has_audio(self) -> bool {
        !matches!(self, Self::VideoOnly)
    }

    #[must_use]
    pub const fn has_video(self) -> bool {
        !matches!(self, Self::AudioOnly)
    }
}

/// A preset, and what differs from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodingRequest {
    /// Copy the video of a participant or a track composite if it is H.264: the preset PASSTHROUGH.
    /// Otherwise the other values apply.
    pub as_published: bool,
    pub preset: Option<Preset>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub fps: Option<u32>,
    /// kbit/s.
    pub video_bitrate_kbps: Option<u32>,
    pub profile: Option<H264Profile>,
    pub key_interval: Option<Duration>,
    pub audio_codec: Option<AudioCodec>,
    /// kbit/s.
    pub audio_bitrate_kbps: Option<u32>,
    pub audio_rate_hz: Option<u32>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRequest {
    /// Its path in the request, for errors: `file_outputs[0]`, `outputs[2].file`.
    pub field: String,
    /// The storage that the request names for it; `None`: the server's.
    pub storage: Option<Backend>,
    pub manifest: ManifestPolicy,
    pub kind: OutputKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    File(FileRequest),
    Segments(SegmentsRequest),
    Stream(StreamRequest),
    Images(ImagesRequest),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileRequest {
    pub path: String,
    /// `None`: what fits the codecs.
    pub container: Option<Container>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentsRequest {
    pub prefix: String,
    pub playlist: String,
    pub live_playlist: String,
    pub duration: Option<Duration>,
    pub suffix: SegmentSuffix,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// `None`: by the scheme of the first address.
    pub protocol: Option<StreamProtocol>,
    pub urls: Vec<Secret<String>>,
}

impl StreamRequest {
    /// Whether it is one of sound alone: the first address says so, where nothing else does.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        let by_scheme = |url: &Secret<String>| {
            let scheme = url.expose().trim().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            matches!(scheme.as_deref(), Some("ws" | "wss"))
        };
        match self.protocol {
            Some(protocol) => protocol == StreamProtocol::WebSocket,
            None => self.urls.first().is_some_and(by_scheme),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesRequest {
    pub prefix: String,
    pub interval: Option<Duration>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub suffix: ImageSuffix,
}
