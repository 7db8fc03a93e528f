//! The way to a websocket server: its address, who one is there, and the handshake.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{self, handshake::client::Request};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

use crate::outbound::Guard;
use crate::plan::stream_url::StreamUrl;
use crate::tls;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Reasons for a failed connection. No text contains the address or its secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("invalid websocket address; write it as wss://example.com/path")]
    Address,
    #[error("the server can't be reached: {0}")]
    Unreachable(std::io::Error),
    /// By whom it is not signed, or for whom it is not: `rustls`'s own words.
    #[error(
        "its certificate is not trusted ({0}): have this machine trust who signed it, or name their certificate in SSL_CERT_FILE"
    )]
    Mistrusted(rustls::Error),
    #[error("the server refused the connection: {0}")]
    Refused(StatusCode),
    #[error("the handshake failed: {0}")]
    Handshake(Box<tungstenite::Error>),
    #[error("the server did not answer within {} s", .0.as_secs())]
    Silent(Duration),
}

/// Connects, and tells the server what will come.
pub(super) async fn dial(guard: Guard, url: &StreamUrl, within: Duration) -> Result<Socket, DialError> {
    tokio::time::timeout(within, connect(guard, url)).await.unwrap_or(Err(DialError::Silent(within)))
}

async fn connect(guard: Guard, url: &StreamUrl) -> Result<Socket, DialError> {
    let url = Url::parse(url.expose()).map_err(|_| DialError::Address)?;
    let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or(DialError::Address)?;
    // An address of IPv6 stands in brackets in a URL.
    let name = host.trim_matches(['[', ']']);
    let request = handshake(&url).ok_or(DialError::Address)?;
    let connector = match url.scheme() {
        "wss" => Connector::Rustls(Arc::new(tls::client())),
        _ => Connector::Plain,
    };
    let tcp = guard.connect(name, port).await.map_err(DialError::Unreachable)?;
    // 10 ms of sound are to arrive as such.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "a socket waits for more to send");
    }
    match client_async_tls_with_config(request, tcp, None, Some(connector)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(DialError::Refused(response.status())),
        Err(tungstenite::Error::Io(error)) => Err(broken(error)),
        Err(error) => Err(DialError::Handshake(Box::new(error))),
    }
}

/// TLS reports certificate errors as errors of the socket.
fn broken(error: std::io::Error) -> DialError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner @ rustls::Error::InvalidCertificate(_)) => DialError::Mistrusted(inner.clone()),
        Some(_) | None => DialError::Unreachable(error),
    }
}

/// The request that opens the websocket. Credentials move from the address to a header.
fn handshake(url: &Url) -> Option<Request> {
    let authorization = authorization(url);
    let mut url = url.clone();
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    let mut request = url.as_str().into_client_request().ok()?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("audio/x-raw"));
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::from_str(&authorization).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Some(request)
}

fn authorization(url: &Url) -> Option<String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    if user.is_empty() && password.is_empty() {
        return None;
    }
    // RFC 6750 §2.1, RFC 7617 §2.
    Some(match user.eq_ignore_ascii_case("bearer") {
        true => format!("Bearer {password}"),
        false => format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_on_the_link_is_not_dialled() {
        let guard = Guard::refusing(crate::plan::link_local::is_link_local);
        for address in ["ws://169.254.169.254/", "wss://[fd00:ec2::254]/", "ws://2852039166/"] {
            let url = StreamUrl::parse(address, None).unwrap();
            let refused = dial(guard, &url, Duration::from_secs(20)).await.unwrap_err().to_string();
            assert!(refused.contains("allow_link_local"), "{address}: {refused}");
        }
    }

    #[test]
    fn users_stand_in_a_header_and_not_in_the_address() {
        for (address, header, uri) in [
            ("wss://h/audio?token=t", None, "wss://h/audio?token=t"),
            ("ws://ann:p%40ss@h:9000/", Some("Basic YW5uOnBAc3M="), "ws://h:9000/"),
            ("ws://ann@h/", Some("Basic YW5uOg=="), "ws://h/"),
            ("wss://bearer:abc.def@h/a", Some("Bearer abc.def"), "wss://h/a"),
            ("wss://:token@h/a", Some("Basic OnRva2Vu"), "wss://h/a"),
        ] {
            let request = handshake(&Url::parse(address).unwrap()).unwrap();
            let sent = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap());
            assert_eq!(sent, header, "{address}");
            assert_eq!(request.uri().to_string(), uri, "{address}");
            assert_eq!(request.headers()[CONTENT_TYPE], "audio/x-raw");
            assert!(!format!("{request:?}").contains("abc.def"));
        }
        // A line break would be another header.
        assert!(handshake(&Url::parse("wss://bearer:a%0d%0ab@h/").unwrap()).is_none());
    }
}
