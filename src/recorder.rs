//! One recording at a terminal: signals become commands, progress becomes a line, the result is printed.

pub mod supervised;
mod terminal;

use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::{Command, StopCause};
use crate::media;
use crate::plan::RecordingPlan;
use crate::plan::graph::{GraphPlan, Machine};
use crate::recording::names::{NameError, Names, OlderFiles};
use crate::recording::preflight::{self, PreflightError};
use crate::recording::workdir::{WorkDir, WorkDirError};
use crate::recording::{self, Ended, Outcome, Setup};
pub use terminal::{Display, print_result};

/// What a person said about a recording beside the request itself.
#[derive(Debug, Clone)]
pub struct Options {
    pub display: Display,
    /// Where work directories go; beside the first local output if not given.
    pub work_dir: Option<PathBuf>,
    /// Bytes of the disk that stay free: a recording ends before there are fewer.
    pub keep_free: u64,
}

/// Why a recording was not even begun. Nothing was started, nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RefusedError {
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error("GStreamer does not start: {0} (try `weir doctor`)")]
    GStreamer(String),
    #[error("can't listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("the current directory can't be read: {0}")]
    CurrentDir(std::io::Error),
}

/// How a recording at a terminal ended.
#[derive(Debug)]
pub enum Verdict {
    /// It ended by itself or was asked to.
    Ended(Box<Ended>),
    /// It was interrupted a second time.
    Abandoned(Box<Ended>),
}

impl Verdict {
    #[must_use]
    pub const fn ended(&self) -> &Ended {
        match self {
            Self::Ended(ended) | Self::Abandoned(ended) => ended,
        }
    }

    /// 0 complete (a limit counts as complete), 1 failed or aborted, 130 interrupted twice.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Ended(ended) => match ended.outcome {
                Outcome::Complete | Outcome::LimitReached => 0,
                Outcome::Aborted { .. } | Outcome::Failed { .. } => 1,
            },
            Self::Abandoned(_) => 130,
        }
    }
}

/// Records what the plan says until it is over. The first SIGINT or SIGTERM ends it gracefully, the second at once.
///
/// # Errors
/// When it can't be begun: an output can't be written or is there already, or GStreamer does not start.
pub async fn record(
    mut plan: RecordingPlan,
    request: Option<livekit_protocol::egress_info::Request>,
    options: &Options,
) -> Result<Verdict, RefusedError> {
    // Before anything is started: a signal that comes while Chromium starts must find us listening.
    let mut signals = Signals::listen().map_err(RefusedError::Signals)?;
    let base = std::env::current_dir().map_err(RefusedError::CurrentDir)?;
    preflight::check(&plan, &base, options.keep_free)?;
    let mut names = Names::new(&base, OlderFiles::Refuse);
    names.claim(&mut plan)?;
    let work = WorkDir::create(&plan, options.work_dir.as_deref(), &base)?;
    if let Err(error) = media::init() {
        work.discard();
        return Err(RefusedError::GStreamer(error.to_string()));
    }
    let graph = GraphPlan::new(&plan, Machine { cores: available_cores(), encoder_threads: 0 });
    let setup = Setup { plan, graph, request, work, names, base, keep_free: options.keep_free };

    let (commands, received) = mpsc::unbounded_channel();
    let mut display = options.display.start(&setup.plan);
    let mut interrupted_twice = false;
    let ended = {
        let recording = recording::run(setup, received, &mut *display);
        tokio::pin!(recording);
        let mut asked = false;
        loop {
            tokio::select! {
                ended = &mut recording => break ended,
                () = signals.next() => {
                    let command = if asked { Command::Abandon } else { Command::Stop(StopCause::Signal) };
                    interrupted_twice = asked;
                    asked = true;
                    // It fails when the recording is over, and then there is nothing to stop.
                    commands.send(command).ok();
                }
            }
        }
    };
    drop(display);
    let ended = Box::new(ended);
    Ok(if interrupted_twice { Verdict::Abandoned(ended) } else { Verdict::Ended(ended) })
}

/// The cores that this process may use: what the scheduler allows, and no more than the control group's quota. A part
/// of a core counts as such.
#[must_use]
pub fn available_cores() -> f32 {
    // `available_parallelism` knows the affinity mask and both versions of control groups; it rounds a quota down.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^24 cores")]
    let cores = cores as f32;
    quota(Path::new("/sys/fs/cgroup/cpu.max")).map_or(cores, |quota| quota.min(cores))
}

/// `cpu.max` holds the quota and the period in microseconds, or `max` and the period.
fn quota(file: &Path) -> Option<f32> {
    let text = std::fs::read_to_string(file).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f32, f32) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// The signals that end a recording wait from here on until the recorder listens to them. To be called on the main thread
/// before any other is started (threads inherit what is held back; children do not): a Ctrl-C while the runtime comes up is
/// neither lost nor the end of a process that has something to clean up.
pub fn hold_signals() {
    // It can't fail: the set is valid. If it did, signals would come as they always do.
    ending_signals().thread_block().ok();
}

fn ending_signals() -> SigSet {
    [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM].into_iter().collect()
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let signals =
            Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
        // As above.
        ending_signals().thread_unblock().ok();
        Ok(signals)
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
