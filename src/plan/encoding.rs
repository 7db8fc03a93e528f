//! Encoding of video and audio: presets and advanced options, resolved.

use std::fmt;
use std::time::Duration;

use livekit_protocol::EncodingOptionsPreset as Wire;

use super::codec::{AudioCodec, VideoCodec};
use super::error::PlanError;

/// One video encode. `width` and `height` are even and at least 16 pixels; `fps` is at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoEncoding {
    pub codec: VideoCodec,
    pub profile: H264Profile,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    /// Average bit rate in kbit/s (1000 bits).
    pub bitrate_kbps: u32,
    /// The longest distance between two key frames. Segment boundaries are multiples of it.
    pub key_interval: Duration,
    pub cadence: Cadence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum H264Profile {
    Baseline,
    Main,
    High,
}

/// Timing of recorded frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// Each frame at its capture time (variable frame rate); without new frames, the last one is
    /// repeated at `at_least` fps.
    AsDrawn { at_least: u32 },
    /// One frame at each point of the frame rate's grid, new or repeated (constant frame rate).
    Grid,
}

/// One audio encode; always stereo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioEncoding {
    pub codec: AudioCodec,
    /// kbit/s (1000 bits).
    pub bitrate_kbps: u32,
    /// 48000 for Opus.
    pub rate_hz: u32,
}

impl fmt::Display for H264Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "Baseline",
            Self::Main => "Main",
            Self::High => "High",
        })
    }
}

/// One of the named encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    H264720p30,
    H264720p60,
    H2641080p30,
    H2641080p60,
    PortraitH264720p30,
    PortraitH264720p60,
    PortraitH2641080p30,
    PortraitH2641080p60,
}

/// The values of a preset. A preset sets neither audio nor profile nor key frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetRow {
    pub preset: Preset,
    /// On the command line.
    pub name: &'static str,
    pub wire: Wire,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub bitrate_kbps: u32,
}

/// Every preset (docs/reference/media.md). The first one is what holds where nothing is said.
pub const PRESETS: &[PresetRow] = &[
    row(Preset::H264720p30, "h264-720p-30", Wire::H264720p30, (1280, 720), 30, 3000),
    row(Preset::H264720p60, "h264-720p-60", Wire::H264720p60, (1280, 720), 60, 4500),
    row(Preset::H2641080p30, "h264-1080p-30", Wire::H2641080p30, (1920, 1080), 30, 4500),
    row(Preset::H2641080p60, "h264-1080p-60", Wire::H2641080p60, (1920, 1080), 60, 6000),
    row(Preset::PortraitH264720p30, "portrait-h264-720p-30", Wire::PortraitH264720p30, (720, 1280), 30, 3000),
    row(Preset::PortraitH264720p60, "portrait-h264-720p-60", Wire::PortraitH264720p60, (720, 1280), 60, 4500),
    row(
        Preset::PortraitH2641080p30,
        "portrait-h264-1080p-30",
        Wire::PortraitH2641080p30,
        (1080, 1920),
        30,
        4500,
    ),
    row(
        Preset::PortraitH2641080p60,
        "portrait-h264-1080p-60",
        Wire::PortraitH2641080p60,
        (1080, 1920),
        60,
        6000,
    ),
];

const fn row(
    preset: Preset,
    name: &'static str,
    wire: Wire,
    (width, height): (u32, u32),
    fps: u32,
    bitrate_kbps: u32,
) -> PresetRow {
    PresetRow { preset, name, wire, width, height, fps, bitrate_kbps }
}

impl Preset {
    /// Its values.
    #[must_use]
    pub fn row(self) -> &'static PresetRow {
        PRESETS.iter().find(|row| row.preset == self).unwrap_or(&PRESETS[0])
    }

    /// By its name on the command line.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        PRESETS.iter().find(|row| row.name == name).map(|row| row.preset)
    }

    /// # Errors
    /// For pass-through: a page has nothing that could be passed through.
    pub fn from_wire(wire: Wire) -> Result<Self, PlanError> {
        PRESETS.iter().find(|row| row.wire == wire).map(|row| row.preset).ok_or_else(|| {
            PlanError::invalid(
                "preset",
                format!("{} can't be used here; use {}", wire.as_str_name(), names()),
            )
        })
    }
}

fn names() -> String {
    PRESETS.iter().map(|row| row.wire.as_str_name()).collect::<Vec<_>>().join(", ")
}
