//! Decodes the frames of one track and fits them into the recording's size.
//!
//! ```text
//! appsrc ─► parser ─► decoder ─► videoconvertscale (borders) ─► capsfilter (NV12)
//!                                                                     └─► appsink ─► FrameQueue
//! ```

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::colorimetry;
use super::playout_thread::FrameQueue;
use crate::media::{FeedConsumer, Intake, MediaPipeline, Overflow, PipelineError};
use crate::plan::track::TrackCodec;
use crate::source::pacing::Format;
use crate::source::tracks::caps;
use crate::source::tracks::peer::Frame;

/// Encoded frames that may wait: some seconds of video.
const WAITING: Overflow = Overflow::Hold { max_bytes: 16 << 20 };
/// Threads of a decoder. A recording shares its machine with others.
const THREADS: u32 = 2;

/// A pipeline of its own, so that a decoding error ends nothing else. Dropping it takes a moment;
/// see [`Decoder::flush`].
#[derive(Debug)]
pub(super) struct Decoder {
    codec: TrackCodec,
    queue: FrameQueue,
    pipeline: MediaPipeline,
    intake: Intake,
    dropped: Arc<AtomicU64>,
    /// Caps of the last key frame.
    caps: Option<gst::Caps>,
}

impl Decoder {
    /// # Errors
    /// If GStreamer has no decoder for this codec.
    pub(super) fn start(
        codec: TrackCodec,
        format: &Format,
        queue: FrameQueue,
    ) -> Result<Self, PipelineError> {
        let pipeline = MediaPipeline::new("decode");
        let intake = Intake::new("frames", WAITING, false)?;
        pipeline.adopt(intake.element())?;
        let mut chain = vec![intake.element().clone()];
        if let Some(parser) = parser(codec) {
            chain.push(pipeline.add(parser)?);
        }
        let decoder = decoder(&pipeline, codec)?;
        colorimetry::correct(&decoder, codec);
        chain.push(decoder);

        let scale = pipeline.add("videoconvertscale")?;
        scale.set_property("add-borders", true);
        // Neither improves a conversion from 8 bits to 8 bits, and both take time.
        scale.set_property_from_str("dither", "none");
        scale.set_property_from_str("chroma-mode", "none");
        chain.push(scale);
        let mut caps = format.caps().clone();
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            // Frames of a room have no fixed rate.
            structure.remove_field("framerate");
        }
        chain.push(pipeline.add_caps(&caps)?);
        let target = queue.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer_owned().and_then(|buffer| buffer.pts().map(|pts| (buffer, pts)));
                match buffer {
                    Some((buffer, pts)) => {
                        target.push(pts.into(), buffer).map_err(|_| gst::FlowError::Eos)?;
                    }
                    None => tracing::debug!("decoded frame dropped: no timestamp"),
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        chain.push(pipeline.add_sink(callbacks)?);
        pipeline.link(&chain.iter().collect::<Vec<_>>())?;
        pipeline.play()?;
        let dropped = intake.dropped();
        Ok(Self { codec, queue, pipeline, intake, dropped, caps: None })
    }

    pub(super) const fn codec(&self) -> TrackCodec {
        self.codec
    }

    /// Takes the next frame; the first has to be a key frame. Returns `false` if the decoder is too
    /// slow and frames were dropped.
    pub(super) fn push(&mut self, frame: &Frame, at: Duration) -> bool {
        if frame.is_key
            && let Some(mut caps) = caps::of(frame.codec, &frame.bytes)
        {
            if frame.codec == TrackCodec::Vp9
                && let Some(colorimetry) = colorimetry::of_vp9(&frame.bytes)
                && let Some(structure) = caps.make_mut().structure_mut(0)
            {
                structure.set("colorimetry", colorimetry.to_string());
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

    /// Drops decoded frames from this time on: another decoder takes over.
    pub(super) fn until(&self, at: Duration) {
        self.queue.until(at);
    }

    /// Returns an error of the pipeline, once.
    pub(super) fn failure(&self) -> Option<String> {
        let message = self.pipeline.gst().bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().to_string()),
            _ => None,
        }
    }

    /// Decodes the frames that wait, and ends the pipeline. Blocks until then.
    pub(super) fn flush(mut self, within: Duration) {
        self.intake.end();
        let within = gst::ClockTime::try_from(within).unwrap_or(gst::ClockTime::ZERO);
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = self.pipeline.gst().bus();
        if bus.and_then(|bus| bus.timed_pop_filtered(within, &ends)).is_none() {
            tracing::warn!(codec = %self.codec, "decoder not flushed in time");
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Otherwise its thread may wait for space, and the pipeline for its thread.
        self.queue.close();
    }
}

/// VP9 needs no parser: the layers of a frame come one after the other, which `vp9dec` understands
/// and `vp9parse` does not.
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
        // `dav1d` is several times as fast, and not always installed.
        TrackCodec::Av1 => &["dav1ddec", "av1dec"],
        // VP8; audio is not decoded here.
        _ => &["vp8dec"],
    };
    let there = names.iter().find(|name| gst::ElementFactory::find(name).is_some());
    let decoder = pipeline.add(there.or(names.last()).unwrap_or(&"vp8dec"))?;
    let threads = i32::try_from(THREADS).unwrap_or(1);
    match codec {
        TrackCodec::H264 | TrackCodec::H265 => {
            decoder.set_property("max-threads", threads);
            // Decoding several frames at a time would delay each of them.
            decoder.set_property_from_str("thread-type", "slice");
            decoder.set_property("output-corrupt", false);
        }
        TrackCodec::Vp8 | TrackCodec::Vp9 => decoder.set_property("threads", THREADS),
        _ => {}
    }
    // A frame that can't be decoded counts as missing: the video recovers at the next key frame.
    if decoder.has_property("max-errors") {
        decoder.set_property("max-errors", -1i32);
    }
    Ok(decoder)
}
