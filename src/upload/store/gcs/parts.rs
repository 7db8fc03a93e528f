//! An object at Google whose file is still growing: a resumable upload of unknown length.

use async_trait::async_trait;

use super::{CHUNK, GcsStore};
use crate::upload::store::{FileRange, Parts, StoreError};

/// One part is kept until the next comes: the last of all has to tell the whole length.
#[derive(Debug)]
pub(super) struct GrowingObject {
    store: GcsStore,
    session: String,
    last: Option<FileRange>,
    /// Bytes before `last`.
    at: u64,
}

impl GrowingObject {
    pub(super) const fn new(store: GcsStore, session: String) -> Self {
        Self { store, session, last: None, at: 0 }
    }
}

#[async_trait]
impl Parts for GrowingObject {
    /// The session's address, which is a credential for this one object.
    fn handle(&self) -> Option<String> {
        Some(self.session.clone())
    }

    fn next_len(&self) -> u64 {
        CHUNK
    }

    async fn append(&mut self, part: FileRange) -> Result<(), StoreError> {
        if let Some(before) = self.last.replace(part) {
            self.store.send_range(&self.session, &before, self.at, None, None).await?;
            self.at += before.len;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let nothing = || FileRange { file: "/dev/null".into(), offset: 0, len: 0 };
        let last = self.last.take().unwrap_or_else(nothing);
        let total = self.at + last.len;
        let finished = self.store.send_range(&self.session, &last, self.at, Some(total), None).await;
        if finished.is_err() {
            self.abort().await;
        }
        finished
    }

    async fn abort(self: Box<Self>) {
        self.store.abort(&self.session).await;
    }
}
