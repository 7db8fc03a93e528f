//! How a recording fares, for a person who watches it.

use std::time::Duration;

use super::lifecycle::State;
use crate::plan::RecordingPlan;
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::stream_url::StreamUrl;
use crate::sink::StreamEvent;
use crate::upload::UploadProgress;

/// A recording at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub state: State,
    /// Media time.
    pub elapsed: Duration,
    /// Different frames so far.
    pub pictures: u64,
    /// Frames dropped because the machine was too slow.
    pub dropped: u64,
    /// How far encoded audio is ahead of encoded video, in seconds; `None` without one of them.
    pub audio_lead: Option<f64>,
    /// Bytes written so far.
    pub size: u64,
    /// Bytes of them that are stored where they belong.
    pub stored: u64,
    pub outputs: Vec<OutputProgress>,
}

/// One output at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputProgress {
    pub output: OutputId,
    /// `mp4`, `hls`, `rtmp://host/app/{abc...xyz}`, …
    pub label: String,
    pub state: OutputState,
    /// It is made of segments and their playlists.
    pub is_segments: bool,
    /// How far what is finished of it is on its way to its storage; `None` for a stream.
    pub upload: Option<UploadProgress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputState {
    Waiting,
    Running,
    /// A stream whose connection was lost.
    Retrying,
    Failed,
    Done,
}

/// The state of every output, kept up to date by the recording's task.
#[derive(Debug)]
pub(super) struct ProgressBoard {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    progress: OutputProgress,
    url: Option<StreamUrl>,
}

impl ProgressBoard {
    pub(super) fn new(plan: &RecordingPlan) -> Self {
        let mut board = Self { rows: Vec::new() };
        for (index, output) in plan.outputs.iter().enumerate() {
            let id = OutputId(index);
            match output {
                OutputPlan::File(file) => board.add(id, file.name.to_string(), None),
                OutputPlan::Segments(segments) => {
                    board.add(id, format!("{}{}", segments.dir, segments.playlist), None);
                    board.mark_segments(id);
                }
                OutputPlan::Images(images) => board.add(id, format!("{}*.jpeg", images.prefix), None),
                OutputPlan::Stream(stream) => {
                    for url in &stream.urls {
                        board.add_stream(id, url);
                    }
                }
                OutputPlan::WebSocket(socket) => board.add_stream(id, &socket.url),
            }
        }
        board
    }

    /// Every output as it stands; `upload` knows how far its uploads are.
    pub(super) fn outputs(&self, upload: impl Fn(OutputId) -> Option<UploadProgress>) -> Vec<OutputProgress> {
        let progress = |row: &Row| {
            let upload = if row.url.is_none() { upload(row.progress.output) } else { None };
            OutputProgress { upload, ..row.progress.clone() }
        };
        self.rows.iter().map(progress).collect()
    }

    /// Everything that writes to disk is at work; streams say so themselves.
    pub(super) fn begin(&mut self) {
        for row in self.rows.iter_mut().filter(|row| row.url.is_none()) {
            row.progress.state = OutputState::Running;
        }
    }

    pub(super) fn set(&mut self, output: OutputId, state: OutputState) {
        for row in self.rows.iter_mut().filter(|row| row.progress.output == output) {
            row.progress.state = state;
        }
    }

    pub(super) fn add_stream(&mut self, output: OutputId, url: &StreamUrl) {
        self.add(output, url.to_string(), Some(url.clone()));
    }

    pub(super) fn stream(&mut self, output: OutputId, event: &StreamEvent) {
        let (url, state) = match event {
            StreamEvent::Connecting { url } => (url, OutputState::Waiting),
            StreamEvent::Started { url } => (url, OutputState::Running),
            StreamEvent::Retrying { url, .. } => (url, OutputState::Retrying),
            StreamEvent::Failed { url, .. } => (url, OutputState::Failed),
            StreamEvent::Finished { url, .. } => (url, OutputState::Done),
        };
        // An address that was removed and added again has two rows. The second waits for the end of
        // the first.
        let has_ended = |row: &Row| matches!(row.progress.state, OutputState::Failed | OutputState::Done);
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.progress.output == output && row.url.as_ref() == Some(url) && !has_ended(row));
        if let Some(row) = row {
            row.progress.state = state;
        }
    }

    fn mark_segments(&mut self, output: OutputId) {
        for row in self.rows.iter_mut().filter(|row| row.progress.output == output) {
            row.progress.is_segments = true;
        }
    }

    fn add(&mut self, output: OutputId, label: String, url: Option<StreamUrl>) {
        self.rows.push(Row {
            progress: OutputProgress {
                output,
                label,
                state: OutputState::Waiting,
                is_segments: false,
                upload: None,
            },
            url,
        });
    }
}
