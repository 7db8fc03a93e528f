//! What sinks say.

use jiff::Timestamp;

use super::{Driver, is_end};
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::stream_url::StreamUrl;
use crate::recording::failure::of_sink;
use crate::recording::lifecycle::{Action, Event, State};
use crate::recording::progress::OutputState;
use crate::report::{Failure, Fault};
use crate::sink::{SinkEvent, StreamEvent};

impl Driver<'_> {
    pub(in crate::recording) fn on_sink(&mut self, event: SinkEvent) -> Vec<Action> {
        match event {
            SinkEvent::Artifact(artifact) => {
                self.store(artifact);
                Vec::new()
            }
            SinkEvent::Growing(file) => {
                self.grow(file);
                Vec::new()
            }
            SinkEvent::Stream(output, event) => self.on_stream(output, &event),
            SinkEvent::Dropped { output, feed, samples } => {
                let name = match self.setup.plan.outputs.get(output.0) {
                    Some(OutputPlan::File(file)) => file.name.to_string(),
                    Some(OutputPlan::Segments(segments)) => format!("{}{}", segments.dir, segments.playlist),
                    Some(OutputPlan::Images(_) | OutputPlan::Stream(_) | OutputPlan::WebSocket(_)) | None => {
                        format!("output {}", output.0)
                    }
                };
                self.note(format!(
                    "{samples} samples of {feed} are missing from {name}: the disk was too slow"
                ));
                Vec::new()
            }
            SinkEvent::Failed { output, error } => {
                tracing::error!(output = output.0, %error, "output failed");
                self.on_output_failed(output, of_sink(&error))
            }
        }
    }

    /// An output can't go on. What it has is still made whole and stored, if that can be.
    pub(super) fn on_output_failed(&mut self, output: OutputId, failure: Failure) -> Vec<Action> {
        self.board.set(output, OutputState::Failed);
        self.outputs.mark_failed(output);
        let others_left = self.outputs.any_alive();
        self.handle(Event::OutputFailed { failure, others_left })
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
                actions = self.on_stream_failed(output, url, error);
            }
            StreamEvent::Finished { url, missing } => {
                self.report.stream_ended(output, url, None, now);
                if let Some(why) = missing {
                    self.report.note(format!("the end of stream {url} is missing: {why}"));
                }
            }
        }
        if !is_end(&actions) {
            self.reporter.changed(self.report.info());
        }
        actions
    }

    /// Whether a stream that failed takes the recording with it.
    fn on_stream_failed(&mut self, output: OutputId, url: &StreamUrl, error: &str) -> Vec<Action> {
        // The error of a websocket names its address already.
        let named =
            || if error.contains(url.redacted()) { error.to_owned() } else { format!("{url}: {error}") };
        let failure = match self.lifecycle.state() {
            // A websocket that was dialled ahead: the address is wrong (docs/reference/media.md).
            State::Preparing { .. } => Failure::new(named(), Fault::User),
            State::Active if self.outputs.any_alive() => return Vec::new(),
            State::Active => Failure::new(named(), Fault::Destination),
            // One that is away in the end has failed its egress.
            State::Draining | State::Storing | State::Ended if self.is_websocket(output) => {
                Failure::new(named(), Fault::Destination)
            }
            // Any other stream has where nothing else got anywhere.
            State::Draining | State::Storing | State::Ended => match self.report.unsent() {
                Some(why) if !self.writes_files() => Failure::new(why, Fault::Destination),
                Some(_) | None => return Vec::new(),
            },
        };
        self.handle(Event::OutputFailed { failure, others_left: false })
    }

    fn is_websocket(&self, output: OutputId) -> bool {
        matches!(self.setup.plan.outputs.get(output.0), Some(OutputPlan::WebSocket(_)))
    }

    pub(super) fn writes_files(&self) -> bool {
        self.setup.plan.outputs.iter().any(|output| output.storage().is_some())
    }
}
