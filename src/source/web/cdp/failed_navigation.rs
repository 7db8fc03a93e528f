//! Navigations of the page that end nowhere: its server is away, or fails. Pure.

use url::Url;

use super::params::Paused;
use crate::process::text::head;
use crate::secret::Secret;
use crate::source::web::page::{PageError, REASON};

/// A navigation without a document to show. Chromium would show an error page of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::web) struct FailedNavigation {
    /// Its target; `None` if only the page can go there again, as it sent a body.
    pub(in crate::source::web) url: Option<Secret<Url>>,
    pub(in crate::source::web) error: PageError,
}

impl FailedNavigation {
    /// `None`: it came to a document, or was given up by the page.
    pub(super) fn of(paused: &Paused) -> Option<Self> {
        let url = Url::parse(&paused.request.url).ok()?;
        let error = match (paused.error.as_deref(), paused.status) {
            (Some("Aborted"), _) => return None,
            (Some(reason), _) => PageError::of_network(&url, &code(reason)),
            // A server that is away behind a proxy, or starts again.
            (None, Some(status @ 500..=599)) => PageError::of_status(&url, status),
            // Chromium fills in a page of its own.
            (None, Some(status @ 400..=499)) if paused.is_empty() => PageError::of_status(&url, status),
            (None, _) => return None,
        };
        let url = (paused.request.method == "GET").then(|| Secret::new(url));
        Some(Self { url, error })
    }

    /// Length of its texts.
    pub(super) fn bytes(&self) -> usize {
        self.url.as_ref().map_or(0, |url| url.expose().as_str().len())
    }
}

/// Chromium's code for a reason as DevTools has it: `net::ERR_CONNECTION_REFUSED` for
/// `ConnectionRefused`.
fn code(reason: &str) -> String {
    let mut code = "net::ERR".to_owned();
    for c in head(reason, REASON).0.chars() {
        if c.is_ascii_uppercase() {
            code.push('_');
        }
        code.push(c.to_ascii_uppercase());
    }
    code
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failed(method: &str, more: &Value) -> Option<FailedNavigation> {
        let mut paused = json!({
            "requestId": "interception-job-1.0",
            "request": {"url": "http://ann:s3cret@a.example/talk?key=s3cret", "method": method},
            "frameId": "P",
            "resourceType": "Document",
        });
        paused.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        FailedNavigation::of(&serde_json::from_value(paused).unwrap())
    }

    #[test]
    fn what_ends_nowhere_is_told_in_the_words_of_a_start() {
        let url = || "http://a.example/talk".to_owned();
        for (more, error) in [
            (json!({"responseErrorReason": "ConnectionRefused"}), PageError::Refused { url: url() }),
            (json!({"responseErrorReason": "NameNotResolved"}), PageError::NotFound { url: url() }),
            (
                json!({"responseErrorReason": "ConnectionReset"}),
                PageError::Network { url: url(), code: "net::ERR_CONNECTION_RESET".to_owned() },
            ),
            (json!({"responseStatusCode": 502}), PageError::Status { url: url(), status: 502 }),
            (
                json!({"responseStatusCode": 404, "responseHeaders": [{"name": "Content-Length", "value": "0"}]}),
                PageError::Status { url: url(), status: 404 },
            ),
        ] {
            let failed = failed("GET", &more).unwrap();
            assert_eq!(failed.error, error, "{more}");
            assert!(!format!("{failed:?}").contains("s3cret"));
            assert!(failed.url.is_some());
        }
        assert_eq!(failed("POST", &json!({"responseStatusCode": 503})).unwrap().url, None);
    }

    #[test]
    fn what_comes_to_a_document_goes_on() {
        for more in [
            json!({}),
            json!({"responseStatusCode": 200}),
            json!({"responseStatusCode": 302}),
            json!({"responseStatusCode": 404, "responseHeaders": [{"name": "content-length", "value": "10"}]}),
            json!({"responseErrorReason": "Aborted"}),
        ] {
            assert_eq!(failed("GET", &more), None, "{more}");
        }
    }
}
