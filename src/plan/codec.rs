//! Codecs, containers, and which goes into which. Adding a container is one entry in
//! [`CONTAINERS`].

use std::fmt;

/// Codec of encoded audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AudioCodec {
    Aac,
    Opus,
    Mp3,
}

/// Codec of encoded video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VideoCodec {
    H264,
}

/// Container of a file output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Container {
    Mp4,
    Ogg,
    Mp3,
    /// Only of a track as it is.
    WebM,
}

/// One row of the compatibility table. The first codec of a list is the container's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerRow {
    pub container: Container,
    pub name: &'static str,
    /// Its name in LiveKit's error texts.
    pub mime: &'static str,
    /// With its dot.
    pub extension: &'static str,
    pub audio: &'static [AudioCodec],
    pub video: &'static [VideoCodec],
}

/// Every container, in the order in which a default is looked for (docs/reference/media.md).
pub const CONTAINERS: &[ContainerRow] = &[
    ContainerRow {
        container: Container::Mp4,
        name: "MP4",
        mime: "video/mp4",
        extension: ".mp4",
        audio: &[AudioCodec::Aac, AudioCodec::Opus],
        video: &[VideoCodec::H264],
    },
    ContainerRow {
        container: Container::Ogg,
        name: "OGG",
        mime: "audio/ogg",
        extension: ".ogg",
        audio: &[AudioCodec::Opus],
        video: &[],
    },
    ContainerRow {
        container: Container::Mp3,
        name: "MP3",
        mime: "audio/mpeg",
        extension: ".mp3",
        audio: &[AudioCodec::Mp3],
        video: &[],
    },
    ContainerRow {
        container: Container::WebM,
        name: "WebM",
        mime: "video/webm",
        extension: ".webm",
        audio: &[],
        video: &[],
    },
];

impl Container {
    /// Its name and the codecs that fit into it.
    #[must_use]
    pub fn row(self) -> &'static ContainerRow {
        CONTAINERS.iter().find(|row| row.container == self).unwrap_or(&CONTAINERS[0])
    }
}

impl AudioCodec {
    /// Its name in LiveKit's error texts.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Aac => "audio/aac",
            Self::Opus => "audio/opus",
            Self::Mp3 => "audio/mpeg",
        }
    }
}

impl VideoCodec {
    /// Its name in LiveKit's error texts.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::H264 => "video/h264",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aac => "AAC",
            Self::Opus => "Opus",
            Self::Mp3 => "MP3",
        })
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H264 => "H.264",
        })
    }
}
