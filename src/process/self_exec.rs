//! This program again: a recorder of its own for each recording of a service.
//!
//! Unlike every other child it outlives the one that started it: it goes on when its standard input
//! ends. So it has no parent-death signal, and a log that does not end with its parent either: it
//! inherits standard error.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::{Exit, Leash, ProcessError, watch};

const NAME: &str = "weir";

/// Environment variables that a recorder gets: locations of programs, libraries and caches, locale
/// and time zone, variables read by the storage providers' clients, and log settings. Others are
/// not passed on.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "WEIR_LOG",
    "NO_COLOR",
];
/// Prefixes of the same.
const ENVIRONMENT_PREFIXES: &[&str] = &["LC_", "XDG_", "GST_", "LD_LIBRARY_", "AWS_", "FONTCONFIG_"];

/// This program with other arguments.
#[derive(Debug, Clone)]
pub struct SelfExecSpec {
    /// Everybody on the machine can read them.
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    pub stdin: Stdin,
}

/// Input of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    Nothing,
    Piped,
}

/// A running copy of this program, in a group of its own. Dropping it does not end it; its pipes
/// close.
#[derive(Debug)]
pub struct SelfExec {
    leash: Arc<Leash>,
    exit: Exit,
    /// `None`: it has none, or it was taken.
    pub stdin: Option<pipe::Sender>,
    /// `None`: it was taken.
    pub stdout: Option<pipe::Receiver>,
}

impl SelfExec {
    /// Starts it. Dropping the future before it is done kills what was started.
    ///
    /// # Errors
    /// When it can't be executed.
    pub async fn start(spec: SelfExecSpec) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Spawn { program: NAME, source };
        let command = command(&spec);
        let (handover, handed) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("watch {NAME}"))
            .stack_size(256 * 1024)
            .spawn(move || watch(command, handover))
            .map_err(failed)?;
        let ended = |_| failed(io::Error::other("the thread that starts it ended"));
        let mut started = handed.await.map_err(ended)?.map_err(failed)?;
        // As long as it has its stdout, it is killed when it is dropped.
        let stdin = started.stdin.take().map(OwnedFd::from).map(pipe::Sender::from_owned_fd);
        let stdin = stdin.transpose().map_err(failed)?;
        let stdout = started.stdout.as_ref().map(std::os::fd::AsFd::as_fd);
        let stdout = stdout.map(|fd| fd.try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd));
        let stdout = stdout.transpose().map_err(failed)?;
        let own = Self { leash: Arc::clone(&started.leash), exit: started.exit.clone(), stdin, stdout };
        drop(started.stdout.take());
        Ok(own)
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        self.leash.group.as_raw()
    }

    /// Its end, to be awaited by any number of others.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit.clone()
    }

    /// Signals it alone. Its own children have groups of their own, and die with it.
    pub fn signal(&self, signal: Signal) {
        self.leash.signal(signal);
    }
}

#[expect(clippy::disallowed_methods, reason = "this module starts processes")]
fn command(spec: &SelfExecSpec) -> std::process::Command {
    let mut command = std::process::Command::new(program());
    command.arg0(NAME).args(&spec.args).current_dir(&spec.cwd);
    let wanted = |name: &str| {
        ENVIRONMENT.contains(&name) || ENVIRONMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)));
    command.stdin(match spec.stdin {
        Stdin::Nothing => Stdio::null(),
        Stdin::Piped => Stdio::piped(),
    });
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.process_group(0);
    command
}

/// This very program, also where its file was replaced meanwhile: another version may speak
/// otherwise. By this process's number, as others follow the link, too.
pub(super) fn program() -> PathBuf {
    let link = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or(link)
}
