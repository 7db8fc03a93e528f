//! One recording for a service: the hidden `weir recorder`. The job comes in by standard input, and so do commands; reports go out by
//! standard output (`ipc`).
//!
//! When its standard input ends, the service is gone. The recording then ends as if it had been stopped, its files are finished
//! and stored, and its last report waits in its cell. Only a signal to this process itself ends it sooner: SIGINT gracefully.
//! SIGTERM is held back: who stops a service sends it to every process of the service, and the service alone knows what it means.

mod mouth;
mod streams;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use livekit_protocol as proto;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::available_cores;
use crate::control::{Command, StopCause};
use crate::ipc::cell::{Alive, Cell};
use crate::ipc::{
    self, FromRecorder, Info, IpcError, Job, LONGEST_LINE, Lines, Refusal, RefusalKind, Taken, ToRecorder,
};
use crate::media;
use crate::plan::graph::{GraphPlan, Machine};
use crate::plan::info::redacted_request;
use crate::profile::{self, Length, ProfileError};
use crate::recording::names::{NameError, Names, OlderFiles};
use crate::recording::preflight::{self, PreflightError};
use crate::recording::workdir::WorkDir;
use crate::recording::{self, Setup};
use crate::report::{Fault, Report, failed};
use mouth::{Mouth, Words};
use streams::Streams;

/// A service writes the job at once.
const JOB_WITHIN: Duration = Duration::from_secs(10);
/// From the wish for a picture to the picture.
const PICTURE_WITHIN: Duration = Duration::from_secs(5);

/// Why there is nothing to record.
#[derive(Debug, thiserror::Error)]
pub enum NoJobError {
    #[error("`weir recorder` is started by `weir serve`, with pipes: {0}")]
    Pipes(#[source] std::io::Error),
    #[error("no job came: {0}")]
    Read(std::io::Error),
    #[error("no job came within {} s", JOB_WITHIN.as_secs())]
    TimedOut,
    #[error("what came is no job: {0}")]
    NoJob(#[from] IpcError),
}

/// The two ends of the pipes to the service, which nothing else in this process can write to any more.
#[derive(Debug)]
pub struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
}

impl Pipes {
    /// Takes them. What prints from now on prints to standard error: a plug-in's chatter is no message.
    ///
    /// # Errors
    /// When there is no standard input or output.
    pub fn claim() -> Result<Self, NoJobError> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(NoJobError::Pipes)?;
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(NoJobError::Pipes)?;
        nix::unistd::dup2_stdout(std::io::stderr()).map_err(|errno| NoJobError::Pipes(errno.into()))?;
        Ok(Self { stdin, stdout })
    }

