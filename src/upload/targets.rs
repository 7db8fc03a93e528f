//! One file to one of two stores: the primary, and when that fails the backup, which keeps the
//! place from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::attempt::{Status, UploadAttempt, millis};
use super::queue_view::QueueView;
use super::silence::unless_silent;
use super::store::{self, Object, SIGNED_FOR, Scope, Sent, Store, StoreError, StoreErrorKind};
use super::verdict::{Trouble, Verdict};
use super::{IfTaken, mime};
use crate::plan::storage::{Links, Storage, StorageTarget};

/// How long a request of [`Targets::hurried`] may take, the time for its body not counted.
const HURRIED: Duration = Duration::from_secs(1);

/// One of an output's two storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Primary,
    Backup,
}

/// A file that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uploaded {
    pub(super) place: Place,
    /// The name that it got.
    pub(super) name: String,
    pub(super) location: String,
}

/// Why a file could not be stored (docs/reference/media.md, docs/reference/egress.md).
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("{store} upload failed: {error}")]
    Failed { store: &'static str, error: StoreError },
    /// Both places.
    #[error("primary: {primary}\nbackup: {backup}")]
    Both { primary: Box<Self>, backup: Box<Self> },
    /// A defect of ours; nothing is known of what came of it.
    #[error("the upload ended unexpectedly: {0}")]
    Panicked(String),
}

impl UploadError {
    /// The last storage's answer.
    fn status(&self) -> Status {
        match self {
            Self::Failed { error, .. } => error.kind().into(),
            Self::Both { backup, .. } => backup.status(),
            Self::Panicked(_) => Status::Internal,
        }
    }

    /// Consequence for this file and for those behind it. With two storages the file waits for the
    /// one that may still accept it.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Failed { error, .. } => match (error.kind().is_passing(), error.scope()) {
                (true, _) => Verdict::Passing,
                (false, Scope::Unclear) => Verdict::Unclear,
                (false, Scope::Object) => Verdict::Permanent,
            },
            Self::Both { primary, backup } => primary.verdict().min(backup.verdict()),
            Self::Panicked(_) => Verdict::Unclear,
        }
    }

    /// Whether the storage is away, and may take the file later.
    pub(super) fn is_passing(&self) -> bool {
        self.verdict() == Verdict::Passing
    }

    /// Short description of the storage's problem.
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Failed { error, .. } => match (error.status(), error.kind()) {
                (Some(status), _) => Trouble::Answers(status),
                (None, StoreErrorKind::TooSlow) => Trouble::Silent,
                (None, StoreErrorKind::Unreachable) => Trouble::Unreachable,
                (None, _) => Trouble::Other,
            },
            Self::Both { primary, backup } => match primary.verdict() {
                Verdict::Passing => primary.trouble(),
                Verdict::Unclear | Verdict::Permanent => backup.trouble(),
            },
            Self::Panicked(_) => Trouble::Other,
        }
    }

    /// Whether a store did not answer in time.
    pub(super) fn is_too_slow(&self) -> bool {
        match self {
            Self::Failed { error, .. } => error.kind() == StoreErrorKind::TooSlow,
            Self::Both { primary, backup } => primary.is_too_slow() || backup.is_too_slow(),
            Self::Panicked(_) => false,
        }
    }

    /// Advice for a kept file.
    #[must_use]
    pub fn kept_at(&self, kept: &Path) -> String {
        let because = crate::upload::targets::with_sources(self);
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
        UploadError::Panicked(_) => error.to_string(),
    }
}

/// A store with what its target says beside.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) place: Place,
    target: StorageTarget,
    store: Result<Arc<dyn Store>, Arc<StoreError>>,
}

/// Opens storages. Relative local names are relative to `base`.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    base: PathBuf,
    /// In place of every other.
    #[cfg(test)]
    fake: Option<Arc<dyn Store>>,
}

impl Stores {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            #[cfg(test)]
            fake: None,
        }
    }

    #[cfg(test)]
    pub(super) fn fake(store: Arc<dyn Store>) -> Self {
        Self { base: PathBuf::new(), fake: Some(store) }
    }

    fn open(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(Arc::clone(fake));
        }
        store::open(target, &self.base)
    }
}

impl Target {
    fn open(place: Place, target: StorageTarget, stores: &Stores) -> Self {
        let store = stores.open(&target).map_err(Arc::new);
        Self { place, target, store }
    }

    /// The store; an error of its making is each upload's.
    pub(super) fn store(&self) -> Result<&Arc<dyn Store>, UploadError> {
        self.store.as_ref().map_err(|made| UploadError::Failed {
            store: store::name_of(&self.target.backend),
            error: made.reworded(made.to_string()),
        })
    }

