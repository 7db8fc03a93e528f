//! One file to one of two stores: the primary, and when that fails the backup, which keeps the place from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::lane::LaneView;
use super::store::{self, Object, SIGNED_FOR, Sent, Store, StoreError, StoreErrorKind};
use super::tried::{Status, Tried, millis};
use super::{IfTaken, mime};
use crate::plan::storage::{Links, Storage, StorageTarget};

/// Which of an output's two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Primary,
    Backup,
}

/// A file that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) place: Place,
    /// The name that it got.
    pub(super) name: String,
    pub(super) location: String,
}

/// Why a file could not be stored (media.md §8.4, service.md §5.6).
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("{store} upload failed: {error}")]
    Failed { store: &'static str, error: StoreError },
    /// Both places.
    #[error("primary: {primary}\nbackup: {backup}")]
    Both { primary: Box<Self>, backup: Box<Self> },
}

impl UploadError {
    /// What the store that was asked last said.
    fn status(&self) -> Status {
        match self {
            Self::Failed { error, .. } => error.kind().into(),
            Self::Both { backup, .. } => backup.status(),
        }
    }

    /// What to do about a file that was kept for it.
    #[must_use]
    pub fn kept_at(&self, kept: &Path) -> String {
        let because = crate::upload::attempt::with_sources(self);
        format!("{because} (kept at {}: see to it, then `weir recover`)", kept.display())
    }
}

/// An error's text with those of its causes.
fn with_sources(error: &UploadError) -> String {
    match error {
        UploadError::Failed { store, error } => {
            let source = std::error::Error::source(error).map(|source| format!(": {source}"));
            format!("{store} upload failed: {error}{}", source.unwrap_or_default())
        }
        UploadError::Both { primary, backup } => {
            format!("primary: {}\nbackup: {}", with_sources(primary), with_sources(backup))
        }
    }
}

/// A store with what its target says beside.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub(super) place: Place,
    target: StorageTarget,
    store: Result<Arc<dyn Store>, Arc<(store::StoreErrorKind, String)>>,
}

impl Side {
    fn open(place: Place, target: StorageTarget, base: &Path) -> Self {
        let store = store::open(&target, base).map_err(|error| Arc::new((error.kind(), error.to_string())));
        Self { place, target, store }
    }

    /// The store; an error of its making is each upload's.
    pub(super) fn store(&self) -> Result<&Arc<dyn Store>, UploadError> {
        self.store.as_ref().map_err(|made| UploadError::Failed {
            store: store::name_of(&self.target.backend),
            error: StoreError::new(made.0, made.1.clone()),
        })
    }

    /// What came of offering it a file, to be counted.
    pub(super) fn tried<T>(&self, name: &str, result: &Result<T, UploadError>, since: Instant) -> Tried {
        Tried {
            mime: mime::of(name).to_owned(),
            status: result.as_ref().map_or_else(UploadError::status, |_| Status::Success),
            custom_endpoint: self.target.host().is_some(),
            ms: millis(since.elapsed()),
            place: self.place,
        }
    }

    pub(super) fn object(&self, name: &str) -> Object {
        Object { key: self.target.key(name), mime: mime::of(name) }
    }

    async fn put(
        &self,
        name: &str,
        if_taken: &IfTaken,
        file: &Path,
        view: &LaneView,
    ) -> Result<Stored, UploadError> {
        view.sent().reset();
        let since = Instant::now();
        let result = self.put_uncounted(name, if_taken, file, view.sent()).await;
        view.add_tried(self.tried(name, &result, since));
        result
    }

    async fn put_uncounted(
        &self,
        name: &str,
        if_taken: &IfTaken,
        file: &Path,
        sent: &Sent,
    ) -> Result<Stored, UploadError> {
        let store = self.store()?;
        let (mut name, mut object) = (name, self.object(name));
        let mut put = match if_taken {
            IfTaken::Replace => store.put(&object, file, sent).await,
            IfTaken::Rename(_) => store.put_new(&object, file, sent).await,
        };
        if let (Err(error), IfTaken::Rename(other)) = (&put, if_taken)
            && error.kind() == StoreErrorKind::Exists
        {
            tracing::warn!(
                name,
                other,
                "the name was taken while it was recorded; the file gets another one"
            );
            (name, object) = (other.as_str(), self.object(other));
            put = store.put_new(&object, file, sent).await;
        }
        put.map_err(|error| self.failed(error))?;
        let location = self.link(&object.key).await;
        Ok(Stored { place: self.place, name: name.to_owned(), location })
    }

    /// Where an object is, as the target wants it told. A link that can't be signed is no reason to call a stored file
    /// lost: it is told without.
    pub(super) async fn link(&self, key: &str) -> String {
        let Ok(store) = &self.store else { return key.to_owned() };
        if self.target.links == Links::Signed {
            match store.signed_url(key, SIGNED_FOR).await {
                Ok(link) => return link,
                Err(error) => {
                    tracing::warn!(store = store::name_of(&self.target.backend), %error, "a link could not be signed")
                }
            }
        }
        store.location(key)
    }

    /// An error of the store, which does not know what its place is called.
    pub(super) fn failed(&self, error: StoreError) -> UploadError {
        let store = store::name_of(&self.target.backend);
        if self.target.is_local() {
            return UploadError::Failed { store, error };
        }
        let host = self.target.host();
        if host.is_some_and(|host| error.to_string().contains(host)) {
            return UploadError::Failed { store, error };
        }
        let at = host.map(|host| format!(" at {host}")).unwrap_or_default();
        UploadError::Failed { store, error: error.and(&format!(" ({}{at})", self.target.describe())) }
    }
}

/// An output's places, and which of them has the turn.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    primary: Side,
    backup: Option<Side>,
    /// The backup has taken a file, and so all that follow.
    on_backup: bool,
}

impl Sides {
    pub(super) fn open(storage: &Storage, base: &Path) -> Self {
        let backup = storage.backup.clone().map(|backup| Side::open(Place::Backup, backup, base));
        Self { primary: Side::open(Place::Primary, storage.primary.clone(), base), backup, on_backup: false }
    }

    /// The one whose turn it is.
    pub(super) fn current(&self) -> &Side {
        match &self.backup {
            Some(backup) if self.on_backup => backup,
            _ => &self.primary,
        }
    }

    pub(super) fn side(&self, place: Place) -> Option<&Side> {
        match place {
            Place::Primary => Some(&self.primary),
            Place::Backup => self.backup.as_ref(),
        }
    }

    pub(super) const fn set_on_backup(&mut self) {
        self.on_backup = true;
    }

    /// Stores a file at the first place that takes it.
    pub(super) async fn put(
        self,
        name: String,
        if_taken: IfTaken,
        file: PathBuf,
        view: Arc<LaneView>,
    ) -> Result<Stored, UploadError> {
        let first = self.current();
        let error = match first.put(&name, &if_taken, &file, &view).await {
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        let Some(backup) = self.backup.as_ref().filter(|_| first.place == Place::Primary) else {
            return Err(error);
        };
        tracing::warn!(%error, "the primary storage failed; the backup takes over");
        match backup.put(&name, &if_taken, &file, &view).await {
            Ok(stored) => Ok(stored),
            Err(second) => Err(UploadError::Both { primary: Box::new(error), backup: Box::new(second) }),
        }
    }
}
