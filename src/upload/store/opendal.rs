//! The stores that OpenDAL speaks to: its protocol, our requests.
//!
//! OpenDAL signs and divides; each of its requests goes through [`Transport`], so that deadlines,
//! retries and errors are those of every store. An answer that is an error never reaches OpenDAL,
//! whose errors may show addresses and bodies.

use std::path::Path;

use bytes::Bytes;
use futures::stream;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator};
use tokio::io::AsyncReadExt;

use super::http::Http;
use super::retry::Persistence;
use super::{Object, Sent, StoreError, StoreErrorKind, file_size};

const MIB: u64 = 1024 * 1024;
/// Blocks sent in parallel: with the one being read, five are in memory.
const AT_ONCE: usize = 4;

/// Sends OpenDAL's requests.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: Http,
    persistence: Persistence,
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let (url, body) = (parts.uri.to_string(), body.to_bytes());
        // A request made again is the same one, signature and all: those hold for 15 minutes.
        let answer = self
            .persistence
            .request(body.len() as u64, async |_| {
                let mut request =
                    self.http.client.request(parts.method.clone(), &url).headers(parts.headers.clone());
                if !body.is_empty() {
                    request = request.body(self.http.moved.body(body.clone()));
                }
                self.http.send(request).await
            })
            .await
            .map_err(|error| {
                opendal::Error::new(opendal::ErrorKind::Unexpected, "a request failed").set_source(error)
            })?;
        let size = answer.body.len() as u64;
        let content = stream::iter([Ok(Buffer::from(answer.body))]);
        let mut response = http::Response::new(HttpBody::new(content, Some(size)));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// A container or a bucket.
#[derive(Debug, Clone)]
pub(super) struct OpenDalStore {
    operator: Operator,
    http: Http,
    /// The least length of a block, and the most blocks of an object.
    block: u64,
    most_blocks: u64,
}

impl OpenDalStore {
    pub(super) fn new(
        operator: Operator,
        http: Http,
        persistence: Persistence,
        block: u64,
        most_blocks: u64,
    ) -> Self {
        let transport = HttpTransporter::new(Transport { http: http.clone(), persistence });
        let operator = operator.with_context(OperationContext::new().with_http_transport(transport));
        Self { operator, http, block, most_blocks }
    }

    pub(super) const fn operator(&self) -> &Operator {
        &self.operator
    }

    pub(super) fn moved(&self) -> u64 {
        self.http.moved.bytes()
    }

    /// Stores a file in blocks, a few at once.
    pub(super) async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        let size = file_size(file).await?;
        let block = size.div_ceil(self.most_blocks).max(self.block).next_multiple_of(MIB);
        let unusable = || {
            self.http.error(StoreErrorKind::Unusable, "the file is too large for this store", "").of_object()
        };
        let block_len = usize::try_from(block).map_err(|_| unusable())?;
        // Large blocks, of files beyond what memory is meant for, go one at a time.
        let at_once = usize::try_from((AT_ONCE as u64 * self.block / block).max(1)).unwrap_or(1);
        let mut writer = self
            .operator
            .writer_with(&object.key)
            .content_type(object.mime)
            .chunk(block_len)
            .concurrent(at_once)
            .await
            .map_err(|error| self.explain(&error))?;
        let written = async {
            let read_error = |error| StoreError::file(file, error);
            let mut opened = tokio::fs::File::open(file).await.map_err(read_error)?;
            let mut left = size;
            while left > 0 {
                let len = left.min(block);
                let bytes = read_exactly(&mut opened, len).await.map_err(read_error)?;
                writer.write(bytes).await.map_err(|error| self.explain(&error))?;
                sent.add(len);
                left -= len;
            }
            writer.close().await.map_err(|error| self.explain(&error))
        }
        .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => {
                // That this fails too is the smaller of the two errors.
                if let Err(second) = writer.abort().await {
                    let second = self.explain(&second);
                    tracing::debug!(error = %second, "an unfinished upload stays at the store until its rules remove it");
                }
                Err(error)
            }
        }
    }

    /// The error for people: that of the transport, where it is one.
    pub(super) fn explain(&self, error: &opendal::Error) -> StoreError {
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            if let Some(own) = cause.downcast_ref::<StoreError>() {
                return own.reworded(own.to_string());
            }
            next = cause.source();
        }
        let kind = match error.kind() {
            opendal::ErrorKind::ConfigInvalid => StoreErrorKind::Unusable,
            _ if error.is_temporary() => StoreErrorKind::Busy,
            _ => StoreErrorKind::Refused,
        };
        self.http.error(kind, error.message(), "")
    }
}

async fn read_exactly(file: &mut tokio::fs::File, len: u64) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(len).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == len { Ok(bytes.into()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// An operator of a service's settings, and the error when they make none. Its text may show them,
/// so that it is scrubbed.
pub(super) fn operator(built: opendal::Result<Operator>, http: &Http) -> Result<Operator, StoreError> {
    built.map_err(|error| http.error(StoreErrorKind::Unusable, error.message(), ""))
}
