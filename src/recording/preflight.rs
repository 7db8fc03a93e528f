//! Can everything be written where it belongs? Asked before anything is started, leaving nothing
//! behind.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::plan::RecordingPlan;
use crate::plan::output::OutputPlan;
use crate::plan::storage::{Storage, StorageTarget};
use crate::upload::store::{self, StoreError};

/// Bytes of a path, with its directories (`PATH_MAX` without the byte that ends it). A single name
/// is the plan's affair.
const LONGEST_PATH: usize = 4095;
/// Bytes that are added to a path: numbers and an extension, or the work directory beside it.
const ADDED: usize = 160;
/// Bytes of a path in an error.
const SHOWN: usize = 80;

/// Why an output can't be written.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error("output {name}: {dir} is not a directory: choose another place")]
    NotADirectory { name: String, dir: PathBuf },
    #[error("output {name}: {dir} is not writable: choose another place or change its permissions")]
    NotWritable { name: String, dir: PathBuf },
    #[error("output {name}: it is a directory: give a file name")]
    IsADirectory { name: String },
    #[error(
        "output {head}…: its path has {bytes} bytes, and the system takes {LONGEST_PATH}: give a shorter one"
    )]
    TooLong { head: String, bytes: usize },
    #[error(
        "output {name}: the disk of {dir} has {free_mb} MB free, and {floor_mb} MB are to stay so: free some, or lower --keep-free"
    )]
    Full { name: String, dir: PathBuf, free_mb: u64, floor_mb: u64 },
    #[error("output {name}: its storage {storage} can't be used: {error}")]
    Storage { name: String, storage: String, error: StoreError },
}

/// Looks at every output of a plan that keeps something. `base` is what relative names are relative
/// to; `keep_free` bytes of each local disk are to stay free. Stores elsewhere are not asked: their
/// settings alone are looked at.
///
/// # Errors
/// The first output that can't be written, and why.
pub fn check(plan: &RecordingPlan, base: &Path, keep_free: u64) -> Result<(), PreflightError> {
    for output in &plan.outputs {
        let (name, is_file) = match output {
            OutputPlan::File(file) => (file.name.to_string(), true),
            OutputPlan::Segments(segments) => (format!("{}{}", segments.dir, segments.playlist), true),
            OutputPlan::Images(images) => (images.prefix.clone(), false),
            OutputPlan::Stream(_) | OutputPlan::WebSocket(_) => continue,
        };
        let Some(Storage { primary, backup }) = output.storage() else { continue };
        for target in [Some(primary), backup.as_ref()].into_iter().flatten() {
            store::open(target, base).map_err(|error| PreflightError::Storage {
                name: name.clone(),
                storage: target.describe(),
                error,
            })?;
            if target.is_local() {
                check_local(target, &name, is_file, base, keep_free)?;
            }
        }
    }
    Ok(())
}

fn check_local(
    target: &StorageTarget,
    name: &str,
    is_file: bool,
    base: &Path,
    keep_free: u64,
) -> Result<(), PreflightError> {
    let name = name.to_owned();
    let path = base.join(target.key(&name));
    let bytes = path.as_os_str().len();
    if bytes > LONGEST_PATH - ADDED {
        return Err(PreflightError::TooLong {
            head: name[..name.floor_char_boundary(SHOWN)].to_owned(),
            bytes,
        });
    }
    if is_file && path.is_dir() {
        return Err(PreflightError::IsADirectory { name });
    }
    let dir = nearest_existing(path.parent().unwrap_or(base));
    if !dir.is_dir() {
        return Err(PreflightError::NotADirectory { name, dir });
    }
    if access(&dir, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return Err(PreflightError::NotWritable { name, dir });
    }
    match free_bytes(&dir) {
        Some(free) if free < keep_free => {
            let (free_mb, floor_mb) = (free / 1_000_000, keep_free / 1_000_000);
            Err(PreflightError::Full { name, dir, free_mb, floor_mb })
        }
        // A file system that does not tell is not a reason to refuse.
        Some(_) | None => Ok(()),
    }
}

/// Free bytes for an ordinary user; `None` if the file system does not tell.
#[must_use]
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    stat.blocks_available().checked_mul(stat.fragment_size())
}

fn nearest_existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_for_the_system_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |bytes: usize| format!("{}/a.mp4", ["d"; 1 << 11][..bytes / 2].join("/"));
        let checked = |name: &str| check_local(&StorageTarget::local(), name, true, dir.path(), 0);
        checked(&path(2000)).unwrap();
        let error = checked(&path(4000)).unwrap_err();
        assert!(matches!(&error, PreflightError::TooLong { .. }), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}
