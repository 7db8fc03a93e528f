//! Finds leftovers of a recording: processes, display locks, sockets, directories.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::processes::{self, Seen};

/// Follows a recorder while it runs, and so knows everything that it started.
#[derive(Debug)]
pub(crate) struct Watch {
    recorder: Followed,
    before: BTreeSet<PathBuf>,
}

/// Places of temporary things: display locks and sockets, shared memory, temporary directories.
fn transient() -> BTreeSet<PathBuf> {
    let entries = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    for folder in ["/tmp", "/tmp/.X11-unix", "/dev/shm", "/var/tmp", "/run"] {
        found.extend(entries(Path::new(folder)));
    }
    let is_of_a_user =
        |folder: &PathBuf| folder.parent() == Some(Path::new("/run/user")) || is_users_run_dirs(folder);
    for folder in entries(Path::new("/run/user")).into_iter().chain(found.clone()).filter(is_of_a_user) {
        // The directory stays; its content does not.
        found.remove(&folder);
        found.extend(entries(&folder));
    }
    found
}

/// Whether this is the directory of a user's run directories, which hold what a crash may lose.
fn is_users_run_dirs(folder: &Path) -> bool {
    folder.parent() == Some(Path::new("/dev/shm"))
        && folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"weir-"))
}

impl Watch {
    /// Starts to follow a recorder. Call it before the recorder has done anything.
    pub(crate) fn start(recorder: i32, before: BTreeSet<PathBuf>) -> Self {
        Self { recorder: Followed::start(recorder), before }
    }

    /// The entries of temporary places before a recorder starts.
    pub(crate) fn before() -> BTreeSet<PathBuf> {
        transient()
    }

    /// Stops following; another watch takes over.
    pub(crate) fn forget(self) {
        self.recorder.end();
    }

    /// Waits until a process with this argument was seen.
    pub(crate) fn until_seen(&self, argument: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.recorder.has_seen(argument) {
            assert!(Instant::now() < end, "no process with {argument:?} is seen");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Call it when the recorder has ended. Panics if anything of it is still there a minute later,
    /// and kills and removes it, so that the next test is not disturbed. Runs `tidy` once its
    /// processes are gone; leftovers that `tidy` removes do not count.
    pub(crate) fn assert_nothing_left(self, tidy: impl FnOnce()) {
        self.assert_nothing_left_within(Duration::from_secs(60), tidy);
    }

    /// The same with another deadline.
    pub(crate) fn assert_nothing_left_within(self, within: Duration, tidy: impl FnOnce()) {
        let family = self.recorder.end();
        let paths: BTreeSet<PathBuf> =
            family.values().flat_map(|seen| named_places(&seen.arguments)).collect();

        // The kernel signals a killed recorder's children; they need a moment to end.
        let deadline = Instant::now() + within;
        let mut alive = still(&family);
        while !alive.is_empty() && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(20));
            alive = still(&family);
        }
        kill_all(&alive);
        let running: Vec<String> =
            alive.iter().map(|seen| format!("process {}: {}", seen.pid, seen.arguments.join(" "))).collect();

        tidy();
        let new: Vec<PathBuf> = transient().difference(&self.before).cloned().collect();
        let files: Vec<String> = new
            .into_iter()
            .filter(|path| paths.contains(path) || orphaned_display(path, &family))
            .map(|path| path.display().to_string())
            .collect();
        let left = [running, files].concat();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

/// Polling interval. A process that lives for less is not seen, and leaves nothing. A shorter
/// interval costs a twentieth of a core.
const LOOK: Duration = Duration::from_millis(250);

/// All followed recorders, by number, with everything they started so far.
static FOLLOWED: Mutex<BTreeMap<u64, (i32, Family)>> = Mutex::new(BTreeMap::new());

/// A recorder's processes, by id and start.
type Family = HashMap<(i32, u64), Seen>;

/// A followed recorder. One thread serves all of them: each look walks through every process of the
/// machine.
#[derive(Debug)]
struct Followed(u64);

impl Followed {
    fn start(recorder: i32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static LOOKS: Once = Once::new();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        followed().insert(number, (recorder, Family::new()));
        LOOKS.call_once(|| {
            thread::spawn(|| {
                loop {
                    look();
                    thread::park_timeout(LOOK);
                }
            });
        });
        Self(number)
    }

    fn has_seen(&self, argument: &str) -> bool {
        let has_it = |seen: &Seen| seen.arguments.iter().any(|word| word == argument);
        followed().get(&self.0).is_some_and(|(_, family)| family.values().any(has_it))
    }

    fn end(self) -> Family {
        followed().remove(&self.0).map(|(_, family)| family).unwrap_or_default()
    }
}

/// Kills everything that a failed test leaves running: recorders outlive a killed service, and
/// would take the machine from other tests.
impl Drop for Followed {
    fn drop(&mut self) {
        let family = followed().remove(&self.0).map(|(_, family)| family).unwrap_or_default();
        if !family.is_empty() {
            kill_all(&still(&family));
        }
    }
}

fn followed() -> MutexGuard<'static, BTreeMap<u64, (i32, Family)>> {
    FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look() {
    if followed().is_empty() {
        return;
    }
    let all = processes::all();
    for (recorder, family) in followed().values_mut() {
        let seen = processes::family_among(&all, *recorder);
        family.extend(seen.map(|seen| ((seen.pid, seen.start), seen.clone())));
    }
}

fn kill_all(processes: &[Seen]) {
    for seen in processes {
        kill(Pid::from_raw(seen.pid), Signal::SIGKILL).ok();
    }
}

fn still(family: &HashMap<(i32, u64), Seen>) -> Vec<Seen> {
    processes::all().into_iter().filter(|seen| family.contains_key(&(seen.pid, seen.start))).collect()
}

/// The entries of temporary places in a command line: `/tmp/x` for `--profile=/tmp/x/y`, and
/// `/dev/shm/weir-0/x` for paths below it.
fn named_places(arguments: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for word in arguments.iter().flat_map(|argument| argument.split([' ', '='])) {
        for place in ["/tmp", "/dev/shm", "/var/tmp", "/run"] {
            let inside = Path::new(word).strip_prefix(place).ok();
            let Some(inside) = inside else { continue };
            let first = Path::new(place).join(inside.components().take(1).collect::<PathBuf>());
            let depth = if is_users_run_dirs(&first) { 2 } else { 1 };
            found.push(Path::new(place).join(inside.components().take(depth).collect::<PathBuf>()));
        }
        if let Ok(rest) = Path::new(word).strip_prefix("/run/user") {
            found.push(Path::new("/run/user").join(rest.components().take(2).collect::<PathBuf>()));
        }
    }
    found
}

/// Whether a path is the lock or socket of a display whose server belongs to the family or is gone.
/// A socket without a lock is not a recorder's: its display has neither.
fn orphaned_display(path: &Path, family: &HashMap<(i32, u64), Seen>) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = match path.parent() {
        Some(parent) if parent == Path::new("/tmp") => {
            name.strip_prefix(".X").and_then(|rest| rest.strip_suffix("-lock"))
        }
        Some(parent) if parent == Path::new("/tmp/.X11-unix") => name.strip_prefix('X'),
        _ => None,
    };
    let Some(number) = number else { return false };
    let owner = fs::read_to_string(format!("/tmp/.X{number}-lock"));
    let owner: Option<i32> = owner.ok().and_then(|text| text.trim().parse().ok());
    match owner {
        Some(pid) => {
            family.keys().any(|(member, _)| *member == pid)
                || kill(Pid::from_raw(pid), None::<Signal>).is_err()
        }
        None => false,
    }
}
