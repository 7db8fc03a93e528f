//! A track, run by run. A run's times are believed only when those around them agree: a wrong one
//! would move all that follows.

use std::collections::VecDeque;

use super::fragment::Run;
use super::scan::Piece;
use super::tables::Tables;
use crate::sink::finalize::damage::Damage;

/// A longer gap before a track's last run counts as a wrong time, in seconds: no later run could
/// confirm it.
const LONGEST_GAP: u64 = 24 * 3600;

/// A track while its fragments are read.
#[derive(Debug)]
pub(super) struct Track {
    at: usize,
    tables: Tables,
    /// The last runs, with where their fragments lie in the file: what comes next says whether
    /// their times are right.
    waiting: VecDeque<(Run, Fragment)>,
    pieces: Vec<Piece>,
    damage: Vec<Fragment>,
}

/// Start and end of a fragment in the file.
type Fragment = (u64, u64);

impl Track {
    /// `at`: its place in the `moov`'s tracks.
    pub(super) fn new(at: usize, timescale: u32) -> Self {
        Self {
            at,
            tables: Tables::new(timescale),
            waiting: VecDeque::new(),
            pieces: Vec::new(),
            damage: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, run: Run, fragment: Fragment) {
        self.waiting.push_back((run, fragment));
        if self.waiting.len() > 2 {
            self.settle_first();
        }
    }

    /// Whether no sample came.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.waiting.is_empty()
    }

    /// Its tables, and its pieces added to those of all tracks.
    pub(super) fn finish(mut self, pieces: &mut Vec<Piece>, damage: &mut Damage) -> Tables {
        while !self.waiting.is_empty() {
            self.settle_first();
        }
        pieces.append(&mut self.pieces);
        self.damage.iter().for_each(|(start, end)| damage.add(*start, *end));
        self.tables
    }

    /// Decides about the run that waits longest, by the two behind it.
    fn settle_first(&mut self) {
        let Some((run, fragment)) = self.waiting.pop_front() else { return };
        let scale = u64::from(self.tables.timescale);
        // Times that differ by less than half of a sample agree: the last one is made to fit. Sums
        // of rounded durations differ by some units, however short that sample is.
        let half = run.samples.last().map_or(0, |last| u64::from(last.duration) / 2);
        let tolerance = half.min(scale / 10).max(scale / 500);
        let agree = |early: u64, late: u64| early <= late.saturating_add(tolerance);
        let length = length_of(&run);
        // Zero before the first one: a track may begin late.
        let before = self.tables.end();
        let time = run.time.unwrap_or(before);
        let mut begin = Some(time);
        let next = self.waiting.front().map(|(next, _)| (next.time, length_of(next)));
        let is_wrong = match next {
            // It begins before the one in front of it ends.
            _ if !agree(before, time) => {
                begin = Some(before);
                true
            }
            Some((Some(next), next_length)) if !agree(time.saturating_add(length), next) => {
                let third = self.waiting.get(1).and_then(|(third, _)| third.time);
                let end = time.saturating_add(length);
                if !agree(time, before) && agree(before.saturating_add(length), next) {
                    // In front of it there is a gap and behind it there is no room: it ends where
                    // the next one begins.
                    begin = Some(next.saturating_sub(length).max(before));
                } else if third.is_some_and(|third| !agree(end.saturating_add(next_length), third)) {
                    // Those behind it agree with one another: its own lengths are wrong.
                    begin = None;
                }
                // Else the next one begins too early, and is found when its turn comes.
                begin != Some(time)
            }
            None if !agree(time, before.saturating_add(LONGEST_GAP.saturating_mul(scale))) => {
                begin = Some(before);
                true
            }
            _ => false,
        };
        if is_wrong {
            self.damage.push(fragment);
        }
        if let Some(begin) = begin {
            self.push(&run, begin);
        }
    }

    fn push(&mut self, run: &Run, begin: u64) {
        self.tables.begin_fragment(Some(begin));
        run.samples.iter().for_each(|sample| self.tables.push(*sample));
        self.tables.end_chunk(u32::try_from(run.samples.len()).unwrap_or(u32::MAX));
        self.pieces.push(Piece { track: self.at, offset: run.offset, len: run.len });
    }
}

fn length_of(run: &Run) -> u64 {
    run.samples.iter().map(|sample| u64::from(sample.duration)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tables::Sample;
    use super::*;

    /// A track of 1000 units a second whose runs have ten samples of 100 bytes; `None`: a run that
    /// says no time.
    fn tracked(runs: &[(Option<u64>, u32)]) -> (Tables, Vec<u64>, u64) {
        let mut track = Track::new(0, 1000);
        for (at, (time, duration)) in runs.iter().enumerate() {
            let sample = Sample { duration: *duration, size: 100, flags: 0, composition: 0 };
            let (offset, samples) = (at as u64 * 1000, vec![sample; 10]);
            let run = Run { track: 0, time: *time, offset, len: 1000, samples };
            track.add(run, (offset, offset + 1000));
        }
        let (mut pieces, mut damage) = (Vec::new(), Damage::default());
        let tables = track.finish(&mut pieces, &mut damage);
        (tables, pieces.iter().map(|piece| piece.offset / 1000).collect(), damage.places)
    }

    const GOOD: [(Option<u64>, u32); 6] = [
        (Some(0), 100),
        (Some(1000), 100),
        (Some(2000), 100),
        (Some(3000), 100),
        (Some(4000), 100),
        (Some(5000), 100),
    ];

    #[test]
    fn times_that_agree_are_kept_with_their_gaps() {
        let (tables, runs, damage) = tracked(&GOOD);
        assert_eq!((tables.end(), runs, damage), (6000, vec![0, 1, 2, 3, 4, 5], 0));
        let gap = [(Some(0), 100), (Some(9000), 100), (None, 100), (Some(500_000), 100)];
        let (tables, runs, damage) = tracked(&gap);
        assert_eq!((tables.end(), runs.len(), damage), (501_000, 4, 0));
    }

    #[test]
    fn a_wrong_time_moves_nothing_that_follows() {
        for wrong in [1 << 40, 3000 + 512, 1 << 13, 1, 3000 - 512] {
            let mut runs = GOOD;
            runs[3].0 = Some(wrong);
            let (tables, kept, damage) = tracked(&runs);
            assert_eq!((tables.end(), kept.len(), damage), (6000, 6, 1), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_time_of_the_first_run_is_told_by_the_second() {
        let mut runs = GOOD;
        runs[0].0 = Some(1 << 40);
        let (tables, kept, damage) = tracked(&runs);
        assert_eq!((tables.start(), tables.end(), kept.len(), damage), (0, 6000, 6, 1));
    }

    #[test]
    fn wrong_lengths_move_nothing_that_follows() {
        let mut runs = GOOD;
        runs[2].1 = 100_000;
        let (tables, kept, damage) = tracked(&runs);
        assert_eq!((tables.end(), kept, damage), (6000, vec![0, 1, 3, 4, 5], 1));
    }

    #[test]
    fn a_last_run_beyond_belief_follows_the_one_before() {
        let mut runs = GOOD;
        runs[5].0 = Some(1 << 60);
        let (tables, kept, damage) = tracked(&runs);
        assert_eq!((tables.end(), kept.len(), damage), (6000, 6, 1));
    }
}
