//! Messages between a service and its recorders: JSON, one message per line.
//!
//! ```text
//! service ── stdin ──► recorder     the job, then commands; closed when the service is gone
//! service ◄─ stdout ── recorder     ready or refused, then reports and answers, then its end
//!
//! next service ◄─ socket ─► recorder     commands in; out: the newest report, then as before
//! ```
//!
//! A recorder without its service continues. The next service finds its directory ([`egress_dir`])
//! and takes it over through the socket in it ([`socket`]).
//!
//! A service and the recorder that it started are the same binary. A recorder taken over may have
//! another version: the forms of `Info`, `Progress`, `Ended`, `Stop` and `Kill` are stable, and
//! unknown messages are ignored.
//!
//! The pipes are private: a job contains keys. Input from pipe or socket is untrusted: a line that
//! is too long, or not a message, is an error and not the end.

pub mod egress_dir;
mod lines;
pub mod recovery;
pub mod socket;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Zoned;
use livekit_protocol as proto;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::control::StopCause;
use crate::plan::defaults::Defaults;
use crate::plan::error::PlanError;
use crate::plan::request::EgressRequest;
use crate::plan::source::{BrowserSettings, SourcePlan};
use crate::plan::{EgressId, RecordingPlan, SessionLimits, from_rpc, link_local};
use crate::protocol::StartEgressRequest;
use crate::secret::{Secret, exposed};
use crate::upload::UploadAttempt;
pub use lines::{LONGEST_LINE, Lines};

/// The receiving half: a pipe or a socket.
pub type Incoming = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half: a pipe or a socket.
pub type Outgoing = Box<dyn AsyncWrite + Send + Unpin>;

/// Reasons why a line is not a message. Errors do not quote it, as it may contain keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IpcError {
    #[error("a line is longer than {LONGEST_LINE} bytes")]
    TooLong,
    #[error("invalid message")]
    NoMessage,
}

/// Everything a recorder needs to know. It plans again from it: planning is pure, so that both ends
/// have the same plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub egress_id: String,
    /// `rpc.StartEgressRequest`, base64.
    #[serde(with = "exposed")]
    request: Secret<String>,
    pub terms: JobTerms,
}

/// How a recorder logs: as its service does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// In `RUST_LOG`'s syntax.
    pub filter: String,
    pub json: bool,
}

/// Settings of a job besides the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobTerms {
    /// Values for what the request leaves out.
    #[serde(rename = "provisions")]
    pub defaults: Defaults,
    /// Gives names their times.
    pub planned_at: Zoned,
    pub session: SessionLimits,
    /// Bytes of the disk that stay free.
    pub keep_free: u64,
    /// How long the end waits for a storage that is away, for each output.
    pub upload_patience: Duration,
    /// The recording's [`egress_dir::EgressDir`].
    pub egress_dir: PathBuf,
    /// Base of relative local output names.
    pub base: PathBuf,
    pub logs: Logs,
    pub browser: BrowserSettings,
    /// 0: by the machine's share.
    pub video_encoder_threads: u32,
    /// How long the recording goes on without a service. Then it ends, finishes its files, and has
    /// failed.
    pub orphan_timeout: Duration,
}

impl Job {
    #[must_use]
    pub fn new(request: &StartEgressRequest, terms: JobTerms) -> Self {
        Self {
            egress_id: request.egress_id.clone(),
            request: Secret::new(STANDARD.encode(request.encode_to_vec())),
            terms,
        }
    }

    /// Plans the recording.
    ///
    /// # Errors
    ///
    /// [`PlanError`], naming the field.
    pub fn plan(&self) -> Result<(EgressRequest, RecordingPlan), PlanError> {
        let unreadable = |_| PlanError::invalid("request", "it can't be read");
        let bytes = STANDARD.decode(self.request.expose()).map_err(|_| unreadable(()))?;
        let request = StartEgressRequest::decode(bytes.as_slice()).map_err(|_| unreadable(()))?;
        let request = from_rpc::start_egress(request)?;
        let id = EgressId::new(&self.egress_id);
        let mut plan = RecordingPlan::new(&request, &self.terms.defaults, id, &self.terms.planned_at)?;
        plan.limits = self.terms.session.apply(&plan.outputs, plan.limits);
        if let SourcePlan::Web(web) = &mut plan.source {
            web.browser.clone_from(&self.terms.browser);
            if web.browser.refuse_link_local && web.page.given().is_some_and(link_local::names_link_local) {
                let why = "it is a link-local address, which pages of this service do not reach (`allow_link_local`)";
                return Err(PlanError::invalid("web url", why));
            }
        }
        if self.terms.browser.refuse_link_local {
            link_local::check_outputs(&request, &plan)?;
        }
        Ok((request, plan))
    }
}

