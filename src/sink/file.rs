//! One file: MP4, OGG, MP3 or WebM.
//!
//! ```text
//! Feed(h264) ─► appsrc ─► h264parse ─┐
//!                                    ├─► mp4mux (fragments) ─► filesink  file-0.recording.mp4
//! Feed(aac) ──► appsrc ──────────────┘                             │ at the end: finalize
//!                                                                  ▼
//! Feed(opus) ─► appsrc ─► oggmux ─► filesink                    file-0.mp4   ─► Artifact
//!
//! Feed(track) ─► appsrc ─► parser of its codec ─► mp4mux or webmmux ─► filesink
//! ```
//!
//! While it is written, a crash costs the file its last second or two. Written data must never
//! depend on later data.

mod from_zero;
mod pass_through;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;

use self::from_zero::FromZero;
use self::pass_through::{mend, parser};
use super::drops::Drops;
use super::finalize::{self, Finalized, Layout};
use super::sink_pipeline::{Ended, Failure, SinkPipeline};
use super::{Artifact, ArtifactKind, FileHead, GrowingFile, SinkContext, SinkError, SinkEvent};
use crate::media::{Feed, FeedConsumer, Intake, MediaPipeline, Overflow, PipelineError};
use crate::plan::codec::{CONTAINERS, Container, ContainerRow};
use crate::plan::output::{FilePlan, OutputId, PassThrough};

/// A disk that stalls must not cost a frame: so much waits in memory, some minutes of each.
const PICTURES: Overflow = Overflow::Hold { max_bytes: 192 << 20 };
const SOUND: Overflow = Overflow::Hold { max_bytes: 16 << 20 };

/// How a container is written. One row for each.
struct Muxing {
    container: Container,
    muxer: &'static str,
    set_up: fn(&gst::Element),
    /// Templates of the muxer's pads. An `appsrc` fits any of them before its first sample, so that
    /// they must be named.
    audio_pad: &'static str,
    video: Option<VideoMuxing>,
    /// Set if written data does not change before the file is finalized, so that it can be uploaded
    /// while it grows; `None` if finalizing rewrites it.
    grows: Option<FileHead>,
}

struct VideoMuxing {
    pad: &'static str,
}

const MUXINGS: &[Muxing] = &[
    Muxing {
        container: Container::Mp4,
        muxer: "mp4mux",
        set_up: fragmented,
        audio_pad: "audio_%u",
        video: Some(VideoMuxing { pad: "video_%u" }),
        grows: None,
    },
    Muxing {
        container: Container::Ogg,
        muxer: "oggmux",
        set_up: as_it_is,
        audio_pad: "audio_%u",
        video: None,
        grows: Some(FileHead::Final),
    },
    Muxing {
        container: Container::Mp3,
        muxer: "xingmux",
        set_up: as_it_is,
        audio_pad: "sink",
        video: None,
        grows: Some(FileHead::Rewritten),
    },
    Muxing {
        container: Container::WebM,
        muxer: "webmmux",
        set_up: as_it_is,
        audio_pad: "audio_%u",
        video: Some(VideoMuxing { pad: "video_%u" }),
        grows: None,
    },
];

/// Fragments of a second, each complete in itself. (`fragment-mode=first-moov-then-finalise` of
/// GStreamer 1.22 leaves an unreadable file when killed.)
fn fragmented(mux: &gst::Element) {
    mux.set_property("fragment-duration", 1000u32);
}

const fn as_it_is(_: &gst::Element) {}

/// Ticks per second of a video track: an integer per frame at 24, 25, 30 and 60 fps, and 11 µs
/// precise for other times.
const VIDEO_TIMESCALE: u32 = 90_000;

/// Location of a file output's data in the recording's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePaths {
    /// While it is recorded.
    pub recorded: PathBuf,
    /// The finalized file.
    pub whole: PathBuf,
}

