//! Telephone sound, 8 kHz, as 48 kHz: six samples out of one, by a low-pass filter. Pure.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Samples out of one.
const TIMES: usize = 6;
/// Samples that each one out is made of.
const TAPS: usize = 24;
/// What passes, of the half of 8 kHz: the rest is where the telephone has nothing any more (ITU-T G.712: 3.4 kHz).
const PASSES: f64 = 0.92;

/// A windowed sinc, by phases.
static FILTER: LazyLock<[[f32; TAPS]; TIMES]> = LazyLock::new(|| {
    let length = (TAPS * TIMES) as f64;
    let mut filter = [[0.0; TAPS]; TIMES];
    for (phase, taps) in filter.iter_mut().enumerate() {
        let at = |tap: usize| (tap * TIMES + phase) as f64 - length / 2.0;
        let raw = |tap: usize| {
            let x = at(tap) / TIMES as f64 * PASSES;
            let sinc = if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) };
            // Blackman's window.
            let turn = 2.0 * PI * (at(tap) / length + 0.5);
            sinc * (0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
        };
        // Each phase passes a constant as it is.
        let sum: f64 = (0..TAPS).map(raw).sum();
        for (tap, value) in taps.iter_mut().enumerate() {
            *value = (raw(tap) / sum) as f32;
        }
    }
    filter
});

#[derive(Debug, Default)]
pub(super) struct Upsampler {
    /// The last samples, from `at` on round.
    last: [f32; TAPS],
    at: usize,
}

impl Upsampler {
    /// How late sound comes out, in samples of 48 kHz.
    pub(super) const DELAY: u64 = (TAPS * TIMES / 2) as u64;

    /// Takes a sample, and gives six.
    pub(super) fn push(&mut self, sample: f32, mut give: impl FnMut(f32)) {
        self.last[self.at] = sample;
        self.at = (self.at + 1) % TAPS;
        for taps in FILTER.iter() {
            // The newest sample meets the first tap.
            let newest_first = (1..=TAPS).map(|back| self.last[(self.at + TAPS - back) % TAPS]);
            give(newest_first.zip(taps).map(|(sample, tap)| sample * tap).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_of_a_telephone_stay_as_loud_as_they_are_where_they_are_and_nothing_is_added() {
        for hertz in [200.0, 1000.0, 3000.0] {
            let tone = |at: f64| (2.0 * PI * hertz * at).sin();
            let (mut upsampler, mut out) = (Upsampler::default(), Vec::new());
            for at in 0..4000 {
                upsampler.push(tone(f64::from(at) / 8000.0) as f32, |sample| out.push(f64::from(sample)));
            }
            assert_eq!(out.len(), 24_000);
            let worst = (1000..24_000)
                .map(|at| (out[at] - tone((at as f64 - Upsampler::DELAY as f64) / 48_000.0)).abs());
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 0.01, "{hertz}: {worst}");
        }
    }
}
