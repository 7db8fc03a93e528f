//! Registry of the output names of a user's running recordings.
//!
//! ```text
//! /dev/shm/.weir-names-<user id>/       readable by its owner only
//!     lock                              held while a recorder reads or writes
//!     <random>                          one recording's names as digests; locked as long as it runs
//! ```
//!
//! The kernel releases the locks however a process ends: entries of a killed recording do not
//! count, and the next reader removes them. The directory is on tmpfs, as entries are meaningless
//! after a reboot, and not beside the files, as a bucket has no such place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::NameError;
use crate::files;

const LOCK: &str = "lock";
/// Deadline of the lock: its holder reads and writes a few small files in memory.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of an entry: some thousand names.
const LARGEST_ENTRY: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Registry {
    dir: PathBuf,
}

/// The registry while nobody else looks at it.
#[derive(Debug)]
pub(super) struct Locked {
    dir: PathBuf,
    _lock: Flock<File>,
}

/// One recording's names. Removed when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    lock: Flock<File>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    egress_id: String,
    keys: BTreeSet<String>,
}

impl Registry {
    /// That of the user whose process this is. (A recorder's environment is cleared: nothing in it
    /// says where.)
    pub(super) fn of_user() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self::at(parent.join(format!(".weir-names-{}", geteuid())))
    }

    pub(super) const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps others out.
    ///
    /// # Errors
    /// When the directory can't be made or is not the user's own, or somebody keeps it locked.
    pub(super) fn lock(&self) -> Result<Locked, NameError> {
        let dir = &self.dir;
        files::private_dir(dir).map_err(failed("use", dir))?;
        let path = dir.join(LOCK);
        let begin = Instant::now();
        loop {
            match files::lock(&path).map_err(failed("lock", &path))? {
                Some(lock) => return Ok(Locked { dir: dir.clone(), _lock: lock }),
                None if begin.elapsed() < LOCKED_WITHIN => {}
                None => return Err(failed("lock", &path)(Errno::EWOULDBLOCK.into())),
            }
            pause();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lock of a file can be waited for with a deadline in no other way"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

impl Locked {
    /// Names of running recordings, with their egress ids. Entries of ended ones are removed.
    ///
    /// # Errors
    ///
    /// When the directory can't be read.
    pub(super) fn others(&self) -> Result<BTreeMap<String, String>, NameError> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))? {
            let path = entry.map_err(failed("read", &self.dir))?.path();
            if path.file_name().is_some_and(|name| name == LOCK) {
                continue;
            }
            let file = match files::open(&path, files::options().read(true)) {
                // Its recording has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    tracing::warn!(%error, path = %path.display(), "not a recording's names");
                    continue;
                }
                file => file.map_err(failed("read", &path))?,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(_) => {
                    tracing::debug!(path = %path.display(), "names of a recording that was killed");
                    // It is removed by the next one, then.
                    fs::remove_file(&path).ok();
                }
                Err((file, Errno::EWOULDBLOCK)) => {
                    let mut text = Vec::new();
                    let read = file.take(LARGEST_ENTRY).read_to_end(&mut text);
                    let noted = read.and_then(|_| Ok(serde_json::from_slice::<Noted>(&text)?));
                    match noted {
                        Ok(Noted { egress_id, keys }) => {
                            names.extend(keys.into_iter().map(|key| (key, egress_id.clone())));
                        }
                        // Another version's, maybe. That must not keep everybody from recording.
                        Err(error) => {
                            tracing::warn!(%error, path = %path.display(), "names of a running recording can't be read");
                        }
                    }
                }
                Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
            }
        }
        Ok(names)
    }

    /// Notes a recording's names.
    ///
    /// # Errors
    /// When they can't be written; nothing is left then.
    pub(super) fn enter(self, egress_id: &str, keys: BTreeSet<String>) -> Result<Entry, NameError> {
        let path = self.dir.join(format!("{:016x}", rand::random::<u64>()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("make", &path))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, errno)) => {
                fs::remove_file(&path).ok();
                return Err(failed("lock", &path)(errno.into()));
            }
        };
        // From here on what is dropped is removed.
        let entry = Entry { path, lock };
        let text = serde_json::to_vec(&Noted { egress_id: egress_id.to_owned(), keys });
        let written = text.map_err(io::Error::from).and_then(|text| (&*entry.lock).write_all(&text));
        written.map_err(failed("write", &entry.path))?;
        Ok(entry)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "could not be removed");
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NameError {
    let path = path.to_owned();
    move |source| NameError::Registry { action, path, source }
}
