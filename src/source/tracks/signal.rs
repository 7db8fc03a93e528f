//! Signalling: the websocket between a recorder and a LiveKit server.
//!
//! One task owns the socket, so that a server that reads slowly does not delay media. It pings as
//! the server asks, and closes if the server is silent for too long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, handshake::client::Request as Handshake};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use url::Url;

use crate::outbound::Guard;
use crate::plan::redact;
use crate::secret::{Secret, without_token};
use crate::tls;

/// Deadline for connecting, up to the server's first message.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Deadline for sending a message.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Deadline for closing the socket.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Used if the server does not ask for other intervals.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_WITHIN: Duration = Duration::from_secs(15);
/// Messages that may wait to be handled.
const BACKLOG: usize = 256;
/// Characters of an answer's body that an error quotes.
const BODY: usize = 200;

/// Why a room can't be joined. No text contains the token.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("{host} can't be reached")]
    Unreachable { host: String, source: std::io::Error },
    #[error("`{server}`: not the address of a LiveKit server; write it as wss://example.com")]
    Address { server: String },
    /// The server's own text: a wrong key, a token for another room, …
    #[error("the LiveKit server refused to let the recorder in ({status}): {body}")]
    Refused { status: u16, body: String },
    #[error("signalling with {host} failed")]
    Socket { host: String, source: Box<tungstenite::Error> },
    #[error("{host} did not answer within {} s", .within.as_secs())]
    Silent { host: String, within: Duration },
    #[error("the LiveKit server ended the session immediately: {0}")]
    Left(String),
    #[error("the LiveKit server did not start with a join response")]
    Unexpected,
}

/// The way in which a recorder enters a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance<'a> {
    Join,
    /// Continues the session of this participant.
    Resume {
        participant: &'a str,
        reason: proto::ReconnectReason,
    },
}

/// The server's first message.
#[derive(Debug)]
pub(super) enum Welcome {
    Joined(Box<proto::JoinResponse>),
    Resumed,
}

/// An open websocket. Dropping it closes it without notice; see [`Signal::leave`].
#[derive(Debug)]
pub(super) struct Signal {
    requests: mpsc::UnboundedSender<Request>,
    responses: mpsc::Receiver<Response>,
    /// Local address of the connection. Media is likely to use it, too.
    local: IpAddr,
    pump: AbortOnDropHandle<()>,
}

impl Signal {
    /// Connects and waits for the server's first message.
    pub(super) async fn open(
        server: &Url,
        token: &Secret<String>,
        entrance: Entrance<'_>,
    ) -> Result<(Self, Welcome), SignalError> {
        let host = server.host_str().unwrap_or_default().to_owned();
        tokio::time::timeout(CONNECT_WITHIN, Self::connect(server, token, entrance))
            .await
            .unwrap_or(Err(SignalError::Silent { host, within: CONNECT_WITHIN }))
    }

    async fn connect(
        server: &Url,
        token: &Secret<String>,
        entrance: Entrance<'_>,
    ) -> Result<(Self, Welcome), SignalError> {
        let bad_address = || SignalError::Address { server: redact::page_url(server.as_str()) };
        let url = address(server, entrance).ok_or_else(bad_address)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().ok_or_else(bad_address)?;
        let unreachable = |source| SignalError::Unreachable { host: host.clone(), source };
        // URLs have IPv6 addresses in brackets.
        let name = host.trim_matches(['[', ']']);
        let tcp = Guard::of_process().connect(name, port).await.map_err(unreachable)?;
        let local = tcp.local_addr().map_err(unreachable)?.ip();
        let request = handshake(&url, token).ok_or_else(bad_address)?;
        let connector = match url.scheme() {
            "wss" => Connector::Rustls(Arc::new(tls::client())),
            _ => Connector::Plain,
        };
        let (mut socket, _) = client_async_tls_with_config(request, tcp, None, Some(connector))
            .await
            .map_err(|error| refused(error, &host, token))?;
        let socket_error = |source| SignalError::Socket { host: host.clone(), source: Box::new(source) };
        let (welcome, pings) = loop {
            match next(&mut socket).await.map_err(socket_error)? {
                Some(Response::Join(join)) => {
                    let pings = Pings::new(join.ping_interval, join.ping_timeout);
                    break (Welcome::Joined(Box::new(join)), pings);
                }
                Some(Response::Reconnect(_)) => break (Welcome::Resumed, Pings::DEFAULT),
                Some(Response::Leave(leave)) => {
                    return Err(SignalError::Left(leave.reason().as_str_name().to_owned()));
                }
                // A refreshed token may come first.
                Some(Response::RefreshToken(_)) => {}
                Some(_) | None => return Err(SignalError::Unexpected),
            }
        };
        let (requests, asked) = mpsc::unbounded_channel();
        let (answers, responses) = mpsc::channel(BACKLOG);
        let pump = TaskTracker::new().spawn(pump(socket, asked, answers, pings));
        Ok((Self { requests, responses, local, pump: AbortOnDropHandle::new(pump) }, welcome))
    }

