//! What a server provides to every recording, for requests that do not say it themselves.

use serde::{Deserialize, Serialize};

use super::room::Rooms;
use crate::config::frame_times::FrameTimes;
use crate::config::storage::ServerStorage;

/// What an operator, or a command line, provides. Written down, its secrets are in it: for a pipe that only its owner can
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Where outputs go that say nothing themselves.
    pub storage: ServerStorage,
    /// How rooms are reached.
    pub rooms: Rooms,
    /// The times of encoded frames, for requests that don't say.
    pub frame_times: FrameTimes,
}
