//! Writes images, on a thread that may wait for the disk.

use std::path::PathBuf;
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;

use crate::media::Timeline;
use crate::plan::output::{ImageSuffix, ImagesPlan, OutputId};
use crate::sink::segment_journal::{self, Note, SegmentJournal};
use crate::sink::sink_pipeline::{Failure, Outcome};
use crate::sink::timestamp::timestamp;
use crate::sink::{Artifact, ArtifactKind, SinkEvent};

pub(super) struct Writer {
    pub(super) output: OutputId,
    pub(super) plan: ImagesPlan,
    pub(super) dir: PathBuf,
    pub(super) timeline: Timeline,
    pub(super) events: mpsc::UnboundedSender<SinkEvent>,
    pub(super) failure: Failure,
}

impl Writer {
    /// Writes until the images end or their channel is closed.
    pub(super) fn run(self, mut receiver: mpsc::Receiver<Outcome>) {
        let mut index = 0;
        let mut notes = segment_journal::of(&self.dir, self.output);
        while let Some(Outcome::Sample(sample)) = receiver.blocking_recv() {
            let Some(at) = sample.buffer().and_then(gst::BufferRef::pts) else { continue };
            if !self.write(&sample, index, at, &mut notes) {
                return;
            }
            index += 1;
        }
    }

    /// Returns whether it could be written.
    fn write(
        &self,
        sample: &gst::Sample,
        index: u64,
        at: gst::ClockTime,
        notes: &mut SegmentJournal,
    ) -> bool {
        let Some(Ok(jpeg)) = sample.buffer().map(gst::BufferRef::map_readable) else { return true };
        // A file of its own for each, also where the next one replaces it in the end: it may have
        // to wait to be stored.
        let file = format!("image-{}-{index:06}.jpeg", self.output.0);
        let (local, part) = (self.dir.join(&file), self.dir.join(format!("{file}.part")));
        let name = self.name(index, at);
        if let Err(error) = notes.add(&Note::Image { local: file, name: name.clone() }) {
            self.failure.report_io("writing", notes.path().to_owned(), error);
            return false;
        }
        if let Err(error) = std::fs::write(&part, &jpeg) {
            self.failure.report_io("writing", part, error);
            return false;
        }
        if let Err(error) = std::fs::rename(&part, &local) {
            self.failure.report_io("renaming", part, error);
            return false;
        }
        let artifact = Artifact {
            output: self.output,
            kind: ArtifactKind::Image { index, at: Duration::from(at) },
            local,
            name,
            size: jpeg.len() as u64,
        };
        if self.events.send(SinkEvent::Artifact(artifact)).is_err() {
            tracing::debug!("nobody listens to a sink any more");
        }
        true
    }

    fn name(&self, index: u64, at: gst::ClockTime) -> String {
        let prefix = &self.plan.prefix;
        match self.plan.suffix {
            ImageSuffix::Index => format!("{prefix}_{index:05}.jpeg"),
            ImageSuffix::Timestamp => {
                // A frame exists, so the recording has begun; the current time is close to that.
                let date = self.timeline.wall(at).unwrap_or_else(jiff::Timestamp::now);
                format!("{prefix}_{}.jpeg", timestamp(date))
            }
            ImageSuffix::NoneOverwrite => format!("{prefix}.jpeg"),
        }
    }
}
