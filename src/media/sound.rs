//! Raw sound, as it goes from sources to encoders and sinks: S16LE, 48 kHz, stereo, interleaved.

use gstreamer as gst;

/// Its caps.
#[must_use]
pub fn caps() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("rate", 48_000)
        .field("channels", 2)
        .field("channel-mask", gst::Bitmask::new(0b11))
        .field("layout", "interleaved")
        .build()
}
