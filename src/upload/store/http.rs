//! HTTP for the stores whose requests are ours to send: one client, one way from an answer to an
//! error.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};

use super::bytes_sent::BytesSent;
use super::error::{StoreError, StoreErrorKind};
use super::redact::CredentialRedactor;
use crate::config::storage::ProxyConfig;
use crate::outbound::{self, Guard, SendError};

const CONNECT: Duration = Duration::from_secs(10);
/// No answer that is looked at is longer.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A client with the description of its errors.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) client: Client,
    pub(super) scrub: CredentialRedactor,
    pub(super) moved: BytesSent,
    /// `bucket rec at storage.googleapis.com`
    place: String,
    proxy: Option<ProxyConfig>,
    guard: Guard,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Http {
    pub(super) fn new(
        proxy: Option<&ProxyConfig>,
        scrub: CredentialRedactor,
        place: String,
    ) -> Result<Self, StoreError> {
        Self::guarded(Guard::of_process(), proxy, scrub, place)
    }

    /// The same for what this machine itself asks for: a cloud's metadata service has its
    /// credentials. That is asked directly: a request's proxy sees nothing of it.
    pub(super) fn unguarded(&self) -> Result<Self, StoreError> {
        Self::made(Guard::open(), true, self.proxy.as_ref(), self.scrub.clone(), self.place.clone())
    }

    fn guarded(
        guard: Guard,
        proxy: Option<&ProxyConfig>,
        scrub: CredentialRedactor,
        place: String,
    ) -> Result<Self, StoreError> {
        Self::made(guard, false, proxy, scrub, place)
    }

    /// `is_machines`: what is not encrypted does not go through the proxy.
    fn made(
        guard: Guard,
        is_machines: bool,
        proxy: Option<&ProxyConfig>,
        scrub: CredentialRedactor,
        place: String,
    ) -> Result<Self, StoreError> {
        let unusable = |text: &str| StoreError::new(StoreErrorKind::Unusable, text);
        // A redirect would carry a body, and a signature, to where nobody meant it to go.
        let mut builder = guard.http().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none());
        if let Some(given) = proxy {
            super::object_url::check_proxy(given, guard)?;
            let url = given.url.expose();
            let made = if is_machines { reqwest::Proxy::https(url) } else { reqwest::Proxy::all(url) };
            let mut proxy =
                made.map_err(|_| unusable("proxy url: invalid address; write it as http://host:port"))?;
            if !given.username.is_empty() {
                proxy = proxy.basic_auth(&given.username, given.password.expose());
            }
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|_| unusable("the HTTP client can't be made"))?;
        Ok(Self { client, scrub, moved: BytesSent::default(), place, proxy: proxy.cloned(), guard })
    }

    /// The same for a host that no name server knows.
    #[cfg(test)]
    pub(super) fn resolving(self, host: &str, address: std::net::SocketAddr) -> Self {
        Self { client: Client::builder().resolve(host, address).build().unwrap(), ..self }
    }

    /// Sends a request once, and gives whatever answer there is.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, StoreError> {
        let mut answer = self.guard.send(request).await.map_err(|error| match error {
            SendError::LinkLocal(error) => self.error(StoreErrorKind::Unusable, &error.to_string(), ""),
            SendError::Http(error) => self.broken(&error),
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            self.moved.on_answer();
        }
        Ok(Answer { status, headers, body: body.into() })
    }

    /// The same where only success is an answer.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, StoreError> {
        let answer = self.ask(request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    /// The error that an answer is.
    pub(super) fn refused(&self, answer: &Answer) -> StoreError {
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body);
        let said = said_in_json(&text)
            .or_else(|| said_in_xml(&text))
            .unwrap_or_else(|| format!("the server answered {}", answer.status));
        let code = said.split(':').next().unwrap_or_default();
        let hint = match (code, status) {
            ("RequestTimeTooSkewed", _) => "; set this machine's clock",
            ("NoSuchBucket" | "ContainerNotFound", _) => "; create it, or check its name and the endpoint",
            (_, 401) => "; check the credentials",
            (_, 403) => "; check the credentials, and that they may create objects there",
            (_, 404) => "; check that it exists, and the endpoint",
            _ => "",
        };
        self.error(StoreErrorKind::of_status(status), &said, hint).answered(code, Some(status))
    }

    /// An error with the place it happened at.
    pub(super) fn error(&self, kind: StoreErrorKind, said: &str, hint: &str) -> StoreError {
        StoreError::new(kind, format!("{} ({}{hint})", self.scrub.clean(said), self.place))
    }

    /// The error of a request without an answer. Its address is left out: it may be a signed one.
    fn broken(&self, error: &reqwest::Error) -> StoreError {
        let mut texts: Vec<String> = Vec::new();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
            next = cause.source();
        }
        let kind = match () {
            () if outbound::refusal_in(error).is_some() => StoreErrorKind::Unusable,
            () if error.is_builder() => StoreErrorKind::Unusable,
            () if error.is_timeout() && !error.is_connect() => StoreErrorKind::TooSlow,
            () => StoreErrorKind::Unreachable,
        };
        let said = if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") };
        self.error(kind, &said, "")
    }
}

