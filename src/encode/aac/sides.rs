//! Finds where both channels are equal, and replaces stereo frames by mono frames there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::mono_as_stereo::{mono_as_stereo, windows_of};

/// Samples of an AAC frame.
const FRAME: u64 = 1024;
/// Bytes of a sample of one channel: F32LE.
const SAMPLE: usize = 4;
/// Mono frames that wait for their stereo frames: usually one, more after a large input buffer.
const MOST_WAITING: usize = 4096;

/// State that the mono and the stereo encoder share. Clones share it, too.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    rate_hz: u64,
    joint: Arc<Mutex<Joint>>,
}

#[derive(Debug, Default)]
struct Joint {
    differences: Differences,
    /// Mono frames, oldest first.
    mono: VecDeque<gst::Buffer>,
    choice: Choice,
}

impl Joint {
    /// Takes the mono frame of this time, in nanoseconds, and drops older ones. Both encoders have
    /// the same frame times.
    fn take_mono(&mut self, at: u64, tolerance: u64) -> Option<gst::Buffer> {
        loop {
            let time = self.mono.front()?.pts()?.nseconds();
            if time > at.saturating_add(tolerance) {
                return None;
            }
            let frame = self.mono.pop_front();
            if time.saturating_add(tolerance) >= at {
                return frame;
            }
        }
    }
}

