//! Addresses: where a server is, and where on it an object is.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::error::{StoreError, StoreErrorKind};
use crate::config::storage::ProxyConfig;
use crate::outbound::Guard;

/// All that may not stand in a path as it is (RFC 3986 §3.3), and what some stores read otherwise
/// (`+`, `:`, `@`).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same for a name that is one segment of a path.
const SEGMENT: &AsciiSet = &PATH.add(b'/');

/// A key as the path of an address: percent-encoded, without double slashes.
pub(super) fn path(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for part in key.split('/').filter(|part| !part.is_empty()) {
        if !path.is_empty() {
            path.push('/');
        }
        path.extend(utf8_percent_encode(part, PATH));
    }
    path
}

/// A name as one segment of a path, or as a value of a query.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Looks at a proxy's address whose host is a number.
///
/// # Errors
/// When it is one that is not connected to.
pub(super) fn check_proxy(proxy: &ProxyConfig, guard: Guard) -> Result<(), StoreError> {
    let Ok(url) = Url::parse(proxy.url.expose()) else { return Ok(()) };
    guard
        .check(&url)
        .map_err(|error| StoreError::new(StoreErrorKind::Unusable, format!("the proxy's url {error}")))
}

/// Address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://minio.example.com:9000`, without a `/` at its end.
    pub(super) url: String,
    /// `minio.example.com:9000`, and the path behind it, if there is one.
    pub(super) authority: String,
    /// `minio.example.com`
    pub(super) host: String,
}

impl Endpoint {
    /// Parses a configured address: https without a scheme. `None` for an empty one.
    ///
    /// # Errors
    ///
    /// When it is invalid, or contains a user, a password or a query.
    pub(super) fn parse(configured: &str) -> Result<Option<Self>, StoreError> {
        Self::guarded(configured, Guard::of_process())
    }

    fn guarded(configured: &str, guard: Guard) -> Result<Option<Self>, StoreError> {
        let given = configured.trim();
        if given.is_empty() {
            return Ok(None);
        }
        let url = if given.contains("://") { given.to_owned() } else { format!("https://{given}") };
        let url = url.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let host = parsed.as_ref().and_then(Url::host_str);
        let Some((host, (_, authority))) = host.zip(url.split_once("://")) else {
            let text = "endpoint: invalid address; write it as https://host or https://host:port";
            return Err(StoreError::new(StoreErrorKind::Unusable, text));
        };
        if let Some(Err(error)) = parsed.as_ref().map(|url| guard.check(url)) {
            return Err(StoreError::new(StoreErrorKind::Unusable, format!("the endpoint {error}")));
        }
        Ok(Some(Self { host: host.to_owned(), authority: authority.to_owned(), url }))
    }

    /// Without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }

    /// `https://` or `http://`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_plain() { "http://" } else { "https://" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths() {
        assert_eq!(path("a b/ü+c:d?e#f.mp4"), "a%20b/%C3%BC%2Bc%3Ad%3Fe%23f.mp4");
        assert_eq!(path("/a//b/"), "a/b");
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn an_endpoint_on_the_link_is_refused() {
        let guard = Guard::refusing(crate::plan::link_local::is_link_local);
        for endpoint in
            ["http://169.254.169.254", "169.254.169.254:80", "https://[fe80::1]", "http://0xA9FEA9FE"]
        {
            let refused = Endpoint::guarded(endpoint, guard).unwrap_err();
            assert!(refused.to_string().contains("allow_link_local"), "{endpoint}: {refused}");
            assert!(Endpoint::guarded(endpoint, Guard::open()).unwrap().is_some());
        }
        assert!(Endpoint::guarded("http://10.0.0.1:9000", guard).unwrap().is_some());
    }

    #[test]
    fn endpoints() {
        let parse =
            |text| Endpoint::parse(text).map(|endpoint| endpoint.map(|it| (it.url, it.authority, it.host)));
        let some = |url: &str, authority: &str, host: &str| {
            Some((url.to_owned(), authority.to_owned(), host.to_owned()))
        };
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(
            parse("s3.example.com/").unwrap(),
            some("https://s3.example.com", "s3.example.com", "s3.example.com")
        );
        assert_eq!(
            parse("http://127.0.0.1:8333").unwrap(),
            some("http://127.0.0.1:8333", "127.0.0.1:8333", "127.0.0.1")
        );
        for bad in ["ftp://x", "http://", "https://user:pass@x", "https://x?y=z", "a b"] {
            assert_eq!(parse(bad).unwrap_err().kind(), StoreErrorKind::Unusable, "{bad}");
        }
    }
}
