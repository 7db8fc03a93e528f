//! Final files to where they belong. Nothing is deleted here until it is stored.
//!
//! Uploads are carried out one after the other, in the order in which they were asked for: a playlist comes after the
//! segments it names.

pub mod store;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::plan::output::OutputId;
use crate::plan::storage::StorageTarget;

/// A file to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload<T> {
    pub output: OutputId,
    pub local: PathBuf,
    pub target: StorageTarget,
    /// Its name in the storage.
    pub name: String,
    /// What whoever asked wants to have back with the result.
    pub subject: T,
}

/// What became of an upload.
#[derive(Debug)]
pub enum UploadEvent<T> {
    /// It is at `location`, and no longer where it was.
    Stored { upload: Upload<T>, location: String },
    /// It is still at `upload.local`.
    Failed { upload: Upload<T>, error: UploadError },
}

/// Why a file could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(
        "Local upload failed: {name}: {source} (the file is kept at {kept}: make room or permission, then `weir recover`)"
    )]
    Local { name: String, kept: PathBuf, source: std::io::Error },
}

/// Stores files, one after the other.
#[derive(Debug)]
pub struct Uploader<T> {
    queue: mpsc::UnboundedSender<Upload<T>>,
}

impl<T: Send + 'static> Uploader<T> {
    /// Starts the uploader; results come through `events`, which closes when the uploader is dropped and its queue empty.
    /// `base` is the directory that relative local names are relative to.
    #[must_use]
    pub fn start(base: PathBuf, tasks: &TaskTracker) -> (Self, mpsc::UnboundedReceiver<UploadEvent<T>>) {
        let (queue, mut waiting) = mpsc::unbounded_channel::<Upload<T>>();
        let (results, events) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            while let Some(upload) = waiting.recv().await {
                // The receiver is gone only when the recording was abandoned; what is left is for `weir recover`.
                if results.send(store(&base, upload).await).is_err() {
                    return;
                }
            }
        });
        (Self { queue }, events)
    }

    /// Asks for a file to be stored.
    pub fn store(&self, upload: Upload<T>) {
        if self.queue.send(upload).is_err() {
            tracing::error!("the uploader is gone: a file stays in the work directory");
        }
    }
}

/// Puts a finished file to its place on the local disk, in one step, and gives the absolute place. Blocks.
///
/// # Errors
/// When it can't be put there; it is still at `local` then.
pub fn store_local(local: &Path, target: &Path) -> Result<PathBuf, UploadError> {
    store::local::store(local, target).map_err(|source| UploadError::Local {
        name: target.display().to_string(),
        kept: local.to_owned(),
        source,
    })
}

async fn store<T>(base: &Path, upload: Upload<T>) -> UploadEvent<T> {
    let (local, target) = (upload.local.clone(), base.join(&upload.name));
    let result =
        tokio::task::spawn_blocking(move || store_local(&local, &target)).await.unwrap_or_else(|panic| {
            let source = std::io::Error::other(panic);
            Err(UploadError::Local { name: upload.name.clone(), kept: upload.local.clone(), source })
        });
    match result {
        Ok(place) => UploadEvent::Stored { location: place.display().to_string(), upload },
        Err(error) => UploadEvent::Failed { upload, error },
    }
}
