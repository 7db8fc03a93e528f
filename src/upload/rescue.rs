//! Stores what a recording left, file by file, for `weir recover`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Place;
use super::attempt::{Sides, Stores, UploadError};
use super::ledger::{Ledger, Unfinished};
use super::patience::{FIRST_STALL, shorter_stall};
use crate::files;
use crate::plan::storage::Storage;

/// Why a file that a recording left can't be stored.
#[derive(Debug, thiserror::Error)]
pub enum RescueStoreError {
    #[error("{path} is not a regular file of the recording's directory: it stays where it is")]
    NotOurs { path: PathBuf },
    #[error(transparent)]
    Upload(#[from] UploadError),
}

/// An output's storage, for what was left of it.
#[derive(Debug)]
pub struct Rescuer {
    sides: Sides,
    /// The storage was away for the file before: the next has one quick attempt, given up when it makes no progress for so long.
    hurry: Option<Duration>,
}

impl Rescuer {
    /// `base` is what relative local names are relative to.
    #[must_use]
    pub fn new(storage: &Storage, base: &Path) -> Self {
        Self { sides: Sides::open(storage, &Stores::new(base)), hurry: None }
    }

    /// Lets go of an object that was begun and not finished.
    pub async fn discard(&self, unfinished: &Unfinished) {
        let Unfinished { key, handle, place } = unfinished;
        let store = self.sides.side(*place).map(super::attempt::Side::store);
        let Some(Ok(store)) = store else { return };
        if let Err(error) = store.discard(key, handle).await {
            tracing::warn!(%error, key, "the store keeps parts of an upload that was not finished");
        }
    }

    /// Stores a file, notes it in `dir`'s ledger, and removes it; where it is now. A storage that was away for the file before
    /// has less time for this one.
    ///
    /// # Errors
    /// When it is no regular file of `dir`, or neither storage nor backup takes it; it is still there.
    pub async fn store(&mut self, dir: &Path, name: &str, local: &Path) -> Result<String, RescueStoreError> {
        // What lies elsewhere is nothing that a recording left, and a link may lead there.
        if local.parent() != Some(dir) || !files::is_regular(local).is_ok_and(|is_there| is_there) {
            return Err(RescueStoreError::NotOurs { path: local.to_owned() });
        }
        let sides = if self.hurry.is_some() { self.sides.hurried() } else { self.sides.clone() };
        let since = Instant::now();
        let put = sides.put(name.to_owned(), local.to_owned(), Arc::default(), self.hurry).await;
        let (place, location) = put.inspect_err(|error| self.after(error, since.elapsed()))?;
        self.hurry = None;
        if place == Place::Backup {
            self.sides.set_on_backup();
        }
        Ledger::new(dir).stored(name);
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
