//! Rewrites an AAC frame of one channel as a frame of two equal channels (ISO/IEC 14496-3 §4.4.2).
//! Pure.
//!
//! The channel becomes the mid channel of a pair in M/S stereo, and the side channel is silent.
//! Every decoder adds and subtracts zero, so that both channels are equal bit by bit. The spectrum
//! is copied.
//!
//! ```text
//! SCE │ tag │ gain │ ics_info ──────────────────────────────► │ spectrum … │ END
//! CPE │ tag │ common_window │ ics_info │ M/S in all bands │ gain │ spectrum … │ silence │ END
//! ```

use super::bits::{Reader, Writer};

/// Syntactic elements (table 4.85).
const SCE: u32 = 0;
const CPE: u32 = 1;
const FIL: u32 = 6;
const END: u32 = 7;
/// EIGHT_SHORT_SEQUENCE (table 4.109).
const SHORT: u32 = 2;

/// `ics_info`: the windows of a channel's frame, and how many scale factor bands are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Windows {
    sequence: u32,
    shape: u32,
    /// `max_sfb`.
    bands: u32,
    /// `scale_factor_grouping` of short windows; 0 for a long window.
    grouping: u32,
}

impl Windows {
    /// `None` if bits are missing, or if prediction is used, which AAC-LC does not have.
    fn read(bits: &mut Reader<'_>) -> Option<Self> {
        bits.skip(1)?;
        let (sequence, shape) = (bits.read(2)?, bits.read(1)?);
        if sequence == SHORT {
            return Some(Self { sequence, shape, bands: bits.read(4)?, grouping: bits.read(7)? });
        }
        let bands = bits.read(6)?;
        (bits.read(1)? == 0).then_some(Self { sequence, shape, bands, grouping: 0 })
    }

    fn write(self, bits: &mut Writer) {
        bits.write(1, 0);
        bits.write(2, self.sequence);
        bits.write(1, self.shape);
        if self.sequence == SHORT {
            bits.write(4, self.bands);
            bits.write(7, self.grouping);
        } else {
            bits.write(6, self.bands);
            bits.write(1, 0);
        }
    }

    /// Writes a silent channel with these windows, behind its gain: in each group one section
    /// without a spectrum over all bands, and no pulses, no TNS, no gain control.
    fn write_silence(self, bits: &mut Writer) {
        // A set bit puts a window into the group of the window before it.
        let (groups, length) =
            if self.sequence == SHORT { (8 - self.grouping.count_ones(), 3) } else { (1, 5) };
        let escape = (1 << length) - 1;
        for _ in 0..groups {
            let mut left = self.bands;
            if left == 0 {
                continue;
            }
            bits.write(4, 0);
            while left >= escape {
                bits.write(length, escape);
                left -= escape;
            }
            bits.write(length, left);
        }
        bits.write(3, 0);
    }
}

/// The first element of a frame behind fill elements: its kind, its tag, and the bits that follow.
fn first_element(frame: &[u8]) -> Option<(u32, u32, Reader<'_>)> {
    let mut bits = Reader::new(frame);
    loop {
        let (kind, count) = (bits.read(3)?, bits.read(4)?);
        if kind != FIL {
            return Some((kind, count, bits));
        }
        // An encoder's name, for example.
        let bytes = if count == 15 { 14 + bits.read(8)? } else { count };
        bits.skip(usize::try_from(bytes).ok()?.checked_mul(8)?)?;
    }
}

/// `window_sequence` and `window_shape` of a frame whose channels share them. Two frames with the
/// same values can replace one another: they overlap with their neighbours in the same way. `None`
/// for anything else.
pub(super) fn windows_of(frame: &[u8]) -> Option<(u32, u32)> {
    let (kind, _, mut bits) = first_element(frame)?;
    match kind {
        SCE => bits.skip(8)?,
        CPE if bits.read(1)? == 1 => {}
        _ => return None,
    }
    bits.skip(1)?;
    Some((bits.read(2)?, bits.read(1)?))
}