    /// Local address of the connection.
    pub(super) const fn local(&self) -> IpAddr {
        self.local
    }

    /// Sends a message. A closed socket is reported by [`Signal::next`].
    pub(super) fn send(&self, request: Request) {
        if self.requests.send(request).is_err() {
            tracing::debug!("signalling message dropped: socket closed");
        }
    }

    /// The next message; `None` if the socket is closed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Response> {
        self.responses.recv().await
    }

    /// Leaves the room, so that the server does not wait for the recorder to reconnect.
    pub(super) async fn leave(self) {
        self.send(Request::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..proto::LeaveRequest::default()
        }));
        let Self { requests, responses, pump, .. } = self;
        drop((requests, responses));
        if tokio::time::timeout(CLOSE_WITHIN, pump).await.is_err() {
            tracing::debug!("signalling not closed in time");
        }
    }
}

/// Ping interval, and how long the server may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pings {
    every: Duration,
    within: Duration,
}

impl Pings {
    const DEFAULT: Self = Self { every: PING_EVERY, within: PING_WITHIN };

    /// Takes the server's values in seconds; 0 is the default.
    fn new(interval: i32, timeout: i32) -> Self {
        let seconds = |value: i32, default| match u64::try_from(value) {
            Ok(0) | Err(_) => default,
            Ok(value) => Duration::from_secs(value),
        };
        Self { every: seconds(interval, PING_EVERY), within: seconds(timeout, PING_WITHIN) }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Forwards messages until either side is closed.
async fn pump(
    mut socket: Socket,
    mut requests: mpsc::UnboundedReceiver<Request>,
    responses: mpsc::Sender<Response>,
    pings: Pings,
) {
    let mut ticks = tokio::time::interval(pings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_received = Instant::now();
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => break,
            },
            response = next(&mut socket) => match response {
                Ok(Some(response)) => {
                    last_received = Instant::now();
                    if !matches!(response, Response::PongResp(_) | Response::Pong(_))
                        && responses.send(response).await.is_err()
                    {
                        break;
                    }
                    continue;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "signalling lost");
                    return;
                }
            },
            _ = ticks.tick() => {
                if last_received.elapsed() > pings.within {
                    tracing::debug!("signalling lost: server is silent");
                    return;
                }
                Request::PingReq(proto::Ping { timestamp: unix_millis(), rtt: 0 })
            }
        };
        let bytes = proto::SignalRequest { message: Some(request) }.encode_to_vec();
        match tokio::time::timeout(SEND_WITHIN, socket.send(Message::Binary(bytes.into()))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // All requests are sent; the socket closes in the ordinary way.
    let close = socket.close(None);
    if !matches!(tokio::time::timeout(SEND_WITHIN, close).await, Ok(Ok(()))) {
        tracing::debug!("signalling not closed cleanly");
    }
}

/// The next valid message; `None` at the end.
async fn next(socket: &mut Socket) -> Result<Option<Response>, tungstenite::Error> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Binary(bytes) => match proto::SignalResponse::decode(bytes) {
                Ok(proto::SignalResponse { message: Some(message) }) => return Ok(Some(message)),
                // A message of a newer protocol version.
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "invalid signalling message"),
            },
            Message::Close(_) => return Ok(None),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(None)
}

