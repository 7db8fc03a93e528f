//! Recognises the dummy frames that a LiveKit server makes when a track is muted or unpublished, by
//! their content (docs/reference/signaling.md). Pure.
//!
//! A decoder would take them for a change of resolution. They arrive before the reason is
//! signalled, so that only their content tells.

use super::codec::TrackCodec;

/// Opus: 20 ms of silence (RFC 6716 §3.1), then zeros up to 80 bytes.
const OPUS: &[u8] = &[0xf8, 0xff, 0xfe];
/// VP8: the start code and a size of 8x8 in an 8-byte key frame header (RFC 6386 §9.1).
const VP8: &[u8] = &[0x9d, 0x01, 0x2a, 0x08, 0x00, 0x08, 0x00];
/// Upper bound of the length of VP8's and H.264's dummy frames.
const SMALL: usize = 64;

/// Whether a frame is a dummy frame of the server.
pub(super) fn is_dummy(codec: TrackCodec, frame: &[u8]) -> bool {
    match codec {
        TrackCodec::Opus => {
            frame.len() == 80 && frame.starts_with(OPUS) && frame[OPUS.len()..].iter().all(|byte| *byte == 0)
        }
        // Bit 0 of the first byte is clear in a key frame.
        TrackCodec::Vp8 => {
            frame.len() <= SMALL
                && frame.first().is_some_and(|first| first & 1 == 0)
                && frame.get(3..10) == Some(VP8)
        }
        TrackCodec::H264 => frame.len() <= SMALL && is_two_by_two(frame),
        // G.711's dummy frame is 20 ms of silence, like a publisher's own.
        TrackCodec::Pcmu | TrackCodec::Pcma => false,
        // The server makes no dummy frames of these.
        TrackCodec::Vp9 | TrackCodec::H265 | TrackCodec::Av1 => false,
    }
}

/// Whether a frame is an access unit of SPS, PPS and IDR of a few bytes each, too small for a real
/// frame.
fn is_two_by_two(frame: &[u8]) -> bool {
    const SPS_MOST: usize = 32;
    const PPS_MOST: usize = 8;
    const IDR_MOST: usize = 16;
    let mut sizes = [None; 3];
    for unit in units(frame) {
        let Some(header) = unit.first() else { return false };
        let (place, most) = match header & 0x1f {
            7 => (0, SPS_MOST),
            8 => (1, PPS_MOST),
            5 => (2, IDR_MOST),
            _ => return false,
        };
        if unit.len() > most || sizes[place].replace(unit.len()).is_some() {
            return false;
        }
    }
    sizes.iter().all(Option::is_some)
}

/// The NAL units of a byte stream (H.264 Annex B) with start codes of four bytes.
fn units(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    const START: &[u8] = &[0, 0, 0, 1];
    let mut rest = frame.strip_prefix(START);
    std::iter::from_fn(move || {
        let current = rest?;
        match current.windows(START.len()).position(|window| window == START) {
            Some(at) => {
                rest = Some(&current[at + START.len()..]);
                Some(&current[..at])
            }
            None => {
                rest = None;
                Some(current)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(sizes: &[(u8, usize)]) -> Vec<u8> {
        let unit = |(header, len): &(u8, usize)| {
            let mut unit = vec![0, 0, 0, 1, *header];
            unit.extend(std::iter::repeat_n(0x5a, len - 1));
            unit
        };
        sizes.iter().flat_map(unit).collect()
    }

    #[test]
    fn dummy_frames_are_recognised_and_published_frames_are_not() {
        let mut opus = vec![0; 80];
        opus[..3].copy_from_slice(OPUS);
        let mut vp8 = vec![0; 31];
        vp8[..10].copy_from_slice(&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x08, 0x00, 0x08, 0x00]);
        let cases: &[(TrackCodec, Vec<u8>, bool)] = &[
            (TrackCodec::Opus, opus.clone(), true),
            // An encoder's own silence is a published packet.
            (TrackCodec::Opus, OPUS.to_vec(), false),
            (TrackCodec::Opus, [&opus[..79], &[1]].concat(), false),
            (TrackCodec::Vp8, vp8.clone(), true),
            (TrackCodec::Vp8, [&[0x11], &vp8[1..]].concat(), false),
            (TrackCodec::Vp8, [&vp8[..6], &[16], &vp8[7..]].concat(), false),
            (TrackCodec::Vp8, vp8[..5].to_vec(), false),
            (TrackCodec::H264, h264(&[(0x67, 24), (0x68, 6), (0x65, 10)]), true),
            (TrackCodec::H264, h264(&[(0x67, 24), (0x68, 6), (0x65, 500)]), false),
            (TrackCodec::H264, h264(&[(0x41, 10)]), false),
            (TrackCodec::H264, h264(&[(0x67, 24), (0x68, 6)]), false),
            (TrackCodec::Vp9, vec![0; 10], false),
        ];
        for (codec, frame, expected) in cases {
            assert_eq!(is_dummy(*codec, frame), *expected, "{codec:?} {frame:x?}");
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        for codec in TrackCodec::ALL {
            for len in 0..100 {
                assert!(!is_dummy(codec, &vec![0xff; len]));
                assert!(!is_dummy(codec, &[0, 0, 0, 1].repeat(len)));
            }
        }
    }
}
