//! Google Cloud Storage, by its JSON API.
//!
//! A small file is one request. A larger one is a resumable upload: chunks one after the other, and
//! after a chunk that failed the server is asked how far it came.
//! (<https://cloud.google.com/storage/docs/performing-resumable-uploads>)

mod parts;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use self::parts::GrowingObject;
use self::token::Identity;
use super::http::{Answer, Http};
use super::object_url::{self, Endpoint};
use super::redact::CredentialRedactor;
use super::retry::Persistence;
use super::{FileRange, Head, Object, Parts, Sent, Store, StoreError, StoreErrorKind, file_size};
use crate::config::storage::GcsConfig;

/// Chunks are multiples of 256 KiB; a file up to here is one request.
const CHUNK: u64 = 8 * 1024 * 1024;
const GOOGLE: &str = "https://storage.googleapis.com";

/// A bucket.
#[derive(Debug, Clone)]
pub(super) struct GcsStore {
    bucket: String,
    endpoint: Option<Endpoint>,
    persistence: Persistence,
    http: Http,
    identity: Identity,
}

/// How far the server has come with a resumable upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It wants the bytes from here on.
    At(u64),
    Done,
}

impl GcsStore {
    /// # Errors
    ///
    /// Invalid addresses or credentials.
    pub(super) fn open(
        config: &GcsConfig,
        persistence: Persistence,
        scrub: CredentialRedactor,
    ) -> Result<Self, StoreError> {
        let endpoint = Endpoint::parse(&config.endpoint)?;
        let host = endpoint.as_ref().map_or("storage.googleapis.com", |endpoint| endpoint.authority.as_str());
        let place = format!("bucket {} at {host}", config.bucket);
        let http = Http::new(config.proxy_config.as_ref(), scrub, place)?;
        let identity = Identity::new(config, endpoint.as_ref(), &http)?;
        Ok(Self { bucket: config.bucket.clone(), endpoint, persistence, http, identity })
    }

    fn base(&self) -> &str {
        self.endpoint.as_ref().map_or(GOOGLE, |endpoint| endpoint.url.as_str())
    }

    fn upload_url(&self, kind: &str, key: &str) -> String {
        let (bucket, name) = (object_url::segment(&self.bucket), object_url::segment(key));
        format!("{}/upload/storage/v1/b/{bucket}/o?uploadType={kind}&name={name}", self.base())
    }

    /// One request with a token, as often as the policy says. A token that is refused is asked for
    /// again once.
    async fn authorized(
        &self,
        bytes: u64,
        request: impl Fn() -> reqwest::RequestBuilder + Send + Sync,
    ) -> Result<Answer, StoreError> {
        self.persistence
            .request(bytes, async |_| {
                let answer = self.http.ask(self.identity.authorize(request()).await?).await?;
                if answer.status == reqwest::StatusCode::UNAUTHORIZED && self.identity.forget() {
                    return self.http.send(self.identity.authorize(request()).await?).await;
                }
                if answer.status.is_success() { Ok(answer) } else { Err(self.http.refused(&answer)) }
            })
            .await
    }

    async fn put_whole(&self, object: &Object, bytes: Bytes) -> Result<(), StoreError> {
        let url = self.upload_url("media", &object.key);
        let request = || {
            let post = self.http.client.post(&url).header(header::CONTENT_TYPE, object.mime);
            post.header(header::CONTENT_LENGTH, bytes.len()).body(self.http.moved.body(bytes.clone()))
        };
        self.authorized(bytes.len() as u64, request).await.map(drop)
    }

    /// Begins a resumable upload; gives its address, which is all that its requests need.
    async fn create(&self, object: &Object, size: Option<u64>) -> Result<String, StoreError> {
        let url = self.upload_url("resumable", &object.key);
        let request = || {
            let mut post = self.http.client.post(&url).header("x-upload-content-type", object.mime);
            if let Some(size) = size {
                post = post.header("x-upload-content-length", size);
            }
            post.json(&json!({ "contentType": object.mime }))
        };
        let answer = self.authorized(0, request).await?;
        let session = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let session = session.and_then(|session| self.session_at_endpoint(session));
        session.ok_or_else(|| {
            self.http.error(
                StoreErrorKind::Refused,
                "the server began a resumable upload without an address",
                "",
            )
        })
    }

    /// A server that is not Google may not know by which address it is reached.
    fn session_at_endpoint(&self, session: &str) -> Option<String> {
        let Some(endpoint) = &self.endpoint else { return Some(session.to_owned()) };
        let url = url::Url::parse(session).ok()?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(format!("{}{}{query}", endpoint.url, url.path()))
    }

