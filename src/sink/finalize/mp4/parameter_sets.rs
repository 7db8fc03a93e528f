//! Parameter sets of H.264 and H.265 in the index (ISO/IEC 14496-15 §5.4 and §8.4).
//!
//! A published track may change its size at any time, so that it is recorded as `avc3` or `hev1`,
//! with the parameter sets in the media. Safari and QuickTime refuse these. When the file is
//! finalized, all parameter sets of its key frames are compared. If there is one set, which is the
//! usual case, it goes into the index and the track becomes `avc1` or `hvc1`. If there are several
//! the track stays as it is: an index has one description for the whole track.

use std::io::{self, Read, Seek, SeekFrom};

use mp4_atom::{Avc1, Codec, Hvc1, HvcCArray, Moov};

use super::scan::Piece;
use super::tables::Tables;

/// Bytes of a key frame in which its parameter sets are. They come before SEI and slices.
const WITHIN: u64 = 16 << 10;
/// The limit of PPS; `avcC` has room for 255.
const MOST_PPS: usize = 31;

/// The types of a codec's NAL units.
#[derive(Debug, Clone, Copy)]
struct NalTypes {
    /// Bytes of a NAL unit's header.
    header: usize,
    /// Type, by the first byte of the header.
    of: fn(u8) -> u8,
    /// Parameter sets of which one is allowed (VPS and SPS), in the order of the index.
    single: &'static [u8],
    /// PPS, of which one for each id is allowed.
    pps: u8,
    is_slice: fn(u8) -> bool,
}

impl NalTypes {
    fn is_parameter_set(&self, kind: u8) -> bool {
        kind == self.pps || self.single.contains(&kind)
    }
}

/// H.264 §7.4.1, table 7-1.
const H264: NalTypes = NalTypes {
    header: 1,
    of: |first| first & 0x1f,
    single: &[7],
    pps: 8,
    is_slice: |kind| matches!(kind, 1..=5),
};
/// H.265 §7.4.2.2, table 7-1.
const H265: NalTypes = NalTypes {
    header: 2,
    of: |first| (first >> 1) & 0x3f,
    single: &[32, 33],
    pps: 34,
    is_slice: |kind| kind < 32,
};

/// Puts the parameter sets of each `avc3` and `hev1` track with one set into the index. `tracks`
/// are in the order of the `moov`'s tracks, `pieces` in the order of `source`.
pub(super) fn configure(
    moov: &mut Moov,
    tracks: &[Tables],
    pieces: &[Piece],
    source: &mut (impl Read + Seek),
) -> io::Result<()> {
    for (track, (trak, tables)) in moov.trak.iter_mut().zip(tracks).enumerate() {
        let chunks: Vec<&Piece> = pieces.iter().filter(|piece| piece.track == track).collect();
        for codec in &mut trak.mdia.minf.stbl.stsd.codecs {
            let (types, length) = match &*codec {
                Codec::Avc3(avc) => (H264, avc.avcc.length_size),
                Codec::Hev1(hevc) => (H265, hevc.hvcc.length_size_minus_one + 1),
                _ => continue,
            };
            let mut sets = described(codec, types);
            for (chunk, at, size) in tables.key_frames() {
                let Some(chunk) = chunks.get(chunk) else { break };
                // With several sets, the other key frames need not be read.
                let Some(known) = sets.take() else { break };
                let begin = read(source, chunk.offset.saturating_add(at), size)?;
                sets = known.with_those_of(&begin, usize::from(length));
            }
            match sets.filter(Sets::is_complete) {
                Some(sets) => describe(codec, sets),
                None => {
                    tracing::debug!(track, "parameter sets stay in the media: several, or none")
                }
            }
        }
    }
    Ok(())
}

