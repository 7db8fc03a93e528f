//! GStreamer caps of published frames.

use gstreamer as gst;

use super::codec::TrackCodec;

/// Stereo at 48 kHz, nothing to skip (RFC 7845 §5.1). Mono packets play on both channels.
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00";
/// An empty comment header (RFC 7845 §5.2).
const OPUS_TAGS: &[u8] = b"OpusTags\x04\x00\x00\x00weir\x00\x00\x00\x00";

/// Caps for a feed of this codec, from its first key frame; `None` if that can't be parsed.
pub(super) fn of(codec: TrackCodec, key_frame: &[u8]) -> Option<gst::Caps> {
    let stream = |name: &str, format: &str, alignment: &str| {
        gst::Caps::builder(name).field("stream-format", format).field("alignment", alignment).build()
    };
    Some(match codec {
        TrackCodec::Opus => gst::Caps::builder("audio/x-opus")
            .field("rate", 48_000i32)
            .field("channels", 2i32)
            .field("channel-mapping-family", 0i32)
            .field("stream-count", 1i32)
            .field("coupled-count", 1i32)
            .field("streamheader", gst::Array::new([header(OPUS_HEAD), header(OPUS_TAGS)]))
            .build(),
        TrackCodec::Pcmu | TrackCodec::Pcma => {
            let name = if codec == TrackCodec::Pcmu { "audio/x-mulaw" } else { "audio/x-alaw" };
            gst::Caps::builder(name).field("rate", 8_000i32).field("channels", 1i32).build()
        }
        TrackCodec::Vp8 => {
            let (width, height) = vp8_size(key_frame)?;
            gst::Caps::builder("video/x-vp8")
                .field("width", width)
                .field("height", height)
                .field("framerate", gst::Fraction::new(0, 1))
                .build()
        }
        TrackCodec::Vp9 => {
            gst::Caps::builder("video/x-vp9").field("framerate", gst::Fraction::new(0, 1)).build()
        }
        TrackCodec::H264 => stream("video/x-h264", "byte-stream", "au"),
        TrackCodec::H265 => stream("video/x-h265", "byte-stream", "au"),
        TrackCodec::Av1 => gst::Caps::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .field("framerate", gst::Fraction::new(0, 1))
            .build(),
    })
}

fn header(bytes: &'static [u8]) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_flags(gst::BufferFlags::HEADER);
    }
    buffer
}

/// Width and height of a VP8 key frame in pixels (RFC 6386 §9.1): 14 bits each, after a start code.
fn vp8_size(frame: &[u8]) -> Option<(i32, i32)> {
    let size = frame.get(3..10)?.strip_prefix(&[0x9d, 0x01, 0x2a])?;
    let side = |at: usize| Some(i32::from(u16::from_le_bytes([*size.get(at)?, *size.get(at + 1)?]) & 0x3fff));
    Some((side(0)?, side(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_vp8_key_frame_is_parsed() {
        let frame = [0x50, 0x08, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41, 0xff];
        assert_eq!(vp8_size(&frame), Some((640, 360)));
        assert_eq!(vp8_size(&frame[..9]), None);
        assert_eq!(vp8_size(&[0; 20]), None);
    }

    #[test]
    fn every_codec_has_caps() {
        gst::init().unwrap();
        let key = [0x50, 0x08, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        for codec in TrackCodec::ALL {
            assert!(of(codec, &key).is_some(), "{codec:?}");
        }
    }
}