/// Rewrites a frame of one channel without TNS, which ends with its channel, as a frame of two
/// equal channels. `None` for any other frame.
pub(super) fn mono_as_stereo(frame: &[u8]) -> Option<Vec<u8>> {
    let (kind, tag, mut bits) = first_element(frame)?;
    if kind != SCE {
        return None;
    }
    let gain = bits.read(8)?;
    let windows = Windows::read(&mut bits)?;
    // END is three ones, followed by zeros up to the next byte.
    let last = frame.last()?.trailing_zeros();
    bits.shorten(usize::try_from(last).ok()?)?;
    let mut end = bits;
    end.skip(end.left().checked_sub(3)?)?;
    if end.read(3)? != END {
        return None;
    }
    bits.shorten(3)?;

    let mut pair = Writer::default();
    pair.write(3, CPE);
    pair.write(4, tag);
    pair.write(1, 1);
    windows.write(&mut pair);
    // `ms_mask_present`: in all bands.
    pair.write(2, 2);
    pair.write(8, gain);
    pair.copy(bits);
    pair.write(8, 0);
    windows.write_silence(&mut pair);
    pair.write(3, END);
    Some(pair.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A mono frame: its windows, and some bits in place of a spectrum.
    fn mono(windows: Windows, before: &[(u32, u32)]) -> Vec<u8> {
        let mut bits = Writer::default();
        before.iter().for_each(|(count, value)| bits.write(*count, *value));
        bits.write(3, SCE);
        bits.write(4, 5);
        bits.write(8, 0x9a);
        windows.write(&mut bits);
        bits.write(13, 0b1_0110_0111_0001);
        bits.write(3, END);
        bits.finish()
    }

    fn numbers(bytes: &[u8], counts: &[u32]) -> Vec<u32> {
        let mut bits = Reader::new(bytes);
        counts.iter().map(|count| bits.read(*count).unwrap()).collect()
    }

    #[test]
    fn a_long_window_has_one_group_and_escapes_of_31() {
        let frame = mono(Windows { sequence: 1, shape: 1, bands: 49, grouping: 0 }, &[]);
        assert_eq!(windows_of(&frame), Some((1, 1)));
        let pair = mono_as_stereo(&frame).unwrap();
        assert_eq!(windows_of(&pair), Some((1, 1)));
        let counts = [3, 4, 1, 1, 2, 1, 6, 1, 2, 8, 13, 8, 4, 5, 5, 3, 3];
        let expected = [CPE, 5, 1, 0, 1, 1, 49, 0, 2, 0x9a, 0b1_0110_0111_0001, 0, 0, 31, 18, 0, END];
        assert_eq!(numbers(&pair, &counts), expected);
    }

    #[test]
    fn short_windows_have_their_groups_and_escapes_of_7() {
        let frame = mono(Windows { sequence: SHORT, shape: 0, bands: 14, grouping: 0b111_0111 }, &[]);
        let pair = mono_as_stereo(&frame).unwrap();
        let counts = [3, 4, 1, 1, 2, 1, 4, 7, 2, 8, 13, 8, 4, 3, 3, 3, 4, 3, 3, 3, 3, 3];
        let expected = [
            CPE,
            5,
            1,
            0,
            2,
            0,
            14,
            0b111_0111,
            2,
            0x9a,
            0b1_0110_0111_0001,
            0,
            0,
            7,
            7,
            0,
            0,
            7,
            7,
            0,
            0,
            END,
        ];
        assert_eq!(numbers(&pair, &counts), expected);
    }

    #[test]
    fn fill_elements_are_skipped() {
        let windows = Windows { sequence: 0, shape: 0, bands: 0, grouping: 0 };
        let short = mono(windows, &[(3, FIL), (4, 1), (8, 0x41)]);
        let long = mono(windows, &[(3, FIL), (4, 15), (8, 2), (32, 0), (32, 0), (32, 0), (32, 0)]);
        let plain = mono_as_stereo(&mono(windows, &[])).unwrap();
        assert_eq!(mono_as_stereo(&short).unwrap(), plain);
        assert_eq!(mono_as_stereo(&long).unwrap(), plain);
    }

    #[test]
    fn stereo_frames_and_invalid_bytes_are_refused() {
        let pair =
            mono_as_stereo(&mono(Windows { sequence: 0, shape: 0, bands: 9, grouping: 0 }, &[])).unwrap();
        assert_eq!(mono_as_stereo(&pair), None);
        for rubbish in [&[][..], &[0], &[0, 0, 0, 0], &[0xff; 40], &[0b1101_1110, 0xff, 0]] {
            assert_eq!(mono_as_stereo(rubbish), None, "{rubbish:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(frame in prop::collection::vec(any::<u8>(), 0..60)) {
            windows_of(&frame);
            mono_as_stereo(&frame);
        }
    }
}