/// The URL of a server's signalling. `/rtc` without `join_request` means two peer connections, for
/// which the server makes the offers (docs/reference/signaling.md).
fn address(server: &Url, entrance: Entrance<'_>) -> Option<Url> {
    let mut url = server.clone();
    let scheme = match server.scheme() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return None,
    };
    url.set_scheme(scheme).ok()?;
    url.set_path(&format!("{}/rtc", server.path().trim_end_matches('/')));
    {
        let mut query = url.query_pairs_mut();
        // `sdk=go` would make the server send dummy packets, a protocol above 16 packets with
        // trailers (docs/reference/signaling.md).
        query.append_pair("protocol", "15").append_pair("version", "0.1");
        query.append_pair("sdk", "rust").append_pair("os", "linux").append_pair("auto_subscribe", "0");
        if let Entrance::Resume { participant, reason } = entrance {
            query.append_pair("reconnect", "1").append_pair("sid", participant);
            query.append_pair("reconnect_reason", &i32::from(reason).to_string());
        }
    }
    Some(url)
}

fn handshake(url: &Url, token: &Secret<String>) -> Option<Handshake> {
    let mut request = url.as_str().into_client_request().ok()?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    bearer.set_sensitive(true);
    request.headers_mut().insert("Authorization", bearer);
    Some(request)
}

/// Removes the token from a refusal, because servers quote it.
fn refused(error: tungstenite::Error, host: &str, token: &Secret<String>) -> SignalError {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            // Shortened afterwards, because a part of a token would not be recognised.
            let body = without_token(&String::from_utf8_lossy(body), token);
            let body: String = body.trim().chars().take(BODY).collect();
            SignalError::Refused { status: response.status().as_u16(), body }
        }
        error => SignalError::Socket { host: host.to_owned(), source: Box::new(error) },
    }
}

fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_how_the_recorder_enters() {
        let at = |server: &str, entrance| {
            address(&Url::parse(server).unwrap(), entrance).map(|url| url.to_string())
        };
        let plain = "protocol=15&version=0.1&sdk=rust&os=linux&auto_subscribe=0";
        assert_eq!(at("ws://h:7880", Entrance::Join).unwrap(), format!("ws://h:7880/rtc?{plain}"));
        assert_eq!(at("https://h/a/", Entrance::Join).unwrap(), format!("wss://h/a/rtc?{plain}"));
        assert_eq!(at("ftp://h", Entrance::Join), None);
        let resume =
            Entrance::Resume { participant: "PA_x", reason: proto::ReconnectReason::RrSignalDisconnected };
        let resumed = format!("ws://h/rtc?{plain}&reconnect=1&sid=PA_x&reconnect_reason=1");
        assert_eq!(at("ws://h", resume).unwrap(), resumed);
    }

    #[test]
    fn ping_intervals_are_the_servers_or_the_defaults() {
        assert_eq!(
            Pings::new(7, 21),
            Pings { every: Duration::from_secs(7), within: Duration::from_secs(21) }
        );
        assert_eq!(Pings::new(0, -1), Pings::DEFAULT);
    }

    #[test]
    fn a_refusal_is_reported_without_the_token() {
        let token = Secret::new(format!("eyJhbGciOiJIUzI1NiJ9.{}.c2lnbmF0dXJl", "x".repeat(300)));
        let body = format!("invalid token: {}, error: could not verify", token.expose());
        let mut response = tungstenite::http::Response::new(Some(body.into_bytes()));
        *response.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
        let error = refused(tungstenite::Error::Http(Box::new(response)), "h", &token);
        let text = error.to_string();
        assert!(text.ends_with("(401): invalid token: ***, error: could not verify"), "{text}");
    }
}
