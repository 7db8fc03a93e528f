//! Commands to a running recording, and its end reasons.

use std::fmt;

use tokio::sync::oneshot;

use crate::plan::stream_url::{StreamProtocol, StreamUrl};

/// A command to a running recording.
#[derive(Debug)]
pub enum Command {
    /// End gracefully: every file is finished and stored. Asking again changes nothing.
    Stop(StopCause),
    /// End as for [`Command::Stop`], and fail with this text: whoever runs the recorder does not
    /// want it to go on.
    Kill { error: String },
    /// Stop now: what is on the disk stays there for `weir recover`.
    Abandon,
    /// Reduce the cost: halve the frame rate.
    Degrade { why: String },
    /// Return the next frame as a JPEG, at most this wide; `None` without video.
    Picture { width: u32, reply: oneshot::Sender<Option<Vec<u8>>> },
    /// Send to one more address of an output that streams.
    AddStream { url: StreamUrl, reply: Reply },
    /// Stop sending to an address; as it is shown will do, where that can mean only one.
    RemoveStream { url: StreamUrl, reply: Reply },
}

/// Receives the answer to a command.
pub type Reply = oneshot::Sender<Result<(), CommandError>>;

/// Origin of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// An API, or whoever embeds the recorder.
    Request,
    /// A signal: Ctrl-C.
    Signal,
    /// Only the recorder was signalled.
    Orphaned,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error(
        "the recording can't take one more address for {0}: give it a stream output of that when it is started"
    )]
    NoStreamOutput(StreamProtocol),
    #[error("stream {0} is already being streamed to: remove it first")]
    DuplicateStream(StreamUrl),
    #[error("stream {0} not found")]
    UnknownStream(StreamUrl),
    #[error("stream {0} could be one of several: give the whole address")]
    AmbiguousStream(StreamUrl),
    #[error("the recording is ending")]
    Ending,
}

/// Why a recording ended, as it stands in `EgressInfo.details` (docs/reference/egress.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    StopRequested,
    Killed,
    SourceClosed,
    /// As long as was asked for.
    DurationReached,
    LimitReached(Limit),
    AllStreamsStopped,
    Failure,
}

/// The reached limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Size,
    /// How long the service lets a recording be.
    Duration,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StopRequested => "StopEgress API",
            Self::Killed => "Process killed",
            Self::SourceClosed => "Source closed",
            Self::DurationReached => "Duration reached",
            Self::LimitReached(_) => "Session limit reached",
            Self::AllStreamsStopped => "All streams stopped",
            Self::Failure => "Failure",
        })
    }
}
