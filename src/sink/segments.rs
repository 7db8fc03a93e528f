//! HLS: MPEG-TS segments and their playlists.
//!
//! ```text
//! Feed(h264) ─► appsrc ─► h264parse ─┐                                        ┌─► segment-0-000000.ts  ─► Artifact
//!                                    ├─► mpegtsmux ─► appsink ─► writer thread ┤
//! Feed(aac) ──► appsrc ─► aacparse ──┘    one stream      cuts it             └─► playlist-0-000000.m3u8 ─► Artifact
//! ```
//!
//! One muxer serves the whole recording, and its stream is cut at key frames: concatenated, the
//! segments are that stream. A segment gets its name when it is complete; a playlist is reported
//! after its segments, and each version of it is a separate file.

mod pes;
mod recovery;
mod reserve;
mod segmenter;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::task::JoinHandle;

pub use self::recovery::{Places, recover};
use self::writer::Writer;
use super::drops::Drops;
use super::sink_pipeline::{Ended, Failure, SinkPipeline, to_writer, written};
use super::{SinkContext, SinkError};
use crate::media::{Feed, FeedConsumer, Intake, MediaPipeline, Overflow};
use crate::plan::output::{OutputId, SegmentsPlan};

/// The same rule as for files: a stalling disk must not cost a frame.
const PICTURES: Overflow = Overflow::Hold { max_bytes: 192 << 20 };
const SOUND: Overflow = Overflow::Hold { max_bytes: 16 << 20 };

/// Segments that are being recorded. Dropping it stops at once; what is finished stays.
#[derive(Debug)]
pub struct SegmentsSink {
    run: SinkPipeline,
    writer: JoinHandle<Result<(), SinkError>>,
    drops: Drops,
}

impl SegmentsSink {
    /// Begins the first segment with what the feeds carry from now on.
    ///
    /// # Errors
    /// When an element or a feed is missing.
    pub fn open(output: OutputId, plan: &SegmentsPlan, context: &SinkContext) -> Result<Self, SinkError> {
        let failure = Failure::new(output, context);
        let pipeline = MediaPipeline::new(&format!("segments-{}", output.0));
        let mux = pipeline.add("mpegtsmux")?;
        let (callbacks, muxed) = to_writer();
        let sink = pipeline.add_sink(callbacks)?;
        // The packets of a frame arrive as one list.
        sink.set_property("buffer-list", true);
        pipeline.link(&[&mux, &sink])?;

        let media_end = Arc::new(AtomicU64::new(0));
        let mut takers: Vec<(Feed, Box<dyn FeedConsumer>)> = Vec::new();
        let mut drops = Drops::new(output, context);
        if plan.has_video {
            let feed = context.video.clone().ok_or_else(|| SinkError::NoFeed("pictures".to_owned()))?;
            let intake = Intake::new("pictures", PICTURES, true)?;
            let parse = pipeline.add("h264parse")?;
            pipeline.adopt(intake.element())?;
            pipeline.link(&[intake.element(), &parse, &mux])?;
            drops.count(&feed, &intake);
            takers.push((feed, Box::new(EndRecorder { inner: intake, end: Arc::clone(&media_end) })));
        }
        if let Some(codec) = plan.audio {
            let feed = context.audio.get(&codec).cloned();
            let feed = feed.ok_or_else(|| SinkError::NoFeed(format!("sound as {codec}")))?;
            let intake = Intake::new("sound", SOUND, false)?;
            // The muxer wants it said that there is one frame in each buffer; the parser says so.
            let parse = pipeline.add("aacparse")?;
            pipeline.adopt(intake.element())?;
            pipeline.link(&[intake.element(), &parse, &mux])?;
            drops.count(&feed, &intake);
            takers.push((feed, Box::new(EndRecorder { inner: intake, end: Arc::clone(&media_end) })));
        }
        let writer = Writer {
            output,
            plan: plan.clone(),
            dir: context.dir.clone(),
            timeline: context.timeline.clone(),
            events: context.events.clone(),
            failure: failure.clone(),
            media_end,
        };
        let run = SinkPipeline::start(context, pipeline, takers, &failure)?;
        let writer = context.tasks.spawn_blocking(move || writer.run(muxed));
        Ok(Self { run, writer, drops })
    }

    /// Closes the last segment after the feeds have ended, and ends the playlists. All that is
    /// finished has been reported as [`Artifact`](super::Artifact)s by then.
    ///
    /// # Errors
    /// When it takes longer than `within`, or the playlists of a sink that had failed could not be
    /// ended: that is left for `weir recover`. The failure itself was reported while the sink ran,
    /// and is not told again.
    pub async fn finish(mut self, within: Duration) -> Result<(), SinkError> {
        let ended = self.run.ended(within).await?;
        if ended == Ended::Abandoned {
            return Ok(());
        }
        // What a sink that failed did not take, its failure says.
        if ended == Ended::Complete {
            self.drops.report();
        }
        written(self.writer, self.run.name(), within).await?
    }
}

/// Temporary name of a segment while it is written.
fn part_of(local: &Path) -> PathBuf {
    let mut part = local.as_os_str().to_owned();
    part.push(".part");
    PathBuf::from(part)
}

/// Notes where the media that passes ends.
#[derive(Debug)]
struct EndRecorder {
    inner: Intake,
    end: Arc<AtomicU64>,
}

impl FeedConsumer for EndRecorder {
    fn take(&mut self, sample: &gst::Sample) {
        if let Some(buffer) = sample.buffer()
            && let Some(pts) = buffer.pts()
        {
            let end = pts + buffer.duration().unwrap_or(gst::ClockTime::ZERO);
            self.end.fetch_max(end.nseconds(), Ordering::Relaxed);
        }
        self.inner.take(sample);
    }

    fn end(&mut self) {
        self.inner.end();
    }
}

#[cfg(test)]
mod tests;
