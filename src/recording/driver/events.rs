//! What sinks and the uploader say.

use jiff::Timestamp;

use super::Driver;
use crate::plan::output::OutputId;
use crate::plan::storage::StorageTarget;
use crate::recording::failure::describe;
use crate::recording::lifecycle::{Action, Event};
use crate::recording::progress::OutputState;
use crate::report::Fault;
use crate::sink::{Artifact, ArtifactKind, SinkEvent, StreamEvent};
use crate::upload::{Upload, UploadEvent};

impl Driver<'_> {
    pub(in crate::recording) fn on_sink(&mut self, event: SinkEvent) -> Vec<Action> {
        match event {
            SinkEvent::Artifact(artifact) => {
                let upload = Upload {
                    output: artifact.output,
                    local: artifact.local.clone(),
                    target: StorageTarget::local(),
                    name: artifact.name.clone(),
                    subject: artifact,
                };
                match &self.uploader {
                    Some(uploader) => uploader.store(upload),
                    None => self.left_behind = true,
                }
                Vec::new()
            }
            SinkEvent::Stream(output, event) => self.on_stream(output, &event),
            SinkEvent::Failed { output, error } => {
                tracing::error!(output = output.0, %error, "output failed");
                self.output_failed(output, describe(&error))
            }
        }
    }

    /// An output can't go on. What it has is still made whole and stored, if that can be.
    fn output_failed(&mut self, output: OutputId, error: String) -> Vec<Action> {
        self.board.set(output, OutputState::Failed);
        self.outputs.mark_failed(output);
        self.fault = Fault::Destination;
        let others_left = self.outputs.any_alive();
        self.handle(Event::OutputFailed { error, others_left })
    }

    fn on_stream(&mut self, output: OutputId, event: &StreamEvent) -> Vec<Action> {
        let now = Timestamp::now();
        self.board.stream(output, event);
        let mut actions = Vec::new();
        match event {
            StreamEvent::Connecting { .. } => {}
            StreamEvent::Started { url } => {
                self.report.stream_started(output, url, now);
            }
            StreamEvent::Retrying { url, retries, .. } => {
                self.report.stream_retrying(output, url, *retries, now);
            }
            StreamEvent::Failed { url, error } => {
                self.report.stream_ended(output, url, Some(error), now);
                if !self.outputs.any_alive() {
                    self.fault = Fault::Destination;
                    actions = self.handle(Event::OutputFailed { error: error.clone(), others_left: false });
                }
            }
            StreamEvent::Finished { url } => self.report.stream_ended(output, url, None, now),
        }
        self.reporter.changed(self.report.info());
        actions
    }

    pub(super) fn on_upload(&mut self, event: UploadEvent<Artifact>) -> Vec<Action> {
        match event {
            UploadEvent::Stored { upload, location } => {
                let artifact = upload.subject;
                match &artifact.kind {
                    ArtifactKind::File => {
                        self.board.set(artifact.output, OutputState::Done);
                        self.report.file_stored(artifact.output, &location, artifact.size);
                        self.stored_bytes += artifact.size;
                    }
                    ArtifactKind::Segment { .. } => {
                        self.report.segment_stored(artifact.output, artifact.size);
                        self.stored_bytes += artifact.size;
                    }
                    ArtifactKind::Playlist => {
                        self.report.playlist_stored(artifact.output, &artifact.name, &location);
                    }
                    ArtifactKind::Image { .. } => {
                        self.report.image_stored(artifact.output);
                        self.stored_bytes += artifact.size;
                    }
                }
                tracing::debug!(location, "stored");
                Vec::new()
            }
            UploadEvent::Failed { upload, error } => {
                tracing::error!(name = upload.name, %error, "not stored");
                self.left_behind = true;
                self.output_failed(upload.output, describe(&error))
            }
        }
    }
}