    /// Records the outcome of an attempt.
    pub(super) fn record_attempt<T>(
        &self,
        name: &str,
        result: &Result<T, UploadError>,
        since: Instant,
    ) -> UploadAttempt {
        UploadAttempt {
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
        view: &QueueView,
        stalled_after: Option<Duration>,
    ) -> Result<Uploaded, UploadError> {
        view.sent().reset();
        let since = Instant::now();
        let put = self.put_uncounted(name, if_taken, file, view.sent());
        let moved = || self.store.as_ref().ok().and_then(|store| store.moved());
        let moved = || moved().map(|moved| moved.saturating_add(view.sent().bytes()));
        let put = async {
            match stalled_after {
                None => put.await,
                Some(stalled_after) => {
                    let progress = || moved().unwrap_or_else(|| view.sent().bytes());
                    self.unless_stalled(put, progress, stalled_after).await
                }
            }
        };
        let result = unless_silent(view, moved, put).await;
        let result = result.unwrap_or_else(|silent| Err(self.failed(silent)));
        view.add_attempt(self.record_attempt(name, &result, since));
        result
    }

    async fn put_uncounted(
        &self,
        name: &str,
        if_taken: &IfTaken,
        file: &Path,
        sent: &Sent,
    ) -> Result<Uploaded, UploadError> {
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
        Ok(Uploaded { place: self.place, name: name.to_owned(), location })
    }

    /// Gives an upload up that makes no progress for `stalled_after`.
    async fn unless_stalled(
        &self,
        put: impl Future<Output = Result<Uploaded, UploadError>>,
        progress: impl Fn() -> u64,
        stalled_after: Duration,
    ) -> Result<Uploaded, UploadError> {
        tokio::pin!(put);
        loop {
            let before = progress();
            match tokio::time::timeout(stalled_after, &mut put).await {
                Ok(result) => return result,
                Err(_) if progress() > before => {}
                Err(_) => {
                    let text = format!("no answer within {stalled_after:.1?}, after attempts that failed");
                    return Err(self.failed(StoreError::new(StoreErrorKind::TooSlow, text)));
                }
            }
        }
    }

    /// Location of an object, in the form that the target requests. If a link can't be signed, the
    /// plain location is used: the file is uploaded all the same.
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
pub(super) struct Targets {
    stores: Stores,
    primary: Target,
    backup: Option<Target>,
    /// The backup has taken a file, and so all that follow.
    on_backup: bool,
}

impl Targets {
    pub(super) fn open(storage: &Storage, stores: &Stores) -> Self {
        let backup = storage.backup.clone().map(|backup| Target::open(Place::Backup, backup, stores));
        let primary = Target::open(Place::Primary, storage.primary.clone(), stores);
        Self { stores: stores.clone(), primary, backup, on_backup: false }
    }

    /// The one whose turn it is.
    pub(super) fn current(&self) -> &Target {
        match &self.backup {
            Some(backup) if self.on_backup => backup,
            _ => &self.primary,
        }
    }

    pub(super) fn side(&self, place: Place) -> Option<&Target> {
        match place {
            Place::Primary => Some(&self.primary),
            Place::Backup => self.backup.as_ref(),
        }
    }

    pub(super) const fn set_on_backup(&mut self) {
        self.on_backup = true;
    }

    /// The same places, asked once and not again, with little patience: for the last attempt of
    /// files whose storage is away.
    pub(super) fn hurried(&self) -> Self {
        let hurried = |side: &Target| {
            let mut target = side.target.clone();
            target.retry.attempts = 1;
            target.request_timeout = target.request_timeout.min(HURRIED);
            Target::open(side.place, target, &self.stores)
        };
        let backup = self.backup.as_ref().map(hurried);
        let stores = self.stores.clone();
        Self { stores, primary: hurried(&self.primary), backup, on_backup: self.on_backup }
    }

    /// Stores a file at the first place that takes it. With `stalled_after` an upload that makes no
    /// progress for so long is given up.
    pub(super) async fn put(
        self,
        name: String,
        if_taken: IfTaken,
        file: PathBuf,
        view: Arc<QueueView>,
        stalled_after: Option<Duration>,
    ) -> Result<Uploaded, UploadError> {
        let first = self.current();
        let error = match first.put(&name, &if_taken, &file, &view, stalled_after).await {
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        let Some(backup) = self.backup.as_ref().filter(|_| first.place == Place::Primary) else {
            return Err(error);
        };
        tracing::warn!(%error, "the primary storage failed; the backup takes over");
        match backup.put(&name, &if_taken, &file, &view, stalled_after).await {
            Ok(stored) => Ok(stored),
            Err(second) => Err(UploadError::Both { primary: Box::new(error), backup: Box::new(second) }),
        }
    }
}
