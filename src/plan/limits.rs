//! When a recording ends by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::output::OutputPlan;

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

/// Limits of a service for recordings, by kind of output (docs/reference/egress.md). `None`:
/// unlimited.
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
    /// Limits for a recording with these outputs: the tightest of theirs, for all of it. `asked`
    /// keeps its duration.
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
