//! The directory on tmpfs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::Flock;

use super::{WorkDirError, io_error, lock, remove};

const PREFIX: &str = "weir-";
/// From a directory's making to its lock it takes a fraction of a millisecond.
pub(super) const MADE_WITHIN: Duration = Duration::from_secs(60);

/// A directory for what a crash may lose; gone when dropped. What a killed recorder left is removed by the next one.
#[derive(Debug)]
pub(super) struct RunDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl RunDir {
    /// In `/dev/shm`, which is tmpfs; else among the system's temporary files. Only its owner may look into it.
    pub(super) fn create() -> Result<Self, WorkDirError> {
        let parent = parent();
        sweep(&parent);
        for _ in 0..16 {
            let path = parent.join(format!("{PREFIX}{:08x}", rand::random::<u32>()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => match lock(&path) {
                    Ok(lock) => return Ok(Self { path, _lock: lock }),
                    // Somebody who sweeps was between our making the lock and our taking it.
                    Err(WorkDirError::Busy { .. }) => {}
                    Err(error) => {
                        remove(&path);
                        return Err(error);
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("make", &path)(error)),
            }
        }
        let taken = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(io_error("make a directory in", &parent)(taken))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes what killed recorders left: directories of ours whose lock nobody holds. One that is just being made has no
/// lock file yet, and is left alone; after a while it is one that a killed recorder's browser made anew when it was removed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_run_dir(path)) {
        if (path.join(super::LOCK).is_file() || is_older_than(MADE_WITHIN, &path)) && lock(&path).is_ok() {
            tracing::info!(dir = %path.display(), "removing what a killed recorder left");
            remove(&path);
        }
    }
}

pub(super) fn is_older_than(age: Duration, path: &Path) -> bool {
    let changed = path.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Whether a path is one that [`RunDir::create`] could have made, and so one to remove.
pub(super) fn is_run_dir(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(PREFIX) && path.parent() == Some(parent().as_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_recorder_removes_what_a_killed_one_left_and_nothing_else() {
        let alive = RunDir::create().unwrap();
        let dead = parent().join(format!("{PREFIX}dead{:08x}", rand::random::<u32>()));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(super::super::LOCK), "").unwrap();
        let _next = RunDir::create().unwrap();
        assert!(!dead.exists() && alive.path().exists());
    }

    #[test]
    fn what_was_made_anew_without_a_lock_is_removed_when_it_is_old_and_not_before() {
        let [young, old] = ["young", "old"]
            .map(|name| super::parent().join(format!("{PREFIX}{name}{:08x}", rand::random::<u32>())));
        for dir in [&young, &old] {
            fs::create_dir(dir).unwrap();
        }
        let long_ago = std::time::SystemTime::now() - 2 * MADE_WITHIN;
        File::open(&old).unwrap().set_modified(long_ago).unwrap();
        sweep(&super::parent());
        let left = (young.exists(), old.exists());
        remove(&young);
        remove(&old);
        assert_eq!(left, (true, false));
    }
}
