//! Upsamples telephone audio from 8 kHz to 48 kHz: six samples from one, by a low-pass filter.
//! Pure.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Output samples per input sample.
const TIMES: usize = 6;
/// Input samples per output sample.
const TAPS: usize = 24;
/// Passband as a part of 4 kHz. Telephone audio ends at 3.4 kHz (ITU-T G.712).
const PASSES: f64 = 0.92;

/// A windowed sinc, split into phases.
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
        // Normalised, so that each phase passes a constant unchanged.
        let sum: f64 = (0..TAPS).map(raw).sum();
        for (tap, value) in taps.iter_mut().enumerate() {
            *value = (raw(tap) / sum) as f32;
        }
    }
    filter
});

#[derive(Debug, Default)]
pub(super) struct Upsampler {
    /// Ring buffer of the last samples; the oldest is at `at`.
    last: [f32; TAPS],
    at: usize,
}

impl Upsampler {
    /// Delay in samples of 48 kHz.
    pub(super) const DELAY: u64 = (TAPS * TIMES / 2) as u64;

    /// Takes one sample and passes six to `give`.
    pub(super) fn push(&mut self, sample: f32, mut give: impl FnMut(f32)) {
        self.last[self.at] = sample;
        self.at = (self.at + 1) % TAPS;
        for taps in FILTER.iter() {
            // The first tap applies to the newest sample.
            let newest_first = (1..=TAPS).map(|back| self.last[(self.at + TAPS - back) % TAPS]);
            give(newest_first.zip(taps).map(|(sample, tap)| sample * tap).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephone_tones_keep_their_level_and_time_without_artefacts() {
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
