//! Finalizes recorded files: converts the crash-safe form of a recording to its usual form.
//!
//! ```text
//! MP4   fragments of a second             ──► one index before the media  (copied)
//! OGG   pages, the last may be cut        ──► cut after the last page     (renamed)
//! MP3   frames, maybe without a count     ──► Xing header with the count  (renamed or remuxed)
//! WebM  clusters, maybe without an index  ──► with duration and index     (renamed or remuxed)
//! ```
//!
//! The same function serves regular ends and recoveries. It blocks for as long as copying the file
//! takes. It never loses complete data and never panics, whatever the bytes. A damaged file is
//! converted as far as it is readable, and the damaged original is kept beside it.

mod beside;
mod damage;
mod mp3;
mod mp4;
mod ogg;
mod remux;
mod webm;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use self::beside::{Beside, settle};
use crate::media::MissingElement;
use crate::plan::codec::Container;

/// A finalized file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalized {
    /// Bytes.
    pub size: u64,
    /// Length of the media; `None` where finding out would mean reading it all (OGG, MP3).
    pub duration: Option<Duration>,
    pub layout: Layout,
    /// The recording had been cut off in the middle, and what was incomplete at its end was left
    /// out.
    pub was_cut: bool,
    /// Video was recorded, and not one complete frame of it is there: the file has audio alone.
    pub lacks_video: bool,
    /// Parts of the recorded file could not be read: which, in words.
    pub damage: Option<String>,
    /// Location of the damaged file.
    pub kept: Option<PathBuf>,
}

/// How the media lies in a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The container's usual layout; MP4: index first.
    Ordinary,
    /// A fragmented MP4: playable, but seeking reads through it. The result when the disk has no
    /// room for the copy.
    Fragmented,
}

/// Reasons why a file can't be finalized. The recorded file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "no space left on the device of {path}: free as much as the recording takes, then run `weir recover`"
    )]
    NoSpaceLeft { path: PathBuf },
    #[error("{path} holds no complete media: the recording ended before its first second was written")]
    Empty { path: PathBuf },
    #[error("{path} is damaged, or not a recording of ours: {why}")]
    Foreign { path: PathBuf, why: String },
    #[error(transparent)]
    Missing(#[from] MissingElement),
    #[error("{path}: {why}")]
    Remux { path: PathBuf, why: String },
    #[error("stopped before {path} was whole; `weir recover` finishes it")]
    Stopped { path: PathBuf },
}

/// Finalizes `recorded` to `finalize` (same file system). `length` is the recording's length if
/// known: the last frame is shown until then. `stop` ends the work early without loss.
///
/// The result appears at `finalize` at once and complete (`<whole>.part` until then), and is synced
/// to the disk when this returns. Only this function and [`settle`], for an existing result, remove
/// recorded data: `recorded` is gone then, unless it is damaged. A damaged file is reported and
/// kept ([`Finalized::kept`]).
///
/// # Errors
///
/// [`FinalizeError`]; then there is no result, and `recorded` is unchanged. A full disk is not an
/// error for an MP4: its fragments become the result.
pub fn finalize(
    container: Container,
    recorded: &Path,
    whole: &Path,
    length: Option<Duration>,
    stop: &CancellationToken,
) -> Result<Finalized, FinalizeError> {
    let mut made = match container {
        Container::Mp4 => mp4::finalize(recorded, whole, length, stop),
        Container::Ogg => ogg::finalize(recorded, whole),
        Container::Mp3 => mp3::finalize(recorded, whole, stop),
        Container::WebM => webm::finalize(recorded, whole, stop),
    }?;
    // The rename is durable only when the directory is.
    if let Some(dir) = whole.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("syncing the directory of", whole))?;
    }
    // Half a copy that somebody began who was killed.
    remove(&part_of(whole));
    match made.damage {
        Some(_) => made.kept = Some(set_aside(recorded)?),
        None => remove(recorded),
    }
    Ok(made)
}

/// Removes a file that a finished one repeats, if it is there.
fn remove(file: &Path) {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %error, "could not be removed");
        }
        _ => {}
    }
}

/// Gives a damaged file a name that says so, and that no other file has.
fn set_aside(recorded: &Path) -> Result<PathBuf, FinalizeError> {
    let name = recorded.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let (stem, extension) = name.split_at(name.rfind('.').unwrap_or(name.len()));
    let stem = stem.strip_suffix(".recording").unwrap_or(stem);
    let named = |number: usize| {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        recorded.with_file_name(format!("{stem}.damaged{number}{extension}"))
    };
    let kept = (1..).map(named).find(|kept| !kept.exists()).unwrap_or_else(|| named(0));
    std::fs::rename(recorded, &kept).map_err(io("renaming", recorded))?;
    Ok(kept)
}

/// Why a file of which no sound or frame could be read is kept all the same.
fn nothing_readable(recorded: &Path, damage: damage::Damage) -> FinalizeError {
    let why = damage.described().unwrap_or_else(|| "no complete frame or sound is in it".to_owned());
    FinalizeError::Foreign { path: recorded.to_owned(), why }
}

/// Temporary name of a file before it is complete.
fn part_of(whole: &Path) -> PathBuf {
    let mut name = whole.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Converts an I/O error; a full disk has its own variant.
fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FinalizeError {
    let path = path.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            FinalizeError::NoSpaceLeft { path }
        }
        _ => FinalizeError::Io { action, path, source },
    }
}

#[cfg(test)]
mod tests;
