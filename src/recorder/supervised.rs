//! One recording for a service: the hidden `weir recorder`. The job comes in by standard input, and
//! so do commands; reports go out by standard output (`ipc`).
//!
//! When its standard input ends, the service is gone. The recording goes on, and waits for the next
//! service at the socket in its directory (`commands`). It comes to its own end, or to that of the
//! time for which it may go on alone; its files are finished and stored, and its last report waits
//! in its directory.
//!
//! Signals to this process itself: SIGINT, SIGHUP and SIGQUIT end it gracefully. SIGTERM is held
//! back: who stops a service sends it to every process of the service, and the service alone knows
//! what it means.

mod commands;
mod directory;
mod report_writer;
mod streams;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use livekit_protocol as proto;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::available_cores;
use super::signals::Signals;
use crate::control::{Command, StopCause};
use crate::ipc::egress_dir::{Alive, EgressDir};
use crate::ipc::socket::RecorderSocket;
use crate::ipc::{self, FromRecorder, Info, IpcError, Job, LONGEST_LINE, Refusal, RefusalKind};
use crate::media;
use crate::plan::graph::{GraphPlan, Machine};
use crate::plan::info::redacted_request;
use crate::recording::names::{NameError, Names, OlderFiles};
use crate::recording::preflight::{self, PreflightError};
use crate::recording::workdir::WorkDir;
use crate::recording::{self, Setup};
use crate::report::{Fault, Report, failed};
use commands::Orders;
use report_writer::ReportWriter;
use streams::Streams;

/// A service writes the job at once.
const JOB_WITHIN: Duration = Duration::from_secs(10);

/// Why there is nothing to record.
#[derive(Debug, thiserror::Error)]
pub enum NoJobError {
    #[error("`weir recorder` is started by `weir serve`, with pipes: {0}")]
    Pipes(#[source] std::io::Error),
    #[error("no job came: {0}")]
    Read(std::io::Error),
    #[error("no job came within {} s", JOB_WITHIN.as_secs())]
    TimedOut,
    #[error("invalid job message: {0}")]
    NoJob(#[from] IpcError),
}

/// The two ends of the pipes to the service, which nothing else in this process can write to any
/// more.
#[derive(Debug)]
pub struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
}

impl Pipes {
    /// Takes over standard input and output. Later prints go to standard error: a plug-in's output
    /// is not a message.
    ///
    /// # Errors
    ///
    /// Without standard input or output.
    pub fn claim() -> Result<Self, NoJobError> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(NoJobError::Pipes)?;
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(NoJobError::Pipes)?;
        nix::unistd::dup2_stdout(std::io::stderr()).map_err(|errno| NoJobError::Pipes(errno.into()))?;
        Ok(Self { stdin, stdout })
    }

    /// Reads the job. The service sends more only after an answer, so nothing is read too far.
    ///
    /// # Errors
    ///
    /// Without a valid job.
    pub fn read_job(&self) -> Result<Job, NoJobError> {
        let deadline = Instant::now() + JOB_WITHIN;
        let mut line = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Err(NoJobError::TimedOut),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(NoJobError::Read(errno.into())),
            }
            match nix::unistd::read(&self.stdin, &mut buffer) {
                Ok(0) => return Err(NoJobError::Read(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => line.extend_from_slice(&buffer[..read]),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(NoJobError::Read(errno.into())),
            }
            if line.last() == Some(&b'\n') {
                return Ok(ipc::parse(&line)?);
            }
            if line.len() > LONGEST_LINE {
                return Err(IpcError::TooLong.into());
            }
        }
    }
}

/// Records, and reports everything to the service. `false` if the job was refused.
///
/// # Errors
///
/// When the pipes are unusable.
pub async fn run(job: &Job, pipes: Pipes) -> Result<bool, NoJobError> {
    let stdin = pipe::Receiver::from_owned_fd(pipes.stdin).map_err(NoJobError::Pipes)?;
    let stdout = pipe::Sender::from_owned_fd(pipes.stdout).map_err(NoJobError::Pipes)?;
    let egress_dir = EgressDir::at(job.terms.egress_dir.clone());
    let mut writer = ReportWriter::open(Box::new(stdout), egress_dir.clone());
    let accepted = match prepare(job, &egress_dir) {
        Ok(Prepared { setup, alive }) => {
            let without = |error: &std::io::Error| tracing::warn!(%error, "the next service can't take over the recording");
            let door = Door {
                stdin,
                socket: RecorderSocket::bind(&egress_dir).inspect_err(without).ok(),
                orphan_timeout: job.terms.orphan_timeout,
            };
            let report = Report::new(&setup.plan, setup.request.clone(), Timestamp::now());
            writer.say(FromRecorder::Ready(Info::new(report.info())));
            let Over { kept, is_evicted } = record(setup, door, &mut writer).await;
            if is_evicted {
                // No report was sent yet, so none can be lost.
                if let Err(error) = egress_dir.mark_evicted() {
                    tracing::error!(%error, "the next service may report of an evicted recording");
                }
                writer.say(FromRecorder::Evicted { kept });
            } else {
                writer.say(FromRecorder::Ended { kept });
            }
            writer.close().await;
            // The last report is in the cell: now, and not before, another may take it from there.
            drop(alive);
            return Ok(true);
        }
        Err(refusal) => {
            tracing::warn!(kind = ?refusal.kind, message = refusal.message, "refused");
            writer.say(FromRecorder::Refused(refusal));
            false
        }
    };
    writer.close().await;
    Ok(accepted)
}

