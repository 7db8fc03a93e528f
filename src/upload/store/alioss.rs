//! Alibaba Cloud Object Storage Service.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use opendal::Operator;
use opendal::services::Oss;

use super::http::Http;
use super::object_url::{self, Endpoint};
use super::opendal::{self as adapter, OpenDalStore};
use super::redact::CredentialRedactor;
use super::retry::Persistence;
use super::{Object, Sent, Store, StoreError, StoreErrorKind};
use crate::config::storage::AliOssConfig;

const PART: u64 = 4 * 1024 * 1024;
/// <https://www.alibabacloud.com/help/oss/user-guide/limits>
const MOST_PARTS: u64 = 10_000;

/// A bucket.
#[derive(Debug)]
pub(super) struct AliOssStore {
    bucket: String,
    endpoint: Endpoint,
    dal: OpenDalStore,
}

impl AliOssStore {
    /// # Errors
    ///
    /// An invalid address.
    pub(super) fn open(
        config: &AliOssConfig,
        persistence: Persistence,
        scrub: CredentialRedactor,
    ) -> Result<Self, StoreError> {
        let endpoint = Endpoint::parse(&config.endpoint)?.ok_or_else(|| {
            let text = "AliOSS needs an endpoint, such as oss-cn-hangzhou.aliyuncs.com";
            StoreError::new(StoreErrorKind::Unusable, text)
        })?;
        let place = format!("bucket {} at {}", config.bucket, endpoint.authority);
        Self::with(config, endpoint, Http::new(None, scrub, place)?, persistence)
    }

    fn with(
        config: &AliOssConfig,
        endpoint: Endpoint,
        http: Http,
        persistence: Persistence,
    ) -> Result<Self, StoreError> {
        let oss = Oss::default()
            .endpoint(&endpoint.url)
            .bucket(&config.bucket)
            .access_key_id(config.access_key.expose())
            .access_key_secret(config.secret.expose());
        let operator = adapter::operator(Operator::new(oss), &http)?;
        let dal = OpenDalStore::new(operator, http, persistence, PART, MOST_PARTS);
        Ok(Self { bucket: config.bucket.clone(), endpoint, dal })
    }
}

#[async_trait]
impl Store for AliOssStore {
    fn location(&self, key: &str) -> String {
        format!("https://{}.{}/{}", self.bucket, self.endpoint.authority, object_url::path(key))
    }

    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError> {
        let signed = self.dal.operator().presign_read(key, valid).await;
        signed.map(|request| request.uri().to_string()).map_err(|error| self.dal.explain(&error))
    }

    fn moved(&self) -> Option<u64> {
        Some(self.dal.moved())
    }

    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        self.dal.put(object, file, sent).await
    }
}
