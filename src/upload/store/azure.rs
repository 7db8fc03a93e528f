//! Azure Blob Storage, by an account's shared key.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use opendal::Operator;
use opendal::services::Azblob;
use reqsign_azure_storage::{Credential, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, Signer};

use super::http::Http;
use super::object_url::{self, Endpoint};
use super::opendal::{self as adapter, OpenDalStore};
use super::redact::CredentialRedactor;
use super::retry::Persistence;
use super::{Object, Sent, Store, StoreError, StoreErrorKind};
use crate::config::storage::AzureConfig;

/// LiveKit's block size.
const BLOCK: u64 = 4 * 1024 * 1024;
/// <https://learn.microsoft.com/rest/api/storageservices/put-block>
const MOST_BLOCKS: u64 = 50_000;

/// A container.
#[derive(Debug)]
pub(super) struct AzureStore {
    /// `https://account.blob.core.windows.net/container`, without a `/` at its end.
    container: String,
    /// The same at Azure itself.
    canonical: String,
    dal: OpenDalStore,
    http: Http,
    signer: Signer<Credential>,
}

impl AzureStore {
    /// # Errors
    ///
    /// An invalid address or key.
    pub(super) fn open(
        config: &AzureConfig,
        persistence: Persistence,
        scrub: CredentialRedactor,
    ) -> Result<Self, StoreError> {
        let (account, key) = (config.account_name.expose(), config.account_key.expose());
        let azure = format!("https://{account}.blob.core.windows.net");
        let canonical = format!("{azure}/{}", config.container_name);
        let endpoint = Endpoint::parse(&config.endpoint)?.map_or(azure, |endpoint| endpoint.url);
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        let place = format!("container {} at {host}", config.container_name);
        let http = Http::new(None, scrub, place)?;
        let azblob = Azblob::default()
            .endpoint(&endpoint)
            .container(&config.container_name)
            .account_name(account)
            .account_key(key);
        let operator = adapter::operator(Operator::new(azblob), &http)?;
        let container = format!("{endpoint}/{}", config.container_name);
        let dal = OpenDalStore::new(operator, http.clone(), persistence, BLOCK, MOST_BLOCKS);
        let sign = RequestSigner::new().with_service_sas_permissions("r");
        let signer =
            Signer::new(Context::new(), StaticCredentialProvider::new_shared_key(account, key), sign);
        Ok(Self { container, canonical, dal, http, signer })
    }
}

#[async_trait]
impl Store for AzureStore {
    fn location(&self, key: &str) -> String {
        format!("{}/{}", self.container, object_url::path(key))
    }

    /// A service SAS: to read this one blob.
    async fn signed_url(&self, key: &str, valid: Duration) -> Result<String, StoreError> {
        let failed = |error: &dyn std::fmt::Display| {
            let text = format!("the link can't be signed: {error}");
            self.http.error(StoreErrorKind::Unusable, &text, "; check account_key")
        };
        // What is signed is account, container and name, wherever the server is; the signer reads
        // them out of an address in Azure's own form.
        let named = format!("{}/{}", self.canonical, object_url::path(key));
        let request = http::Request::get(named).body(()).map_err(|error| failed(&error))?;
        let mut parts = request.into_parts().0;
        self.signer.sign(&mut parts, Some(valid)).await.map_err(|error| failed(&error))?;
        Ok(format!("{}?{}", self.location(key), parts.uri.query().unwrap_or_default()))
    }

    fn moved(&self) -> Option<u64> {
        Some(self.dal.moved())
    }

    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        self.dal.put(object, file, sent).await
    }
}
