//! One track's frames into pictures of the recording's size.
//!
//! ```text
//! appsrc ─► parser ─► decoder ─► videoconvertscale (borders) ─► capsfilter (NV12) ─► appsink ─► Outlet
//! ```

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::colorimetry;
use super::playout_thread::Outlet;
use crate::media::{FeedConsumer, Intake, MediaPipeline, Overflow, PipelineError};
use crate::plan::track::TrackCodec;
use crate::source::pacing::Format;
use crate::source::tracks::caps;
use crate::source::tracks::peer::Frame;

/// Encoded frames that may wait: some seconds, while pictures are held up.
const WAITING: Overflow = Overflow::Hold { max_bytes: 16 << 20 };
/// A recording shares its machine with others.
const THREADS: u32 = 2;

/// A pipeline of its own, so that what can't be decoded ends nothing else. Dropping it takes a moment; see [`Decoder::empty`].
#[derive(Debug)]
pub(super) struct Decoder {
    codec: TrackCodec,
    outlet: Outlet,
    pipeline: MediaPipeline,
    intake: Intake,
    dropped: Arc<AtomicU64>,
    /// By the last key frame.
    caps: Option<gst::Caps>,
}

impl Decoder {
    /// # Errors
    /// When GStreamer has no decoder of this codec.
    pub(super) fn start(codec: TrackCodec, format: &Format, outlet: Outlet) -> Result<Self, PipelineError> {
        let pipeline = MediaPipeline::new("decode");
        let intake = Intake::new("frames", WAITING, false)?;
        pipeline.adopt(intake.element())?;
        let mut chain = vec![intake.element().clone()];
        if let Some(parser) = parser(codec) {
            chain.push(pipeline.add(parser)?);
        }
        let decoder = decoder(&pipeline, codec)?;
        colorimetry::mend(&decoder, codec);
        chain.push(decoder);

        let scale = pipeline.add("videoconvertscale")?;
        scale.set_property("add-borders", true);
        // Neither matters between 8 bits and 8 bits, and both cost.
        scale.set_property_from_str("dither", "none");
        scale.set_property_from_str("chroma-mode", "none");
        chain.push(scale);
        let mut caps = format.caps().clone();
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            // Pictures come when they do.
            structure.remove_field("framerate");
        }
        chain.push(pipeline.add_caps(&caps)?);
        let into = outlet.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer_owned().and_then(|buffer| buffer.pts().map(|pts| (buffer, pts)));
                match buffer {
                    Some((buffer, pts)) => {
                        into.leave(pts.into(), buffer).map_err(|_| gst::FlowError::Eos)?;
                    }
                    None => tracing::debug!("a picture without a time"),
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        chain.push(pipeline.add_sink(callbacks)?);
        pipeline.link(&chain.iter().collect::<Vec<_>>())?;
        pipeline.play()?;
        let dropped = intake.dropped();
        Ok(Self { codec, outlet, pipeline, intake, dropped, caps: None })
    }

    pub(super) const fn codec(&self) -> TrackCodec {
        self.codec
    }

    /// The next frame, from a key frame on; `false` when it can't take any more.
    pub(super) fn push(&mut self, frame: &Frame, at: Duration) -> bool {
        if frame.is_key
            && let Some(mut caps) = caps::of(frame.codec, &frame.bytes)
        {
            if frame.codec == TrackCodec::Vp9
                && let Some(colours) = colorimetry::of_vp9(&frame.bytes)
                && let Some(structure) = caps.make_mut().structure_mut(0)
            {
                structure.set("colorimetry", colours.to_string());
            }
            self.caps = Some(caps);
        }
        let Some(caps) = &self.caps else { return true };
        let mut buffer = gst::Buffer::from_slice(Arc::clone(&frame.bytes));
        if let Some(buffer) = buffer.get_mut() {
            let at = gst::ClockTime::try_from(at).unwrap_or(gst::ClockTime::MAX);
            buffer.set_pts(at);
            buffer.set_dts(at);
            if !frame.is_key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        self.intake.take(&gst::Sample::builder().buffer(&buffer).caps(caps).build());
        self.dropped.load(Ordering::Relaxed) == 0
    }

    /// Pictures from here on are another one's.
    pub(super) fn until(&self, at: Duration) {
        self.outlet.until(at);
    }

    /// Why it can't go on, once.
    pub(super) fn failure(&self) -> Option<String> {
        let message = self.pipeline.gst().bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().to_string()),
            _ => None,
        }
    }

    /// Lets out what it holds, and ends it. Blocks until then.
    pub(super) fn empty(mut self, within: Duration) {
        self.intake.end();
        let within = gst::ClockTime::try_from(within).unwrap_or(gst::ClockTime::ZERO);
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = self.pipeline.gst().bus();
        if bus.and_then(|bus| bus.timed_pop_filtered(within, &ends)).is_none() {
            tracing::warn!(codec = %self.codec, "what was decoded did not come to its end");
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Else its thread may wait for room, and the pipeline for its thread.
        self.outlet.cut();
    }
}

/// VP9 has none: the layers of a picture come one after the other, which `vp9dec` understands and `vp9parse` does not.
const fn parser(codec: TrackCodec) -> Option<&'static str> {
    match codec {
        TrackCodec::H264 => Some("h264parse"),
        TrackCodec::H265 => Some("h265parse"),
        TrackCodec::Av1 => Some("av1parse"),
        _ => None,
    }
}

fn decoder(pipeline: &MediaPipeline, codec: TrackCodec) -> Result<gst::Element, PipelineError> {
    let names: &[&str] = match codec {
        TrackCodec::Vp9 => &["vp9dec"],
        TrackCodec::H264 => &["avdec_h264"],
        TrackCodec::H265 => &["avdec_h265"],
        // Where it is there, `dav1d` is some times as fast.
        TrackCodec::Av1 => &["dav1ddec", "av1dec"],
        // Sound does not come here.
        _ => &["vp8dec"],
    };
    let there = names.iter().find(|name| gst::ElementFactory::find(name).is_some());
    let decoder = pipeline.add(there.or(names.last()).unwrap_or(&"vp8dec"))?;
    let threads = i32::try_from(THREADS).unwrap_or(1);
    match codec {
        TrackCodec::H264 | TrackCodec::H265 => {
            decoder.set_property("max-threads", threads);
            // Several frames at a time would each be late.
            decoder.set_property_from_str("thread-type", "slice");
            decoder.set_property("output-corrupt", false);
        }
        TrackCodec::Vp8 | TrackCodec::Vp9 => decoder.set_property("threads", THREADS),
        _ => {}
    }
    // A frame that can't be read is one that is missing: the next key frame mends it.
    if decoder.has_property("max-errors") {
        decoder.set_property("max-errors", -1i32);
    }
    Ok(decoder)
}
