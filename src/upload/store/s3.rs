//! Amazon S3, and the servers that speak its protocol.
//!
//! A small file is one request. A larger one is a multipart upload: its parts are ranges of the
//! file, streamed from the disk, a few at once, so that memory does not grow with the file. A
//! multipart upload that fails is aborted, because an unfinished one is invisible and is paid for.

mod client;
mod failure;
mod parts;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, Length, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt};

use self::client::Connection;
pub(super) use self::client::Peers;
use self::parts::GrowingParts;
use super::bytes_sent::BytesSent;
use super::object_url::{self, Endpoint};
use super::redact::CredentialRedactor;
use super::retry::Persistence;
use super::{FileRange, Head, Object, Parts, Sent, Store, StoreError, StoreErrorKind, file_size};
use crate::config::storage::S3Config;

const MIB: u64 = 1024 * 1024;
/// A file up to here is one request, and a longer one has parts of at least this.
const PART: u64 = 8 * MIB;
/// S3 takes no more parts than this.
const MOST_PARTS: u64 = 10_000;
/// Parts on their way at one time.
const AT_ONCE: usize = 4;
const DEFAULT_DISPOSITION: &str = "inline";

/// A bucket.
#[derive(Debug, Clone)]
pub(super) struct S3Store {
    bucket: Arc<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    config: S3Config,
    endpoint: Option<Endpoint>,
    persistence: Persistence,
    connection: Connection,
    moved: BytesSent,
}

impl S3Store {
    /// # Errors
    ///
    /// An invalid address, also of a proxy.
    pub(super) fn open(
        config: &S3Config,
        persistence: Persistence,
        scrub: CredentialRedactor,
        peers: Peers,
    ) -> Result<Self, StoreError> {
        let endpoint = Endpoint::parse(&config.endpoint)?;
        let connection = Connection::new(config, endpoint.as_ref(), scrub, peers)?;
        let (config, moved) = (config.clone(), BytesSent::default());
        let bucket = Bucket { config, endpoint, persistence, connection, moved };
        Ok(Self { bucket: Arc::new(bucket) })
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self, key: &str) -> String {
        location(&self.bucket.config, self.bucket.endpoint.as_ref(), key)
    }

    fn moved(&self) -> Option<u64> {
        Some(self.bucket.moved.bytes())
    }

    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError> {
        self.bucket.signed_url(key, valid).await
    }

    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        let size = file_size(file).await?;
        let whole = FileRange { file: file.to_owned(), offset: 0, len: size };
        if size <= PART {
            self.bucket.put_whole(object, Some(&whole)).await?;
            sent.add(size);
            return Ok(());
        }
        let upload = self.bucket.create(object).await?;
        let stored = self.bucket.put_parts(object, &upload, &whole, sent).await;
        if stored.is_err() {
            self.bucket.abort(&object.key, &upload).await;
        }
        stored
    }

    async fn begin(&self, object: &Object, head: Head) -> Result<Option<Box<dyn Parts>>, StoreError> {
        let upload = self.bucket.create(object).await?;
        Ok(Some(Box::new(GrowingParts::new(Arc::clone(&self.bucket), object.clone(), upload, head))))
    }

    async fn discard(&self, key: &str, handle: &str) -> Result<(), StoreError> {
        self.bucket.discard(key, handle).await
    }
}

/// docs/reference/media.md, docs/reference/egress.md.
fn location(config: &S3Config, endpoint: Option<&Endpoint>, key: &str) -> String {
    let (bucket, key) = (config.bucket.as_str(), object_url::path(key));
    let authority = endpoint.map_or("s3.amazonaws.com", |endpoint| endpoint.authority.as_str());
    if config.force_path_style {
        let scheme = endpoint.map_or("https://", Endpoint::scheme);
        format!("{scheme}{authority}/{bucket}/{key}")
    } else {
        format!("https://{bucket}.{authority}/{key}")
    }
}

