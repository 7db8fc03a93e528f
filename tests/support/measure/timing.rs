//! Figures from pictures and beeps: sound against picture, cadence, jitter.

use super::audio::Beep;
use super::frames::Frame;

/// When a flash began: the time of the first lit picture.
pub(crate) fn flashes(frames: &[Frame]) -> Vec<f64> {
    frames.windows(2).filter(|pair| !pair[0].lit() && pair[1].lit()).map(|pair| pair[1].pts).collect()
}

/// Sound against picture at each beep that has its flash within half a second: the flash's time and by how many
/// seconds the sound is late (negative: early).
///
/// A beep or flash in the first or last half second may have lost its partner to the cut; anywhere else one without
/// partner is an error.
pub(crate) fn sound_lateness(frames: &[Frame], beeps: &[Beep]) -> Vec<(f64, f64)> {
    let flashes = flashes(frames);
    let end = frames.last().map_or(0.0, |frame| frame.pts);
    let inside = |at: f64| at > 0.5 && at < end - 0.5;
    let nearest = |at: f64, all: &mut dyn Iterator<Item = f64>| {
        all.map(|other| other - at).filter(|d| d.abs() < 0.5).min_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    for beep in beeps.iter().filter(|beep| inside(beep.at)) {
        let flash = nearest(beep.at, &mut flashes.iter().copied());
        assert!(flash.is_some(), "a beep without flash at {:.3} s; flashes: {flashes:.3?}", beep.at);
    }
    let mut pairs = Vec::new();
    for &flash in &flashes {
        match nearest(flash, &mut beeps.iter().map(|beep| beep.at)) {
            Some(late) => pairs.push((flash, late)),
            None => assert!(!inside(flash), "a flash without beep at {flash:.3} s; beeps: {beeps:.3?}"),
        }
    }
    pairs
}

/// The same for those beeps that have their flash within half a second. On a busy machine single ones may be missing, as what publishes
/// them is short of time, too.
pub(crate) fn lateness_of_pairs(frames: &[Frame], beeps: &[Beep]) -> Vec<(f64, f64)> {
    let nearest = |flash: f64| {
        let apart = beeps.iter().map(|beep| beep.at - flash).filter(|late| late.abs() < 0.5);
        apart.min_by(|one, other| one.abs().total_cmp(&other.abs())).map(|late| (flash, late))
    };
    flashes(frames).into_iter().filter_map(nearest).collect()
}

/// Measures by [`sound_lateness`] where the machine was calm, and by [`lateness_of_pairs`] where it was disturbed.
pub(crate) fn lateness(frames: &[Frame], beeps: &[Beep], is_calm: bool) -> Vec<(f64, f64)> {
    if is_calm { sound_lateness(frames, beeps) } else { lateness_of_pairs(frames, beeps) }
}

/// How far sound may be from picture where a script makes both, in seconds. The browser shows what a script draws a frame after what a
/// video plays, and in every fourth recording at 1080p two frames after, from the beginning to the end
/// (`source::web::capture::alignment`). Within one recording it is steady to a few milliseconds.
pub(crate) const SCRIPTED: f64 = 0.08;

/// The same on a machine that was disturbed, where only gross errors show: audio of another place, or audio that drifts away.
pub(crate) const DISTURBED: f64 = 0.3;

/// Different pictures, as their counters tell, and how evenly they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cadence {
    /// Different pictures a second.
    pub(crate) distinct: f64,
    /// Pictures whose counters could not be read, or differ among themselves.
    pub(crate) torn: usize,
    /// Seconds: 95 of 100 pictures are no further than this from when they should be shown. With the page's own clock
    /// in the picture, that is how much the delay from drawing to showing varies about its median; without, how far
    /// apart two different pictures are, against the median distance.
    pub(crate) jitter_p95: f64,
    /// Seconds between the two different pictures that are furthest apart.
    pub(crate) longest_gap: f64,
}

/// Measures pictures of one page; they must be of a part in which it moves.
pub(crate) fn cadence(frames: &[Frame]) -> Cadence {
    let changes: Vec<&Frame> = frames
        .iter()
        .enumerate()
        .filter(|(i, frame)| *i == 0 || frame.counters != frames[i - 1].counters)
        .map(|(_, frame)| frame)
        .collect();
    let gaps: Vec<f64> = changes.windows(2).map(|pair| pair[1].pts - pair[0].pts).collect();
    let span: f64 = gaps.iter().sum();

    let clock: Vec<(f64, u32)> = changes.iter().filter_map(|frame| Some((frame.pts, frame.wall?))).collect();
    let deviations = match clock.first() {
        Some(&(_, first)) => {
            deviations(clock.iter().map(|&(pts, wall)| pts - millis_since(first, wall)).collect())
        }
        None => deviations(gaps.clone()),
    };
    Cadence {
        distinct: if span > 0.0 { gaps.len() as f64 / span } else { 0.0 },
        torn: frames.iter().filter(|frame| frame.torn()).count(),
        jitter_p95: percentile(&deviations, 0.95),
        longest_gap: gaps.iter().copied().fold(0.0, f64::max),
    }
}

/// Seconds from one reading of the picture's clock to a later one; the clock goes round at 2^24 ms.
pub(crate) fn millis_since(first: u32, later: u32) -> f64 {
    f64::from(later.wrapping_sub(first) & 0x00ff_ffff) / 1000.0
}

fn deviations(values: Vec<f64>) -> Vec<f64> {
    let median = percentile(&values, 0.5);
    values.into_iter().map(|value| (value - median).abs()).collect()
}

/// The value below which a share of all values lies; 0 without any.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
