//! Reads the times that a transport stream covers (ISO/IEC 13818-1 §2.4.3). Pure; accepts any
//! bytes.

use std::time::Duration;

use super::tables::PACKET;

/// Times are counted at 90 kHz in 33 bits.
const HZ: u64 = 90_000;
const MODULUS: u64 = 1 << 33;

/// First byte of each packet.
pub(super) const SYNC: u8 = 0x47;

/// The content of a segment that may be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Bytes before its last frame (audio or video), which may be incomplete.
    pub(super) complete: usize,
    /// Time from its first frame (audio or video) to the start of its last one.
    pub(super) duration: Duration,
}

/// Measures a segment; `None` if there is nothing before its last frame.
pub(super) fn span(stream: &[u8]) -> Option<Span> {
    let mut begins =
        stream.chunks_exact(PACKET).enumerate().filter_map(|(at, packet)| Some((at, pts(packet)?)));
    let (_, first) = begins.next()?;
    let (mut complete, mut longest) = (None, 0);
    for (at, time) in begins {
        complete = Some(at * PACKET);
        // Audio may begin a little before the segment's first video frame.
        let since = (time + MODULUS - first) % MODULUS;
        if since < MODULUS / 2 {
            longest = longest.max(since);
        }
    }
    let duration = Duration::from_nanos(longest * 1_000_000_000 / HZ);
    complete.map(|complete| Span { complete, duration })
}

/// Whether a frame (audio or video) begins in a stream.
pub(super) fn has_media(stream: &[u8]) -> bool {
    stream.chunks_exact(PACKET).any(|packet| pts(packet).is_some())
}

/// Time of a frame (audio or video) that begins in a packet.
fn pts(packet: &[u8]) -> Option<u64> {
    let [SYNC, flags, _, control, ..] = packet else { return None };
    let begins = flags & 0x40 != 0 && control & 0x10 != 0;
    let adaptation = if control & 0x20 != 0 { 1 + usize::from(*packet.get(4)?) } else { 0 };
    let payload = packet.get(4 + adaptation..).filter(|_| begins)?;
    let ([0, 0, 1], [marks, _, t @ ..]) = (payload.get(..3)?, payload.get(7..14)?) else { return None };
    let t: [u64; 5] = <[u8; 5]>::try_from(t).ok()?.map(u64::from);
    (marks & 0x80 != 0)
        .then_some(((t[0] >> 1 & 0x7) << 30) | (t[1] << 22) | ((t[2] >> 1) << 15) | (t[3] << 7) | (t[4] >> 1))
}

/// A time as a PES header has it (ISO/IEC 13818-1 §2.4.3.6): 33 bits in five bytes.
#[cfg(test)]
pub(super) fn pts_bytes(time: u64) -> [u8; 5] {
    let byte = |shift: u64, mask: u64| u8::try_from(time >> shift & mask).unwrap_or_default();
    [0x21 | byte(30, 7) << 1, byte(22, 0xff), byte(15, 0x7f) << 1 | 1, byte(7, 0xff), byte(0, 0x7f) << 1 | 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet with the beginning of a frame after some stuffing.
    fn beginning(time: u64, stuffing: u8) -> [u8; PACKET] {
        let time = time % MODULUS;
        let mut packet = [0xff; PACKET];
        packet[..5].copy_from_slice(&[0x47, 0x41, 0x00, 0x30, stuffing]);
        let pes = [0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5];
        let at = 5 + usize::from(stuffing);
        packet[at..at + 14].copy_from_slice(&[&pes[..], &pts_bytes(time)].concat());
        packet
    }

    fn following() -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10]);
        packet
    }

    #[test]
    fn the_last_picture_is_where_it_ends() {
        let start = MODULUS - 4500;
        let stream = [
            beginning(start, 0),
            following(),
            beginning(start - 900, 7),
            beginning(start + 9000, 1),
            following(),
            beginning(start + 12_000, 20),
            following(),
        ];
        let bytes = stream.as_flattened();
        let expected = Span { complete: 5 * PACKET, duration: Duration::from_nanos(133_333_333) };
        assert_eq!(span(bytes), Some(expected));
        assert_eq!(span(&bytes[..bytes.len() - 100]), Some(expected));
        assert_eq!(span(&bytes[..2 * PACKET]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_measured(bytes in prop::collection::vec(any::<u8>(), 0..1000), at in 0usize..900) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(at / PACKET * PACKET) {
                *byte = 0x47;
            }
            if let Some(span) = span(&bytes) {
                prop_assert!(span.complete <= bytes.len());
            }
        }
    }
}
