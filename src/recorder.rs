//! One recording at a terminal: signals become commands, progress becomes a line, the result is
//! printed.

mod signals;
pub mod supervised;
mod terminal;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::media;
use crate::plan::RecordingPlan;
use crate::plan::graph::{GraphPlan, Machine};
use crate::recording::names::{NameError, Names, OlderFiles};
use crate::recording::preflight::{self, PreflightError};
use crate::recording::workdir::{WorkDir, WorkDirError};
use crate::recording::{self, Ended, Outcome, Setup};
use signals::{Asked, Signals};
pub use signals::{hold_signals, is_ignored};
pub use terminal::{Display, print_result};

/// Options of a recording at a terminal besides the request.
#[derive(Debug, Clone)]
pub struct Options {
    pub display: Display,
    /// Location of the work directory; by default beside the first local output.
    pub work_dir: Option<PathBuf>,
    /// Bytes of the disk that stay free: a recording ends before there are fewer.
    pub keep_free: u64,
    /// How long the end waits for a storage that is away, for each output.
    pub upload_patience: Duration,
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

/// Records what the plan says until it is over. The first SIGINT, SIGTERM or SIGQUIT ends it
/// gracefully, the second at once; SIGHUP ends it gracefully.
///
/// # Errors
/// When it can't be begun: an output can't be written or is there already, or GStreamer does not
/// start.
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
        // Nothing was recorded yet; what is there all the same is warned of.
        work.discard().ok();
        return Err(RefusedError::GStreamer(error.to_string()));
    }
    let graph = GraphPlan::new(&plan, Machine { cores: available_cores(), encoder_threads: 0 });
    let setup = Setup {
        plan,
        graph,
        request,
        work,
        names,
        base,
        keep_free: options.keep_free,
        upload_patience: options.upload_patience,
    };

    let (commands, received) = mpsc::unbounded_channel();
    let mut display = options.display.start(&setup.plan);
    let mut asked = Asked::default();
    let ended = {
        let recording = recording::run(setup, received, &mut *display);
        tokio::pin!(recording);
        loop {
            tokio::select! {
                ended = &mut recording => break ended,
                wish = signals.next() => {
                    if let Some(command) = asked.on(wish) {
                        // It fails when the recording is over, and then there is nothing to stop.
                        commands.send(command).ok();
                    }
                }
            }
        }
    };
    drop(display);
    let ended = Box::new(ended);
    Ok(if asked.twice { Verdict::Abandoned(ended) } else { Verdict::Ended(ended) })
}

/// The cores that this process may use: what the scheduler allows, and no more than the control
/// group's quota. A part of a core counts as such.
#[must_use]
pub fn available_cores() -> f32 {
    // `available_parallelism` knows the affinity mask and both versions of control groups; it
    // rounds a quota down.
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
