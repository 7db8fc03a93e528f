//! Stores: where finished files go, behind one small trait.
//!
//! A store takes a file whole ([`Store::put`]), or in parts while it still grows
//! ([`Store::begin`]). Each request to a server is tried again by the target's
//! [`RetryPolicy`](crate::plan::storage::RetryPolicy), within a deadline that goes by its size; an
//! error is one that trying again did not cure.

mod alioss;
mod azure;
mod bytes_sent;
mod error;
mod gcs;
mod http;
pub(super) mod local;
mod object_url;
mod opendal;
mod redact;
mod retry;
mod s3;
#[cfg(test)]
mod testing;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

pub use self::error::{Scope, StoreError, StoreErrorKind};
use self::redact::CredentialRedactor;
use self::retry::{Patience, Persistence};
use crate::plan::storage::{Backend, StorageTarget};

/// How long a signed link is valid (docs/reference/media.md).
pub const SIGNED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// An object to upload, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Prefix and name, without a `/` at its beginning (but for the local disk, where it may have
    /// one).
    pub key: String,
    /// `video/mp4`, …
    pub mime: &'static str,
}

/// Bytes of a file that don't change any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRange {
    pub file: PathBuf,
    pub offset: u64,
    pub len: u64,
}

/// How far an upload is; shared with whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<AtomicU64>);

impl Sent {
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that the store has taken.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The store of a target. Nothing is asked of a server yet. `base` is the directory that relative
/// local names are relative to.
///
/// # Errors
/// [`StoreErrorKind::Unusable`], where the target makes no store.
pub fn open(target: &StorageTarget, base: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let patience = Patience { grace: target.request_timeout, ..Patience::default() };
    let persistence = Persistence { policy: target.retry, patience };
    let scrub = CredentialRedactor::new(target);
    Ok(match &target.backend {
        Backend::S3(config) => Arc::new(s3::S3Store::open(config, persistence, scrub, s3::Peers::default())?),
        Backend::Gcs(config) => Arc::new(gcs::GcsStore::open(config, persistence, scrub)?),
        Backend::Azure(config) => Arc::new(azure::AzureStore::open(config, persistence, scrub)?),
        Backend::AliOss(config) => Arc::new(alioss::AliOssStore::open(config, persistence, scrub)?),
        Backend::Local => Arc::new(local::LocalStore::new(base)),
    })
}

async fn file_size(file: &Path) -> Result<u64, StoreError> {
    match tokio::fs::metadata(file).await {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) => Err(StoreError::file(file, error)),
    }
}

/// A place for files.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Where an object is, for people and players (docs/reference/media.md). No credentials are in
    /// it.
    fn location(&self, key: &str) -> String;

    /// A link to an object that needs no credentials, valid for `valid`.
    ///
    /// # Errors
    ///
    /// When credentials are missing, or can't sign.
    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError>;

    /// A count that grows while bodies of requests go out to a server and answers come, of all of
    /// this store's requests; `None`: it is not known, as on a local disk.
    fn moved(&self) -> Option<u64> {
        None
    }

    /// Stores a finished file under the object's key, replacing what was there, in one step as far
    /// as readers see. The file is still there afterwards, unless the store is the local disk and
    /// could rename it. `sent` grows as it goes.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of it is to be seen at the store then.
    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError>;

    /// As [`Store::put`], but what has the name already stays. A server's store can't promise that,
    /// and replaces it.
    ///
    /// # Errors
    /// As there; [`StoreErrorKind::Exists`] where the name is taken.
    async fn put_new(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        self.put(object, file, sent).await
    }

    /// Begins an object whose content is still growing; `None` where the store can't take it in
    /// parts, or not with a head that is rewritten at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin(&self, _object: &Object, _head: Head) -> Result<Option<Box<dyn Parts>>, StoreError> {
        Ok(None)
    }

    /// Lets go of an object that another process had begun and did not finish; `handle` as
    /// [`Parts::handle`] gave it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn discard(&self, _key: &str, _handle: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Name of a storage in errors: `S3`, `GCP`, `Azure`, `AliOSS`, `Local` (docs/reference/media.md).
#[must_use]
pub const fn name_of(backend: &Backend) -> &'static str {
    match backend {
        Backend::Local => "Local",
        Backend::S3(_) => "S3",
        Backend::Gcs(_) => "GCP",
        Backend::Azure(_) => "Azure",
        Backend::AliOss(_) => "AliOSS",
    }
}

/// Whether the first bytes of a growing file stand from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    Final,
    /// They are written over when the file ends (the Xing frame of an MP3).
    Rewritten,
}

/// An object that is stored in parts, in order. Nothing of it is to be seen at the store before it
/// is finished. Dropping it leaves it unfinished, for the store to forget.
#[async_trait]
pub trait Parts: Debug + Send {
    /// The handle for [`Store::discard`], if the storage has one. At Google it is a credential for
    /// this one object: it is written only to files readable by their owner, and to no log.
    fn handle(&self) -> Option<String>;

    /// How long the next part must be, unless it is the last.
    fn next_len(&self) -> u64;

    /// Takes the next part; comes back when there is room for another. A [`Head::Rewritten`]'s
    /// first part is read again when the object is finished.
    ///
    /// # Errors
    /// [`StoreError`], of this part or of one before.
    async fn append(&mut self, part: FileRange) -> Result<(), StoreError>;

    /// Waits for every part, and makes the object seen.
    ///
    /// # Errors
    /// [`StoreError`]; the object is not there then.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;

    /// Lets go of it.
    async fn abort(self: Box<Self>);
}
