//! The directory on tmpfs.
//!
//! It is in a directory of this user's alone, so that nobody else can put anything in its place. It
//! gets its name with its lock held: one whose lock is free belongs to a recorder that was killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::Flock;

use super::{LOCK, WorkDirError, io_error, remove, remove_for_good};
use crate::files;

const PREFIX: &str = "run-";
/// From a directory's making to its lock it takes a fraction of a millisecond.
pub(super) const MADE_WITHIN: Duration = Duration::from_secs(60);

/// A directory for data that a crash may lose; removed when dropped. The next recorder removes that
/// of a killed one.
#[derive(Debug)]
pub(super) struct RunDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl RunDir {
    /// In `/dev/shm`, which is tmpfs; else among the system's temporary files. Only its owner may
    /// look into it.
    pub(super) fn create() -> Result<Self, WorkDirError> {
        let parent = parent();
        files::private_dir(&parent).map_err(io_error("use", &parent))?;
        sweep(&parent);
        Self::create_in(&parent)
    }

    fn create_in(parent: &Path) -> Result<Self, WorkDirError> {
        for _ in 0..16 {
            let path = parent.join(format!("{PREFIX}{:08x}", rand::random::<u32>()));
            match files::create_locked_dir(&path, LOCK) {
                Ok(lock) => return Ok(Self { path, _lock: lock }),
                Err(error) => match error.kind() {
                    // The name is taken.
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {}
                    _ => return Err(io_error("make", &path)(error)),
                },
            }
        }
        let taken = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(io_error("make a directory in", parent)(taken))
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

/// This user's directory of run directories.
fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    files::of_this_user(&if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() })
}

/// Removes what killed recorders left: directories whose lock nobody holds. One without a lock is,
/// after a while, one that a killed recorder's browser made anew when it was removed, or one whose
/// recorder was killed in the moment of making it.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        let is_made = name.starts_with(PREFIX);
        if !(is_made || files::is_hidden(name)) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // Held until the directory is removed: nobody else removes it.
        let lock = files::lock_existing(&path.join(LOCK));
        let is_dead = match &lock {
            Ok(None) => false,
            Ok(Some(_)) if is_made => true,
            Ok(Some(_)) => is_older_than(MADE_WITHIN, &path),
            Err(error) => is_no_lock(error) && is_older_than(MADE_WITHIN, &path),
        };
        if is_dead {
            tracing::info!(dir = %path.display(), "removing what a killed recorder left");
            remove(&path);
        }
    }
}

/// Removes the directory of a killed recorder, as named in its manifest. One that is in use, or
/// that is not this user's run directory, stays.
pub(super) fn discard(path: &Path) {
    if !is_run_dir(path) {
        return;
    }
    // As above.
    let lock = files::lock_existing(&path.join(LOCK));
    let is_dead = match &lock {
        Ok(lock) => lock.is_some(),
        Err(error) => is_no_lock(error),
    };
    if is_dead {
        remove_for_good(path);
    }
}

/// Whether there is no lock, or something else in its place. Any other error, such as too many open
/// files, says nothing: a recorder may hold it.
fn is_no_lock(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

pub(super) fn is_older_than(age: Duration, path: &Path) -> bool {
    let changed = path.symlink_metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Whether a path is one that [`RunDir::create`] could have made.
fn is_run_dir(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(PREFIX) && path.parent() == Some(parent().as_path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn the_next_recorder_removes_what_a_killed_one_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let alive = RunDir::create_in(dir.path()).unwrap();
        let dead = dir.path().join(format!("{PREFIX}dead"));
        let (other, link) = (dir.path().join("other"), dir.path().join(format!("{PREFIX}link")));
        for dir in [&dead, &other] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(LOCK), "").unwrap();
        }
        symlink(&other, &link).unwrap();
        sweep(dir.path());
        assert!(!dead.exists() && alive.path().exists() && other.join(LOCK).exists() && link.is_symlink());
        drop(alive);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    /// However often somebody sweeps while others begin, nobody's directory goes.
    #[test]
    fn a_directory_that_is_being_made_is_not_swept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| (0..300).for_each(|_| sweep(dir.path())));
            let made: Vec<RunDir> = (0..300).map(|_| RunDir::create_in(dir.path()).unwrap()).collect();
            sweeping.join().unwrap();
            assert!(made.iter().all(|made| made.path().join(LOCK).is_file()));
        });
    }

    #[test]
    fn what_was_made_anew_without_a_lock_is_removed_when_it_is_old_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let [young, old, hidden] =
            ["run-young", "run-old", ".new-0123456789abcdef"].map(|name| dir.path().join(name));
        for dir in [&young, &old, &hidden] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(hidden.join(LOCK), "").unwrap();
        sweep(dir.path());
        assert!(young.exists() && old.exists() && hidden.exists());
        let long_ago = std::time::SystemTime::now() - 2 * MADE_WITHIN;
        for dir in [&old, &hidden] {
            File::open(dir).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(dir.path());
        assert_eq!((young.exists(), old.exists(), hidden.exists()), (true, false, false));
    }

    #[test]
    fn a_lock_that_can_not_be_looked_at_may_be_held() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::EACCES, Errno::ENOMEM, Errno::EIO, Errno::ENOLCK] {
            assert!(!is_no_lock(&errno.into()), "{errno}");
        }
        assert!(is_no_lock(&Errno::ENOENT.into()));
        let dir = tempfile::tempdir().unwrap();
        assert!(is_no_lock(&files::lock_existing(dir.path()).unwrap_err()), "a directory is not a lock");
    }

    /// A pipe in place of a lock held up every start of every recorder.
    #[test]
    fn a_pipe_or_a_link_in_place_of_a_lock_holds_up_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["run-pipe", "run-link"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        nix::unistd::mkfifo(&dir.path().join("run-pipe").join(LOCK), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink(&victim, dir.path().join("run-link").join(LOCK)).unwrap();
        sweep(dir.path());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_manifest_removes_no_live_directory() {
        let alive = RunDir::create().unwrap();
        discard(alive.path());
        assert!(alive.path().join(LOCK).is_file());
        assert!(
            !is_run_dir(&parent()) && !is_run_dir(&parent().join("run-a/..")) && !is_run_dir(Path::new("/"))
        );
    }
}
