//! Stores what a recording left, file by file, for `weir recover`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::multipart::LINK_PREFIX;
use super::patience::{FIRST_STALL, shorter_stall};
use super::targets::{Stores, Targets, UploadError, Uploaded};
use super::upload_journal::{Unfinished, UploadJournal};
use super::{IfTaken, Place};
use crate::files;
use crate::plan::storage::Storage;

/// Why a file that a recording left can't be stored.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryUploadError {
    #[error("{path} is not a regular file of the recording's directory: it stays where it is")]
    NotOurs { path: PathBuf },
    #[error(transparent)]
    Upload(#[from] UploadError),
}

/// An output's storage, for what was left of it.
#[derive(Debug)]
pub struct RecoveryUploader {
    sides: Targets,
    /// The storage was away for the file before: the next has one quick attempt, given up when it
    /// makes no progress for so long.
    hurry: Option<Duration>,
}

impl RecoveryUploader {
    /// `base` is what relative local names are relative to.
    #[must_use]
    pub fn new(storage: &Storage, base: &Path) -> Self {
        Self { sides: Targets::open(storage, &Stores::new(base)), hurry: None }
    }

    /// Removes the second names of files that were stored while they grew (`multipart`), as far as
    /// these have their first ones still.
    pub fn remove_links(dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_link = entry.file_name().as_encoded_bytes().starts_with(LINK_PREFIX.as_bytes());
            if is_link && entry.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
                super::forget(&entry.path());
            }
        }
    }

    /// Lets go of an object that was begun and not finished.
    pub async fn discard(&self, unfinished: &Unfinished) {
        let Unfinished { key, handle, place } = unfinished;
        let store = self.sides.side(*place).map(super::targets::Target::store);
        let Some(Ok(store)) = store else { return };
        if let Err(error) = store.discard(key, handle).await {
            tracing::warn!(%error, key, "the store keeps parts of an upload that was not finished");
        }
    }

    /// Uploads a file, records it in the journal of `dir`, and removes it; returns its location. If
    /// the storage was unavailable for the file before, this one has less time.
    ///
    /// `if_taken`: another recording may have got the name meanwhile.
    ///
    /// # Errors
    ///
    /// When it is not a regular file of `dir`, or neither storage nor backup accepts it; the file
    /// stays.
    pub async fn store(
        &mut self,
        dir: &Path,
        name: &str,
        if_taken: IfTaken,
        local: &Path,
    ) -> Result<String, RecoveryUploadError> {
        // What lies elsewhere is nothing that a recording left, and a link may lead there.
        if local.parent() != Some(dir) || !files::is_regular(local).is_ok_and(|is_there| is_there) {
            return Err(RecoveryUploadError::NotOurs { path: local.to_owned() });
        }
        let sides = if self.hurry.is_some() { self.sides.hurried() } else { self.sides.clone() };
        let since = Instant::now();
        let put = sides.put(name.to_owned(), if_taken, local.to_owned(), Arc::default(), self.hurry).await;
        let Uploaded { place, location, .. } = put.inspect_err(|error| self.after(error, since.elapsed()))?;
        self.hurry = None;
        if place == Place::Backup {
            self.sides.set_on_backup();
        }
        UploadJournal::new(dir).mark_uploaded(name);
        super::forget(local);
        Ok(location)
    }

    fn after(&mut self, error: &UploadError, took: Duration) {
        if error.is_passing() {
            let stall = self.hurry.unwrap_or(FIRST_STALL);
            self.hurry = Some(if error.is_too_slow() { shorter_stall(stall, took) } else { stall });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_name_goes_where_the_first_one_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file-0.recording.ogg"), "sound").unwrap();
        std::fs::hard_link(path("file-0.recording.ogg"), path(".growing-file-0.recording.ogg")).unwrap();
        std::fs::write(path(".growing-segment-1-000000.ts.part"), "the only name that is left").unwrap();
        RecoveryUploader::remove_links(dir.path());
        assert!(path("file-0.recording.ogg").exists() && !path(".growing-file-0.recording.ogg").exists());
        assert!(path(".growing-segment-1-000000.ts.part").exists());
    }
}