/// `reason: message` of Google's JSON errors, and of OAuth's (RFC 6749 §5.2).
fn said_in_json(text: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = json.get("error")?;
    if let Some(code) = error.as_str() {
        let description =
            json.get("error_description").and_then(serde_json::Value::as_str).unwrap_or_default();
        return Some(join(code, description));
    }
    let reason = error.pointer("/errors/0/reason").and_then(serde_json::Value::as_str).unwrap_or_default();
    let message = error.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    Some(join(reason, message)).filter(|said| !said.is_empty())
}

/// `code: message` of the XML errors of Azure and Alibaba.
fn said_in_xml(text: &str) -> Option<String> {
    let element = |name: &str| {
        let after = text.split_once(&format!("<{name}>"))?.1;
        Some(after.split_once(&format!("</{name}>"))?.0)
    };
    let code = element("Code")?;
    // Azure appends request id and time, each on a line of its own.
    let message = element("Message").unwrap_or_default().lines().next().unwrap_or_default();
    Some(join(code, message))
}

fn join(code: &str, message: &str) -> String {
    match (code, message) {
        ("", said) | (said, "") => said.to_owned(),
        (code, message) => format!("{code}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::upload::store::testing::{Reply, Server};

    #[tokio::test]
    async fn neither_server_nor_proxy_may_be_on_the_link() {
        let guarded = |proxy: Option<&str>| {
            let proxy =
                proxy.map(|url| ProxyConfig { url: Secret::new(url.to_owned()), ..ProxyConfig::default() });
            Http::guarded(
                Guard::refusing(|_| true),
                proxy.as_ref(),
                CredentialRedactor::default(),
                "bucket a".to_owned(),
            )
        };
        let http = guarded(None).unwrap();
        for url in ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://localhost/"] {
            let refused = http.ask(http.client.get(url)).await.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Unusable, "{url}: {refused}");
            assert!(refused.to_string().contains("allow_link_local"), "{url}: {refused}");
        }
        let refused = guarded(Some("http://user:pass@169.254.169.254:3128")).unwrap_err().to_string();
        assert!(refused.contains("allow_link_local") && !refused.contains("pass"), "{refused}");
    }

    #[tokio::test]
    async fn a_proxy_sees_nothing_of_what_the_machine_asks_its_metadata_service() {
        let proxy = Server::start(|_, _| Reply::status(200)).await;
        let metadata = Server::start(|_, _| Reply::status(200)).await;
        let given = ProxyConfig { url: Secret::new(proxy.url()), ..ProxyConfig::default() };
        let place = "bucket a".to_owned();
        let http = Http::guarded(Guard::open(), Some(&given), CredentialRedactor::default(), place).unwrap();
        let machines = http.unguarded().unwrap();
        machines.send(machines.client.get(metadata.url())).await.unwrap();
        assert_eq!((proxy.requests().len(), metadata.requests().len()), (0, 1));
        http.send(http.client.get(metadata.url())).await.unwrap();
        assert_eq!((proxy.requests().len(), metadata.requests().len()), (1, 1));
    }

    #[test]
    fn errors_of_all_kinds_are_read() {
        let google = r#"{"error":{"code":404,"message":"No such bucket.","errors":[{"reason":"notFound"}]}}"#;
        assert_eq!(said_in_json(google).as_deref(), Some("notFound: No such bucket."));
        let oauth = r#"{"error":"invalid_grant","error_description":"Invalid JWT"}"#;
        assert_eq!(said_in_json(oauth).as_deref(), Some("invalid_grant: Invalid JWT"));
        assert_eq!(said_in_json("<html>"), None);
        let azure = "<?xml?><Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message></Error>";
        assert_eq!(said_in_xml(azure).as_deref(), Some("AuthenticationFailed: Server failed."));
        assert_eq!(said_in_xml("{}"), None);
    }
}
