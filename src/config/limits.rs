//! Limits after which a recording ends (docs/reference/egress.md).

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The `session_limits` section; 0: no limit. The smallest limit of a recording's outputs applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SessionLimits {
    #[serde(deserialize_with = "duration::deserialize")]
    pub file_output_max_duration: Duration,
    /// In bytes, for everything that a recording writes.
    pub file_output_max_size: u64,
    #[serde(deserialize_with = "duration::deserialize")]
    pub stream_output_max_duration: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub segment_output_max_duration: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub image_output_max_duration: Duration,
}
