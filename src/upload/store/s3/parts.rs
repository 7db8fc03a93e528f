//! An object in a bucket whose file is still growing.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::CompletedPart;
use tokio::task::JoinSet;

use super::{Bucket, MIB, MOST_PARTS, PART};
use crate::upload::store::{FileRange, Head, Object, Parts, StoreError, StoreErrorKind};

/// Parts on their way while the recording runs: what it makes in an hour has an hour to get there.
const AT_ONCE: usize = 2;
/// So many parts have the least length: some servers want all parts but the last to be of one
/// length, and this is 40 GB.
const EVEN_PARTS: u64 = MOST_PARTS / 2;
/// After so many more, parts are twice as long.
const DOUBLING: u64 = 500;
const LONGEST_PART: u64 = 1024 * MIB;

/// A multipart upload. Its parts are sent by a task each, a few at once; they end with it.
#[derive(Debug)]
pub(super) struct GrowingParts {
    bucket: Arc<Bucket>,
    object: Object,
    upload: String,
    head: Head,
    /// The first part of a [`Head::Rewritten`], to be sent last.
    held_back: Option<FileRange>,
    appended: u64,
    size: u64,
    sending: JoinSet<Result<CompletedPart, StoreError>>,
    done: Vec<CompletedPart>,
}

impl GrowingParts {
    pub(super) fn new(bucket: Arc<Bucket>, object: Object, upload: String, head: Head) -> Self {
        let (sending, done) = (JoinSet::new(), Vec::new());
        Self { bucket, object, upload, head, held_back: None, appended: 0, size: 0, sending, done }
    }

    fn send(&mut self, number: u64, part: FileRange) -> Result<(), StoreError> {
        let number = i32::try_from(number)
            .ok()
            .filter(|number| u64::from(number.unsigned_abs()) <= MOST_PARTS)
            .ok_or_else(|| {
                StoreError::new(StoreErrorKind::Refused, "S3 takes no more than 10000 parts").of_object()
            })?;
        let (bucket, key, upload) = (Arc::clone(&self.bucket), self.object.key.clone(), self.upload.clone());
        self.sending.spawn(async move { bucket.put_part(&key, &upload, number, &part).await });
        Ok(())
    }

    /// Waits until no more than `left` parts are on their way.
    async fn wait(&mut self, left: usize) -> Result<(), StoreError> {
        while self.sending.len() > left {
            let Some(sent) = self.sending.join_next().await else { break };
            let part = sent.map_err(|panic| {
                StoreError::new(StoreErrorKind::Unusable, format!("a part's task ended: {panic}"))
            })?;
            self.done.push(part?);
        }
        Ok(())
    }
}

/// How long part `number` (from 1) is.
fn growing_len(number: u64) -> u64 {
    let doublings = number.saturating_sub(EVEN_PARTS + 1) / DOUBLING + u64::from(number > EVEN_PARTS);
    (PART << doublings.min(16)).min(LONGEST_PART)
}

#[async_trait]
impl Parts for GrowingParts {
    fn handle(&self) -> Option<String> {
        Some(self.upload.clone())
    }

    fn next_len(&self) -> u64 {
        growing_len(self.appended + 1)
    }

    async fn append(&mut self, part: FileRange) -> Result<(), StoreError> {
        self.wait(AT_ONCE - 1).await?;
        self.appended += 1;
        self.size += part.len;
        if self.head == Head::Rewritten && self.appended == 1 {
            self.held_back = Some(part);
            return Ok(());
        }
        self.send(self.appended, part)
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let finished = async {
            if self.appended == 0 {
                // There is no multipart upload without parts.
                self.bucket.put_whole(&self.object, None).await?;
                return self.bucket.discard(&self.object.key, &self.upload).await;
            }
            self.wait(0).await?;
            if let Some(first) = self.held_back.take() {
                self.send(1, first)?;
                self.wait(0).await?;
            }
            let mut parts = std::mem::take(&mut self.done);
            parts.sort_by_key(|part| part.part_number);
            self.bucket.complete(&self.object.key, &self.upload, parts, self.size).await
        }
        .await;
        if finished.is_err() {
            self.abort().await;
        }
        finished
    }

    async fn abort(mut self: Box<Self>) {
        self.sending.shutdown().await;
        self.bucket.abort(&self.object.key, &self.upload).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_growing_file_hold_a_terabyte() {
        assert_eq!((1..=EVEN_PARTS).map(growing_len).max(), Some(PART));
        assert_eq!(growing_len(EVEN_PARTS + 1), 2 * PART);
        assert_eq!(growing_len(EVEN_PARTS + DOUBLING), 2 * PART);
        assert_eq!(growing_len(EVEN_PARTS + DOUBLING + 1), 4 * PART);
        let all: u64 = (1..=MOST_PARTS).map(growing_len).sum();
        assert!(all > 1 << 40, "{all}");
        assert!((1..=MOST_PARTS).map(growing_len).max() <= Some(5 * 1024 * MIB));
    }
}
