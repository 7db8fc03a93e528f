//! Captures frames of any display with GStreamer's `ximagesrc` on its own clock.
//!
//! ```text
//! ximagesrc ─► capsfilter (rate) ─► videoconvert ─► capsfilter (NV12) ─► appsink ─► LatestFrame
//! ```
//!
//! Xlib, which `ximagesrc` uses, ends the whole process when the display dies.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::watch;

use super::heartbeat::Heartbeat;
use super::latest_frame::{CapturedFrame, LatestFrame};
use super::live::LivePipeline;
use super::{CaptureError, ScreenArea, alignment};
use crate::media::{MediaPipeline, Timeline};
use crate::plan::request::CaptureKind;

#[derive(Debug)]
pub(super) struct XImageCapture {
    live: LivePipeline,
    beat: Heartbeat,
}

impl XImageCapture {
    pub(super) fn start(
        screen: &ScreenArea,
        slot: LatestFrame,
        timeline: &Timeline,
    ) -> Result<Self, CaptureError> {
        let pipeline = MediaPipeline::new("ximage");
        let src = pipeline.add("ximagesrc")?;
        src.set_property("display-name", &screen.display);
        src.set_property("use-damage", false);
        src.set_property("show-pointer", false);
        src.set_property("endx", screen.width.saturating_sub(1));
        src.set_property("endy", screen.height.saturating_sub(1));
        let fps = i32::try_from(screen.fps.max(1)).unwrap_or(i32::MAX);
        let rate = gst::Caps::builder("video/x-raw").field("framerate", gst::Fraction::new(fps, 1)).build();
        let rate = pipeline.add_caps(&rate)?;
        let convert = pipeline.add("videoconvert")?;
        // Neither matters between 8 bits and 8 bits, and both cost.
        convert.set_property_from_str("dither", "none");
        convert.set_property_from_str("chroma-mode", "none");
        let format = pipeline.add_caps(slot.format().caps())?;
        let earlier = gst::ClockTime::try_from(alignment::earlier(CaptureKind::XImageSrc, screen.fps))
            .unwrap_or(gst::ClockTime::ZERO);
        let beat = Heartbeat::new();
        let strikes = beat.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                strikes.record();
                if let Some((buffer, pts)) = sample.buffer_owned().and_then(|b| b.pts().map(|pts| (b, pts))) {
                    slot.offer(CapturedFrame { buffer, drawn: pts.saturating_sub(earlier) });
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        let sink = pipeline.add_sink(callbacks)?;
        pipeline.link(&[&src, &rate, &convert, &format, &sink])?;
        Ok(Self { live: LivePipeline::start(pipeline, timeline)?, beat })
    }

    /// When a frame was grabbed last, new or not.
    pub(super) fn beat(&self) -> Heartbeat {
        self.beat.clone()
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.live.failure()
    }
}