impl FilePaths {
    #[must_use]
    pub fn new(dir: &Path, output: OutputId, container: Container) -> Self {
        let extension = row(container).extension;
        let name = format!("file-{}", output.0);
        Self {
            recorded: dir.join(format!("{name}.recording{extension}")),
            whole: dir.join(format!("{name}{extension}")),
        }
    }
}

/// A file that is being recorded. Dropping it stops at once and leaves on the disk what is there.
#[derive(Debug)]
pub struct FileSink {
    output: OutputId,
    plan: FilePlan,
    paths: FilePaths,
    run: SinkPipeline,
    context: SinkContext,
    drops: Drops,
}

impl FileSink {
    /// Begins the file with what the feeds carry from now on.
    ///
    /// # Errors
    /// When an element is missing, or the directory can't be written to.
    pub fn open(output: OutputId, plan: &FilePlan, context: &SinkContext) -> Result<Self, SinkError> {
        let muxing = muxing(plan.container);
        let paths = FilePaths::new(&context.dir, output, plan.container);
        // Here, where the error still names the file.
        std::fs::File::create(&paths.recorded).map_err(|source| SinkError::Io {
            action: "creating",
            path: paths.recorded.clone(),
            source,
        })?;
        let failure = Failure::new(output, context);
        let pipeline = MediaPipeline::new(&format!("file-{}", output.0));
        let mux = pipeline.add(muxing.muxer)?;
        (muxing.set_up)(&mux);
        let sink = pipeline.add("filesink")?;
        sink.set_property("location", &paths.recorded);
        // What left the muxer is the kernel's, not in a buffer that dies with us.
        sink.set_property_from_str("buffer-mode", "unbuffered");
        sink.set_property("sync", false);
        sink.set_property("async", false);
        pipeline.link(&[&mux, &sink])?;

        let mut takers: Vec<(Feed, Box<dyn FeedConsumer>)> = Vec::new();
        let mut drops = Drops::new(output, context);
        if plan.has_video {
            let no_feed = || SinkError::NoFeed("pictures".to_owned());
            let feed = context.video.clone().ok_or_else(no_feed)?;
            let video = muxing.video.as_ref().ok_or_else(no_feed)?;
            let mut intake = Intake::new("pictures", PICTURES, true)?;
            if plan.pass_through.is_some() {
                // Encoders make key frames by themselves, publishers only when they are asked.
                intake = intake.asking(context.key_frames.clone());
            }
            pipeline.adopt(intake.element())?;
            let mut last = intake.element().clone();
            if let Some((parser, caps)) = parser(plan.pass_through.as_ref()) {
                let parser = pipeline.add(parser)?;
                pipeline.link(&[&last, &parser])?;
                last = parser;
                if let Some(caps) = caps.and_then(|caps| gst::Caps::from_str(caps).ok()) {
                    let filter = pipeline.add_caps(&caps)?;
                    pipeline.link(&[&last, &filter])?;
                    last = filter;
                }
            }
            let pad = link_to_pad(&pipeline, &last, &mux, video.pad)?;
            if let Some((PassThrough::Of(_), from)) = plan.pass_through.as_ref().zip(last.static_pad("src")) {
                mend(&from);
            }
            if pad.has_property("trak-timescale") {
                pad.set_property("trak-timescale", VIDEO_TIMESCALE);
            }
            drops.count(&feed, &intake);
            takers.push((feed, Box::new(FromZero::new(intake))));
        }
        if let Some(codec) = plan.audio {
            let feed = context.audio.get(&codec).cloned();
            let feed = feed.ok_or_else(|| SinkError::NoFeed(format!("sound as {codec}")))?;
            let intake = Intake::new("sound", SOUND, false)?;
            pipeline.adopt(intake.element())?;
            link_to_pad(&pipeline, intake.element(), &mux, muxing.audio_pad)?;
            drops.count(&feed, &intake);
            takers.push((feed, Box::new(FromZero::new(intake))));
        }
        let run = SinkPipeline::start(context, pipeline, takers, &failure)?;
        if let Some(head) = muxing.grows {
            let growing =
                GrowingFile { output, local: paths.recorded.clone(), name: plan.name.to_string(), head };
            if context.events.send(SinkEvent::Growing(growing)).is_err() {
                tracing::debug!("nobody listens to a sink any more");
            }
        }
        Ok(Self { output, plan: plan.clone(), paths, run, context: context.clone(), drops })
    }

