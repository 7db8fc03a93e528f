//! Syncs what is recorded to the disk every few seconds: a power cut then costs no more than those.
//!
//! A killed recorder loses nothing that it wrote, as that is the kernel's; a machine without power
//! loses what the kernel still has in memory, which on ext4 can be half a minute of a growing file.
//! So a task goes through the outputs' directories and syncs the data of each file that changed:
//! the file as it is recorded, segments, images and playlists that wait for their store, and the
//! journals. It runs on a thread that may block, one round after the other, and never on a thread
//! of GStreamer: a slow disk makes rounds rarer and no frame late. A round costs one listing and
//! one `fdatasync` for each changed file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::files;

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(3);
/// Times of files are those of the kernel's last tick, and coarser on some file systems.
const SLACK: Duration = Duration::from_secs(2);

/// Syncs these directories until it is cancelled.
pub(super) fn start(dirs: Vec<PathBuf>, tasks: &TaskTracker, abandon: &CancellationToken) {
    let (rounds, abandon) = (rounds(dirs, tasks.clone()), abandon.clone());
    tasks.spawn(async move { abandon.run_until_cancelled(rounds).await });
}

async fn rounds(dirs: Vec<PathBuf>, tasks: TaskTracker) {
    let mut since = SystemTime::UNIX_EPOCH;
    let mut is_told = false;
    let mut ticks = ticks();
    // The first comes at once, when nothing is written yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (dirs, begin) = (dirs.clone(), SystemTime::now());
        let synced = tasks.spawn_blocking(move || round(&dirs, since, sync)).await;
        since = begin.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
        match synced.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => {}
            Err(error) if is_told => tracing::debug!(%error, "recorded data not synced"),
            Err(error) => {
                is_told = true;
                tracing::warn!(%error, "recorded data could not be synced to the disk: a power cut may cost it");
            }
        }
    }
}

/// When rounds begin: one that takes long makes the next one later.
fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Syncs what has changed in some directories, and then their names. Goes on where one can't be
/// synced.
///
/// # Errors
/// The first error.
fn round(dirs: &[PathBuf], since: SystemTime, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut result = Ok(());
    for dir in dirs {
        let changed = match changed(dir, since) {
            Ok(changed) => changed,
            Err(error) => {
                result = result.and(Err(error));
                continue;
            }
        };
        for path in changed {
            match sync(&path) {
                // It was stored meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => result = result.and(synced),
            }
        }
    }
    result
}

/// The files of a directory that were written to since a moment, and the directory itself where
/// names in it have changed.
fn changed(dir: &Path, since: SystemTime) -> io::Result<Vec<PathBuf>> {
    let is_new = |path: &Path| {
        let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
        modified.is_ok_and(|modified| modified >= since)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A hidden file is room that is kept, or the second name of a file.
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && !is_hidden && is_new(&entry.path()) {
            found.push(entry.path());
        }
    }
    if is_new(dir) {
        found.push(dir.to_owned());
    }
    Ok(found)
}

fn sync(path: &Path) -> io::Result<()> {
    let file = files::options().read(true).open(path)?;
    match file.metadata()?.is_dir() {
        // Some network file systems can't.
        true => file.sync_all().or(Ok(())),
        false => file.sync_data(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs::File;

    use tokio::time::Instant;

    use super::*;

    fn name(path: &Path) -> String {
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn what_was_written_is_synced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let touch = |name: &str, at: SystemTime| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        let hour = Duration::from_secs(3600);
        for name in ["file-0.recording.mp4", "notes-0.jsonl", "segment-0-000001.ts.part"] {
            touch(name, now + hour);
        }
        touch("segment-0-000000.ts", now - hour);
        touch(".reserve-0", now + hour);
        let synced = RefCell::new(Vec::new());
        let note = |path: &Path| {
            synced.borrow_mut().push(name(path));
            sync(path)
        };
        round(&[dir.path().to_owned()], now, note).unwrap();
        synced.borrow_mut().sort();
        let dir = name(dir.path());
        let mut expected = vec!["file-0.recording.mp4", "notes-0.jsonl", "segment-0-000001.ts.part", &dir];
        expected.sort_unstable();
        // The directory itself has changed as well, unless the clock ticked since.
        synced.borrow_mut().retain(|name| *name != dir);
        expected.retain(|name| *name != dir);
        assert_eq!(*synced.borrow(), expected);
    }

    #[test]
    fn one_file_that_can_not_be_synced_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let synced = RefCell::new(0);
        let fails_for_b = |path: &Path| -> io::Result<()> {
            match name(path).as_str() {
                "a" => Err(io::ErrorKind::NotFound.into()),
                "b" => Err(io::ErrorKind::StorageFull.into()),
                _ => {
                    *synced.borrow_mut() += 1;
                    Ok(())
                }
            }
        };
        let result = round(&[dir.path().to_owned()], SystemTime::UNIX_EPOCH, fails_for_b);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(*synced.borrow(), 2, "the third file, and the directory");
        let dirs = [dir.path().join("gone"), dir.path().to_owned()];
        let result = round(&dirs, SystemTime::UNIX_EPOCH, fails_for_b);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(*synced.borrow(), 4, "nor does a directory that can't be read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_disk_makes_rounds_rarer() {
        let begin = Instant::now();
        let mut ticks = ticks();
        ticks.tick().await;
        let mut times = Vec::new();
        for round in 0..5 {
            ticks.tick().await;
            times.push(begin.elapsed());
            if round == 1 {
                tokio::time::sleep(4 * EVERY).await;
            }
        }
        let expected = [1, 2, 6, 7, 8].map(|rounds| rounds * EVERY);
        let close =
            |(found, expected): (&Duration, &Duration)| found.abs_diff(*expected) < Duration::from_millis(50);
        assert!(times.iter().zip(&expected).all(close), "{times:?}");
    }

    #[tokio::test]
    async fn it_ends_with_its_recording() {
        let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
        let dir = tempfile::tempdir().unwrap();
        start(vec![dir.path().to_owned()], &tasks, &abandon);
        abandon.cancel();
        tasks.close();
        tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.expect("it ends");
    }
}
