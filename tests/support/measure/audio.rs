//! Measures the audio of a recording: its beeps.

use std::path::Path;

use super::Probe;
use crate::support::tool::succeed;

pub(crate) const RATE: f64 = 48_000.0;

/// One beep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beep {
    /// Start in seconds after the file's start.
    pub(crate) at: f64,
    /// Length in seconds.
    pub(crate) length: f64,
    pub(crate) hertz: f64,
}

/// Decodes the left channel (a mix of both would be louder than either); the first sample is at the
/// file's start.
///
/// `aresample=async=1:first_pts=0` fills gaps with silence; without it, raw output starts with the
/// first sample in the file, whatever its time. `-copyts` keeps ffmpeg from moving a transport
/// stream to the start of the one stream that it reads.
pub(crate) fn samples(path: &Path) -> Vec<f32> {
    samples_of(path, 0)
}

/// Decodes one channel: 0 is left, 1 right.
pub(crate) fn samples_of(path: &Path, channel: usize) -> Vec<f32> {
    let filter = format!(
        "asetpts=PTS-{:.6}/TB,aresample=async=1:first_pts=0,pan=mono|c0=c{channel}",
        Probe::of(path).start
    );
    let args = [
        "-v",
        "error",
        "-copyts",
        "-i",
        path.to_str().unwrap(),
        "-map",
        "0:a:0",
        "-af",
        &filter,
        "-ar",
        "48000",
        "-f",
        "f32le",
        "pipe:1",
    ];
    let bytes = succeed("ffmpeg", &args, None).stdout;
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The largest absolute sample, 0 to 1; 0 for an empty slice.
pub(crate) fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// The amplitude of one frequency, by Goertzel's algorithm, under a Hann window.
pub(crate) fn level(samples: &[f32], hertz: f64) -> f64 {
    use std::f64::consts::TAU;
    let length = samples.len() as f64;
    let coefficient = 2.0 * (TAU * hertz / RATE).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * at as f64 / length).cos();
        let next = f64::from(*sample) * window + coefficient * one - two;
        (two, one) = (one, next);
    }
    (one * one + two * two - coefficient * one * two).max(0.0).sqrt() * 4.0 / length
}

/// The amplitude of a frequency of which the samples hold whole periods, and the effective value of
/// everything else. It uses no window: an encoder that makes one of its frames louder would
/// otherwise change one of the two and not the other.
pub(crate) fn tone_and_rest(samples: &[f32], hertz: f64) -> (f64, f64) {
    let length = samples.len() as f64;
    let (mut sine, mut cosine, mut power) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), std::f64::consts::TAU * hertz * at as f64 / RATE);
        sine += sample * angle.sin() * 2.0 / length;
        cosine += sample * angle.cos() * 2.0 / length;
        power += sample * sample / length;
    }
    let tone = f64::hypot(sine, cosine);
    (tone, (power - tone * tone / 2.0).max(0.0).sqrt())
}

/// Finds every beep: audio of at least 20 ms after 200 ms of silence.
pub(crate) fn beeps(samples: &[f32]) -> Vec<Beep> {
    beeps_of(samples, 0.02)
}

/// Finds every beep of at least `length` seconds.
pub(crate) fn beeps_of(samples: &[f32], length: f64) -> Vec<Beep> {
    // A quarter of the full beep: above a codec's pre-echo, reached within the first half wave.
    let threshold = peak(samples) / 4.0;
    if threshold < 0.005 {
        return Vec::new();
    }
    let silence = (0.2 * RATE) as usize;
    let mut loud = samples.iter().enumerate().filter(|(_, s)| s.abs() > threshold).map(|(i, _)| i).peekable();
    let mut found = Vec::new();
    while let Some(first) = loud.next() {
        let (mut last, start) = (first, first);
        while let Some(next) = loud.next_if(|next| next - last < silence) {
            last = next;
        }
        if (last - start) as f64 > length * RATE {
            found.push(Beep {
                at: start as f64 / RATE,
                length: (last - start) as f64 / RATE,
                hertz: pitch(&samples[start..=last]),
            });
        }
    }
    found
}

/// Half the zero crossings per second.
fn pitch(samples: &[f32]) -> f64 {
    let crossings = samples.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count();
    crossings as f64 / 2.0 / (samples.len() as f64 / RATE)
}
