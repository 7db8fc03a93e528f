//! The outputs of a recording.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::{AudioCodec, Container};
use super::storage::{Storage, StoragePath};
use super::stream_url::{StreamUrl, Transport};
use super::track::TrackCodec;

/// An output's place in [`RecordingPlan::outputs`](super::RecordingPlan::outputs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutputId(pub usize);

/// Origin of an output's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrigin {
    /// The request.
    Given,
    /// Weir, or a time that stands in them. Where they are taken, the egress id is added.
    Generated,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OutputPlan {
    File(FilePlan),
    Segments(SegmentsPlan),
    Stream(StreamPlan),
    WebSocket(WebSocketPlan),
    Images(ImagesPlan),
}

impl OutputPlan {
    /// The codec of the sound it takes; `None`: it takes none, or takes it as it is.
    #[must_use]
    pub const fn audio(&self) -> Option<AudioCodec> {
        match self {
            Self::File(file) => file.audio,
            Self::Segments(segments) => segments.audio,
            // FLV and MPEG-TS as servers take them.
            Self::Stream(stream) => {
                if stream.has_audio {
                    Some(AudioCodec::Aac)
                } else {
                    None
                }
            }
            // Its sound is not encoded.
            Self::WebSocket(_) | Self::Images(_) => None,
        }
    }

    /// Its storage; `None` if it stores nothing.
    #[must_use]
    pub const fn storage(&self) -> Option<&Storage> {
        match self {
            Self::File(file) => Some(&file.storage),
            Self::Segments(segments) => Some(&segments.storage),
            Self::Images(images) => Some(&images.storage),
            Self::Stream(_) | Self::WebSocket(_) => None,
        }
    }

    /// Whether a list of what was recorded is stored beside it; `None`: it keeps nothing.
    #[must_use]
    pub const fn manifest(&self) -> Option<ManifestPolicy> {
        match self {
            Self::File(file) => Some(file.manifest),
            Self::Segments(segments) => Some(segments.manifest),
            Self::Images(images) => Some(images.manifest),
            Self::Stream(_) | Self::WebSocket(_) => None,
        }
    }

    /// The directory of its results in its storage, with a `/` at its end or empty.
    #[must_use]
    pub fn dir(&self) -> Option<&str> {
        let dir_of = |name: &'_ str| name.rfind('/').map_or(0, |slash| slash + 1);
        match self {
            Self::File(file) => Some(&file.name.as_str()[..dir_of(file.name.as_str())]),
            Self::Segments(segments) => Some(&segments.dir),
            Self::Images(images) => Some(&images.prefix[..dir_of(&images.prefix)]),
            Self::Stream(_) | Self::WebSocket(_) => None,
        }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePlan {
    pub container: Container,
    pub has_video: bool,
    pub audio: Option<AudioCodec>,
    /// Set for a copied track; `None` if the input is encoded here.
    pub pass_through: Option<PassThrough>,
    pub name: StoragePath,
    pub named: NameOrigin,
    pub storage: Storage,
    pub manifest: ManifestPolicy,
}

/// A file of a track whose frames are not touched.
#[derive(Debug, Clone, PartialEq)]
pub enum PassThrough {
    /// Container, media and name of the file are those of the track, and not known yet.
    Awaited,
    Of(TrackCodec),
}

/// An HLS playlist and its MPEG-TS segments.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentsPlan {
    pub has_video: bool,
    pub audio: Option<AudioCodec>,
    /// Directory of everything below, with a `/` at its end or empty.
    pub dir: String,
    /// Name in `dir`, with `.m3u8`.
    pub playlist: String,
    /// Name in `dir`, with `.m3u8`, of the playlist of the last five segments.
    pub live_playlist: Option<String>,
    /// In `dir`; may have directories of its own. A segment is called `<prefix>_<suffix>.ts`.
    pub prefix: String,
    pub suffix: SegmentSuffix,
    pub duration: Duration,
    /// Origin of all its names.
    pub named: NameOrigin,
    pub storage: Storage,
    pub manifest: ManifestPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentSuffix {
    /// `_00000`
    Index,
    /// `_YYYYMMDDhhmmssmmm`
    Timestamp,
}

/// Whether a manifest, a list of what was recorded, is uploaded beside an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestPolicy {
    Always,
    /// Only when files went to the backup storage, so that they can be found.
    OnlyWithBackup,
}

impl ManifestPolicy {
    #[must_use]
    pub const fn from_flag(disable_manifest: bool) -> Self {
        if disable_manifest { Self::OnlyWithBackup } else { Self::Always }
    }
}

/// One encode sent to any number of servers; may begin with none.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPlan {
    pub transport: Transport,
    pub has_video: bool,
    pub has_audio: bool,
    pub urls: Vec<StreamUrl>,
}

/// Sound as it is mixed, sent to one websocket: S16LE, 48 kHz, stereo (docs/reference/media.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketPlan {
    pub url: StreamUrl,
}

/// A JPEG at an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagesPlan {
    pub interval: Duration,
    pub width: u32,
    pub height: u32,
    /// With its directory. An image is called `<prefix>_<suffix>.jpeg`.
    pub prefix: String,
    pub suffix: ImageSuffix,
    pub named: NameOrigin,
    pub storage: Storage,
    pub manifest: ManifestPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSuffix {
    Index,
    Timestamp,
    /// No suffix: each image replaces the one before.
    NoneOverwrite,
}
