//! A server's defaults for requests.

use serde::{Deserialize, Serialize};

use super::room::Rooms;
use crate::config::frame_times::FrameTimes;
use crate::config::storage::ServerStorage;

/// Values provided by an operator, or a command line. Serialized, it contains secrets: write it
/// only to a pipe that its owner alone can read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Storage of outputs without their own.
    pub storage: ServerStorage,
    /// How rooms are reached.
    pub rooms: Rooms,
    /// The times of encoded frames, for requests that don't say.
    pub frame_times: FrameTimes,
}
