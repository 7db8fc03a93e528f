//! Files in directories where somebody else may have put something: opened without following a
//! symbolic link, without waiting for the other end of a pipe, and never emptied before it is known
//! what they are.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use crate::disk::{self, Existing};

/// A directory in which anybody may make entries, and nobody may remove another's: `/tmp`,
/// `/dev/shm`.
const STICKY: u32 = 0o1000;
const OTHERS_MAY_WRITE: u32 = 0o022;
const OTHERS_MAY_DO_ANYTHING: u32 = 0o077;

/// Options that neither follow a symbolic link at the end of a path nor block. For [`open`].
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits());
    options
}

/// Opens a regular file by [`options`].
///
/// # Errors
/// When it can't be opened, or is anything but a regular file.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = options.open(path).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => invalid("it is a symbolic link, not a regular file; remove it"),
        // A pipe or a socket that nobody reads.
        Some(Errno::ENXIO) => not_regular(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// All of a regular file.
///
/// # Errors
/// Those of [`open`]; when it has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, options().read(true))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Whether there is a regular file.
///
/// # Errors
/// When there is something else, such as a symbolic link or a pipe, or it can't be looked at.
pub fn is_regular(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => Err(not_regular()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks whether a directory is one, and holds nothing but regular files and directories. One that
/// is missing does.
///
/// # Errors
/// The path of the first thing that is something else, or can't be looked at, and why.
pub fn check_entries(dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    match directory(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(wrong(dir))?,
    };
    for entry in fs::read_dir(dir).map_err(wrong(dir))? {
        let entry = entry.map_err(wrong(dir))?;
        let kind = entry.file_type().map_err(wrong(&entry.path()))?;
        if !(kind.is_file() || kind.is_dir()) {
            return Err(wrong(&entry.path())(not_regular()));
        }
    }
    Ok(())
}

/// Writes a file in one step: whatever has its name is replaced, and not written into. Also after a
/// power cut it has its old content or its new one. `<name>.new` until then.
///
/// # Errors
/// When it can't be written; what was there before is still there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = write_new(path, bytes, mode)?;
    disk::place(&new, path, Existing::Replace)
}

/// As [`replace`], but a power cut may cost its content.
///
/// # Errors
/// As there.
pub fn replace_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = write_new(path, bytes, mode)?;
    fs::rename(&new, path)
}

/// Writes what is to replace a file, beside it.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open(&new, options().write(true).create_new(true).mode(mode))?;
    file.write_all(bytes)?;
    Ok(new)
}

/// Whether a name is one component of a path: a name in a directory that leads nowhere else.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
        && !name.contains('\0')
}

/// The path of a file in a directory.
///
/// # Errors
/// When `name` is not a plain name.
pub fn in_dir(dir: &Path, name: &str) -> io::Result<PathBuf> {
    if is_plain_name(name) {
        Ok(dir.join(name))
    } else {
        Err(invalid(format!("`{name}` is not the plain name of a file in this directory")))
    }
}

/// Takes a lock file, which is made if it is missing; `None`: another process holds it. The kernel
/// releases it however the process ends.
///
/// # Errors
/// When it can't be made, or is anything but a regular file.
pub fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    flock(open(path, options().read(true).write(true).create(true).truncate(false).mode(0o600))?)
}

/// The same for one that exists.
///
/// # Errors
/// When it does not exist, can't be opened, or is anything but a regular file.
pub fn lock_existing(path: &Path) -> io::Result<Option<Flock<File>>> {
    flock(open(path, options().read(true))?)
}

fn flock(file: File) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Makes a directory for its owner alone whose lock file is held before anybody sees the directory
/// under its name. Until then it is called [`hidden`](is_hidden).
///
/// # Errors
/// When it can't be made; nothing is left behind then.
pub fn create_locked_dir(dir: &Path, lock_name: &str) -> io::Result<Flock<File>> {
    let hidden = dir.with_file_name(format!("{HIDDEN}{:016x}", rand::random::<u64>()));
    DirBuilder::new().mode(0o700).create(&hidden)?;
    let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    let made = lock(&hidden.join(lock_name))
        .and_then(|lock| lock.ok_or_else(taken))
        .and_then(|lock| fs::rename(&hidden, dir).map(|()| lock));
    if made.is_err() {
        fs::remove_dir_all(&hidden).ok();
    }
    made
}

