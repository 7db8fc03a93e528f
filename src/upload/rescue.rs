//! Stores what a recording left, file by file, for `weir recover`.

use std::path::Path;
use std::sync::Arc;

use super::attempt::{Sides, Stored, UploadError};
use super::ledger::{Ledger, Unfinished};
use super::{IfTaken, Place};
use crate::plan::storage::Storage;

/// An output's storage, for what was left of it.
#[derive(Debug)]
pub struct Rescuer {
    sides: Sides,
}

impl Rescuer {
    /// `base` is what relative local names are relative to.
    #[must_use]
    pub fn new(storage: &Storage, base: &Path) -> Self {
        Self { sides: Sides::open(storage, base) }
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

    /// Stores a file, notes it in `dir`'s ledger, and removes it; where it is now.
    ///
    /// `if_taken`: meanwhile another recording may have got the name.
    ///
    /// # Errors
    /// When neither storage nor backup takes it; it is still there.
    pub async fn store(
        &mut self,
        dir: &Path,
        name: &str,
        if_taken: IfTaken,
        local: &Path,
    ) -> Result<String, UploadError> {
        let put = self.sides.clone().put(name.to_owned(), if_taken, local.to_owned(), Arc::default());
        let Stored { place, location, .. } = put.await?;
        if place == Place::Backup {
            self.sides.set_on_backup();
        }
        Ledger::new(dir).stored(name);
        super::forget(local);
        Ok(location)
    }
}
