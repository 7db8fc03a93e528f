//! Where Twitch wants a stream to be sent: the nearest ingest, asked for each time a connection is
//! made (docs/reference/media.md).

use std::time::Duration;

use serde::Deserialize;

use crate::outbound::Guard;

/// Twitch's list of ingests, the best for who asks first.
pub(super) const INGESTS: &str = "https://ingest.twitch.tv/ingests";
/// The scheme of the short form.
const SCHEME: &str = "twitch://";

/// Why Twitch could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum TwitchError {
    #[error("could not ask Twitch for its ingest servers at {at}")]
    Ask { at: String, source: reqwest::Error },
    #[error("Twitch named no ingest server that takes a stream: send to one by its rtmps:// address")]
    None,
}

#[derive(Debug, Deserialize)]
struct Ingests {
    ingests: Vec<Ingest>,
}

#[derive(Debug, Deserialize)]
struct Ingest {
    url_template: Option<String>,
    url_template_secure: Option<String>,
}

/// The key of a `twitch://KEY` address; `None` for any other.
pub(super) fn key(address: &str) -> Option<&str> {
    address.strip_prefix(SCHEME)
}

/// Asks for the ingest address of a stream key.
///
/// # Errors
///
/// Without a usable answer in time.
pub(super) async fn resolve(ingests: &str, key: &str, within: Duration) -> Result<String, TwitchError> {
    let failed = |source| TwitchError::Ask { at: ingests.to_owned(), source };
    let client = Guard::of_process().http().timeout(within).build().map_err(failed)?;
    let answer =
        client.get(ingests).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let list: Ingests = answer.json().await.map_err(failed)?;
    address(&list, key).ok_or(TwitchError::None)
}

/// The first ingest's template, over TLS where it has one, with the key in it.
fn address(list: &Ingests, key: &str) -> Option<String> {
    let first = list.ingests.first()?;
    let template = first.url_template_secure.as_deref().or(first.url_template.as_deref())?;
    let address = template.replace("{stream_key}", key);
    // An answer must not send a stream elsewhere than to an RTMP server, nor without its key.
    let is_rtmp = address.starts_with("rtmp://") || address.starts_with("rtmps://");
    (is_rtmp && template.contains("{stream_key}")).then_some(address)
}

/// Answers every request with this body, or with a refusal where it is empty; gives its address.
#[cfg(test)]
pub(super) async fn test_server(body: String) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}/ingests", listener.local_addr().unwrap());
    let status = if body.is_empty() { "503 No" } else { "200 OK" };
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            assert!(peer.read(&mut request).await.unwrap() > 0);
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{body}");
            peer.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(json: &str) -> Option<String> {
        address(&serde_json::from_str(json).unwrap(), "live_1_x")
    }

    #[test]
    fn the_first_ingest_is_taken_and_tls_preferred() {
        assert_eq!(
            from(
                r#"{"ingests":[{"_id":1,"url_template":"rtmp://a/app/{stream_key}",
                "url_template_secure":"rtmps://a:443/app/{stream_key}"},{"url_template":"rtmp://b/app/{stream_key}"}]}"#
            ),
            Some("rtmps://a:443/app/live_1_x".to_owned())
        );
        let plain = r#"{"ingests":[{"url_template":"rtmp://a/app/{stream_key}"}]}"#;
        assert_eq!(from(plain), Some("rtmp://a/app/live_1_x".to_owned()));
        assert_eq!(from(r#"{"ingests":[]}"#), None);
        assert_eq!(from(r#"{"ingests":[{"url_template":"file:///{stream_key}"}]}"#), None);
        assert_eq!(from(r#"{"ingests":[{"url_template":"rtmp://a/app/"}]}"#), None);
    }

    #[test]
    fn only_the_short_form_has_a_key() {
        assert_eq!(key("twitch://live_1_x"), Some("live_1_x"));
        assert_eq!(key("rtmp://twitch/app/x"), None);
    }

    #[tokio::test]
    async fn an_answer_is_fetched_and_a_refusal_named() {
        let within = Duration::from_secs(5);
        let list = r#"{"ingests":[{"url_template":"rtmp://a/app/{stream_key}"}]}"#;
        let at = test_server(list.to_owned()).await;
        assert_eq!(resolve(&at, "k1", within).await.unwrap(), "rtmp://a/app/k1");
        let at = test_server(String::new()).await;
        let error = resolve(&at, "k1", within).await.unwrap_err();
        assert!(error.to_string().contains(&at), "{error}");
    }
}
