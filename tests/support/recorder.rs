//! Runs the recorder as a person does.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use super::leftovers::Watch;
use super::processes::{self, Group, Seen};
use super::slots;
use super::tool::{Tool, command, command_with_signals, run};

/// Deadline for the start of a recording on a machine that runs several.
const STARTED_WITHIN: Duration = Duration::from_secs(120);

/// A running recorder. Everything it starts is followed; see [`Watch`].
#[derive(Debug)]
pub(crate) struct Recorder {
    tool: Tool,
    watch: Option<Watch>,
    dir: PathBuf,
    pub(crate) started: SystemTime,
}

impl Recorder {
    /// Runs `weir record --json` with more arguments in a directory.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(dir, arguments, |_| {})
    }

    /// The same; `set` changes the command (its environment) before it is run.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str], set: impl FnOnce(&mut Command)) -> Self {
        slots::assert_taken();
        let before = Watch::before();
        let mut weir = command_with_signals(env!("CARGO_BIN_EXE_weir"));
        weir.arg("record").args(arguments).arg("--json").current_dir(dir);
        set(&mut weir);
        let started = SystemTime::now();
        let tool = Tool::start(weir, None);
        let watch = Some(Watch::start(tool.pid(), before));
        Self { tool, watch, dir: dir.to_owned(), started }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.tool.pid()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.tool.signal(signal);
    }

    /// Lets it record for a while; panics if it ends before.
    pub(crate) fn run_for(&mut self, time: Duration) {
        if let Some(status) = self.tool.exit_within(time) {
            panic!("the recorder ended ({status}):\n{}", self.tool.stderr());
        }
    }

    /// Waits for its exit; `None` if it still runs after `time`.
    pub(crate) fn exit_within(&mut self, time: Duration) -> Option<ExitStatus> {
        self.tool.exit_within(time)
    }

    /// Waits until media is written: until the work directory holds more than `bytes`.
    pub(crate) fn until_written(&mut self, bytes: u64) {
        let work = self.dir.join(".weir");
        let enough = || (size_of(&work) > bytes).then_some(());
        self.tool.until("media is written", STARTED_WITHIN, enough);
    }

    /// Waits until more than `bytes` of media have been written from now on.
    pub(crate) fn until_grown(&mut self, bytes: u64) {
        let written = size_of(&self.dir.join(".weir"));
        self.until_written(written + bytes);
    }

    /// Waits until its log contains `what`.
    pub(crate) fn until_logged(&mut self, what: &str) {
        let tool = &mut self.tool;
        let log = tool.log();
        tool.until(what, STARTED_WITHIN, || log.lock().unwrap().contains(what).then_some(()));
    }

    /// Polls until `look` returns something; for conditions without an event.
    pub(crate) fn until<T>(&mut self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.tool.until(what, STARTED_WITHIN, look)
    }

    /// The main process of its browser.
    pub(crate) fn browser(&self) -> i32 {
        let children = self.children(Group::Browser);
        let leads = |seen: &&Seen| !seen.arguments.iter().any(|argument| argument.starts_with("--type="));
        children.iter().find(leads).expect("the browser runs").pid
    }

    /// Its child processes of a group.
    pub(crate) fn children(&self, group: Group) -> Vec<Seen> {
        processes::family(self.tool.pid()).into_iter().filter(|seen| seen.group == group).collect()
    }

    /// Waits for its exit, and asserts that no process, lock or directory is left.
    pub(crate) fn finish(self, deadline: Duration) -> Ended {
        self.finish_and(deadline, || {})
    }

    /// Waits for the exit of a recorder that can't clean up any more, runs `tidy` for it, and
    /// asserts that nothing is left.
    pub(crate) fn finish_and(mut self, deadline: Duration, tidy: impl FnOnce()) -> Ended {
        let begin = Instant::now();
        let done = self.tool.finish(deadline);
        let (took, over) = (begin.elapsed(), SystemTime::now());
        self.watch.take().expect("taken only here").assert_nothing_left(tidy);
        let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
        let info = serde_json::from_str(&stdout).unwrap_or(serde_json::Value::Null);
        Ended {
            status: done.status,
            info,
            stdout,
            log: done.stderr,
            took,
            dir: self.dir,
            started: self.started,
            over,
        }
    }
}

/// Exit status and output of a recorder.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The final `EgressInfo`, or null.
    pub(crate) info: serde_json::Value,
    pub(crate) stdout: String,
    pub(crate) log: String,
    /// Time between the call that waits for the exit, and the exit.
    pub(crate) took: Duration,
    pub(crate) dir: PathBuf,
    pub(crate) started: SystemTime,
    over: SystemTime,
}

impl Ended {
    /// Asserts that the recording is complete and kept no work directory.
    #[track_caller]
    pub(crate) fn complete(self) -> Self {
        assert_eq!(self.status.code(), Some(0), "{}\n{}", self.stdout, self.log);
        assert_eq!(self.info["status"], "EGRESS_COMPLETE", "{}\n{}", self.stdout, self.log);
        assert!(!self.dir.join(".weir").exists(), "a complete recording leaves no work directory");
        self
    }

    /// End time of the result in nanoseconds.
    pub(crate) fn over_nanos(&self) -> u64 {
        let over = self.over.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(over.as_nanos()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A timestamp of the result in seconds after the recorder's start.
    pub(crate) fn since_start(&self, nanoseconds: &serde_json::Value) -> f64 {
        seconds_after(self.started, nanoseconds)
    }
}

/// A timestamp of a result in seconds after a moment.
pub(crate) fn seconds_after(moment: SystemTime, nanoseconds: &serde_json::Value) -> f64 {
    let at: f64 = match nanoseconds {
        serde_json::Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap_or_else(|| panic!("no time: {number}")),
    };
    at / 1e9 - moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Runs `weir` with any other arguments to its end in a directory.
pub(crate) fn weir(dir: &Path, arguments: &[&str]) -> super::tool::Finished {
    weir_with(dir, arguments, |_| {})
}

/// The same; `set` changes the command (its environment) before it is run.
pub(crate) fn weir_with(
    dir: &Path,
    arguments: &[&str],
    set: impl FnOnce(&mut Command),
) -> super::tool::Finished {
    let mut command = command(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).current_dir(dir);
    set(&mut command);
    Tool::start(command, None).finish(Duration::from_secs(120))
}

/// Bytes below a directory, without hidden files: those are reserved room, not media.
pub(crate) fn size_of(dir: &Path) -> u64 {
    let mut folders = vec![dir.to_owned()];
    let mut sum = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) if !entry.file_name().as_encoded_bytes().starts_with(b".") => sum += data.len(),
                Ok(_) | Err(_) => {}
            }
        }
    }
    sum
}

/// A page of `tests/pages` as a `file:` address, with a query.
pub(crate) fn page(name_and_query: &str) -> String {
    format!("file://{}/tests/pages/{name_and_query}", env!("CARGO_MANIFEST_DIR"))
}

/// The first line of a program's output, for example its version, on which a figure depends.
pub(crate) fn first_line(program: &str, argument: &str) -> String {
    let done = run(program, &[argument], None);
    String::from_utf8_lossy(&done.stdout).lines().next().unwrap_or_default().to_owned()
}
