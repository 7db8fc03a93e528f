//! Servers that all tests of a run share.
//!
//! Each is started when a test first asks for it, and is gone with its files when the run ends,
//! also when the run is killed. Tests keep out of each other's way by names: a room, a bucket, an
//! application of their own ([`unique`]). A test that kills or freezes a server, or that puts a
//! service of Weir's on a Redis (every service there takes every request), starts its own.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::tool::command;

/// Deadline of a server's start, on a machine that starts all of them at once.
const START: Duration = Duration::from_secs(90);

/// Starts a server that lives as long as this process. `places` tells which files and directories
/// go with it.
///
/// The server dies with the thread that starts it (see [`super::stores::start_server`]); that
/// thread ends with the process. A shell removes the files when its standard input is closed, which
/// the kernel does however this process ends.
pub(super) fn for_the_run<T: Send + Sync + 'static>(
    start: impl FnOnce() -> T + Send + 'static,
    places: impl FnOnce(&T) -> Vec<PathBuf> + Send + 'static,
) -> &'static T {
    let (started, starting) = mpsc::channel();
    std::thread::spawn(move || {
        let server: &'static T = Box::leak(Box::new(start()));
        remove_after_the_run(&places(server));
        started.send(server).ok();
        loop {
            std::thread::park();
        }
    });
    starting.recv_timeout(START).expect("the server starts; if it did not, its thread has said why")
}

fn remove_after_the_run(places: &[PathBuf]) {
    // A server that was killed at the same moment may still write its last file.
    const SCRIPT: &str = "cat >/dev/null; for turn in 1 2 3 4 5; do rm -rf -- \"$@\"; sleep 0.2; done";
    let mut shell = command("setsid");
    shell.args(["sh", "-c", SCRIPT, "remove"]).args(places);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // The pipe stays open as long as this process lives, and nobody waits for the shell.
    std::mem::forget(shell.spawn().expect("sh is there"));
}

/// A name that is unique in this run: `unique("talk")` is `talk-17`.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The name of this test's own room; each call on the test's own thread returns the same.
pub(crate) fn own_room() -> &'static str {
    thread_local! {
        static ROOM: OnceCell<&'static str> = const { OnceCell::new() };
    }
    ROOM.with(|room| *room.get_or_init(|| Box::leak(unique("room").into_boxed_str())))
}
