//! Durable files, and names given to one file only.
//!
//! A rename is atomic for readers, but survives a power cut only if the file was synced before it
//! and the directory after it. Functions here block for as long as the disk takes.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// Treatment of an existing file with the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced, in one step.
    Replace,
    /// It stays, and the rename fails with [`ErrorKind::AlreadyExists`].
    Keep,
}

/// Gives a finished file its name, durably: syncs the file, renames it, syncs the directory.
///
/// # Errors
/// When the file can't be synced or renamed; it is there then as before. A directory that can't be
/// synced is only logged: the file has its name.
pub fn place(file: &Path, target: &Path, existing: Existing) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    match existing {
        Existing::Replace => fs::rename(file, target)?,
        Existing::Keep => rename_new(file, target)?,
    }
    sync_parent(target);
    Ok(())
}

/// Renames a file to a name that no file has.
fn rename_new(file: &Path, target: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, file, AT_FDCWD, target, RenameFlags::RENAME_NOREPLACE) {
        // The file system or the kernel does not know the flag.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => link_new(file, target),
        renamed => renamed.map_err(io::Error::from),
    }
}

/// The same without the flag: a second link fails where the name is taken. A file system without
/// links gets an empty file first, which is taken by nobody else, and is replaced.
fn link_new(file: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(file, target) {
        Ok(()) => {
            // The file has its name. The leftover first name is not a failure.
            if let Err(error) = fs::remove_file(file) {
                tracing::debug!(file = %file.display(), %error, "could not be removed");
            }
            Ok(())
        }
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::CrossesDevices) => {
            Err(error)
        }
        Err(_) => {
            File::options().write(true).create_new(true).open(target)?;
            fs::rename(file, target).inspect_err(|_| {
                // Ours, and empty.
                fs::remove_file(target).ok();
            })
        }
    }
}

/// Creates a directory with its parents, durably. Returns the directories that this call created,
/// the innermost first: others may create some at the same time.
///
/// # Errors
///
/// When one can't be created. Directories created before are removed again.
pub fn make_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<&Path> =
        dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()).take_while(|dir| !dir.is_dir()).collect();
    let mut made = Vec::new();
    for dir in missing.into_iter().rev() {
        match make_dir(dir) {
            Ok(true) => {
                sync_parent(dir);
                made.insert(0, dir.to_owned());
            }
            Ok(false) => {}
            Err(error) => {
                remove_empty(&made);
                return Err(error);
            }
        }
    }
    Ok(made)
}

/// Makes one directory; `false`: somebody else has made it just now.
fn make_dir(dir: &Path) -> io::Result<bool> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::metadata(dir)?.is_dir() {
            true => Ok(false),
            false => Err(ErrorKind::NotADirectory.into()),
        },
        Err(error) => Err(error),
    }
}

/// Removes directories that [`make_dirs`] gave, as far as nothing is in them.
pub fn remove_empty(made: &[PathBuf]) {
    for dir in made {
        // It fails when something is in it, which is as it should be.
        fs::remove_dir(dir).ok();
    }
}

/// Syncs the directory that a path is in: the name holds then. Some network file systems can't;
/// that is logged and no error.
pub fn sync_parent(path: &Path) {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if let Err(error) = File::open(dir).and_then(|dir| dir.sync_all()) {
        tracing::debug!(dir = %dir.display(), %error, "directory not synced");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_new(rename: fn(&Path, &Path) -> io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let (file, other, target) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&file, "one").unwrap();
        fs::write(&other, "two").unwrap();
        rename(&file, &target).unwrap();
        assert_eq!(rename(&other, &target).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "one");
        assert_eq!(fs::read_to_string(&other).unwrap(), "two");
        assert!(!file.exists());
    }

    #[test]
    fn a_name_is_given_once() {
        check_new(rename_new);
        check_new(link_new);
        check_new(|file, target| place(file, target, Existing::Keep));
    }

    #[test]
    fn of_many_who_want_a_name_one_gets_it_and_the_others_keep_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("talk.mp4");
        let files: Vec<PathBuf> = (0..8).map(|index| dir.path().join(index.to_string())).collect();
        for file in &files {
            fs::write(file, file.display().to_string()).unwrap();
        }
        let shared = &target;
        let placed: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = files
                .iter()
                .map(|file| scope.spawn(move || place(file, shared, Existing::Keep).is_ok()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(placed.iter().filter(|placed| **placed).count(), 1);
        for (file, placed) in files.iter().zip(placed) {
            let at = if placed { &target } else { file };
            assert_eq!(fs::read_to_string(at).unwrap(), file.display().to_string());
        }
    }

    #[test]
    fn only_directories_that_were_made_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let made = make_dirs(&dir.path().join("a/b/c")).unwrap();
        assert_eq!(made, [dir.path().join("a/b/c"), dir.path().join("a/b")]);
        assert!(make_dirs(&dir.path().join("a/b/c")).unwrap().is_empty());
        remove_empty(&made);
        assert!(dir.path().join("a").is_dir() && !dir.path().join("a/b").exists());
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_dirs(&dir.path().join("file/a")).is_err());
        assert!(make_dirs(&dir.path().join("file")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
