//! Files that are stored while they are still written. Their formats only append (OGG, MPEG-TS), or
//! append but for a head that is written last (MP3).
//!
//! A hidden hard link keeps hold of what grows, whatever it is called when it is finished: the same
//! content then needs only its last part, another one is stored whole.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::queue_view::QueueView;
use super::silence::unless_silent;
use super::store::{FileRange, Object, Parts, Store, StoreError};
use super::targets::{Place, Target, Uploaded};
use super::{Growing, UploadError};

/// Smaller ones are stored when they are finished: it takes one request.
const BEGIN_AT: u64 = 16 << 20;

/// Prefix of the second name of a growing file.
pub(super) const LINK_PREFIX: &str = ".growing-";

/// A growing file and its object.
#[derive(Debug)]
pub(super) struct Session {
    growing: Growing,
    link: Link,
    side: Target,
    store: Arc<dyn Store>,
    object: Object,
    parts: Option<Box<dyn Parts>>,
    is_told: bool,
    sent: u64,
}

/// The second name of the file; removed when dropped.
#[derive(Debug)]
struct Link(PathBuf);

impl Drop for Link {
    fn drop(&mut self) {
        // What can't be removed goes with the directory.
        fs::remove_file(&self.0).ok();
    }
}

impl Session {
    /// Opens a growing file; `None` if it is gone already, or its storage is unusable.
    pub(super) fn new(growing: Growing, side: &Target) -> Option<Self> {
        let file = growing.local.file_name()?.to_str()?;
        let link = Link(growing.local.with_file_name(format!("{LINK_PREFIX}{file}")));
        fs::hard_link(&growing.local, &link.0).ok()?;
        let store = Arc::clone(side.store().ok()?);
        let object = side.object(&growing.name);
        Some(Self { growing, link, side: side.clone(), store, object, parts: None, is_told: false, sent: 0 })
    }

    pub(super) const fn place(&self) -> Place {
        self.side.place
    }

    pub(super) fn key(&self) -> &str {
        &self.object.key
    }

    /// The store's word for what was begun.
    pub(super) fn handle(&self) -> Option<String> {
        self.parts.as_ref().and_then(|parts| parts.handle())
    }

    /// The same, once.
    pub(super) fn newly_begun(&mut self) -> Option<String> {
        let handle = self.handle().filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(handle)
    }

    /// Whether a finished file is what grew, and something of it is at the store.
    pub(super) fn grew_to(&self, name: &str, file: &Path) -> bool {
        let same = |(one, other): (fs::Metadata, fs::Metadata)| {
            (one.dev(), one.ino()) == (other.dev(), other.ino()) && one.len() >= self.sent
        };
        self.parts.is_some()
            && self.growing.name == name
            && fs::metadata(file).ok().zip(fs::metadata(&self.link.0).ok()).is_some_and(same)
    }

    /// Whether this was for a name.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.growing.name == name
    }

    /// Whether there is enough for a part.
    pub(super) fn can_advance(&self) -> bool {
        let wanted = self.parts.as_ref().map_or(BEGIN_AT, |parts| parts.next_len());
        self.written().saturating_sub(self.sent) >= wanted
    }

    /// Sends what there is enough of. `Ok(false)`: the store does not take it in parts.
    pub(super) async fn advance(&mut self, view: &QueueView) -> Result<bool, StoreError> {
        let store = Arc::clone(&self.store);
        unless_silent(view, || store.moved(), self.advance_unwatched()).await?
    }

    async fn advance_unwatched(&mut self) -> Result<bool, StoreError> {
        if self.parts.is_none() {
            self.parts = self.store.begin(&self.object, self.growing.head).await?;
        }
        let written = self.written();
        let Some(parts) = &mut self.parts else { return Ok(false) };
        while written - self.sent >= parts.next_len() {
            let len = parts.next_len();
            parts.append(FileRange { file: self.link.0.clone(), offset: self.sent, len }).await?;
            self.sent += len;
        }
        Ok(true)
    }

    /// Uploads the rest of the finished file; returns its link. The attempt is recorded in the
    /// view.
    pub(super) async fn finish(self, view: &QueueView) -> Result<Uploaded, UploadError> {
        let (side, name, since) = (self.side.clone(), self.growing.name.clone(), Instant::now());
        let store = Arc::clone(&self.store);
        let result = unless_silent(view, || store.moved(), self.finish_uncounted()).await;
        let result = result.unwrap_or_else(|silent| Err(side.failed(silent)));
        view.add_attempt(side.record_attempt(&name, &result, since));
        result
    }

    async fn finish_uncounted(mut self) -> Result<Uploaded, UploadError> {
        let written = self.written();
        let Some(mut parts) = self.parts.take() else {
            return Err(self.side.failed(StoreError::new(
                super::store::StoreErrorKind::Unusable,
                "an upload that was not begun can't be finished",
            )));
        };
        while self.sent < written {
            let len = parts.next_len().min(written - self.sent);
            let range = FileRange { file: self.link.0.clone(), offset: self.sent, len };
            if let Err(error) = parts.append(range).await {
                parts.abort().await;
                return Err(self.side.failed(error));
            }
            self.sent += len;
        }
        parts.finish().await.map_err(|error| self.side.failed(error))?;
        let location = self.side.link(&self.object.key).await;
        Ok(Uploaded { place: self.side.place, name: self.growing.name.clone(), location })
    }

    /// Lets go of what is at the store.
    pub(super) async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.abort().await;
        }
    }

    fn written(&self) -> u64 {
        fs::metadata(&self.link.0).map_or(0, |meta| meta.len()).max(self.sent)
    }
}
