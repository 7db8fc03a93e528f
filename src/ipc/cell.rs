//! One recording's directory in a service's work directory. It outlives both of them: from it the next run of the service
//! learns how a recording ended that nobody watched.
//!
//! ```text
//! <work dir>/recordings/<egress id>/
//!     lock           held by the recorder as long as it lives
//!     info           the last `EgressInfo`, protobuf
//!     told           there when the registry has its end, and something is kept all the same
//!     <egress id>/   the recording's own work directory (`recording::workdir`)
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use livekit_protocol as proto;
use nix::fcntl::{Flock, FlockArg};
use prost::Message;

use crate::disk::{self, Existing};

const LOCK: &str = "lock";
const INFO: &str = "info";
const TOLD: &str = "told";
const RECORDINGS: &str = "recordings";

/// A recording's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    dir: PathBuf,
}

/// Shows that a recorder lives. Released by the kernel however it ends.
#[derive(Debug)]
pub struct Alive {
    _lock: Flock<File>,
}

impl Cell {
    /// The cell of an egress, which need not exist yet. `None` for an id that is no plain name.
    #[must_use]
    pub fn of(work_dir: &Path, egress_id: &str) -> Option<Self> {
        is_plain(egress_id).then(|| Self { dir: work_dir.join(RECORDINGS).join(egress_id) })
    }

    /// One that exists already.
    #[must_use]
    pub const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Every cell in a service's work directory, in order of their names.
    ///
    /// # Errors
    /// When the directory can't be read; that it does not exist is none.
    pub fn all(work_dir: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(work_dir.join(RECORDINGS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let dirs = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        let mut cells: Vec<Self> = dirs.into_iter().filter(|dir| dir.is_dir()).map(Self::at).collect();
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
            make.recursive(true).create(parent)?;
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
        let file = File::create(self.dir.join(LOCK))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Alive { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Replaces the last report, so that there is always a whole one.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_info(&self, info: &proto::EgressInfo) -> io::Result<()> {
        let new = self.dir.join(format!("{INFO}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&info.encode_to_vec())?;
        // The last one must outlive a power cut: nobody can make it again. Those before it are not worth the wait.
        if info.ended_at != 0 {
            return disk::place(&new, &self.dir.join(INFO), Existing::Replace);
        }
        fs::rename(&new, self.dir.join(INFO))
    }

    /// The last report; `None`: there is none that can be read.
    #[must_use]
    pub fn info(&self) -> Option<proto::EgressInfo> {
        let bytes = fs::read(self.dir.join(INFO)).ok()?;
        proto::EgressInfo::decode(bytes.as_slice()).ok().filter(|info| !info.egress_id.is_empty())
    }

    /// Notes that the registry has its end: the next run of the service has nothing to tell.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_told(&self) -> io::Result<()> {
        File::create(self.dir.join(TOLD)).map(drop)
    }

    /// Whether the registry has its end.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.dir.join(TOLD).exists()
    }

    /// Whether somebody is at work in the recording's own work directory: its recorder, or a recovery that outlived who began it.
    #[must_use]
    pub fn is_worked_on(&self) -> bool {
        let Ok(file) = File::open(self.work_dir().join(LOCK)) else { return false };
        // It is let go of at once.
        matches!(Flock::lock(file, FlockArg::LockExclusiveNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
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

    /// Whether the work directory holds something recorded, and not only what tells of a failed start.
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