    /// Waits for the job. What follows comes only after an answer, so that nothing is read too far.
    ///
    /// # Errors
    /// When none comes.
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

/// Records, and tells everything that there is to tell. `false`: it was refused.
///
/// # Errors
/// When the pipes are none.
pub async fn run(job: &Job, pipes: Pipes) -> Result<bool, NoJobError> {
    let stdin = pipe::Receiver::from_owned_fd(pipes.stdin).map_err(NoJobError::Pipes)?;
    let stdout = pipe::Sender::from_owned_fd(pipes.stdout).map_err(NoJobError::Pipes)?;
    let cell = Cell::at(job.terms.cell.clone());
    let mut mouth = Mouth::open(stdout, cell.clone());
    let accepted = match prepare(job, &cell) {
        Ok(Prepared { setup, alive }) => {
            let report = Report::new(&setup.plan, setup.request.clone(), Timestamp::now());
            mouth.say(FromRecorder::Ready(Info::new(report.info())));
            let kept = record(setup, stdin, &mut mouth).await;
            mouth.say(FromRecorder::Ended { kept });
            mouth.close().await;
            // The last report is in the cell: now, and not before, another may take it from there.
            drop(alive);
            return Ok(true);
        }
        Err(refusal) => {
            tracing::warn!(kind = ?refusal.kind, message = refusal.message, "refused");
            mouth.say(FromRecorder::Refused(refusal));
            false
        }
    };
    mouth.close().await;
    Ok(accepted)
}

struct Prepared {
    setup: Setup,
    alive: Alive,
}

/// Everything that can go wrong before something is started.
fn prepare(job: &Job, cell: &Cell) -> Result<Prepared, Refusal> {
    let internal =
        |error: &dyn std::fmt::Display| Refusal { kind: RefusalKind::Internal, message: error.to_string() };
    let taken = || internal(&"another recorder is at work for this egress");
    let alive = cell.enter().map_err(|error| internal(&error))?.ok_or_else(taken)?;
    // The service has planned the same before.
    let (request, mut plan) = job.plan().map_err(|error| internal(&error))?;
    preflight::check(&plan, &job.terms.base, job.terms.keep_free).map_err(|error| not_writable(&error))?;
    let mut names = Names::new(&job.terms.base, OlderFiles::Replace);
    names.claim(&mut plan).map_err(|error| not_named(&error))?;
    let work = WorkDir::create(&plan, Some(cell.dir()), &job.terms.base).map_err(|error| internal(&error))?;
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

/// Records until it is over. Gives what is kept of it.
async fn record(setup: Setup, stdin: pipe::Receiver, mouth: &mut Mouth) -> Option<PathBuf> {
    let mut interrupts = interrupts();
    if let Err(error) = media::init() {
        let text = format!("GStreamer does not start: {error} (try `weir doctor`)");
        return never_began(setup, &text, mouth);
    }
    let (commands, received) = mpsc::unbounded_channel();
    let has_streams =
        setup.plan.outputs.iter().any(|output| matches!(output, crate::plan::output::OutputPlan::Stream(_)));
    let streams = Streams::new(commands.clone(), mouth.words(), mouth.infos(), has_streams);
    let mut listening = JoinSet::new();
    listening.spawn(listen(stdin, commands.clone(), streams, mouth.words()));
    let recording = recording::run(setup, received, mouth);
    tokio::pin!(recording);
    let ended = loop {
        tokio::select! {
            ended = &mut recording => break ended,
            Some(_) = next(&mut interrupts) => {
                tracing::info!("interrupted");
                // It fails when the recording is over, and then there is nothing to stop.
                commands.send(Command::Stop(StopCause::Orphaned)).ok();
            }
        }
    };
    listening.shutdown().await;
    ended.kept
}

fn never_began(setup: Setup, error: &str, mouth: &mut Mouth) -> Option<PathBuf> {
    let report = Report::new(&setup.plan, setup.request, Timestamp::now());
    let info: proto::EgressInfo = failed(report.info().clone(), error, Fault::Service, &[], Timestamp::now());
    setup.work.discard();
    recording::Reporter::changed(mouth, &info);
    None
}

/// Takes commands until there will be none any more.
async fn listen(
    stdin: pipe::Receiver,
    commands: mpsc::UnboundedSender<Command>,
    streams: Arc<Streams>,
    words: Words,
) {
    let mut lines = Lines::new(stdin);
    let mut updates = JoinSet::new();
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            Some(_) = updates.join_next() => continue,
        };
        let command = match line {
            None => {
                tracing::warn!("the service is gone: the recording is finished");
                commands.send(Command::Stop(StopCause::Orphaned)).ok();
                while updates.join_next().await.is_some() {}
                return;
            }
            Some(line) => line.and_then(|line| ipc::parse(&line)),
        };
        match command {
            Ok(ToRecorder::Stop { cause }) => drop(commands.send(Command::Stop(cause.into()))),
            Ok(ToRecorder::Degrade { why }) => drop(commands.send(Command::Degrade { why })),
            Ok(ToRecorder::Kill { error }) => drop(commands.send(Command::Kill { error })),
            Ok(ToRecorder::UpdateStream { id, add, remove }) => {
                let streams = Arc::clone(&streams);
                // It may wait for the recording to begin, and a stop must not wait for it.
                updates.spawn(async move { streams.update(id, &add, &remove).await });
            }
            Ok(ToRecorder::DumpGraph { id }) => {
                let words = words.clone();
                // It waits for elements that may be at work.
                updates
                    .spawn_blocking(move || words.say(FromRecorder::Graph { id, dot: media::graph::dot() }));
            }
            Ok(ToRecorder::Picture { id, width }) => {
                let (commands, words) = (commands.clone(), words.clone());
                updates.spawn(async move {
                    let jpeg = picture(&commands, width).await;
                    words.say(FromRecorder::Picture { id, jpeg });
                });
            }
            Ok(ToRecorder::Profile { id, seconds }) => {
                let words = words.clone();
                updates.spawn(async move {
                    let taken = profiled(seconds).await;
                    words.say(FromRecorder::Profile { id, taken });
                });
            }
            Err(error) => tracing::warn!(%error, "the service said something that is no command"),
        }
    }
}

/// What is being recorded, for somebody who looks; `None`: nothing can be seen.
async fn picture(commands: &mpsc::UnboundedSender<Command>, width: u32) -> Option<ipc::Picture> {
    let (reply, shown) = oneshot::channel();
    commands.send(Command::Picture { width, reply }).ok()?;
    let jpeg = timeout(PICTURE_WITHIN, shown).await.ok()?.ok()??;
    ipc::Picture::new(&jpeg)
}

/// A CPU profile of this process, or why there is none.
async fn profiled(seconds: u64) -> Taken {
    let refused = |kind, message: String| Taken::Refused(Refusal { kind, message });
    let Some(length) = Length::seconds(seconds) else {
        return refused(RefusalKind::Invalid, format!("seconds: 1 to {}", Length::LONGEST));
    };
    match profile::take(length).await {
        Ok(profile) => Taken::Profile(ipc::Profile::new(&profile)),
        Err(error @ ProfileError::Taken) => refused(RefusalKind::Busy, error.to_string()),
        Err(error) => refused(RefusalKind::Internal, error.to_string()),
    }
}

/// SIGINT, which was held back until now; `None`: it can't be listened to, and stays held back.
fn interrupts() -> Option<tokio::signal::unix::Signal> {
    let listening = signal(SignalKind::interrupt())
        .inspect_err(|error| tracing::warn!(%error, "SIGINT can't be listened to"))
        .ok()?;
    let set: SigSet = [nix::sys::signal::Signal::SIGINT].into_iter().collect();
    set.thread_unblock().ok()?;
    Some(listening)
}

async fn next(interrupts: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match interrupts {
        Some(interrupts) => interrupts.recv().await,
        None => std::future::pending().await,
    }
}
