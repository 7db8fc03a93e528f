//! Packets of Opus, as far as their first bytes tell (RFC 6716 §3). Pure.

/// 20 ms of silence, mono: what an encoder makes of nothing.
pub const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Samples at 48 kHz of a packet; `None` if it is invalid.
#[must_use]
pub fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = frame_samples(toc) * frames;
    // A packet is at most 120 ms long.
    (1..=5760).contains(&samples).then_some(samples)
}

/// A frame without a byte, of the same kind as `packet` (RFC 6716 §3.2.1): a decoder plays comfort
/// noise or conceals. It represents a pause of discontinuous transmission.
#[must_use]
pub fn pause(packet: &[u8]) -> Option<[u8; 1]> {
    packet.first().map(|toc| [toc & !0b11])
}

/// Whether an encoder sent it only to say that there is a pause.
#[must_use]
pub const fn is_pause(packet: &[u8]) -> bool {
    packet.len() <= 2
}

/// Samples at 48 kHz of one frame, by its configuration (RFC 6716 §3.1, table 2).
fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_standard() {
        let cases: &[(&[u8], Option<u32>)] = &[
            (SILENCE, Some(960)),
            // SILK, 60 ms; two frames; five frames of 20 ms; none.
            (&[0x18, 0], Some(2880)),
            (&[0xf9, 0], Some(1920)),
            (&[0xfb, 5], Some(4800)),
            (&[0xfb, 0], None),
            (&[0xfb, 63], None),
            (&[0xfb], None),
            (&[0x80], Some(120)),
            (&[0x68], Some(960)),
            (&[], None),
        ];
        for (packet, expected) in cases {
            assert_eq!(samples(packet), *expected, "{packet:x?}");
        }
        assert_eq!(samples(&pause(&[0x0b, 3, 1]).unwrap()), Some(960));
        assert!(is_pause(&[0x0b]) && !is_pause(SILENCE));
    }
}
