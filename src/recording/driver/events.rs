//! What sinks say.

use jiff::Timestamp;

use super::Driver;
use crate::plan::output::OutputId;
use crate::recording::failure::describe;
use crate::recording::lifecycle::{Action, Event, State};
use crate::recording::progress::OutputState;
use crate::report::Fault;
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
            SinkEvent::Failed { output, error } => {
                tracing::error!(output = output.0, %error, "output failed");
                self.output_failed(output, describe(&error), Fault::Destination)
            }
        }
    }

    /// An output can't go on. What it has is still made whole and stored, if that can be.
    pub(super) fn output_failed(&mut self, output: OutputId, error: String, fault: Fault) -> Vec<Action> {
        self.board.set(output, OutputState::Failed);
        self.outputs.mark_failed(output);
        self.fault = fault;
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
                if matches!(self.lifecycle.state(), State::Preparing { .. }) {
                    // A websocket that was dialled ahead: the address is wrong (media.md §6.5).
                    self.fault = Fault::User;
                    actions = self.handle(Event::OutputFailed { error: error.clone(), others_left: false });
                } else if !self.outputs.any_alive() {
                    self.fault = Fault::Destination;
                    actions = self.handle(Event::OutputFailed { error: error.clone(), others_left: false });
                }
            }
            StreamEvent::Finished { url } => self.report.stream_ended(output, url, None, now),
        }
        self.reporter.changed(self.report.info());
        actions
    }
}
