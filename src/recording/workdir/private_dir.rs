//! Makes work directories in places where others may write, and looks at those that are taken over.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::{LOCK, WORK_ROOT, WorkDirError, io_error};
use crate::{disk, files};

/// Work directories of recordings that keep nothing, and so have no place of their own: among the
/// system's temporary files.
pub(super) fn temporary() -> Result<PathBuf, WorkDirError> {
    let dir = files::of_this_user(&std::env::temp_dir());
    files::private_dir(&dir).map_err(io_error("use", &dir))?;
    Ok(dir.join(WORK_ROOT))
}

/// Makes a work directory, which must be a new one, for its owner alone, and locks it; those above
/// it as far as they are missing. Gives those, the innermost first. As long as it has no manifest
/// and no reports nobody takes it for a work directory, so that its lock is held before anybody
/// looks at it.
///
/// `is_given`: its location was chosen, so that it may be a symbolic link.
pub(super) fn make(root: &Path, is_given: bool) -> Result<(Vec<PathBuf>, Flock<File>), WorkDirError> {
    /// Another recording that ends removes the directory of work directories with its last one,
    /// maybe just now.
    const ATTEMPTS: usize = 16;
    let mut made = Vec::new();
    let mut attempts = 0;
    loop {
        attempts += 1;
        match make_above(root, is_given, &mut made).and_then(|()| make_new(root)) {
            Ok(lock) => {
                disk::sync_parent(root);
                return Ok((made, lock));
            }
            Err(WorkDirError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {}
            Err(error) => {
                disk::remove_empty(&made);
                return Err(error);
            }
        }
    }
}

/// Makes the directories above a work directory, and adds those that were missing to `made`.
fn make_above(root: &Path, is_given: bool, made: &mut Vec<PathBuf>) -> Result<(), WorkDirError> {
    let mut add = |new: Vec<PathBuf>| {
        made.retain(|dir| !new.contains(dir));
        drop(made.splice(0..0, new));
    };
    let Some(location) = root.parent() else { return Ok(()) };
    if let Some(parent) = location.parent() {
        add(disk::make_dirs(parent).map_err(io_error("make", parent))?);
    }
    let leads_to_one = is_given && location.is_symlink() && location.is_dir();
    if !leads_to_one && files::trusted_dir(location).map_err(io_error("use", location))? {
        disk::sync_parent(location);
        add(vec![location.to_owned()]);
    }
    Ok(())
}

fn make_new(root: &Path) -> Result<Flock<File>, WorkDirError> {
    DirBuilder::new().mode(0o700).create(root).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => WorkDirError::Exists { path: root.to_owned() },
        _ => io_error("make", root)(error),
    })?;
    lock(root).inspect_err(|_| {
        fs::remove_dir_all(root).ok();
    })
}

/// Holds a work directory against everybody else.
pub(super) fn lock(root: &Path) -> Result<Flock<File>, WorkDirError> {
    let path = root.join(LOCK);
    let lock = files::lock(&path).map_err(io_error("lock", &path))?;
    lock.ok_or_else(|| WorkDirError::Busy { path: root.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::recording::workdir::AbandonedWorkDir;

    #[test]
    fn a_directory_of_another_recording_is_not_taken_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(".weir/EG_a");
        let _lock = make(&root, false).unwrap();
        std::fs::write(root.join("recorded"), "media").unwrap();
        assert!(make(&root, false).is_err());
        assert_eq!(std::fs::read_to_string(root.join("recorded")).unwrap(), "media");
    }

    #[test]
    fn links_in_place_of_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, dir.path().join(".weir")).unwrap();
        let error = make(&dir.path().join(".weir/EG_a"), false).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        symlink(&elsewhere, dir.path().join("EG_b")).unwrap();
        assert!(make(&dir.path().join("EG_b"), false).is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        // Who chose the place may have chosen a link.
        make(&dir.path().join(".weir/EG_c"), true).unwrap();
        assert!(elsewhere.join("EG_c").is_dir());
    }

    #[test]
    fn a_lock_that_is_a_link_empties_nothing_when_a_directory_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (root, victim) = (dir.path().join("EG_a"), dir.path().join("victim"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&victim, "precious").unwrap();
        std::fs::write(root.join("manifest.json"), "{}").unwrap();
        symlink(&victim, root.join(LOCK)).unwrap();
        assert!(AbandonedWorkDir::open(&root).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
