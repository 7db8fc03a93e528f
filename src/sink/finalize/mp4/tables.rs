//! The sample tables of one track, collected fragment by fragment. About ten bytes per frame: 3 MB
//! for an hour of video and audio.

use mp4_atom::{
    Co64, Ctts, CttsEntry, Stbl, Stco, Stsc, StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry,
};

/// Set in a sample's flags when it can't be decoded on its own (ISO/IEC 14496-12 §8.8.3.1).
const NOT_SYNC: u32 = 0x1_0000;

/// One sample as a fragment tells it; times in the track's timescale, `size` in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) composition: i64,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) timescale: u32,
    /// Decode time of the first sample.
    start: Option<u64>,
    /// Decode time at which the last sample ends.
    end: u64,
    durations: Vec<SttsEntry>,
    compositions: Vec<CttsEntry>,
    sizes: Vec<u32>,
    keys: Vec<u32>,
    /// Samples of each chunk.
    chunks: Vec<u32>,
}

impl Tables {
    pub(super) fn new(timescale: u32) -> Self {
        Self { timescale, ..Self::default() }
    }

    /// A fragment begins at this decode time. The last sample lasts until then, if it began before.
    pub(super) fn begin_fragment(&mut self, decode_time: Option<u64>) {
        let time = decode_time.unwrap_or(self.end);
        if self.sizes.is_empty() {
            self.start = Some(time);
            self.end = time;
        } else {
            self.stretch(time);
            self.shorten(time);
        }
    }

    pub(super) fn push(&mut self, sample: Sample) {
        match self.durations.last_mut() {
            Some(last) if last.sample_delta == sample.duration => last.sample_count += 1,
            _ => self.durations.push(SttsEntry { sample_count: 1, sample_delta: sample.duration }),
        }
        let offset = sample.composition;
        match self.compositions.last_mut() {
            Some(last) if last.sample_offset == offset => last.sample_count += 1,
            _ => self.compositions.push(CttsEntry { sample_count: 1, sample_offset: offset }),
        }
        self.sizes.push(sample.size);
        if sample.flags & NOT_SYNC == 0 {
            self.keys.push(self.count());
        }
        self.end = self.end.saturating_add(u64::from(sample.duration));
    }

    /// The samples pushed last lie together in the file.
    pub(super) fn end_chunk(&mut self, samples: u32) {
        self.chunks.push(samples);
    }

    /// Makes the last sample last until `end`, where it ends earlier.
    pub(super) fn stretch(&mut self, end: u64) {
        if let Some(missing) = end.checked_sub(self.end).filter(|missing| *missing > 0)
            && let Some(last) = self.durations.last()
        {
            self.end_last(end, u64::from(last.sample_delta) + missing);
        }
    }

    /// Makes the last sample end at `end`, where it ends later and begins before.
    fn shorten(&mut self, end: u64) {
        if let Some(over) = self.end.checked_sub(end).filter(|over| *over > 0)
            && let Some(last) = self.durations.last()
            && let Some(delta) = u64::from(last.sample_delta).checked_sub(over).filter(|delta| *delta > 0)
        {
            self.end_last(end, delta);
        }
    }

    /// Gives the last sample a duration of its own, with which it ends at `end`.
    fn end_last(&mut self, end: u64, duration: u64) {
        let Some(last) = self.durations.last_mut() else { return };
        let delta = u32::try_from(duration).unwrap_or(u32::MAX);
        if last.sample_count == 1 {
            last.sample_delta = delta;
        } else {
            last.sample_count -= 1;
            self.durations.push(SttsEntry { sample_count: 1, sample_delta: delta });
        }
        self.end = end;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    pub(super) fn start(&self) -> u64 {
        self.start.unwrap_or(0)
    }

    /// Decode time at which the track ends.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Length of the media, without a gap before it.
    pub(super) fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start())
    }

    /// Fills a sample table box. `offsets`: where each chunk lies in the new file.
    pub(super) fn fill(self, stbl: &mut Stbl, offsets: &[u64]) {
        let samples = self.count();
        stbl.stts = Stts { entries: self.durations };
        let plain = self.compositions.iter().all(|entry| entry.sample_offset == 0);
        stbl.ctts = (!plain).then_some(Ctts { entries: self.compositions });
        // Without this box every sample is a key.
        let all_keys = self.keys.len() == samples as usize;
        stbl.stss = (!all_keys).then_some(Stss { entries: self.keys });
        stbl.stsz = Stsz { samples: StszSamples::Different { sizes: self.sizes } };
        stbl.stsc = Stsc { entries: runs_of(&self.chunks) };
        set_offsets(stbl, offsets.iter().copied());
    }

    /// The frames that can be decoded on their own: the chunk of each, where in it it begins, and
    /// its size in bytes.
    pub(super) fn key_frames(&self) -> Vec<(usize, u64, u64)> {
        let (mut found, mut sizes) = (Vec::new(), self.sizes.iter().zip(1u32..));
        let mut keys = self.keys.iter().peekable();
        for (chunk, samples) in self.chunks.iter().enumerate() {
            let mut at = 0;
            for (size, sample) in sizes.by_ref().take(usize::try_from(*samples).unwrap_or(usize::MAX)) {
                if keys.next_if(|key| **key == sample).is_some() {
                    found.push((chunk, at, u64::from(*size)));
                }
                at += u64::from(*size);
            }
        }
        found
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.sizes.len()).unwrap_or(u32::MAX)
    }
}

/// Where each chunk lies in the file, in 32 bits where that does; once in 64, always in 64.
pub(super) fn set_offsets(stbl: &mut Stbl, offsets: impl Iterator<Item = u64> + Clone) {
    let short: Option<Vec<u32>> = match stbl.co64 {
        Some(_) => None,
        None => offsets.clone().map(|offset| u32::try_from(offset).ok()).collect(),
    };
    (stbl.stco, stbl.co64) = match short {
        Some(entries) => (Some(Stco { entries }), None),
        None => (None, Some(Co64 { entries: offsets.collect() })),
    };
}

fn runs_of(chunks: &[u32]) -> Vec<StscEntry> {
    let mut runs: Vec<StscEntry> = Vec::new();
    for (samples, number) in chunks.iter().zip(1u32..) {
        if runs.last().is_none_or(|run| run.samples_per_chunk != *samples) {
            runs.push(StscEntry {
                first_chunk: number,
                samples_per_chunk: *samples,
                sample_description_index: 1,
            });
        }
    }
    runs
}
