//! What will be done, decided before anything is started.
//!
//! Wire request → [`request::EgressRequest`] → [`RecordingPlan`] → [`graph::GraphPlan`]. Everything in this folder is pure:
//! values in, values out, the time as an argument; it imports no runtime, no GStreamer, no file system, no clock.

mod adjust;
pub mod bounds;
pub mod codec;
pub mod defaults;
mod deferred_names;
pub mod encoding;
pub mod error;
pub mod filename;
pub mod from_rpc;
pub mod from_v1;
pub mod from_v2;
pub mod graph;
pub mod info;
pub mod json;
pub mod link_local;
mod media;
pub mod output;
pub mod page;
mod pass_through;
mod planner;
pub mod redact;
pub mod remux;
pub mod render;
pub mod request;
pub mod room;
pub mod source;
pub mod storage;
pub mod stream_url;
pub mod track;
mod wire;
pub mod written;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use deferred_names::DeferredNames;
use encoding::{AudioEncoding, VideoEncoding};
use output::OutputPlan;
use source::SourcePlan;

/// Names one recording everywhere: `EG_` and twelve characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressId(String);

impl EgressId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EgressId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A recording in every detail that can be known before it starts. Nothing in it needs validating again.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingPlan {
    pub egress_id: EgressId,
    pub source: SourcePlan,
    /// `None`: there is no picture.
    pub video: Option<VideoEncoding>,
    /// One entry for each codec that an output needs; empty: there is no sound.
    pub audio: Vec<AudioEncoding>,
    /// At least one. An output's place in this list is its [`output::OutputId`].
    pub outputs: Vec<OutputPlan>,
    /// What outputs are called is known when the source has told who publishes; until then their names are provisional.
    pub deferred_names: Option<DeferredNames>,
    pub limits: Limits,
    /// How often it was tried before; 0 the first time.
    pub retry_count: u32,
    /// What is recorded differently from the request, whose values are out of range: a sentence each, for `details`.
    pub adjustments: Vec<String>,
}

impl RecordingPlan {
    /// Whether sound is recorded, encoded or not.
    #[must_use]
    pub fn has_audio(&self) -> bool {
        !self.audio.is_empty() || self.outputs.iter().any(|output| matches!(output, OutputPlan::WebSocket(_)))
    }
}

/// When a recording ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Length of the recording, as it was asked for; `None`: until it is stopped.
    pub duration: Option<Duration>,
    /// Longest that the service lets it go on, from when its page is loaded; `None`: for ever.
    pub session: Option<Duration>,
    /// All that it wrote, in bytes.
    pub size: Option<u64>,
}

/// What a service allows its recordings, by kind of output (docs/reference/egress.md). `None`: anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionLimits {
    pub file: Option<Duration>,
    /// Bytes of a recording that has a file.
    pub file_size: Option<u64>,
    pub stream: Option<Duration>,
    pub segments: Option<Duration>,
    pub images: Option<Duration>,
}

impl SessionLimits {
    /// What holds for a recording with these outputs: the tightest of theirs, for all of it. `asked` keeps its duration.
    #[must_use]
    pub fn apply(&self, outputs: &[OutputPlan], asked: Limits) -> Limits {
        let limit = |output: &OutputPlan| match output {
            OutputPlan::File(_) => self.file,
            OutputPlan::Stream(_) | OutputPlan::WebSocket(_) => self.stream,
            OutputPlan::Segments(_) => self.segments,
            OutputPlan::Images(_) => self.images,
        };
        let has_file = outputs.iter().any(|output| matches!(output, OutputPlan::File(_)));
        let size = asked.size.into_iter().chain(self.file_size.filter(|_| has_file)).min();
        Limits { session: outputs.iter().filter_map(limit).min(), size, ..asked }
    }
}