/// How long the parts of a file of `size` are, so that there are few enough.
fn part_len(size: u64) -> u64 {
    size.div_ceil(MOST_PARTS).max(PART).next_multiple_of(MIB)
}

/// The ranges of a file that are its parts, numbered from 1.
fn ranges(whole: &FileRange) -> impl Iterator<Item = (i32, FileRange)> + use<> {
    let (file, size, part) = (whole.file.clone(), whole.len, part_len(whole.len));
    (1..).zip((0..size.div_ceil(part)).map(move |index| {
        let offset = index * part;
        FileRange { file: file.clone(), offset, len: part.min(size - offset) }
    }))
}

/// The system's own error, where there is one: it says whether the file is at fault.
fn read_error(error: aws_sdk_s3::primitives::ByteStreamError) -> std::io::Error {
    let causes =
        std::iter::successors(std::error::Error::source(&error), |cause| std::error::Error::source(*cause));
    let code = causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .find_map(std::io::Error::raw_os_error);
    code.map_or_else(|| std::io::Error::other(error), std::io::Error::from_raw_os_error)
}

async fn body(range: &FileRange, moved: &BytesSent) -> Result<ByteStream, StoreError> {
    let read = ByteStream::read_from()
        .path(&range.file)
        .offset(range.offset)
        .length(Length::Exact(range.len))
        .build()
        .await
        .map_err(|error| StoreError::file(&range.file, read_error(error)))?;
    let moved = moved.clone();
    Ok(read.map(move |body| SdkBody::from_body_1_x(moved.counted(body))))
}

impl Bucket {
    fn disposition(&self) -> &str {
        match self.config.content_disposition.as_str() {
            "" => DEFAULT_DISPOSITION,
            given => given,
        }
    }

    fn tagging(&self) -> Option<String> {
        (!self.config.tagging.is_empty()).then(|| self.config.tagging.clone())
    }

    fn metadata(&self) -> Option<std::collections::HashMap<String, String>> {
        let metadata = &self.config.metadata;
        (!metadata.is_empty())
            .then(|| metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Makes one request with the client, as often as the policy says.
    async fn request<T, F>(
        &self,
        bytes: u64,
        request: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, Failed>> + Send,
    {
        self.persistence
            .request(bytes, async |_| {
                let client = self.connection.client().await?;
                // A machine whose clock is wrong learns the time from the first refusal, once.
                let mut may_learn = true;
                loop {
                    match request(client.clone()).await {
                        Ok(answer) => {
                            self.moved.on_answer();
                            return Ok(answer);
                        }
                        Err(Failed::File(error)) => return Err(error),
                        Err(Failed::Answer(failure))
                            if may_learn && self.connection.clock().learn(&failure) =>
                        {
                            may_learn = false;
                        }
                        Err(Failed::Answer(failure)) => return Err(self.connection.explain(failure)),
                    }
                }
            })
            .await
    }

    /// One request for a whole object; without a range, an empty one.
    async fn put_whole(&self, object: &Object, range: Option<&FileRange>) -> Result<(), StoreError> {
        let bytes = range.map_or(0, |range| range.len);
        self.request(bytes, |client| async move {
            let body = match range {
                Some(range) if range.len > 0 => body(range, &self.moved).await?,
                _ => ByteStream::from_static(b""),
            };
            client
                .put_object()
                .bucket(&self.config.bucket)
                .key(&object.key)
                .content_type(object.mime)
                .content_disposition(self.disposition())
                .set_metadata(self.metadata())
                .set_tagging(self.tagging())
                .body(body)
                .send()
                .await?;
            Ok(())
        })
        .await
    }

    /// Begins a multipart upload, and gives its id.
    async fn create(&self, object: &Object) -> Result<String, StoreError> {
        let answer = self
            .request(0, |client| async move {
                let create = client
                    .create_multipart_upload()
                    .bucket(&self.config.bucket)
                    .key(&object.key)
                    .content_type(object.mime)
                    .content_disposition(self.disposition())
                    .set_metadata(self.metadata())
                    .set_tagging(self.tagging());
                Ok(create.send().await?)
            })
            .await?;
        answer.upload_id.filter(|id| !id.is_empty()).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Refused, "the server began a multipart upload without an id")
        })
    }

