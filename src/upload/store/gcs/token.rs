//! Credentials for Google: tokens for requests, signatures for links.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqsign_core::{Context, HttpSend, OsEnv, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use reqsign_google::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::config::storage::GcsConfig;
use crate::upload::store::http::Http;
use crate::upload::store::object_url::Endpoint;
use crate::upload::store::{StoreError, StoreErrorKind};

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// The default token endpoint; a key file may name another one.
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";
/// Tokens are valid for an hour.
const KEEP: Duration = Duration::from_secs(30 * 60);

/// Credentials, and the last token they gave.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// `None`: nobody, for a server of one's own that asks for nothing.
    signer: Option<Signer<Credential>>,
    http: Http,
    token: Arc<Mutex<Option<(Instant, HeaderValue)>>>,
}

impl Identity {
    pub(super) fn new(
        config: &GcsConfig,
        endpoint: Option<&Endpoint>,
        http: &Http,
    ) -> Result<Self, StoreError> {
        let sign = RequestSigner::new("storage").with_scope(SCOPE);
        let signer = match (config.credentials_json.expose().trim(), endpoint) {
            ("", Some(_)) => None,
            ("", None) => {
                let sender = Sender { http: http.unguarded()?, token_uri: None };
                let context =
                    Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_http_send(sender);
                let default = DefaultCredentialProvider::builder().build();
                Some(Signer::new(context, default, sign))
            }
            (json, _) => {
                // They may be a request's: no files, variables and programs of this machine are for
                // them.
                let sender = Sender { http: http.clone(), token_uri: token_uri(json)? };
                let context = Context::new().with_http_send(sender);
                let given = StaticCredentialProvider::new(json).with_scope(SCOPE);
                Some(Signer::new(context, given, sign))
            }
        };
        Ok(Self { signer, http: http.clone(), token: Arc::default() })
    }

    /// The request with a token.
    pub(super) async fn authorize(&self, request: RequestBuilder) -> Result<RequestBuilder, StoreError> {
        let Some(signer) = &self.signer else { return Ok(request) };
        if let Some(token) = self.kept() {
            return Ok(request.header(AUTHORIZATION, token));
        }
        let mut parts = parts_of("https://storage.googleapis.com/")?;
        signer.sign(&mut parts, None).await.map_err(|error| self.explain(&error))?;
        let token = parts.headers.remove(AUTHORIZATION).ok_or_else(|| {
            self.http.error(
                StoreErrorKind::Refused,
                "the credentials gave no token",
                "; check credentials_json",
            )
        })?;
        let kept = Some((Instant::now() + KEEP, token.clone()));
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(request.header(AUTHORIZATION, token))
    }

    fn kept(&self) -> Option<HeaderValue> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, token)| token.clone())
    }

    /// Forgets a token that was refused. Gives whether there was one.
    pub(super) fn forget(&self) -> bool {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// A link by a V4 signature.
    pub(super) async fn sign(&self, url: &str, valid: Duration) -> Result<String, StoreError> {
        let Some(signer) = &self.signer else {
            let text = "there are no credentials to sign a link with";
            return Err(self.http.error(StoreErrorKind::Unusable, text, "; give credentials_json"));
        };
        let mut parts = parts_of(url)?;
        signer.sign(&mut parts, Some(valid)).await.map_err(|error| self.explain(&error))?;
        Ok(parts.uri.to_string())
    }

    fn explain(&self, error: &reqsign_core::Error) -> StoreError {
        // What our own sender met says it best.
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(own) = cause.downcast_ref::<StoreError>() {
                return own.reworded(format!("no token: {own}"));
            }
            next = cause.source();
        }
        let hint = "; check credentials_json, or the application-default credentials of this machine";
        self.http.error(StoreErrorKind::Refused, &format!("no token: {error}"), hint)
    }
}

/// The token endpoint of a key file. Files that only point to a key are refused.
fn token_uri(json: &str) -> Result<Option<String>, StoreError> {
    // Its text is a secret as a whole, so that no error may show where in it something is wrong.
    let file: serde_json::Value = serde_json::from_str(json).map_err(|_| {
        StoreError::new(
            StoreErrorKind::Unusable,
            "credentials_json: not JSON; give the content of a key file",
        )
    })?;
    let kind = file.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !GcsConfig::is_key(kind) {
        return Err(StoreError::new(
            StoreErrorKind::Unusable,
            "credentials_json: not a service account key; give the content of its key file",
        ));
    }
    Ok(file.get("token_uri").and_then(serde_json::Value::as_str).map(str::to_owned))
}

fn parts_of(url: &str) -> Result<http::request::Parts, StoreError> {
    let request = http::Request::get(url).body(());
    let request = request.map_err(|_| StoreError::new(StoreErrorKind::Unusable, "invalid object address"))?;
    Ok(request.into_parts().0)
}

/// The signer's own requests, through the same client and proxy.
#[derive(Debug)]
struct Sender {
    http: Http,
    token_uri: Option<String>,
}

impl HttpSend for Sender {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let asked = parts.uri.to_string();
        let url = match &self.token_uri {
            Some(token_uri) if asked == GOOGLE_TOKENS => token_uri.clone(),
            _ => asked,
        };
        let request = self.http.client.request(parts.method, url).headers(parts.headers).body(body);
        let failed = |error: StoreError| {
            reqsign_core::Error::unexpected("a request for credentials failed").with_source(error)
        };
        let answer = self.http.send(request).await.map_err(failed)?;
        let mut response = http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}
