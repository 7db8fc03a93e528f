//! Encodes video to H.264.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::thinning::Thinning;
use crate::media::{Feed, FeedConsumer, Intake, KeyFrames, MediaPipeline, Overflow, PipelineError};
use crate::plan::encoding::H264Profile;
use crate::plan::graph::X264Plan;

/// Frames that may wait for the encoder: a hiccup of 0.2 s at 30 fps.
const MAX_WAITING_PICTURES: u64 = 6;

pub(super) struct BuiltVideo {
    pub(super) pipeline: MediaPipeline,
    pub(super) output: Feed,
    pub(super) taker: Box<dyn FeedConsumer>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) key_frames: KeyFrames,
}

/// ```text
/// appsrc(NV12) ─► x264enc ─► capsfilter(byte-stream, au, profile) ─► appsink
/// ```
pub(super) fn build(
    plan: &X264Plan,
    key_interval: Duration,
    thinning: Thinning,
) -> Result<BuiltVideo, PipelineError> {
    let pipeline = MediaPipeline::new("encode-video");
    let output = Feed::new("h264");
    let intake = Intake::new("pictures", Overflow::Skip { max_buffers: MAX_WAITING_PICTURES }, false)?;
    pipeline.adopt(intake.element())?;

    let encoder = pipeline.add("x264enc")?;
    encoder.set_property_from_str("speed-preset", plan.speed_preset);
    encoder.set_property("bitrate", plan.bitrate_kbps);
    encoder.set_property("vbv-buf-capacity", plan.vbv_buf_capacity_ms);
    encoder.set_property("key-int-max", plan.key_int_max);
    encoder.set_property("threads", plan.threads);
    encoder.set_property("bframes", plan.b_frames);
    encoder.set_property("rc-lookahead", i32::try_from(plan.rc_lookahead).unwrap_or(10));
    encoder.set_property("mb-tree", plan.mb_tree);
    encoder.set_property("option-string", &plan.option_string);

    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .field("profile", profile_name(plan.profile))
        .build();
    let filter = pipeline.add_caps(&caps)?;
    let sink =
        pipeline.add_feed(&output, |sample| at_times(&sample, |time| time.saturating_sub(HEADROOM)))?;
    pipeline.link(&[intake.element(), &encoder, &filter, &sink])?;

    let requests = encoder.downgrade();
    let key_frames = KeyFrames::new(move || {
        if let Some(encoder) = requests.upgrade() {
            force_key_frame(&encoder, None);
        }
    });
    let dropped = intake.dropped();
    let interval = gst::ClockTime::try_from(key_interval).unwrap_or(gst::ClockTime::from_seconds(10));
    let encoder = encoder.downgrade();
    let taker =
        Box::new(KeyFrameSchedule { intake, encoder, interval, next: interval, thinning, last: None });
    Ok(BuiltVideo { pipeline, output, taker, dropped, key_frames })
}

/// `x264enc` shifts earlier times by this much, to have room for negative decoding times, and then
/// compares key-frame requests with unshifted times, so that each falls on an arbitrary later
/// frame. Frames with this offset are not shifted, and a request falls on its frame.
const HEADROOM: gst::ClockTime = gst::ClockTime::from_seconds(1000 * 3600);

/// The sample at other times. Its memory is shared.
fn at_times(sample: &gst::Sample, to: impl Fn(gst::ClockTime) -> gst::ClockTime) -> gst::Sample {
    let Some(buffer) = sample.buffer() else { return sample.clone() };
    let mut moved = buffer.copy();
    if let Some(moved) = moved.get_mut() {
        moved.set_pts(buffer.pts().map(&to));
        moved.set_dts(buffer.dts().map(&to));
    }
    gst::Sample::builder().buffer(&moved).caps_if_some(sample.caps_owned().as_ref()).build()
}

/// Forces a key frame at the first frame at or after each multiple of the interval. By time instead
/// of by count, as frames have their capture times.
#[derive(Debug)]
struct KeyFrameSchedule {
    intake: Intake,
    encoder: gst::glib::WeakRef<gst::Element>,
    interval: gst::ClockTime,
    next: gst::ClockTime,
    thinning: Thinning,
    /// Time of the last frame that was not dropped.
    last: Option<gst::ClockTime>,
}

impl FeedConsumer for KeyFrameSchedule {
    fn take(&mut self, sample: &gst::Sample) {
        let pts = sample.buffer().and_then(gst::BufferRef::pts);
        if let (Some(pts), Some(encoder)) = (pts, self.encoder.upgrade())
            && pts >= self.next
        {
            force_key_frame(&encoder, Some(pts + HEADROOM));
            self.next = next_multiple(pts, self.interval);
        } else if pts.is_some_and(|pts| self.thinning.leaves_out(pts, self.last)) {
            return;
        }
        self.last = pts;
        self.intake.take(&at_times(sample, |time| time + HEADROOM));
    }

    fn end(&mut self) {
        self.intake.end();
    }
}

/// The first multiple of `interval` after `pts`.
fn next_multiple(pts: gst::ClockTime, interval: gst::ClockTime) -> gst::ClockTime {
    let step = interval.nseconds().max(1);
    gst::ClockTime::from_nseconds((pts.nseconds() / step + 1).saturating_mul(step))
}

/// Requests a key frame: the first frame at or after a running time, or the next one.
fn force_key_frame(encoder: &gst::Element, at: Option<gst::ClockTime>) {
    let event = gst_video::UpstreamForceKeyUnitEvent::builder().running_time(at).all_headers(true).build();
    if let Some(pad) = encoder.static_pad("src")
        && !pad.send_event(event)
    {
        tracing::debug!("the encoder refused a request for a key frame");
    }
}

const fn profile_name(profile: H264Profile) -> &'static str {
    match profile {
        // What x264 writes as baseline is constrained baseline.
        H264Profile::Baseline => "constrained-baseline",
        H264Profile::Main => "main",
        H264Profile::High => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_stand_at_multiples_of_the_interval() {
        let s = gst::ClockTime::from_seconds;
        assert_eq!(next_multiple(s(0), s(4)), s(4));
        assert_eq!(next_multiple(s(4), s(4)), s(8));
        assert_eq!(next_multiple(gst::ClockTime::from_mseconds(9_999), s(4)), s(12));
        assert_eq!(next_multiple(s(5), gst::ClockTime::ZERO), s(5) + gst::ClockTime::from_nseconds(1));
    }
}