    async fn put_parts(
        &self,
        object: &Object,
        upload: &str,
        whole: &FileRange,
        sent: &Sent,
    ) -> Result<(), StoreError> {
        let mut done: Vec<CompletedPart> = futures::stream::iter(ranges(whole))
            .map(|(number, range)| async move {
                let part = self.put_part(&object.key, upload, number, &range).await?;
                sent.add(range.len);
                Ok::<_, StoreError>(part)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        done.sort_by_key(|part| part.part_number);
        self.complete(&object.key, upload, done, whole.len).await
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        range: &FileRange,
    ) -> Result<CompletedPart, StoreError> {
        let answer = self
            .request(range.len, |client| async move {
                let body = body(range, &self.moved).await?;
                let part = client
                    .upload_part()
                    .bucket(&self.config.bucket)
                    .key(key)
                    .upload_id(upload)
                    .part_number(number)
                    .body(body);
                Ok(part.send().await?)
            })
            .await?;
        // A checksum that was sent with a part has to be named when the parts are joined.
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            .set_checksum_crc32(answer.checksum_crc32)
            .set_checksum_crc32_c(answer.checksum_crc32_c)
            .set_checksum_crc64_nvme(answer.checksum_crc64_nvme)
            .build())
    }

    /// Joins the parts. When an answer was lost on the way the second request finds no upload any
    /// more, but the object.
    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        size: u64,
    ) -> Result<(), StoreError> {
        let list = &CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let joined = self
            .request(0, |client| async move {
                let complete = client
                    .complete_multipart_upload()
                    .bucket(&self.config.bucket)
                    .key(key)
                    .upload_id(upload)
                    .multipart_upload(list.clone());
                complete.send().await?;
                Ok(())
            })
            .await;
        match joined {
            Err(error) if error.to_string().starts_with("NoSuchUpload") => {
                if self.size_of(key).await.is_ok_and(|there| there == size) { Ok(()) } else { Err(error) }
            }
            joined => joined,
        }
    }

    async fn size_of(&self, key: &str) -> Result<u64, StoreError> {
        let head = self
            .request(0, |client| async move {
                Ok(client.head_object().bucket(&self.config.bucket).key(key).send().await?)
            })
            .await?;
        Ok(head.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0))
    }

    async fn discard(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let aborted = self
            .request(0, |client| async move {
                let abort =
                    client.abort_multipart_upload().bucket(&self.config.bucket).key(key).upload_id(upload);
                abort.send().await?;
                Ok(())
            })
            .await;
        match aborted {
            // Somebody was faster: a rule of the bucket, or the attempt before, whose answer was
            // lost.
            Err(error) if error.to_string().starts_with("NoSuchUpload") => Ok(()),
            aborted => aborted,
        }
    }

    /// Lets go of an upload that failed; that this fails too is the smaller of the two errors.
    async fn abort(&self, key: &str, upload: &str) {
        if let Err(error) = self.discard(key, upload).await {
            tracing::warn!(%error, "an unfinished upload stays at the store until its rules remove it");
        }
    }

    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError> {
        let sign = PresigningConfig::builder()
            .start_time(self.connection.clock().now())
            .expires_in(valid)
            .build()
            .map_err(|error| StoreError::new(StoreErrorKind::Unusable, error.to_string()))?;
        let signed = self
            .request(0, |client| {
                let sign = sign.clone();
                async move {
                    Ok(client.get_object().bucket(&self.config.bucket).key(key).presigned(sign).await?)
                }
            })
            .await?;
        Ok(signed.uri().to_owned())
    }
}

/// The failure of one request: of the request itself, or of reading the file.
#[derive(Debug)]
enum Failed {
    File(StoreError),
    Answer(failure::Failure),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::File(error)
    }
}
