//! Can everything be written where it belongs? Asked before anything is started, leaving nothing behind.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::plan::RecordingPlan;
use crate::plan::output::OutputPlan;

/// A disk with less than this is full. A recording that gets here while it runs is ended while it still can be.
pub const MIN_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// Why an output can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    #[error("output {name}: {dir} is not a directory: choose another place")]
    NotADirectory { name: String, dir: PathBuf },
    #[error("output {name}: {dir} is not writable: choose another place or change its permissions")]
    NotWritable { name: String, dir: PathBuf },
    #[error("output {name}: it is a directory: give a file name")]
    IsADirectory { name: String },
    #[error("output {name}: the disk of {dir} has {free_mib} MiB free, at least {} MiB are needed", MIN_FREE_BYTES / 1024 / 1024)]
    Full { name: String, dir: PathBuf, free_mib: u64 },
}

/// Looks at every local output of a plan. `base` is what relative names are relative to.
///
/// # Errors
/// The first output that can't be written, and why.
pub fn check(plan: &RecordingPlan, base: &Path) -> Result<(), PreflightError> {
    for output in &plan.outputs {
        let (name, is_file) = match output {
            OutputPlan::File(file) => (file.name.to_string(), true),
            OutputPlan::Segments(segments) => (format!("{}{}", segments.dir, segments.playlist), true),
            OutputPlan::Images(images) => (images.prefix.clone(), false),
            OutputPlan::Stream(_) => continue,
        };
        let path = base.join(&name);
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
            Some(free) if free < MIN_FREE_BYTES => {
                return Err(PreflightError::Full { name, dir, free_mib: free / 1024 / 1024 });
            }
            // A file system that does not tell is not a reason to refuse.
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// What an ordinary user can still write there; `None` when the file system does not tell.
#[must_use]
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    stat.blocks_available().checked_mul(stat.fragment_size())
}

fn nearest_existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_owned()
}
