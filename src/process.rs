//! Child processes: the only spawner.
//!
//! A [`Child`] is a value. Its process starts with exactly the environment it is given, in a group
//! of its own, and is gone when the value is: dropping it kills the whole group. It is gone too
//! when this process is killed, by the kernel's parent-death signal.
//!
//! ```text
//! one thread for each child:   fork ──► hand the Child over ──► wait for its exit ──► kill what is left of the group,
//!                                                                                     reap it, publish the exit
//! ```
//!
//! The thread is there for two reasons. The parent-death signal is bound to the *thread* that
//! forked, not to the process: a child started from a worker of a runtime would be killed when that
//! worker ends. And it reaps: no zombie waits for somebody to ask, in whatever state the runtime
//! is.

mod ask;
pub mod desktop;
mod open_files;
mod output;
mod program;
mod self_exec;
pub mod text;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

pub use ask::ask;
pub use open_files::raise_open_files;
use output::{LastWords, Output, WAITING_LINES};
pub use program::{CHROMIUM, FC_LIST, PRLIMIT, PROGRAMS, PULSEAUDIO, Program, SETPRIV, UNSHARE, XVFB};
pub use self_exec::{SelfExec, SelfExecSpec, Stdin};

/// A program to start.
#[derive(Debug, Clone)]
pub struct Spec {
    pub program: Program,
    pub args: Vec<OsString>,
    /// All of the child's environment.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// Where its stdout and stderr go, appended; cut off at some megabytes.
    pub log: PathBuf,
    /// Lines that contain one of these are known and not worth a place in the log.
    pub noise: &'static [&'static str],
    /// Whether the child gets two pipes: it reads descriptor 3 and writes descriptor 4. See
    /// [`Child::take_pipes`].
    pub has_pipes: bool,
}

impl Spec {
    #[must_use]
    pub fn new(program: Program, cwd: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            cwd: cwd.into(),
            log: log.into(),
            noise: &[],
            has_pipes: false,
        }
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub const fn noise(mut self, noise: &'static [&'static str]) -> Self {
        self.noise = noise;
        self
    }

    #[must_use]
    pub const fn with_pipes(mut self) -> Self {
        self.has_pipes = true;
        self
    }
}

/// Why a child could not be started, or did not get ready.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("`{program}` is missing: install it with `apt-get install {package}`")]
    Missing { program: &'static str, package: &'static str },
    #[error("{program} could not be started")]
    Spawn { program: &'static str, source: io::Error },
    #[error("the log {path} could not be opened")]
    Log { path: PathBuf, source: io::Error },
    #[error("{program} ended while it was started ({status}); its last words:\n{said}")]
    Ended { program: &'static str, status: ExitStatus, said: String },
    #[error("{program} was not ready within {} s; its last words:\n{said}", .within.as_secs_f32())]
    NotReady { program: &'static str, within: Duration, said: String },
}

/// Our ends of a child's two pipes. They are private: no other process has them.
#[derive(Debug)]
pub struct Pipes {
    /// To the child's descriptor 3.
    pub to: pipe::Sender,
    /// From the child's descriptor 4.
    pub from: pipe::Receiver,
}

/// A running process and its group; killed when dropped.
#[derive(Debug)]
pub struct Child {
    program: &'static str,
    leash: Arc<Leash>,
    exit: Exit,
    /// Each line of its stdout and stderr, until somebody has read what he waited for.
    lines: Option<mpsc::Receiver<String>>,
    /// Of a child with pipes, until they are taken.
    pipes: Option<Pipes>,
    last_words: LastWords,
    output: Output,
}

impl Child {
    /// Starts a process. Dropping the future before it is done leaves none behind.
    ///
    /// # Errors
    /// When the program is missing, can't be executed, or its log can't be written.
    pub async fn start(spec: Spec) -> Result<Self, ProcessError> {
        let program = spec.program.name;
        let failed = |source| ProcessError::Spawn { program, source };
        let mut command = command(&spec)?;
        let pipes = spec.has_pipes.then(|| add_pipes(&mut command)).transpose().map_err(failed)?;
        let (handover, handed) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("watch {program}"))
            .stack_size(256 * 1024)
            .spawn(move || watch(command, handover))
            .map_err(failed)?;
        let ended = |_| failed(io::Error::other("the thread that starts it ended"));
        let mut started = handed.await.map_err(ended)?.map_err(failed)?;

        let (lines, read) = mpsc::channel(WAITING_LINES);
        // Made first, so that it is killed if its output can't be read.
        let mut child = Self {
            program,
            leash: Arc::clone(&started.leash),
            exit: started.exit.clone(),
            lines: Some(read),
            pipes,
            last_words: LastWords::default(),
            output: Output::default(),
        };
        let pipes = [started.stdout.take().map(OwnedFd::from), started.stderr.take().map(OwnedFd::from)];
        child.output = Output::start(&spec, pipes, &lines, &child.last_words)?;
        Ok(child)
    }

    /// Waits for the first line of its output that `pick` makes something of. To be asked once.
    ///
    /// # Errors
    /// When the process ends before, or does not say it in time.
    pub async fn says<T>(
        &mut self,
        within: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let lines = self.lines.take();
        let found = async {
            let mut lines = lines?;
            loop {
                let line = lines.recv().await?;
                if let Some(found) = pick(&line) {
                    return Some(found);
                }
            }
        };
        // The output ends when the process does, so this never waits for a process that is gone.
        match tokio::time::timeout(within, found).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => match tokio::time::timeout(within, self.exit().wait()).await {
                Ok(status) => {
                    Err(ProcessError::Ended { program: self.program, status, said: self.last_words.get() })
                }
                Err(_) => Err(self.not_ready(within)),
            },
            Err(_) => Err(self.not_ready(within)),
        }
    }

    /// Waits until `ready` succeeds. Use it in place of [`Child::says`]. `ready` has to fail when
    /// the process ends.
    ///
    /// # Errors
    /// When the process ends first, or is not ready in time.
    pub async fn await_ready<T, E>(
        &mut self,
        within: Duration,
        ready: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ProcessError> {
        // The lines are not needed. If they stayed, they would fill memory.
        self.lines = None;
        let up = async {
            match ready.await {
                Ok(up) => Ok(up),
                Err(_) => Err(self.exit().wait().await),
            }
        };
        match tokio::time::timeout(within, up).await {
            Ok(Ok(up)) => Ok(up),
            Ok(Err(status)) => {
                Err(ProcessError::Ended { program: self.program, status, said: self.last_words.get() })
            }
            Err(_) => Err(self.not_ready(within)),
        }
    }

    /// Takes the pipes of a child that was started with [`Spec::with_pipes`]. `None`: it has none,
    /// or they were taken.
    pub const fn take_pipes(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// Its end, to be awaited by any number of others.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit.clone()
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        self.leash.group.as_raw()
    }

    /// Its last output, for an error's text.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.last_words.get()
    }

    /// Asks it to end, waits for `grace` at most, kills what is left of its group, and waits until
    /// it is reaped.
    pub async fn close(self, grace: Duration) {
        if !grace.is_zero() {
            self.leash.terminate();
            if tokio::time::timeout(grace, self.exit().wait()).await.is_ok() {
                return;
            }
        }
        self.leash.kill();
        // A killed process is gone at once, unless the kernel holds it in a system call.
        if tokio::time::timeout(Duration::from_secs(5), self.exit().wait()).await.is_err() {
            tracing::warn!(program = self.program, pid = self.pid(), "killed, and still there after 5 s");
        }
    }

    fn not_ready(&self, within: Duration) -> ProcessError {
        ProcessError::NotReady { program: self.program, within, said: self.last_words.get() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.leash.kill();
    }
}

/// The end of a process.
#[derive(Debug, Clone)]
pub struct Exit(watch::Receiver<Option<ExitStatus>>);

impl Exit {
    /// Waits until the process has ended and is reaped.
    pub async fn wait(mut self) -> ExitStatus {
        match self.0.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The watching thread publishes the exit before it lets go of its sender.
            Err(_) => ExitStatus::default(),
        }
    }
}