    /// Closes the file after its feeds have ended, finalizes it, and reports it as an [`Artifact`].
    /// Waits `within` for the last data to be written; finalizing takes as long as copying the
    /// file, and stops early when the recording is abandoned.
    ///
    /// A sink that failed earlier still makes an artifact of its data.
    ///
    /// # Errors
    ///
    /// When the pipeline hangs, or the file can't be finalized; the recorded data then stays where
    /// it is. A failure that was reported earlier is not returned again.
    pub async fn finish(mut self, within: Duration) -> Result<(), SinkError> {
        let ended = self.run.ended(within).await;
        if matches!(ended, Ok(Ended::Abandoned)) {
            return Ok(());
        }
        // What a sink that failed did not take, its failure says.
        if !matches!(ended, Ok(Ended::Failed)) {
            self.drops.report();
        }
        let whole = self.finalize().await?;
        self.report(&whole);
        ended.map(drop)
    }

    async fn finalize(&self) -> Result<Finalized, SinkError> {
        let length = self.context.timeline.elapsed().map(Duration::from);
        let (container, paths) = (self.plan.container, self.paths.clone());
        // Also when this future is dropped: the copy must not go on behind everyone's back.
        let stop = self.context.abandon.child_token();
        let _guard = stop.clone().drop_guard();
        let work = self.context.tasks.spawn_blocking(move || {
            finalize::finalize(container, &paths.recorded, &paths.whole, length, &stop)
        });
        match work.await {
            Ok(made) => Ok(made?),
            Err(error) => Err(SinkError::Io {
                action: "finalizing",
                path: self.paths.recorded.clone(),
                source: error.into(),
            }),
        }
    }

    fn report(&self, whole: &Finalized) {
        if whole.layout == Layout::Fragmented {
            tracing::warn!(name = %self.plan.name, "its index could not be put first: the disk is full");
        }
        if let (Some(damage), Some(kept)) = (&whole.damage, &whole.kept) {
            // The work directory stays for it.
            tracing::error!(name = %self.plan.name, damage, kept = %kept.display(), "the recorded file is damaged");
        }
        let artifact = Artifact {
            output: self.output,
            kind: ArtifactKind::File,
            local: self.paths.whole.clone(),
            name: self.plan.name.as_str().to_owned(),
            size: whole.size,
        };
        if self.context.events.send(SinkEvent::Artifact(artifact)).is_err() {
            tracing::debug!("nobody listens to a sink any more");
        }
    }
}

/// Links to a pad of this name or template, and returns the pad.
fn link_to_pad(
    pipeline: &MediaPipeline,
    from: &gst::Element,
    mux: &gst::Element,
    pad: &str,
) -> Result<gst::Pad, PipelineError> {
    let linked = from.link_pads(Some("src"), mux, Some(pad)).ok();
    linked.and_then(|()| from.static_pad("src")?.peer()).ok_or_else(|| PipelineError::Link {
        pipeline: pipeline.name(),
        from: from.name().to_string(),
        to: format!("{}:{pad}", mux.name()),
    })
}

fn muxing(container: Container) -> &'static Muxing {
    MUXINGS.iter().find(|row| row.container == container).expect("every container has a row: see the test")
}

fn row(container: Container) -> &'static ContainerRow {
    CONTAINERS.iter().find(|row| row.container == container).expect("every container has a row: see the test")
}

#[cfg(test)]
mod tests;
