//! The life of one recording: one task owns it, from the first process to the last file.
//!
//! ```text
//! commands ─┐
//! source ───┤                ┌─► source, encoders, sinks, uploader
//! encoders ─┼─► Event ─► Lifecycle ─► Action
//! sinks ────┤        └─────► Report ─► Reporter (terminal, parent process)
//! uploads ──┘
//! ```
//!
//! Nothing here knows a terminal, a parent process or a network API.

mod disk_sync;
mod disk_usage;
mod driver;
mod failure;
mod incidents;
pub mod lifecycle;
pub mod names;
mod outputs;
pub mod preflight;
pub mod progress;
mod run;
pub mod workdir;

use std::path::PathBuf;
use std::time::Duration;

use livekit_protocol as proto;

use crate::plan::RecordingPlan;
use crate::plan::graph::GraphPlan;
pub use crate::report::Outcome;
use crate::source::web::StartReport;
use crate::upload::UploadAttempt;
use names::Names;
pub use progress::Progress;
pub use run::run;
use workdir::WorkDir;

/// Everything a recording needs to begin.
#[derive(Debug)]
pub struct Setup {
    pub plan: RecordingPlan,
    pub graph: GraphPlan,
    /// The request, redacted, for the report.
    pub request: Option<proto::egress_info::Request>,
    pub work: WorkDir,
    /// The reserved names of the plan's outputs, as far as they are known.
    pub names: Names,
    /// Base of relative local output names.
    pub base: PathBuf,
    /// Bytes of the disk that stay free: a recording ends before there are fewer.
    pub keep_free: u64,
    /// How long the end waits for a storage that is away, for each output.
    pub upload_patience: Duration,
}

/// Receives the progress of a recording. Called by the recording's task: it must not block.
pub trait Reporter: Send {
    /// Something in the report changed.
    fn changed(&mut self, info: &proto::EgressInfo);
    /// Twice a second while the recording lives.
    fn progress(&mut self, progress: &Progress);
    /// A file was offered to a store.
    fn tried(&mut self, tried: UploadAttempt) {
        let _ = tried;
    }
}

/// A recording that is over.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub info: proto::EgressInfo,
    /// The work directory, when there is something in it to look at or to recover.
    pub kept: Option<PathBuf>,
    /// Evidence of a page that never logged `START_RECORDING`: lines after the error, for a person.
    pub explanation: Option<StartReport>,
    /// Another recorder of this egress came into the room: nothing of the end was reported, and
    /// nobody is to hear of it.
    pub is_evicted: bool,
}