impl Sides {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self { rate_hz: u64::from(rate_hz.max(1)), joint: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Joint> {
        self.joint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the channels of the raw audio of a pad differ.
    pub(super) fn watch(&self, raw: &gst::Pad) {
        let sides = self.clone();
        raw.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
            let Some((start, map)) = buffer.pts().zip(buffer.map_readable().ok()) else {
                return gst::PadProbeReturn::Ok;
            };
            if let Some((first, last)) = different(map.as_slice()) {
                let place = |samples: u64| start.nseconds().saturating_add(sides.time_of(samples));
                sides.lock().differences.add(place(first), place(last + 1));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Adds a mono frame. Its stereo frame must come later.
    pub(super) fn add_mono(&self, frame: gst::Buffer) {
        let mut joint = self.lock();
        joint.mono.push_back(frame);
        if joint.mono.len() > MOST_WAITING {
            joint.mono.pop_front();
        }
    }

    /// Replaces stereo frames of a pad by mono frames where both channels are equal.
    pub(super) fn replace(&self, encoded: &gst::Pad) {
        let sides = self.clone();
        encoded.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer_mut()
                && let Some(other) = sides.replacement(buffer)
            {
                *buffer = other;
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The frame that replaces a stereo frame, if both channels are equal there.
    fn replacement(&self, frame: &gst::Buffer) -> Option<gst::Buffer> {
        let at = frame.pts()?.nseconds();
        let length = self.time_of(FRAME);
        let mut joint = self.lock();
        // Its two windows, and the frame that the encoder looked ahead at when it chose them.
        let from = at.saturating_sub(length);
        let is_same = !joint.differences.any(from, at.saturating_add(2 * length));
        joint.differences.forget_until(from);
        let mono = joint.take_mono(at, length / 4).filter(|_| is_same);
        let mono = mono.as_ref().and_then(|mono| mono.map_readable().ok());
        let stereo = frame.map_readable().ok();
        let windows = mono.as_ref().and_then(|mono| windows_of(mono.as_slice()));
        let fits = windows.is_some() && windows == stereo.and_then(|stereo| windows_of(stereo.as_slice()));
        let pair = mono.and_then(|mono| mono_as_stereo(mono.as_slice()));
        let pair = if joint.choice.choose_mono(pair.is_some(), fits) { pair? } else { return None };
        drop(joint);
        let mut other = gst::Buffer::from_mut_slice(pair);
        {
            let other = other.get_mut()?;
            other.set_pts(frame.pts());
            other.set_dts(frame.dts());
            other.set_duration(frame.duration());
            other.set_flags(frame.flags());
        }
        Some(other)
    }

    /// Nanoseconds of so many samples.
    const fn time_of(&self, samples: u64) -> u64 {
        samples.saturating_mul(1_000_000_000) / self.rate_hz
    }
}

/// The first and the last sample at which the channels differ.
fn different(raw: &[u8]) -> Option<(u64, u64)> {
    let differs = |pair: &[u8]| pair.get(..SAMPLE) != pair.get(SAMPLE..);
    let pairs = || raw.chunks_exact(2 * SAMPLE);
    let first = pairs().position(differs)?;
    let last = pairs().rposition(differs)?;
    Some((u64::try_from(first).ok()?, u64::try_from(last).ok()?))
}

/// Time spans in which the channels differ, in nanoseconds.
#[derive(Debug, Default)]
struct Differences {
    /// In order, without overlap.
    spans: VecDeque<(u64, u64)>,
}

impl Differences {
    /// Spans that are closer are joined. Times are rounded, and a frame is much longer.
    const APART: u64 = 1_000_000;

    fn add(&mut self, from: u64, to: u64) {
        match self.spans.back_mut() {
            Some(last) if from <= last.1.saturating_add(Self::APART) => last.1 = last.1.max(to),
            _ => self.spans.push_back((from, to)),
        }
    }

    fn any(&self, from: u64, to: u64) -> bool {
        self.spans.iter().any(|span| span.0 < to && span.1 > from)
    }

    fn forget_until(&mut self, time: u64) {
        while self.spans.front().is_some_and(|span| span.1 <= time) {
            self.spans.pop_front();
        }
    }
}

/// The encoder of the last frame.
#[derive(Debug, Default)]
struct Choice {
    was_mono: Option<bool>,
}

impl Choice {
    /// Decides for the mono frame, if there `is_same` audio in both channels. Frames overlap, so
    /// that a stream changes to mono only where both encoders have the same windows (`fits`). It
    /// changes back at once, as a difference must not be lost; both encoders have had the same
    /// input until then.
    fn choose_mono(&mut self, is_same: bool, fits: bool) -> bool {
        let chosen = is_same && (fits || self.was_mono != Some(false));
        self.was_mono = Some(chosen);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_to_the_sample() {
        let raw = |pairs: &[(f32, f32)]| -> Vec<u8> {
            pairs
                .iter()
                .flat_map(|(left, right)| [left.to_le_bytes(), right.to_le_bytes()].concat())
                .collect()
        };
        assert_eq!(different(&raw(&[])), None);
        assert_eq!(different(&raw(&[(0.5, 0.5), (-0.1, -0.1)])), None);
        assert_eq!(
            different(&raw(&[(0.5, 0.5), (0.1, 0.2), (0.3, 0.3), (0.0, 0.1), (0.0, 0.0)])),
            Some((1, 3))
        );
    }

    #[test]
    fn spans_are_joined_met_and_forgotten() {
        let mut differences = Differences::default();
        differences.add(10_000_000, 12_000_000);
        differences.add(12_000_100, 14_000_000);
        differences.add(30_000_000, 31_000_000);
        assert_eq!(differences.spans.len(), 2);
        for (from, to, any) in [
            (0, 10_000_000, false),
            (0, 10_000_001, true),
            (13_999_999, 20_000_000, true),
            (14_000_000, 30_000_000, false),
            (20_000_000, 40_000_000, true),
        ] {
            assert_eq!(differences.any(from, to), any, "{from} to {to}");
        }
        differences.forget_until(14_000_000);
        assert_eq!(differences.spans, [(30_000_000, 31_000_000)]);
    }

    #[test]
    fn a_stream_changes_to_mono_where_windows_fit_and_back_at_once() {
        let mut choice = Choice::default();
        assert!(choice.choose_mono(true, false), "no frame comes before the first one");
        assert!(choice.choose_mono(true, false));
        assert!(!choice.choose_mono(false, true));
        assert!(!choice.choose_mono(true, false));
        assert!(choice.choose_mono(true, true));
    }
}
