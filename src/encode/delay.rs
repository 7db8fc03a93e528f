//! Takes away again what an encoder adds in front of the sound.
//!
//! The streams of AAC and MP3 say nothing of it, and of their containers MP4 alone could, by an
//! edit list that not everybody reads: a decoder plays silence first and everything else late. So
//! the first sound, as much of it as the encoder will add, is left out; the silence that it adds
//! stands in its place, and what comes after is heard at its time, in every player and every
//! container.
//!
//! ```text
//! in       │aaaaa│bbbbbbbbbbbbbbbbbbbb            without: │     │aaaaa│bbbbbbbbbbbbbbbbbbbb
//! leave_out      │bbbbbbbbbbbbbbbbbbbb            with:    │     │bbbbbbbbbbbbbbbbbbbb
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::media::pcm;

/// Removes the delay of an audio encoder that adds `samples` at `rate_hz` in front: audio leaves
/// `encoded` at the media time that it had at `raw`. `raw` carries our own raw audio (see [`pcm`])
/// from media time zero on.
pub(super) fn take_away(samples: u64, rate_hz: u32, raw: &gst::Pad, encoded: &gst::Pad) {
    let scaled = |per_second: u64| {
        let rate = u64::from(rate_hz.max(1));
        (samples * per_second + rate / 2) / rate
    };
    let frames = scaled(u64::from(pcm::RATE));
    if frames == 0 {
        return;
    }
    leave_out(raw, frames);
    shift(encoded, gst::ClockTime::from_nseconds(scaled(1_000_000_000)));
}

/// The first `frames` samples of raw sound go no further.
fn leave_out(pad: &gst::Pad, frames: u64) {
    let left = AtomicUsize::new(usize::try_from(frames).unwrap_or(0) * pcm::FRAME);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        // Buffers come one after the other: nobody else counts.
        let from = left.load(Ordering::Relaxed);
        left.store(from.saturating_sub(buffer.size()), Ordering::Relaxed);
        if from == 0 {
            return gst::PadProbeReturn::Remove;
        }
        let Some(rest) = rest_of(buffer, from) else { return gst::PadProbeReturn::Drop };
        *buffer = rest;
        gst::PadProbeReturn::Ok
    });
}

/// A buffer without its first `from` bytes; `None` where nothing is left.
fn rest_of(buffer: &gst::BufferRef, from: usize) -> Option<gst::Buffer> {
    if from >= buffer.size() {
        return None;
    }
    let mut rest = buffer.copy_region(gst::BufferCopyFlags::all(), from..).ok()?;
    let cut = pcm::duration(from);
    let head = rest.make_mut();
    head.set_pts(buffer.pts().map(|pts| pts + cut));
    head.set_duration(buffer.duration().map(|duration| duration.saturating_sub(cut)));
    Some(rest)
}

/// Moves everything that comes by to an earlier time.
fn shift(pad: &gst::Pad, earlier: gst::ClockTime) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let head = buffer.make_mut();
            head.set_pts(head.pts().map(|pts| pts.saturating_sub(earlier)));
            head.set_dts(head.dts().map(|dts| dts.saturating_sub(earlier)));
        }
        gst::PadProbeReturn::Ok
    });
}
