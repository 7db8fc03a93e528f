//! Programs run by tests: each has a deadline, and ends with its test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// A program in a process group of its own, killed when dropped.
#[derive(Debug)]
pub(crate) struct Tool {
    name: String,
    pid: Pid,
    // Behind a lock, so that threads can share a server; only its owner waits for its exit.
    exit: Mutex<Receiver<ExitStatus>>,
    status: Option<ExitStatus>,
    stdout: Option<thread::JoinHandle<Vec<u8>>>,
    stderr: Arc<Mutex<String>>,
    stderr_ended: Mutex<Receiver<()>>,
}

impl Tool {
    /// Starts `command`; threads feed it `stdin` and read its output.
    pub(crate) fn start(mut command: Command, stdin: Option<Vec<u8>>) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{name}: {error}; what the tests need is installed by `scripts/install.sh test`")
        });
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());

        if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // An error here means that the tool ended early, which its exit status tells better.
            thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        let mut pipe = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).ok();
            bytes
        });
        let (ended, stderr_ended) = mpsc::channel();
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap());
        thread::spawn({
            let stderr = stderr.clone();
            move || {
                for line in lines.split(b'\n').map_while(Result::ok) {
                    let mut text = stderr.lock().unwrap();
                    text.push_str(&String::from_utf8_lossy(&line));
                    text.push('\n');
                }
                ended.send(()).ok();
            }
        });
        let (done, exit) = mpsc::channel();
        thread::spawn(move || done.send(child.wait().unwrap()).ok());
        let (exit, stderr_ended) = (Mutex::new(exit), Mutex::new(stderr_ended));
        Self { name, pid, exit, status: None, stdout: Some(stdout), stderr, stderr_ended }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Its standard error, shared while it grows.
    pub(crate) fn log(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.stderr)
    }

    /// Sends a signal. SIGSTOP returns once every thread is stopped: until then, a busy machine may
    /// still run one of them.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            kill(self.pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
            if signal == Signal::SIGSTOP {
                let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
                match waitid(Id::Pid(self.pid), stopped) {
                    Ok(_) | Err(Errno::ECHILD) => {}
                    Err(error) => panic!("waiting for {} to stop: {error}", self.name),
                }
            }
        }
    }

    /// Waits for its exit; `None` if it still runs after `patience`.
    pub(crate) fn exit_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            let exit = self.exit.get_mut().unwrap_or_else(PoisonError::into_inner);
            self.status = match exit.recv_timeout(patience) {
                Ok(status) => Some(status),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the waiter sends before it ends"),
            };
        }
        self.status
    }

    /// Polls every 20 ms until `look` returns something, for conditions without an event; panics if
    /// the tool exits before, or at the deadline.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> T {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if let Some(status) = self.exit_within(Duration::from_millis(20)) {
                // The condition may have become true just before the exit.
                if let Some(found) = look() {
                    return found;
                }
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.stderr());
            }
            assert!(Instant::now() < end, "{what}: not within {deadline:?}:\n{}", self.stderr());
        }
    }

    /// Waits for its exit and returns its output.
    pub(crate) fn finish(mut self, deadline: Duration) -> Finished {
        let Some(status) = self.exit_within(deadline) else {
            panic!("{} did not end within {deadline:?}:\n{}", self.name, self.stderr());
        };
        let stdout = self.stdout.take().unwrap().join().unwrap();
        // A grandchild may hold the pipe open; everything relevant was written before the exit.
        let stderr_ended = self.stderr_ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        stderr_ended.recv_timeout(Duration::from_secs(2)).ok();
        Finished { status, stdout, stderr: self.stderr() }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if self.exit_within(Duration::ZERO).is_none() {
            killpg(self.pid, Signal::SIGKILL).ok();
            // Its directory is removed next, and must not get another file meanwhile.
            self.exit_within(Duration::from_secs(10));
        }
    }
}

/// Exit status and output of a program.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics with its output unless it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}:\n{}", self.status, self.stderr);
        self
    }
}

/// Gives a program a wall clock that is `seconds` ahead (negative: behind). The monotonic clock is
/// unchanged.
pub(crate) fn with_clock_ahead(command: &mut Command, seconds: i64) {
    // The variables that the command `faketime` sets; as a command it would stand between the test
    // and the program.
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}/faketime/libfaketime.so.1")))
        .into_iter()
        .find(|library| library.exists());
    let library = library.expect("libfaketime is missing; `scripts/install.sh test` installs it");
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", format!("{seconds:+}s"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Prepares a program.
#[expect(
    clippy::disallowed_methods,
    reason = "the ban is for what the recorder starts; this is the tests' one spawner"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// The same, with default handling of SIGHUP and SIGQUIT: under `nohup`, or in a script's
/// background, both are ignored, and programs that honour this would take neither.
pub(crate) fn command_with_signals(program: impl AsRef<OsStr>) -> Command {
    let mut command = command("/usr/bin/env");
    command.arg("--default-signal=HUP,QUIT").arg(program);
    command
}

/// Runs a program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S], stdin: Option<Vec<u8>>) -> Finished {
    let mut command = command(program);
    command.args(args);
    Tool::start(command, stdin).finish(Duration::from_secs(120))
}

/// Runs a program that must succeed, and returns its output.
pub(crate) fn succeed<S: AsRef<OsStr>>(program: &str, args: &[S], stdin: Option<Vec<u8>>) -> Finished {
    let done = run(program, args, stdin);
    assert!(done.status.success(), "{program} failed ({}):\n{}", done.status, done.stderr);
    done
}
