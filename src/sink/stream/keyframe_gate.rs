//! Start of a connection's media: at a key frame, audio and video together.
//!
//! A connection may be made at any time. Its video begins with the next key frame, and its audio
//! with the first sample at or after that frame. Audio is encoded faster than video, so the audio
//! of a key frame arrives before it: audio is held back until the key frame's time is known.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use gstreamer as gst;

use crate::media::{FeedConsumer, Intake};

/// Largest amount of audio held back: more than any encoder holds video.
const HELD: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// The media time at which one connection begins; set once by the leading medium (video, or audio
/// without video).
#[derive(Debug, Clone, Default)]
pub(super) struct KeyframeGate(Arc<OnceLock<gst::ClockTime>>);

impl KeyframeGate {
    /// Whether media has begun to pass.
    pub(super) fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    fn origin(&self) -> Option<gst::ClockTime> {
        self.0.get().copied()
    }

    fn open(&self, at: gst::ClockTime) -> gst::ClockTime {
        *self.0.get_or_init(|| at)
    }
}

/// The times of a connection's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Zero where it begins: RTMP servers and players expect it.
    FromZero,
    /// Media time: a receiver that outlives a connection sees a gap, and no step back.
    Media,
}

/// The leading medium: opens the gate with its first independently decodable sample.
#[derive(Debug)]
pub(super) struct VideoGate {
    gate: KeyframeGate,
    times: Times,
    intake: Intake,
}

impl VideoGate {
    pub(super) const fn new(gate: KeyframeGate, times: Times, intake: Intake) -> Self {
        Self { gate, times, intake }
    }
}

impl FeedConsumer for VideoGate {
    fn take(&mut self, sample: &gst::Sample) {
        let Some(buffer) = sample.buffer() else { return };
        let origin = match (self.gate.origin(), buffer.pts()) {
            (Some(origin), _) => origin,
            (None, Some(pts)) if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) => {
                self.gate.open(pts)
            }
            (None, _) => return,
        };
        pass(&mut self.intake, sample, origin, self.times);
    }

    fn end(&mut self) {
        self.intake.end();
    }
}

/// The other medium: waits for the gate to open, and passes samples from the gate's time on.
#[derive(Debug)]
pub(super) struct AudioGate {
    gate: KeyframeGate,
    times: Times,
    intake: Intake,
    held: VecDeque<gst::Sample>,
}

impl AudioGate {
    pub(super) const fn new(gate: KeyframeGate, times: Times, intake: Intake) -> Self {
        Self { gate, times, intake, held: VecDeque::new() }
    }

    fn hold(&mut self, sample: &gst::Sample) {
        self.held.push_back(sample.clone());
        let newest = pts_of(sample);
        while let (Some(oldest), Some(newest)) = (self.held.front().and_then(pts_of), newest) {
            if newest.saturating_sub(oldest) <= HELD {
                break;
            }
            self.held.pop_front();
        }
    }

    fn release(&mut self, origin: gst::ClockTime) {
        for sample in std::mem::take(&mut self.held) {
            self.pass_from(&sample, origin);
        }
    }

    fn pass_from(&mut self, sample: &gst::Sample, origin: gst::ClockTime) {
        if pts_of(sample).is_some_and(|pts| pts >= origin) {
            pass(&mut self.intake, sample, origin, self.times);
        }
    }
}

impl FeedConsumer for AudioGate {
    fn take(&mut self, sample: &gst::Sample) {
        match self.gate.origin() {
            None => self.hold(sample),
            Some(origin) => {
                self.release(origin);
                self.pass_from(sample, origin);
            }
        }
    }

    fn end(&mut self) {
        if let Some(origin) = self.gate.origin() {
            self.release(origin);
        }
        self.intake.end();
    }
}

fn pts_of(sample: &gst::Sample) -> Option<gst::ClockTime> {
    sample.buffer().and_then(gst::BufferRef::pts)
}

fn pass(intake: &mut Intake, sample: &gst::Sample, origin: gst::ClockTime, times: Times) {
    match times {
        Times::Media => intake.take(sample),
        Times::FromZero => {
            let Some(mut buffer) = sample.buffer_owned() else { return };
            // The data itself is shared: only the buffer's head is copied.
            let head = buffer.make_mut();
            head.set_pts(head.pts().map(|pts| pts.saturating_sub(origin)));
            head.set_dts(head.dts().map(|dts| dts.saturating_sub(origin)));
            let shifted = gst::Sample::builder().buffer(&buffer);
            intake.take(&match sample.caps() {
                Some(caps) => shifted.caps(&caps.to_owned()).build(),
                None => shifted.build(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Overflow;
    use gstreamer::prelude::*;

    fn sample(ms: u64, is_key: bool) -> gst::Sample {
        let mut buffer = gst::Buffer::from_slice([0u8; 4]);
        let head = buffer.get_mut().unwrap();
        head.set_pts(gst::ClockTime::from_mseconds(ms));
        head.set_duration(gst::ClockTime::from_mseconds(20));
        if !is_key {
            head.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        gst::Sample::builder().buffer(&buffer).build()
    }

    /// An intake in a running pipeline, and what comes out of it, in milliseconds.
    fn intake() -> (Intake, impl FnOnce() -> Vec<u64>) {
        let overflow = Overflow::SkipToKeyFrame { max_time: gst::ClockTime::from_seconds(60) };
        let intake = Intake::new("in", overflow, false).unwrap();
        let (pipeline, sink) = (gst::Pipeline::new(), crate::media::make("appsink").unwrap());
        sink.set_property("sync", false);
        pipeline.add_many([intake.element(), &sink]).unwrap();
        intake.element().link(&sink).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let sink = sink.downcast::<gstreamer_app::AppSink>().unwrap();
        let read = move || {
            let mut times = Vec::new();
            while let Ok(sample) = sink.pull_sample() {
                times.push(pts_of(&sample).unwrap().mseconds());
            }
            pipeline.set_state(gst::State::Null).unwrap();
            times
        };
        (intake, read)
    }

    #[test]
    fn sound_begins_with_the_key_frame_it_was_encoded_before() {
        crate::media::init().unwrap();
        for (times, shift) in [(Times::Media, 0), (Times::FromZero, 7000)] {
            let gate = KeyframeGate::default();
            let (video, pictures) = intake();
            let (audio, sounds) = intake();
            let mut video = VideoGate::new(gate.clone(), times, video);
            let mut audio = AudioGate::new(gate.clone(), times, audio);
            // Ten seconds of audio, 20 ms each; video at 10 fps is 400 ms later, with key frames at
            // 2.5 and 7.0 s. The connection was made at 3 s.
            for ms in (3000..10_000).step_by(20) {
                audio.take(&sample(ms, true));
                if ms % 100 == 0 && ms >= 3400 {
                    let picture = ms - 400;
                    assert_eq!(gate.is_open(), picture > 7000);
                    video.take(&sample(picture, picture == 7000));
                }
            }
            video.end();
            audio.end();
            let (pictures, sounds) = (pictures(), sounds());
            assert_eq!(pictures, (7000 - shift..=9500 - shift).step_by(100).collect::<Vec<_>>());
            assert_eq!(sounds, (7000 - shift..10_000 - shift).step_by(20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_than_two_seconds_of_sound_are_held() {
        crate::media::init().unwrap();
        let (audio, _) = intake();
        let mut audio = AudioGate::new(KeyframeGate::default(), Times::Media, audio);
        for ms in (0..60_000).step_by(20) {
            audio.take(&sample(ms, true));
        }
        assert_eq!(audio.held.len(), 101);
    }
}
