//! Raw sound, as it goes from sources to encoders and sinks: S16LE, 48 kHz, stereo, interleaved.

use gstreamer as gst;

/// Samples a second, of each channel.
pub const RATE: u32 = 48_000;
/// Bytes of one sample of both channels.
pub const FRAME: usize = 4;

/// Its caps.
#[must_use]
pub fn caps() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("rate", RATE.cast_signed())
        .field("channels", 2)
        .field("channel-mask", gst::Bitmask::new(0b11))
        .field("layout", "interleaved")
        .build()
}

/// How long so many bytes of it sound.
#[must_use]
pub const fn duration(bytes: usize) -> gst::ClockTime {
    let frames = (bytes / FRAME) as u64;
    gst::ClockTime::from_nseconds(frames.saturating_mul(1_000_000_000) / RATE as u64)
}
