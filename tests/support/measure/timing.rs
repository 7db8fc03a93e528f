//! Figures from frames and beeps: A/V offset, cadence, jitter.

use super::audio::Beep;
use super::frames::Frame;

/// Start of each flash: the time of the first lit frame.
pub(crate) fn flashes(frames: &[Frame]) -> Vec<f64> {
    frames.windows(2).filter(|pair| !pair[0].lit() && pair[1].lit()).map(|pair| pair[1].pts).collect()
}

/// A/V offset at each beep that has its flash within half a second: the flash's time and the
/// audio's lateness in seconds (negative: early).
///
/// A beep or flash in the first or last half second may have lost its partner to the cut; anywhere
/// else, one without a partner is an error.
pub(crate) fn av_offsets(frames: &[Frame], beeps: &[Beep]) -> Vec<(f64, f64)> {
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

/// The same, for beeps that have their flash within half a second. On a busy machine single ones
/// may be missing, as the publisher is short of time, too.
pub(crate) fn av_offsets_of_pairs(frames: &[Frame], beeps: &[Beep]) -> Vec<(f64, f64)> {
    let nearest = |flash: f64| {
        let apart = beeps.iter().map(|beep| beep.at - flash).filter(|late| late.abs() < 0.5);
        apart.min_by(|one, other| one.abs().total_cmp(&other.abs())).map(|late| (flash, late))
    };
    flashes(frames).into_iter().filter_map(nearest).collect()
}

/// Measures with [`av_offsets`] if the machine was calm, and with [`av_offsets_of_pairs`] if it
/// was disturbed.
pub(crate) fn lateness(frames: &[Frame], beeps: &[Beep], is_calm: bool) -> Vec<(f64, f64)> {
    if is_calm { av_offsets(frames, beeps) } else { av_offsets_of_pairs(frames, beeps) }
}

/// Largest A/V offset for a page whose script makes both, in seconds. The browser shows script
/// drawings one frame after a video plays, and in every fourth recording at 1080p two frames after,
/// from beginning to end (`source::web::capture::alignment`). Within one recording it is steady to
/// a few milliseconds.
pub(crate) const SCRIPTED: f64 = 0.08;

/// The same on a disturbed machine, where only gross errors show: audio of another place, or
/// drifting audio.
pub(crate) const DISTURBED: f64 = 0.3;

/// Number and pacing of different frames, by their counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cadence {
    /// Different frames per second.
    pub(crate) distinct: f64,
    /// Frames whose counters are unreadable or differ among themselves.
    pub(crate) torn: usize,
    /// 95th percentile in seconds of each frame's deviation from its time. With the page's clock in
    /// the frame, the deviation of the delay from drawing to showing from its median; without, the
    /// deviation of the distance of two different frames from the median distance.
    pub(crate) jitter_p95: f64,
    /// Longest time between two different frames in seconds.
    pub(crate) longest_gap: f64,
}

/// Measures frames of one page; the page must move in all of them.
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

/// Seconds between two readings of the frame's clock, which wraps at 2^24 ms.
pub(crate) fn millis_since(first: u32, later: u32) -> f64 {
    f64::from(later.wrapping_sub(first) & 0x00ff_ffff) / 1000.0
}

fn deviations(values: Vec<f64>) -> Vec<f64> {
    let median = percentile(&values, 0.5);
    values.into_iter().map(|value| (value - median).abs()).collect()
}

/// The value below which a share of all values lies; 0 for an empty slice.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