const HIDDEN: &str = ".new-";

/// Whether a directory of this name is just being made by [`create_locked_dir`].
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN)
}

/// Makes a directory that is this user's alone, where it is missing; one that exists has to be one.
///
/// # Errors
/// When it can't be made, is anything but a directory, belongs to somebody else, or is open to
/// others.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = directory(dir)?;
    if found.uid() != geteuid().as_raw() {
        return Err(denied(format!("it belongs to user {}; have it removed", found.uid())));
    }
    if found.mode() & OTHERS_MAY_DO_ANYTHING != 0 {
        let mode = found.mode() & 0o7777;
        return Err(denied(format!("others may look into it (mode {mode:03o}); remove it, or chmod 700")));
    }
    Ok(())
}

/// `weir-<uid>` in a directory that all users share.
#[must_use]
pub fn of_this_user(shared: &Path) -> PathBuf {
    shared.join(format!("weir-{}", geteuid()))
}

/// Creates a directory, if it is missing, in a place that may belong to others. Refuses a symbolic
/// link in its place, and in a directory like `/tmp` another user's directory. Returns whether it
/// was missing.
///
/// # Errors
///
/// When it can't be created, or is not trusted.
pub fn trusted_dir(dir: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    check_trusted(dir)?;
    Ok(false)
}

/// As [`trusted_dir`], for a place that was chosen: it may be a symbolic link to a directory,
/// unless a stranger may have made that.
///
/// # Errors
/// As there.
pub fn chosen_dir(dir: &Path) -> io::Result<bool> {
    if !(dir.is_symlink() && dir.is_dir()) {
        return trusted_dir(dir);
    }
    let owner = fs::symlink_metadata(dir)?.uid();
    if is_in_shared(dir)? && !is_trusted_owner(owner) {
        return Err(denied(format!("it is a symbolic link of user {owner}; have it removed")));
    }
    trusted_dir(&fs::canonicalize(dir)?)
}

/// Whether an existing directory is one that [`trusted_dir`] takes.
///
/// # Errors
/// When it is missing, or is not to be trusted.
pub fn check_trusted(dir: &Path) -> io::Result<()> {
    let owner = directory(dir)?.uid();
    if is_in_shared(dir)? && !is_trusted_owner(owner) {
        return Err(denied(format!("it belongs to user {owner}; have it removed, or use another place")));
    }
    Ok(())
}

/// Opens a directory itself, not what a symbolic link in its place leads to.
///
/// # Errors
/// When it can't be opened, or is anything but a directory.
pub fn open_dir(dir: &Path) -> io::Result<File> {
    directory(dir)?;
    options().read(true).open(dir)
}

/// Whether a path is in a directory like `/tmp`.
fn is_in_shared(dir: &Path) -> io::Result<bool> {
    // A plain name is in the current directory.
    let parent =
        dir.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let mode = parent.map_or(Ok(0), |parent| fs::metadata(parent).map(|parent| parent.mode()))?;
    Ok(mode & STICKY != 0 && mode & OTHERS_MAY_WRITE != 0)
}

/// Whether a directory is one, and nobody's but this user's or the administrator's.
///
/// # Errors
/// When it is not.
pub fn check_owner(dir: &Path) -> io::Result<()> {
    let owner = directory(dir)?.uid();
    if is_trusted_owner(owner) {
        return Ok(());
    }
    Err(denied(format!("it belongs to user {owner}; do this as that user")))
}

/// The owner of files of a share is often the administrator, whoever wrote them.
fn is_trusted_owner(owner: u32) -> bool {
    owner == geteuid().as_raw() || owner == 0
}

fn directory(dir: &Path) -> io::Result<Metadata> {
    let found = fs::symlink_metadata(dir)?;
    if found.is_dir() {
        return Ok(found);
    }
    let kind = if found.is_symlink() { "a symbolic link, not a directory" } else { "not a directory" };
    Err(io::Error::new(io::ErrorKind::NotADirectory, format!("it is {kind}; remove it")))
}

fn not_regular() -> io::Error {
    invalid("it is not a regular file; remove it")
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

fn denied(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(test)]
mod tests;
