//! Where media goes: files, segments, streams, images; sound as it is to websockets.
//!
//! A sink takes samples from [`Feed`]s into pipelines of its own, so that one that fails disturbs
//! no other. It says what happened by [`SinkEvent`]s, and finishes when its feeds end.

mod drops;
pub mod file;
pub mod finalize;
pub mod images;
mod playlist;
mod segment_journal;
pub mod segments;
mod sink_pipeline;
pub mod stream;
mod timestamp;
pub mod websocket;

#[cfg(test)]
#[path = "sink/tests/synthetic.rs"]
mod synthetic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::media::{Feed, KeyFrames, MissingElement, PipelineError, Timeline};
use crate::plan::codec::AudioCodec;
use crate::plan::output::OutputId;

/// The feeds and services that sinks need.
#[derive(Debug, Clone)]
pub struct SinkContext {
    pub timeline: Timeline,
    /// NV12 frames in the recording's size; for images.
    pub raw_video: Option<Feed>,
    /// S16LE, 48 kHz, stereo; for websockets.
    pub raw_audio: Option<Feed>,
    /// H.264, byte stream, one access unit a buffer, parameter sets before every key frame.
    pub video: Option<Feed>,
    pub audio: BTreeMap<AudioCodec, Feed>,
    pub key_frames: KeyFrames,
    /// Directory in which a sink may write; it outlives a crash and is read by `weir recover`.
    pub dir: PathBuf,
    pub events: mpsc::UnboundedSender<SinkEvent>,
    pub tasks: TaskTracker,
    /// Cancelled when everything is to be dropped at once.
    pub abandon: CancellationToken,
}

/// An event of a sink.
#[derive(Debug)]
pub enum SinkEvent {
    /// Something is final on the local disk and can be stored.
    Artifact(Artifact),
    /// A file has begun that only grows; it becomes an [`Artifact`] of the same name.
    Growing(GrowingFile),
    /// A stream changed its state.
    Stream(OutputId, StreamEvent),
    /// Frames (of sound: pieces) of a feed are missing from what was written: the disk was too slow
    /// for minutes. Reported at the end.
    Dropped { output: OutputId, feed: &'static str, samples: u64 },
    /// The sink can't continue. Its files stay where they are.
    Failed { output: OutputId, error: SinkError },
}

/// A file that won't change any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub output: OutputId,
    pub kind: ArtifactKind,
    /// Its current location.
    pub local: PathBuf,
    /// Its key in the output's storage.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// A file that is only appended to: what is in it is final, and can be stored before the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowingFile {
    pub output: OutputId,
    /// Its location while it grows.
    pub local: PathBuf,
    /// Its key in the output's storage.
    pub name: String,
    pub head: FileHead,
}

/// Whether a growing file's first bytes are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHead {
    Final,
    /// They are written over when the file is finished.
    Rewritten,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArtifactKind {
    File,
    /// `start` in media time; `duration` as in EXTINF.
    Segment {
        index: u64,
        start: Duration,
        duration: Duration,
    },
    /// Replaces the playlist of the same name that was stored before. To be stored after the
    /// segments it names.
    Playlist,
    /// `at` in media time.
    Image {
        index: u64,
        at: Duration,
    },
}

/// An event of one address of a stream output. Addresses print redacted.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    Connecting {
        url: crate::plan::stream_url::StreamUrl,
    },
    /// Media is going out.
    Started {
        url: crate::plan::stream_url::StreamUrl,
    },
    /// The connection was lost, and another is tried.
    Retrying {
        url: crate::plan::stream_url::StreamUrl,
        retries: u32,
        error: String,
    },
    /// Given up, or ended before any media went out.
    Failed {
        url: crate::plan::stream_url::StreamUrl,
        error: String,
    },
    /// Removed, or the recording ended, after media had gone out. `missing`: why the last of it did
    /// not.
    Finished {
        url: crate::plan::stream_url::StreamUrl,
        missing: Option<String>,
    },
}

/// Why a sink could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(transparent)]
    Missing(#[from] MissingElement),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("no space left on the device of {path}: free some, or record to another disk")]
    NoSpaceLeft { path: PathBuf },
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Finalize(#[from] finalize::FinalizeError),
    /// The plan asks for a medium that the recording has not; a defect of the plan.
    #[error("the output needs {0}, and the recording has none")]
    NoFeed(String),
}

impl SinkError {
    /// Converts an I/O error; a full disk has its own variant.
    fn of_io(action: &'static str, path: PathBuf, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpaceLeft { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// A finished file that a killed recording left in its work directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its current location.
    pub local: PathBuf,
    /// Its key in the output's storage.
    pub name: String,
}

/// Recoverable files of a killed recording's output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveredOutput {
    /// In the order in which to store it.
    pub left: Vec<Leftover>,
    /// Files that repeat what others say, and are of no use once everything that is left is stored.
    pub obsolete: Vec<PathBuf>,
}

/// Why what a killed recording left can't be finished. It is all still there.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct RecoveryError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: std::io::Error,
}

impl RecoveryError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}
