//! One fragment: the samples that a `moof` tells of, and whether they are what its `mdat` holds.

use mp4_atom::{Moof, Moov, Traf, Trex};

use super::boxes::Header;
use super::tables::Sample;

/// A fragment with more samples is not ours; those of ours have some hundred at most.
const MOST_SAMPLES: usize = 1 << 20;

/// Samples of one track that lie together.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Place in the `moov`'s tracks.
    pub(super) track: usize,
    /// Decode time of the first one, where it is said: the first run of a track does.
    pub(super) time: Option<u64>,
    pub(super) offset: u64,
    /// Bytes of the samples that are in the file.
    pub(super) len: u64,
    /// Those that are in the file to their last byte. One that is not has none behind it.
    pub(super) samples: Vec<Sample>,
}

/// The runs of a fragment, if they fill the content of its `mdat` to the last byte, without a gap
/// and without an overlap. Anything else is damage: nothing says then which of the numbers is
/// right. `len`: of the file, which may end before the `mdat` does.
pub(super) fn runs_of(
    moov: &Moov,
    moof: &Moof,
    moof_start: u64,
    mdat: &Header,
    len: u64,
) -> Option<Vec<Run>> {
    let mut runs = Vec::new();
    let mut spans = Vec::new();
    let mut samples = 0;
    // Data without an offset of its own follows that of the fragment before (ISO/IEC 14496-12
    // §8.8.7.1).
    let mut follows = moof_start;
    for traf in &moof.traf {
        let track = moov.trak.iter().position(|trak| trak.tkhd.track_id == traf.tfhd.track_id)?;
        let mut at = match traf.tfhd.base_data_offset {
            Some(base) => base,
            None if traf.tfhd.default_base_is_moof => moof_start,
            None => follows,
        };
        let base = at;
        let mut time = traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time);
        for run in &traf.trun {
            if let Some(offset) = run.data_offset {
                at = base.checked_add_signed(i64::from(offset))?;
            }
            samples += run.samples.len();
            if samples > MOST_SAMPLES {
                return None;
            }
            let (offset, mut present, mut found) = (at, at, Vec::new());
            for sample in samples_of(moov, traf, run) {
                // An empty sample takes no byte: nothing would say whether it is there.
                at = at.checked_add(u64::from(sample.size)).filter(|_| sample.size > 0)?;
                if at <= len {
                    found.push(sample);
                    present = at;
                }
            }
            if at > offset {
                spans.push((offset, at));
            }
            if !found.is_empty() {
                runs.push(Run { track, time: time.take(), offset, len: present - offset, samples: found });
            }
        }
        follows = at;
    }
    spans.sort_unstable();
    let filled = spans.into_iter().try_fold(mdat.content, |at, (start, end)| (start == at).then_some(end));
    (filled == Some(mdat.end)).then_some(runs)
}

fn samples_of<'a>(
    moov: &'a Moov,
    traf: &'a Traf,
    run: &'a mp4_atom::Trun,
) -> impl Iterator<Item = Sample> + 'a {
    let (tfhd, trex) = (&traf.tfhd, defaults(moov, traf.tfhd.track_id));
    run.samples.iter().map(move |entry| Sample {
        duration: entry.duration.or(tfhd.default_sample_duration).unwrap_or(trex.default_sample_duration),
        size: entry.size.or(tfhd.default_sample_size).unwrap_or(trex.default_sample_size),
        flags: entry.flags.or(tfhd.default_sample_flags).unwrap_or(trex.default_sample_flags),
        composition: entry.cts.unwrap_or(0),
    })
}

fn defaults(moov: &Moov, track: u32) -> Trex {
    let all = moov.mvex.iter().flat_map(|mvex| &mvex.trex);
    all.into_iter().find(|trex| trex.track_id == track).cloned().unwrap_or_default()
}
