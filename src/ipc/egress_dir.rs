//! One recording's directory in a service's work directory. It outlives both of them: from it the
//! next run of the service learns how a recording ended that nobody watched.
//!
//! ```text
//! <work dir>/recordings/<egress id>/
//!     lock           held by the recorder as long as it lives
//!     info           the last `EgressInfo`, protobuf
//!     socket         where the recorder hears the next service (`ipc::socket`)
//!     told           there when the registry has its end, and something is kept all the same
//!     evicted        there when another recorder has the egress: nothing more is reported of it here, and nothing uploaded
//!     <egress id>/   the recording's own work directory (`recording::workdir`)
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use livekit_protocol as proto;
use nix::fcntl::Flock;
use prost::Message;

use crate::{disk, files};

const LOCK: &str = "lock";
const INFO: &str = "info";
const TOLD: &str = "told";
const EVICTED: &str = "evicted";
const RECORDINGS: &str = "recordings";
/// The largest report that is read, in bytes. Real ones have some kilobytes.
const LARGEST_INFO: u64 = 64 << 20;

/// A recording's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressDir {
    dir: PathBuf,
}

/// Shows that a recorder lives. Released by the kernel however it ends.
#[derive(Debug)]
pub struct Alive {
    _lock: Flock<File>,
}

impl EgressDir {
    /// The directory of an egress, which may not exist yet. `None` for an id that is not a plain
    /// name.
    #[must_use]
    pub fn of(work_dir: &Path, egress_id: &str) -> Option<Self> {
        is_plain(egress_id).then(|| Self { dir: work_dir.join(RECORDINGS).join(egress_id) })
    }

    /// One that exists already.
    #[must_use]
    pub const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Every egress directory in a service's work directory, sorted by name.
    ///
    /// # Errors
    ///
    /// When the work directory can't be read, or is not trusted, such as a symbolic link. A missing
    /// one is empty.
    pub fn all(work_dir: &Path) -> io::Result<Vec<Self>> {
        let recordings = work_dir.join(RECORDINGS);
        let entries = match files::check_trusted(&recordings).and_then(|()| fs::read_dir(&recordings)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{RECORDINGS}: {error}"))),
        };
        let mut cells = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A symbolic link does not count.
            if entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(is_plain) {
                cells.push(Self::at(entry.path()));
            }
        }
        cells.sort_by(|one, other| one.dir.cmp(&other.dir));
        Ok(cells)
    }

    /// Makes it, for its owner alone, with a first report.
    ///
    /// # Errors
    /// When it is there already, or can't be made.
    pub fn create(&self, info: &proto::EgressInfo) -> io::Result<()> {
        let mut make = DirBuilder::new();
        make.mode(0o700);
        if let Some(parent) = self.dir.parent() {
            if let Some(work_dir) = parent.parent() {
                make.recursive(true).create(work_dir)?;
            }
            files::trusted_dir(parent)?;
        }
        make.recursive(false).create(&self.dir)?;
        disk::sync_parent(&self.dir);
        self.write_info(info)
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of its egress.
    #[must_use]
    pub fn egress_id(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// For the recorder. `None`: another one lives in it.
    ///
    /// # Errors
    /// When the lock can't be made.
    pub fn enter(&self) -> io::Result<Option<Alive>> {
        let lock = files::lock(&self.dir.join(LOCK))?;
        Ok(lock.map(|lock| Alive { _lock: lock }))
    }

    /// Whether its recorder lives.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        matches!(self.enter(), Ok(None))
    }

    /// Replaces the last report, so that there is always a whole one.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_info(&self, info: &proto::EgressInfo) -> io::Result<()> {
        let (path, bytes) = (self.dir.join(INFO), info.encode_to_vec());
        // The last one must outlive a power cut: nobody can make it again. Those before it are not
        // worth the wait.
        match info.ended_at {
            0 => files::replace_unsynced(&path, &bytes, 0o600),
            _ => files::replace(&path, &bytes, 0o600),
        }
    }

    /// The last report; `None` without a readable one.
    #[must_use]
    pub fn info(&self) -> Option<proto::EgressInfo> {
        let bytes = files::read(&self.dir.join(INFO), LARGEST_INFO).ok()?;
        proto::EgressInfo::decode(bytes.as_slice()).ok().filter(|info| !info.egress_id.is_empty())
    }

    /// Notes that the registry has its end: the next run of the service has nothing to tell.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_told(&self) -> io::Result<()> {
        files::replace(&self.dir.join(TOLD), &[], 0o600)
    }

    /// Whether the registry has its end.
    #[must_use]
    pub fn is_told(&self) -> bool {
        files::is_regular(&self.dir.join(TOLD)).unwrap_or_default()
    }

    /// Notes that another recorder has its egress: nobody reports of it or uploads what is kept.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_evicted(&self) -> io::Result<()> {
        files::replace(&self.dir.join(EVICTED), &[], 0o600)
    }

    /// Whether another recorder has its egress.
    #[must_use]
    pub fn is_evicted(&self) -> bool {
        self.dir.join(EVICTED).exists()
    }

    /// Whether somebody is at work in the recording's own work directory: its recorder, or a
    /// recovery that outlived who began it.
    #[must_use]
    pub fn is_worked_on(&self) -> bool {
        // It is let go of at once.
        matches!(files::lock_existing(&self.work_dir().join(LOCK)), Ok(None))
    }

    /// Whether the recording's own work directory is still there.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.work_dir().is_dir()
    }

    /// The recording's own work directory.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.dir.join(self.egress_id())
    }

    /// Whether the work directory holds something recorded, and not only what tells of a failed
    /// start.
    #[must_use]
    pub fn has_media(&self) -> bool {
        let is_output = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let entries = fs::read_dir(self.work_dir()).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_output))
            .any(|entry| fs::read_dir(entry.path()).is_ok_and(|mut files| files.next().is_some()))
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Letters, digits, `_` and `-`: an id that is safe as the name of a directory.
#[must_use]
pub fn is_plain(egress_id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=128).contains(&egress_id.len()) && egress_id.bytes().all(plain) && !egress_id.starts_with('-')
}
