//! The plan of a recording.

use super::deferred_names::DeferredNames;
use super::egress_id::EgressId;
use super::encoding::{AudioEncoding, VideoEncoding};
use super::limits::Limits;
use super::output::OutputPlan;
use super::source::SourcePlan;

/// A recording in every detail that can be known before it starts. Nothing in it needs validating
/// again.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingPlan {
    pub egress_id: EgressId,
    pub source: SourcePlan,
    /// `None` without video.
    pub video: Option<VideoEncoding>,
    /// One entry for each codec that an output needs; empty: there is no sound.
    pub audio: Vec<AudioEncoding>,
    /// At least one. An output's place in this list is its [`super::output::OutputId`].
    pub outputs: Vec<OutputPlan>,
    /// The outputs' final names are known when the source has discovered the publisher; until then
    /// they are provisional.
    pub deferred_names: Option<DeferredNames>,
    pub limits: Limits,
    /// How often it was tried before; 0 the first time.
    pub retry_count: u32,
    /// Values of the request that were out of range and adjusted: one sentence each, for `details`.
    pub adjustments: Vec<String>,
}

impl RecordingPlan {
    /// Whether sound is recorded, encoded or not.
    #[must_use]
    pub fn has_audio(&self) -> bool {
        !self.audio.is_empty() || self.outputs.iter().any(|output| matches!(output, OutputPlan::WebSocket(_)))
    }
}