/// Source of commands.
struct Door {
    stdin: pipe::Receiver,
    /// `None`: nobody can take over.
    socket: Option<RecorderSocket>,
    orphan_timeout: Duration,
}

struct Prepared {
    setup: Setup,
    alive: Alive,
}

/// Everything that can go wrong before something is started.
fn prepare(job: &Job, egress_dir: &EgressDir) -> Result<Prepared, Refusal> {
    let internal =
        |error: &dyn std::fmt::Display| Refusal { kind: RefusalKind::Internal, message: error.to_string() };
    let taken = || internal(&"another recorder is at work for this egress");
    let alive = egress_dir.enter().map_err(|error| internal(&error))?.ok_or_else(taken)?;
    // The service has planned the same before.
    let (request, mut plan) = job.plan().map_err(|error| internal(&error))?;
    preflight::check(&plan, &job.terms.base, job.terms.keep_free).map_err(|error| not_writable(&error))?;
    let mut names = Names::new(&job.terms.base, OlderFiles::Replace);
    names.claim(&mut plan).map_err(|error| not_named(&error))?;
    let work =
        WorkDir::create(&plan, Some(egress_dir.dir()), &job.terms.base).map_err(|error| internal(&error))?;
    let graph = GraphPlan::new(
        &plan,
        Machine { cores: available_cores(), encoder_threads: job.terms.video_encoder_threads },
    );
    let setup = Setup {
        request: Some(redacted_request(&request)),
        plan,
        graph,
        work,
        names,
        base: job.terms.base.clone(),
        keep_free: job.terms.keep_free,
        upload_patience: job.terms.upload_patience,
    };
    Ok(Prepared { setup, alive })
}

fn not_writable(error: &PreflightError) -> Refusal {
    let kind = match error {
        // Another machine may have room.
        PreflightError::Full { .. } => RefusalKind::Unavailable,
        PreflightError::NotADirectory { .. }
        | PreflightError::NotWritable { .. }
        | PreflightError::IsADirectory { .. }
        | PreflightError::TooLong { .. }
        | PreflightError::Storage { .. } => RefusalKind::Invalid,
    };
    Refusal { kind, message: error.to_string() }
}

fn not_named(error: &NameError) -> Refusal {
    let kind = match error {
        NameError::Taken { .. } | NameError::Exists { .. } => RefusalKind::NameTaken,
        NameError::Twice { .. } => RefusalKind::Invalid,
        NameError::Registry { .. } => RefusalKind::Internal,
    };
    Refusal { kind, message: error.to_string() }
}

/// An ended recording.
struct Over {
    /// Files that were kept.
    kept: Option<PathBuf>,
    /// Another recorder has its egress.
    is_evicted: bool,
}

/// Records until it is over.
async fn record(setup: Setup, door: Door, writer: &mut ReportWriter) -> Over {
    let unheard = |error: &std::io::Error| tracing::warn!(%error, "signals can't be listened to");
    let mut signals = Signals::supervised().inspect_err(unheard).ok();
    if let Err(error) = media::init() {
        let text = format!("GStreamer does not start: {error} (try `weir doctor`)");
        return Over { kept: never_began(setup, &text, writer), is_evicted: false };
    }
    let (commands, received) = mpsc::unbounded_channel();
    let has_streams =
        setup.plan.outputs.iter().any(|output| matches!(output, crate::plan::output::OutputPlan::Stream(_)));
    let streams = Streams::new(commands.clone(), writer.words(), writer.infos(), has_streams);
    let Door { stdin, socket, orphan_timeout } = door;
    let orders =
        Orders { commands: commands.clone(), streams, words: writer.words(), socket, orphan_timeout };
    let mut listening = JoinSet::new();
    listening.spawn(orders.take(Box::new(stdin)));
    let recording = recording::run(setup, received, writer);
    tokio::pin!(recording);
    let ended = loop {
        tokio::select! {
            ended = &mut recording => break ended,
            () = next(&mut signals) => {
                tracing::info!("interrupted");
                // It fails when the recording is over, and then there is nothing to stop.
                commands.send(Command::Stop(StopCause::Orphaned)).ok();
            }
        }
    };
    listening.shutdown().await;
    Over { kept: ended.kept, is_evicted: ended.is_evicted }
}

fn never_began(setup: Setup, error: &str, writer: &mut ReportWriter) -> Option<PathBuf> {
    let report = Report::new(&setup.plan, setup.request, Timestamp::now());
    let info: proto::EgressInfo = failed(report.info().clone(), error, Fault::Service, &[], Timestamp::now());
    let kept = setup.work.discard().err().map(|remains| remains.root);
    recording::Reporter::changed(writer, &info);
    kept
}

/// The next signal that ends the recording. Signals without a listener stay blocked.
async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => {
            signals.next().await;
        }
        None => std::future::pending().await,
    }
}
