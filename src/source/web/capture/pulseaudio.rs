//! Captures an audio server's audio, stamped with media time.
//!
//! ```text
//! pulsesrc ─► capsfilter (S16LE, 48 kHz, stereo) ─► appsink ─► stamp, clip to the recording ─► Feed
//! ```
//!
//! The server mixes in exactly this format, so nothing is converted. Gaps (a restarted server)
//! stay: the encoders fill them.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::watch;

use super::CaptureError;
use super::arrival_clock::ArrivalClock;
use super::heartbeat::Heartbeat;
use super::live::LivePipeline;
use crate::media::{Feed, MediaPipeline, Timeline, pcm};

/// Frames (one sample of each channel) a second.
const RATE: u64 = 48_000;
/// Bytes of a frame: two channels of 16 bits.
const FRAME: usize = 4;
/// Length of an audio buffer. The server mixes in blocks, whose position is known within one
/// buffer: with 20 ms the A/V offset varied by 17 ms from one recording to the next, with 10 ms by
/// less than 6; 5 ms gain nothing and cost 0.02 core more.
const PIECE: Duration = Duration::from_millis(10);
/// Audio that the server may buffer when the capture is late.
const BUFFER: Duration = Duration::from_secs(2);
/// How long after the end its sound may still come.
const PATIENCE: Duration = Duration::from_millis(300);

/// Audio of one audio server while it lives.
#[derive(Debug)]
pub struct AudioCapture {
    live: LivePipeline,
    feed: Feed,
    timeline: Timeline,
    /// Running time up to which sound has come.
    reached: watch::Receiver<gst::ClockTime>,
    beat: Heartbeat,
}

impl AudioCapture {
    /// `server` is the server's socket, `device` the source (`weir.monitor`). Audio is stamped
    /// `earlier` than its arrival.
    ///
    /// # Errors
    ///
    /// When the server or the device is unavailable.
    pub fn start(
        server: &Path,
        device: &str,
        earlier: Duration,
        feed: Feed,
        timeline: &Timeline,
    ) -> Result<Self, CaptureError> {
        let pipeline = MediaPipeline::new("sound");
        let src = pipeline.add("pulsesrc")?;
        src.set_property("server", format!("unix:{}", server.display()));
        src.set_property("device", device);
        src.set_property("client-name", "weir");
        // Sound is stamped by `ArrivalClock`: the element must neither be a clock nor follow one,
        // in which it drops and doubles pieces.
        src.set_property("provide-clock", false);
        src.set_property_from_str("slave-method", "none");
        src.set_property("latency-time", i64::try_from(PIECE.as_micros()).unwrap_or(i64::MAX));
        src.set_property("buffer-time", i64::try_from(BUFFER.as_micros()).unwrap_or(i64::MAX));
        let caps = pcm::caps();
        let format = pipeline.add_caps(&caps)?;
        let (reach, reached) = watch::channel(gst::ClockTime::ZERO);
        let (into, placed, mut clock) = (feed.clone(), timeline.clone(), ArrivalClock::new(RATE));
        let earlier = u64::try_from(earlier.as_nanos()).unwrap_or(0);
        let beat = Heartbeat::new();
        let strikes = beat.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                strikes.record();
                if let Some(buffer) = sample.buffer_owned() {
                    let frames = buffer.size() / FRAME;
                    let recording = placed.begun().is_some();
                    let start = clock.arrived(placed.now().nseconds(), frames as u64, recording);
                    let start = start.saturating_sub(earlier);
                    take(buffer, start, &caps, &into, &placed);
                    reach.send_replace(gst::ClockTime::from_nseconds(start + length_of(frames as u64)));
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        let sink = pipeline.add_sink(callbacks)?;
        pipeline.link(&[&src, &format, &sink])?;
        let live = LivePipeline::start(pipeline, timeline)?;
        Ok(Self { live, feed, timeline: timeline.clone(), reached, beat })
    }

    /// Becomes `Some(why)` when the capture can't go on (the server is gone).
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.live.failure()
    }

    /// When sound came last. An audio server sends without a pause, silence too.
    #[must_use]
    pub fn beat(&self) -> Heartbeat {
        self.beat.clone()
    }

    /// Waits for the sound up to the end of the recording (call after [`Timeline::end`]) and ends
    /// the feed. Takes less than 0.3 s, and no time when the capture has failed.
    pub async fn finish(mut self) {
        if let (Some(begun), length) = (self.timeline.begun(), self.timeline.end()) {
            let mut failure = self.live.failure();
            let all = async {
                // Either ends also when the pipeline is gone.
                tokio::select! {
                    _ = self.reached.wait_for(|reached| *reached >= begun + length) => {}
                    _ = failure.wait_for(Option::is_some) => {}
                }
            };
            if tokio::time::timeout(PATIENCE, all).await.is_err() {
                tracing::warn!("the last sound did not come in time");
            }
        }
        self.feed.end();
    }
}

/// Gives a piece of sound that was made at `start` (running time) its place in the recording.
fn take(mut buffer: gst::Buffer, start: u64, caps: &gst::Caps, feed: &Feed, timeline: &Timeline) {
    let Some(begun) = timeline.begun() else { return };
    let end = timeline.ended().map(|length| (begun + length).nseconds());
    let inside = clip(start, (buffer.size() / FRAME) as u64, begun.nseconds(), end);
    if inside.is_empty() {
        return;
    }
    let bytes = inside.start as usize * FRAME..inside.end as usize * FRAME;
    if bytes != (0..buffer.size()) {
        // Refused only beyond the buffer, which `clip` never goes.
        let Ok(region) = buffer.copy_region(gst::BufferCopyFlags::MEMORY, bytes) else { return };
        buffer = region;
    }
    let writable = buffer.make_mut();
    let pts = (start + length_of(inside.start)).saturating_sub(begun.nseconds());
    writable.set_pts(gst::ClockTime::from_nseconds(pts));
    writable.set_dts(gst::ClockTime::NONE);
    writable.set_duration(gst::ClockTime::from_nseconds(length_of(inside.end - inside.start)));
    feed.push(&gst::Sample::builder().buffer(&buffer).caps(caps).build());
}

/// The range of `frames` frames from `start` that is inside the recording. All times are
/// nanoseconds of running time.
fn clip(start: u64, frames: u64, begun: u64, end: Option<u64>) -> Range<u64> {
    let before = begun.saturating_sub(start).saturating_mul(RATE).div_ceil(1_000_000_000).min(frames);
    let until = end
        .map_or(frames, |end| (end.saturating_sub(start).saturating_mul(RATE) / 1_000_000_000).min(frames));
    before..until.max(before)
}

const fn length_of(frames: u64) -> u64 {
    frames * 1_000_000_000 / RATE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn sound_is_clipped_to_the_recording() {
        // 20 ms of sound that begin at 100 ms.
        let piece = |begun: u64, end: Option<u64>| clip(100 * MS, 960, begun, end);
        assert_eq!(piece(50 * MS, None), 0..960);
        assert_eq!(piece(110 * MS, None), 480..960);
        assert!(piece(120 * MS, None).is_empty());
        assert_eq!(piece(50 * MS, Some(105 * MS)), 0..240);
        assert_eq!(piece(105 * MS, Some(110 * MS)), 240..480);
        assert!(piece(50 * MS, Some(100 * MS)).is_empty());
        assert!(piece(50 * MS, Some(60 * MS)).is_empty());
    }
}