    /// Sends all of a range's bytes. `total` is the object's size, once it is known.
    async fn send_range(
        &self,
        session: &str,
        range: &FileRange,
        starts_at: u64,
        total: Option<u64>,
        sent: Option<&Sent>,
    ) -> Result<(), StoreError> {
        let end = starts_at + range.len;
        let mut at = starts_at;
        let mut stuck = 0;
        while at < end || (range.len == 0 && stuck == 0) {
            let progress = self
                .persistence
                .request(CHUNK.min(end - at), async |attempt| {
                    let from = match attempt {
                        1 => at,
                        _ => match self.progress(session, total).await? {
                            Progress::Done => return Ok(Progress::Done),
                            Progress::At(there) => there,
                        },
                    };
                    if from < starts_at || from > end {
                        let text = format!("the server lost bytes that it had: it is at {from}");
                        return Err(self.http.error(StoreErrorKind::Refused, &text, ""));
                    }
                    self.send_chunk(session, range, starts_at, from, total).await
                })
                .await?;
            let there = match progress {
                Progress::Done => end,
                Progress::At(there) => there.min(end),
            };
            if there <= at {
                stuck += 1;
                if stuck >= self.persistence.policy.attempts.max(2) {
                    return Err(self.http.error(
                        StoreErrorKind::Busy,
                        "the server keeps nothing of what it is sent",
                        "",
                    ));
                }
            } else {
                stuck = 0;
            }
            if let Some(sent) = sent {
                sent.add(there.saturating_sub(at));
            }
            at = there;
            if progress == Progress::Done {
                break;
            }
        }
        Ok(())
    }

    async fn send_chunk(
        &self,
        session: &str,
        range: &FileRange,
        starts_at: u64,
        from: u64,
        total: Option<u64>,
    ) -> Result<Progress, StoreError> {
        let len = CHUNK.min(starts_at + range.len - from);
        let bytes = read(&range.file, range.offset + (from - starts_at), len).await?;
        let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let content_range = match len {
            0 => format!("bytes */{total}"),
            len => format!("bytes {from}-{}/{total}", from + len - 1),
        };
        let put = self.http.client.put(session).header(header::CONTENT_RANGE, content_range);
        let put = put.header(header::CONTENT_LENGTH, len).body(self.http.moved.body(bytes));
        let answer = self.http.ask(put).await?;
        self.progress_in(&answer)
    }

    /// Asks how far the server has come.
    async fn progress(&self, session: &str, total: Option<u64>) -> Result<Progress, StoreError> {
        let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let put = self.http.client.put(session).header(header::CONTENT_RANGE, format!("bytes */{total}"));
        let answer = self.http.ask(put.header(header::CONTENT_LENGTH, 0)).await?;
        self.progress_in(&answer)
    }

    fn progress_in(&self, answer: &Answer) -> Result<Progress, StoreError> {
        match answer.status.as_u16() {
            200 | 201 => Ok(Progress::Done),
            // "Resume Incomplete": with the range it has, or, of nothing, without one.
            308 => {
                let range = answer.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
                let last = range.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
                Ok(Progress::At(last.map_or(0, |last| last + 1)))
            }
            _ => Err(self.http.refused(answer)),
        }
    }

    async fn put_resumable(&self, object: &Object, whole: &FileRange, sent: &Sent) -> Result<(), StoreError> {
        let session = self.create(object, Some(whole.len)).await?;
        let stored = self.send_range(&session, whole, 0, Some(whole.len), Some(sent)).await;
        if stored.is_err() {
            self.abort(&session).await;
        }
        stored
    }

    async fn cancel(&self, session: &str) -> Result<(), StoreError> {
        self.persistence
            .request(0, async |_| {
                let delete = self.http.client.delete(session).header(header::CONTENT_LENGTH, 0);
                let answer = self.http.ask(delete).await?;
                match answer.status.as_u16() {
                    // Google says 499, "client closed request"; 404 and 410 say that it is gone.
                    200..=299 | 404 | 410 | 499 => Ok(()),
                    _ => Err(self.http.refused(&answer)),
                }
            })
            .await
    }

    /// Cancels a failed upload. The server forgets the rest within a week.
    async fn abort(&self, session: &str) {
        if let Err(error) = self.cancel(session).await {
            tracing::debug!(%error, "an unfinished upload stays at the store for up to a week");
        }
    }
}

/// A range of a file, in memory: no more than a chunk.
async fn read(file: &Path, offset: u64, len: u64) -> Result<Bytes, StoreError> {
    let read = async {
        let mut opened = tokio::fs::File::open(file).await?;
        opened.seek(std::io::SeekFrom::Start(offset)).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        opened.take(len).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    };
    read.await.map(Bytes::from).map_err(|error| StoreError::file(file, error))
}

#[async_trait]
impl Store for GcsStore {
    fn location(&self, key: &str) -> String {
        let (bucket, key) = (&self.bucket, object_url::path(key));
        match &self.endpoint {
            None => format!("https://{bucket}.storage.googleapis.com/{key}"),
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.url),
        }
    }

    fn moved(&self) -> Option<u64> {
        Some(self.http.moved.bytes())
    }

    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError> {
        let url = format!("{}/{}/{}", self.base(), self.bucket, object_url::path(key));
        self.identity.sign(&url, valid).await
    }

    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        let size = file_size(file).await?;
        if size > CHUNK {
            let whole = FileRange { file: file.to_owned(), offset: 0, len: size };
            return self.put_resumable(object, &whole, sent).await;
        }
        self.put_whole(object, read(file, 0, size).await?).await?;
        sent.add(size);
        Ok(())
    }

    async fn begin(&self, object: &Object, head: Head) -> Result<Option<Box<dyn Parts>>, StoreError> {
        match head {
            // Bytes come in order: the first can't wait for the last.
            Head::Rewritten => Ok(None),
            Head::Final => {
                let session = self.create(object, None).await?;
                Ok(Some(Box::new(GrowingObject::new(self.clone(), session))))
            }
        }
    }

    async fn discard(&self, _key: &str, handle: &str) -> Result<(), StoreError> {
        self.cancel(handle).await
    }
}