/// The right to signal a process group, which ends when its leader is reaped: from then on the
/// number may be another's.
#[derive(Debug)]
struct Leash {
    group: Pid,
    reaped: Mutex<bool>,
}

impl Leash {
    fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped && let Err(error) = killpg(self.group, signal) {
            // ESRCH can't be: an unreaped leader keeps the group. EPERM would be a set-user-id
            // program.
            tracing::debug!(%error, group = self.group.as_raw(), "could not be signalled");
        }
    }
}

struct Started {
    leash: Arc<Leash>,
    exit: Exit,
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
}

impl Drop for Started {
    /// Only a hand-over that nobody took still has its pipes.
    fn drop(&mut self) {
        if self.stdout.is_some() {
            self.leash.kill();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
fn command(spec: &Spec) -> Result<std::process::Command, ProcessError> {
    // `setpriv` sets the parent-death signal and becomes the program: std offers no safe way to do
    // it between fork and exec. If we are killed within the millisecond before it has done so, the
    // child stays; nothing else is that small.
    let mut command = std::process::Command::new(SETPRIV.find()?);
    command.args(["--pdeathsig", "KILL", "--"]);
    // Our own limit of open files is as high as can be, which is not for everybody.
    command.arg(PRLIMIT.find()?).arg(open_files::of_child());
    command.arg(spec.program.find()?).args(&spec.args);
    command.env_clear().envs(spec.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&spec.cwd);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    Ok(command)
}

/// Gives a child the ends of two pipes as descriptors 3 and 4, and returns ours. The child's ends
/// are closed here when the command is dropped.
fn add_pipes(command: &mut std::process::Command) -> io::Result<Pipes> {
    let (reads, to) = io::pipe()?;
    let (from, writes) = io::pipe()?;
    let reads = FdMapping { parent_fd: reads.into(), child_fd: 3 };
    let writes = FdMapping { parent_fd: writes.into(), child_fd: 4 };
    command.fd_mappings(vec![reads, writes]).map_err(io::Error::other)?;
    let (to, from) = (pipe::Sender::from_owned_fd(to.into())?, pipe::Receiver::from_owned_fd(from.into())?);
    Ok(Pipes { to, from })
}

/// The life of one child, on a thread of its own.
fn watch(mut command: std::process::Command, handover: oneshot::Sender<io::Result<Started>>) {
    let spawned = command.spawn();
    // Its ends of pipes are its own now: the other ends have to see when it closes them.
    drop(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            // Who does not wait any more needs no error.
            drop(handover.send(Err(error)));
            return;
        }
    };
    // A pid fits: the kernel's own type is a signed 32-bit number.
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    let leash = Arc::new(Leash { group, reaped: Mutex::new(false) });
    let (publish, exit) = watch::channel(None);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let started = Started { leash: Arc::clone(&leash), exit: Exit(exit), stdin, stdout, stderr };
    // Comes back, and kills in its drop, when the future that waited is gone.
    drop(handover.send(Ok(started)));

    // The leader stays a zombie until the rest of its group is killed, so that the group's number
    // can't be another's.
    while let Err(Errno::EINTR) = waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
    leash.kill();
    let status = {
        let mut reaped = leash.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        *reaped = true;
        child.wait().unwrap_or_default()
    };
    publish.send_replace(Some(status));
}

#[cfg(test)]
mod tests;
