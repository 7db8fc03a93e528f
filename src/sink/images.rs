//! Thumbnails: a JPEG at an interval.
//!
//! ```text
//! Feed(raw) ─► at due times only ─► appsrc ─► videoscale ─► videoconvert ─► caps ─► jpegenc ─► appsink ─► writer thread
//! ```
//!
//! Only frames that become images are touched. The caps require full-range BT.601, as JPEG does
//! (JFIF §3): video's own range and matrix would look grey and greenish. A frame of another aspect
//! ratio gets black borders.

mod interval;
mod recovery;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::task::JoinHandle;

use self::interval::IntervalFilter;
pub use self::recovery::recover;
use self::writer::Writer;
use super::sink_pipeline::{Ended, Failure, SinkPipeline, to_writer, written};
use super::{SinkContext, SinkError};
use crate::media::{Intake, MediaPipeline, Overflow};
use crate::plan::output::{ImagesPlan, OutputId};

/// Frames that may wait for the encoder; each is as large as a raw frame.
const WAITING: Overflow = Overflow::Skip { max_buffers: 8 };

/// Images that are being taken. Dropping it stops at once; what is written stays.
#[derive(Debug)]
pub struct ImagesSink {
    output: OutputId,
    run: SinkPipeline,
    writer: JoinHandle<()>,
    dropped: Arc<AtomicU64>,
}

impl ImagesSink {
    /// Takes the first image from the next frame.
    ///
    /// # Errors
    ///
    /// When an element is missing, or the recording has no video.
    pub fn open(output: OutputId, plan: &ImagesPlan, context: &SinkContext) -> Result<Self, SinkError> {
        let feed = context.raw_video.clone().ok_or_else(|| SinkError::NoFeed("pictures".to_owned()))?;
        let failure = Failure::new(output, context);
        let pipeline = MediaPipeline::new(&format!("images-{}", output.0));
        let intake = Intake::new("pictures", WAITING, false)?;
        let dropped = intake.dropped();
        pipeline.adopt(intake.element())?;
        let scale = pipeline.add("videoscale")?;
        scale.set_property("add-borders", true);
        let convert = pipeline.add("videoconvert")?;
        let caps = pipeline.add_caps(&image_caps(plan))?;
        let encode = pipeline.add("jpegenc")?;
        let (callbacks, images) = to_writer();
        let sink = pipeline.add_sink(callbacks)?;
        pipeline.link(&[intake.element(), &scale, &convert, &caps, &encode, &sink])?;

        let writer = Writer {
            output,
            plan: plan.clone(),
            dir: context.dir.clone(),
            timeline: context.timeline.clone(),
            events: context.events.clone(),
            failure: failure.clone(),
        };
        let taker = IntervalFilter::new(intake, plan.interval, context.timeline.clone());
        let run = SinkPipeline::start(context, pipeline, vec![(feed, Box::new(taker))], &failure)?;
        let writer = context.tasks.spawn_blocking(move || writer.run(images));
        Ok(Self { output, run, writer, dropped })
    }

    /// Waits for the last image after the feed has ended. All images have been reported as
    /// [`Artifact`](super::Artifact)s by then.
    ///
    /// # Errors
    /// When it takes longer than `within`. A failure that was reported while the sink ran is not
    /// told again.
    pub async fn finish(mut self, within: Duration) -> Result<(), SinkError> {
        if self.run.ended(within).await? == Ended::Abandoned {
            return Ok(());
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                output = self.output.0,
                dropped,
                "images were left out: the machine or its disk was too slow"
            );
        }
        written(self.writer, self.run.name(), within).await
    }
}

fn image_caps(plan: &ImagesPlan) -> gst::Caps {
    let side = |length: u32| i32::try_from(length).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", side(plan.width))
        .field("height", side(plan.height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("colorimetry", "1:4:0:0")
        .build()
}

#[cfg(test)]
mod tests;
