//! How picture and sound are encoded: the presets and the advanced options, resolved.

use std::time::Duration;

use super::codec::{AudioCodec, VideoCodec};

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

/// When a picture gets into the recording, and with which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// Each picture when it was drawn, with the time it was drawn (variable frame rate); where nothing is drawn, the last
    /// one again, at `at_least` pictures a second.
    AsDrawn { at_least: u32 },
    /// One picture at each point of the grid of the frame rate, new or not (constant frame rate).
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