/// Reads the beginning of a frame.
fn read(source: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.seek(SeekFrom::Start(at))?;
    source.take(size.min(WITHIN)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The parameter sets that are in the index already; `None` if there are several of a kind.
fn described(codec: &Codec, types: NalTypes) -> Option<Sets> {
    let there: Vec<&Vec<u8>> = match codec {
        Codec::Avc3(avc) => {
            avc.avcc.sequence_parameter_sets.iter().chain(&avc.avcc.picture_parameter_sets).collect()
        }
        Codec::Hev1(hevc) => hevc.hvcc.arrays.iter().flat_map(|array| &array.nalus).collect(),
        _ => Vec::new(),
    };
    there.into_iter().try_fold(Sets::new(types), |sets, unit| sets.with(unit))
}

/// Makes the sample entry an `avc1` or `hvc1` with these parameter sets.
fn describe(codec: &mut Codec, sets: Sets) {
    let Sets { types, single, pps } = sets;
    let single: Vec<Vec<u8>> = single.into_iter().flatten().collect();
    let pps: Vec<Vec<u8>> = pps.into_iter().map(|(_, unit)| unit).collect();
    let described = match &*codec {
        Codec::Avc3(avc) => {
            let mut avcc = avc.avcc.clone();
            if let Some([_, profile, compatibility, level, ..]) = single.first().map(Vec::as_slice) {
                avcc.avc_profile_indication = *profile;
                avcc.profile_compatibility = *compatibility;
                avcc.avc_level_indication = *level;
            }
            avcc.sequence_parameter_sets = single;
            avcc.picture_parameter_sets = pps;
            let avc = avc.clone();
            Codec::Avc1(Avc1 {
                visual: avc.visual,
                avcc,
                btrt: avc.btrt,
                colr: avc.colr,
                pasp: avc.pasp,
                taic: avc.taic,
                fiel: avc.fiel,
                spatial: avc.spatial,
            })
        }
        Codec::Hev1(hevc) => {
            let hevc = hevc.clone();
            let mut hvcc = hevc.hvcc;
            hvcc.arrays.retain(|array| !types.is_parameter_set(array.nal_unit_type));
            let array = |nal_unit_type, nalus| HvcCArray { completeness: true, nal_unit_type, nalus };
            let single = types.single.iter().zip(single).map(|(kind, unit)| array(*kind, vec![unit]));
            let mut arrays: Vec<HvcCArray> = single.collect();
            arrays.push(array(types.pps, pps));
            arrays.append(&mut hvcc.arrays);
            hvcc.arrays = arrays;
            Codec::Hvc1(Hvc1 {
                visual: hevc.visual,
                hvcc,
                lhvc: hevc.lhvc,
                btrt: hevc.btrt,
                colr: hevc.colr,
                pasp: hevc.pasp,
                taic: hevc.taic,
                fiel: hevc.fiel,
                ccst: None,
                spatial: hevc.spatial,
            })
        }
        _ => return,
    };
    *codec = described;
}

/// The parameter sets of a track, one of each kind.
#[derive(Debug, Clone)]
struct Sets {
    types: NalTypes,
    single: Vec<Option<Vec<u8>>>,
    /// With their ids.
    pps: Vec<(u32, Vec<u8>)>,
}

impl Sets {
    fn new(types: NalTypes) -> Self {
        Self { types, single: vec![None; types.single.len()], pps: Vec::new() }
    }

    /// Whether there is one of each kind.
    fn is_complete(&self) -> bool {
        self.single.iter().all(Option::is_some) && !self.pps.is_empty()
    }

    /// Adds a NAL unit if it is a parameter set; `None` if there is a different one of its kind.
    fn with(mut self, unit: &[u8]) -> Option<Self> {
        let kind = (self.types.of)(*unit.first()?);
        if let Some(place) = self.types.single.iter().position(|single| *single == kind) {
            let there = self.single.get_mut(place)?;
            if there.as_ref().is_some_and(|there| there.as_slice() != unit) {
                return None;
            }
            *there = Some(unit.to_vec());
            return Some(self);
        }
        if kind == self.types.pps {
            let id = exp_golomb(unit.get(self.types.header..)?)?;
            match self.pps.iter().find(|(other, _)| *other == id) {
                Some((_, there)) if there.as_slice() != unit => return None,
                Some(_) => {}
                None if self.pps.len() >= MOST_PPS => return None,
                None => self.pps.push((id, unit.to_vec())),
            }
        }
        Some(self)
    }

    /// Adds the parameter sets of a frame, whose NAL units have length fields of `length` bytes.
    /// `None` as above, and if one is cut off.
    fn with_those_of(mut self, frame: &[u8], length: usize) -> Option<Self> {
        let mut rest = frame;
        while !rest.is_empty() {
            let (head, behind) = rest.split_at_checked(length).filter(|_| length > 0)?;
            let size = head.iter().fold(0usize, |size, byte| (size << 8) | usize::from(*byte));
            if size == 0 {
                break;
            }
            let kind = (self.types.of)(*behind.first()?);
            if (self.types.is_slice)(kind) {
                break;
            }
            let Some((unit, next)) = behind.split_at_checked(size) else {
                return (!self.types.is_parameter_set(kind)).then_some(self);
            };
            self = self.with(unit)?;
            rest = next;
        }
        Some(self)
    }
}

/// Reads an unsigned Exp-Golomb number (H.264 §9.1) of at most eight leading zeros.
fn exp_golomb(bytes: &[u8]) -> Option<u32> {
    let bit = |at: usize| bytes.get(at / 8).map(|byte| u32::from((byte >> (7 - at % 8)) & 1));
    let mut zeros = 0;
    while bit(zeros)? == 0 {
        zeros += 1;
        if zeros > 8 {
            return None;
        }
    }
    let value = (zeros..=2 * zeros).try_fold(0, |value, at| Some((value << 1) | bit(at)?))?;
    Some(value - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xda];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    /// Id 1.
    const OTHER_PPS: &[u8] = &[0x68, 0x5e, 0x3c, 0x80];
    const SEI: &[u8] = &[0x06, 0x05, 0x01, 0x00];
    const IDR: &[u8] = &[0x65, 0x88, 0x84];

    fn frame(units: &[&[u8]]) -> Vec<u8> {
        let unit = |unit: &&[u8]| [&u32::try_from(unit.len()).unwrap().to_be_bytes(), *unit].concat();
        units.iter().flat_map(unit).collect()
    }

    fn of(frames: &[Vec<u8>]) -> Option<Sets> {
        frames.iter().try_fold(Sets::new(H264), |sets, frame| sets.with_those_of(frame, 4))
    }

    #[test]
    fn one_set_that_is_repeated_is_one() {
        let sets = of(&[frame(&[SPS, PPS, SEI, IDR]), frame(&[IDR]), frame(&[SPS, PPS, IDR])]).unwrap();
        assert!(sets.is_complete());
        assert_eq!((sets.single, sets.pps), (vec![Some(SPS.to_vec())], vec![(0, PPS.to_vec())]));
    }

    #[test]
    fn pps_of_other_ids_are_added() {
        let sets = of(&[frame(&[SPS, PPS, IDR]), frame(&[OTHER_PPS, IDR])]).unwrap();
        assert_eq!(sets.pps, [(0, PPS.to_vec()), (1, OTHER_PPS.to_vec())]);
    }

    #[test]
    fn a_different_set_of_the_same_id_makes_several() {
        let larger = [0x67, 0x42, 0xc0, 0x20, 0xda];
        let other = [0x68, 0xce, 0x38, 0x80];
        assert!(of(&[frame(&[SPS, PPS, IDR]), frame(&[&larger, PPS, IDR])]).is_none());
        assert!(of(&[frame(&[SPS, PPS, IDR]), frame(&[SPS, &other, IDR])]).is_none());
    }

    #[test]
    fn a_set_that_is_cut_off_is_refused_and_a_missing_one_is_noticed() {
        let whole = frame(&[SPS, PPS, IDR]);
        assert!(of(&[whole[..11].to_vec()]).is_none());
        assert!(!of(&[frame(&[SPS, IDR])]).unwrap().is_complete());
        // SEI is not needed.
        assert!(of(&[whole.clone(), frame(&[SPS, PPS, SEI])[..22].to_vec()]).is_some());
    }

    #[test]
    fn h265_has_three_kinds() {
        let units: [&[u8]; 4] = [&[0x40, 1, 7], &[0x42, 1, 8], &[0x44, 1, 0xc0], &[0x26, 1, 9]];
        let sets = Sets::new(H265).with_those_of(&frame(&units), 4).unwrap();
        assert!(sets.is_complete());
        assert_eq!(sets.pps, [(0, units[2].to_vec())]);
        assert!(sets.with(&[0x40, 1, 6]).is_none());
    }

    #[test]
    fn exp_golomb_numbers_are_read() {
        assert_eq!([0x80, 0x40, 0x60, 0x20].map(|byte| exp_golomb(&[byte])), [0, 1, 2, 3].map(Some));
        assert_eq!((exp_golomb(&[]), exp_golomb(&[0, 0])), (None, None));
        // Eight zeros, a one and eight bits: 256, less one.
        assert_eq!(exp_golomb(&[0, 0x80, 0]), Some(255));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(frame in prop::collection::vec(any::<u8>(), 0..100), length in 0usize..5) {
            Sets::new(H264).with_those_of(&frame, length);
            Sets::new(H265).with_those_of(&frame, length);
        }
    }
}