/// A command from a service after the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToRecorder {
    Stop {
        cause: Cause,
    },
    /// End, finish the files, and fail with this text.
    Kill {
        error: String,
    },
    /// Cost less; the report says why.
    Degrade {
        why: String,
    },
    /// Answered by [`FromRecorder::Reply`] with the same number.
    UpdateStream {
        id: u64,
        #[serde(with = "exposed")]
        add: Secret<Vec<String>>,
        #[serde(with = "exposed")]
        remove: Secret<Vec<String>>,
    },
    /// Draw your pipelines. Answered by [`FromRecorder::Graph`] with the same number.
    DumpGraph {
        id: u64,
    },
    /// Show what you record, at most this many pixels wide. Answered by [`FromRecorder::Picture`]
    /// with the same number.
    Picture {
        id: u64,
        width: u32,
    },
    /// Say where your CPU time goes. Answered by [`FromRecorder::Profile`] with the same number.
    Profile {
        id: u64,
        seconds: u64,
    },
}

/// Origin of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Request,
    Orphaned,
}

impl From<Cause> for StopCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Request => Self::Request,
            Cause::Orphaned => Self::Orphaned,
        }
    }
}

/// A message of a recorder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromRecorder {
    /// Everything can be written where it belongs; the source is being started. The report has the
    /// names that the outputs got.
    Ready(Info),
    /// It can't be recorded. The last word.
    Refused(Refusal),
    Info(Info),
    Progress(RecorderProgress),
    /// A file was offered to a store.
    Uploaded(UploadAttempt),
    Reply {
        id: u64,
        refusal: Option<Refusal>,
    },
    /// The recorder's pipelines, in Graphviz's language.
    Graph {
        id: u64,
        dot: String,
    },
    /// A preview as a JPEG; `None` without video.
    Picture {
        id: u64,
        jpeg: Option<Picture>,
    },
    Profile {
        id: u64,
        taken: Taken,
    },
    /// The last word of a recording. `kept`: what is left of it, to look at or to recover.
    Ended {
        kept: Option<PathBuf>,
    },
    /// The last word of a recording whose egress another recorder has: there is nothing to report.
    /// `kept`: what was recorded.
    Evicted {
        kept: Option<PathBuf>,
    },
}

/// Maximum size of a preview in bytes. One of 480 pixels' width has some 30,000.
pub const LARGEST_PICTURE: usize = 1 << 20;

/// A JPEG, as base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picture(String);

impl Picture {
    /// `None`: it is larger than [`LARGEST_PICTURE`].
    #[must_use]
    pub fn new(jpeg: &[u8]) -> Option<Self> {
        (jpeg.len() <= LARGEST_PICTURE).then(|| Self(STANDARD.encode(jpeg)))
    }

    /// # Errors
    /// [`IpcError::NoMessage`]
    pub fn read(&self) -> Result<Vec<u8>, IpcError> {
        STANDARD.decode(&self.0).map_err(|_| IpcError::NoMessage)
    }
}

/// Logs must not show the screen.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Preview({} bytes)", self.0.len() / 4 * 3)
    }
}

/// An `EgressInfo`, as base64 of its protobuf form: its JSON form can't hold all values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    info: String,
}

impl Info {
    #[must_use]
    pub fn new(info: &proto::EgressInfo) -> Self {
        Self { info: STANDARD.encode(info.encode_to_vec()) }
    }

    /// # Errors
    /// [`IpcError::NoMessage`]
    pub fn read(&self) -> Result<proto::EgressInfo, IpcError> {
        let bytes = STANDARD.decode(&self.info).map_err(|_| IpcError::NoMessage)?;
        proto::EgressInfo::decode(bytes.as_slice()).map_err(|_| IpcError::NoMessage)
    }
}

/// Result of a request for a CPU profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    Profile(Profile),
    Refused(Refusal),
}

/// pprof's protobuf in gzip, as base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(String);

impl Profile {
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// # Errors
    /// [`IpcError::NoMessage`]
    pub fn read(&self) -> Result<Vec<u8>, IpcError> {
        STANDARD.decode(&self.0).map_err(|_| IpcError::NoMessage)
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is invalid.
    Invalid,
    NotFound,
    /// Not here and not now.
    Unavailable,
    /// It is ending.
    Ending,
    /// Another recording writes to the same name.
    NameTaken,
    /// It is being done already.
    Busy,
    /// Ours.
    Internal,
}

/// How a recording fares.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderProgress {
    /// Media time.
    pub seconds: f64,
    /// Different frames so far.
    pub pictures: u64,
    /// Frames dropped because the machine was too slow.
    pub dropped: u64,
    /// How far encoded audio is ahead of encoded video, in seconds of media time; `None` without
    /// one of them.
    pub audio_lead: Option<f64>,
    /// Bytes written so far.
    pub bytes: u64,
    /// Bytes that are stored where they belong.
    pub stored: u64,
    /// Finished files that wait for their store.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Those of them that are of segments; `None`: none are made.
    pub queues: Option<Queues>,
}

/// Waiting uploads of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queues {
    pub segments: u64,
    pub playlists: u64,
}

/// A message as a line, with its line feed.
#[must_use]
pub fn line(message: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and maps with strings as keys always have a JSON form.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A line as a message.
///
/// # Errors
/// [`IpcError::NoMessage`]
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, IpcError> {
    serde_json::from_slice(line).map_err(|_| IpcError::NoMessage)
}

#[cfg(test)]
mod tests;
