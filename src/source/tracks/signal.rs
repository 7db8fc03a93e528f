//! Signalling: the websocket on which a LiveKit server and a recorder agree about the room.
//!
//! One task owns the socket, so that a peer that reads slowly never holds up media. It pings as the server asked it to, and
//! takes a server that is silent for too long for gone.

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

/// From the first packet to the server's first word.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A message that the network does not take for so long will never arrive.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// The last words of a socket that is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// What servers ask for when they do not say.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_WITHIN: Duration = Duration::from_secs(15);
/// Messages that wait for the room to look at them.
const BACKLOG: usize = 256;
/// Of an answer's body that gets into an error.
const BODY: usize = 200;

/// Why a room can't be reached. No text has the token in it.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("{host} can't be reached")]
    Unreachable { host: String, source: std::io::Error },
    #[error("{server} is no address of a LiveKit server: write it as wss://example.com")]
    Address { server: String },
    /// The server's own words: a wrong key, a token for another room, …
    #[error("the LiveKit server refused to let the recorder in ({status}): {body}")]
    Refused { status: u16, body: String },
    #[error("signalling with {host} failed")]
    Socket { host: String, source: Box<tungstenite::Error> },
    #[error("{host} did not answer within {} s", .within.as_secs())]
    Silent { host: String, within: Duration },
    #[error("the LiveKit server ended the session at once: {0}")]
    Left(String),
    #[error("the LiveKit server began with something else than an answer to joining")]
    Unexpected,
}

/// How a recorder comes into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance<'a> {
    Join,
    /// As the participant that it is there already.
    Resume {
        participant: &'a str,
        reason: proto::ReconnectReason,
    },
}

/// The server's first word.
#[derive(Debug)]
pub(super) enum Welcome {
    Joined(Box<proto::JoinResponse>),
    Resumed,
}

/// An open websocket. Dropping it closes it without a word; see [`Signal::leave`].
#[derive(Debug)]
pub(super) struct Signal {
    requests: mpsc::UnboundedSender<Request>,
    responses: mpsc::Receiver<Response>,
    /// Of the machine, on the way to the server: where media is likely to come in, too.
    local: IpAddr,
    pump: AbortOnDropHandle<()>,
}

impl Signal {
    /// Connects and waits for the server's first word.
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
        // An address of IPv6 stands in brackets in a URL.
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

    /// Of this machine, as the server sees it without a NAT.
    pub(super) const fn local(&self) -> IpAddr {
        self.local
    }

    /// Sends; a socket that is gone says so in [`Signal::next`].
    pub(super) fn send(&self, request: Request) {
        if self.requests.send(request).is_err() {
            tracing::debug!("signalling was closed");
        }
    }

    /// The next message; `None` when the socket is gone. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Response> {
        self.responses.recv().await
    }

    /// Says goodbye, so that the server does not wait for the recorder to come back.
    pub(super) async fn leave(self) {
        self.send(Request::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..proto::LeaveRequest::default()
        }));
        let Self { requests, responses, pump, .. } = self;
        drop((requests, responses));
        if tokio::time::timeout(CLOSE_WITHIN, pump).await.is_err() {
            tracing::debug!("signalling did not close in time");
        }
    }
}

/// When the server wants to hear from us, and when it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pings {
    every: Duration,
    within: Duration,
}

impl Pings {
    const DEFAULT: Self = Self { every: PING_EVERY, within: PING_WITHIN };

    /// Seconds as the server says them; 0: not said.
    fn new(interval: i32, timeout: i32) -> Self {
        let seconds = |said: i32, default| match u64::try_from(said) {
            Ok(0) | Err(_) => default,
            Ok(said) => Duration::from_secs(said),
        };
        Self { every: seconds(interval, PING_EVERY), within: seconds(timeout, PING_WITHIN) }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Moves messages until either side is gone.
async fn pump(
    mut socket: Socket,
    mut requests: mpsc::UnboundedReceiver<Request>,
    responses: mpsc::Sender<Response>,
    pings: Pings,
) {
    let mut ticks = tokio::time::interval(pings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => break,
            },
            response = next(&mut socket) => match response {
                Ok(Some(response)) => {
                    heard = Instant::now();
                    if !matches!(response, Response::PongResp(_) | Response::Pong(_))
                        && responses.send(response).await.is_err()
                    {
                        break;
                    }
                    continue;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "signalling was lost");
                    return;
                }
            },
            _ = ticks.tick() => {
                if heard.elapsed() > pings.within {
                    tracing::debug!("signalling: the server is silent");
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
    // What was asked for before is sent; then the socket closes in the ordinary way.
    let close = socket.close(None);
    if !matches!(tokio::time::timeout(SEND_WITHIN, close).await, Ok(Ok(()))) {
        tracing::debug!("signalling did not close in the ordinary way");
    }
}

/// The next message that makes sense; `None` at the end.
async fn next(socket: &mut Socket) -> Result<Option<Response>, tungstenite::Error> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Binary(bytes) => match proto::SignalResponse::decode(bytes) {
                Ok(proto::SignalResponse { message: Some(message) }) => return Ok(Some(message)),
                // A kind that our protocol version does not know.
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "signalling: a message that makes no sense"),
            },
            Message::Close(_) => return Ok(None),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(None)
}

/// Where a server's signalling is. Two connections, the server offers (docs/reference/signaling.md): that is what `/rtc` without a
/// `join_request` means.
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
        // `sdk=go` would bring dummy packets; a protocol above 16, packets with trailers (docs/reference/signaling.md).
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

/// Servers quote the token that they refuse.
fn refused(error: tungstenite::Error, host: &str, token: &Secret<String>) -> SignalError {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            // Cut afterwards: a part of a token is less easy to tell.
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
    fn an_address_says_how_the_recorder_comes_in() {
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
    fn pings_are_as_often_as_the_server_wants_or_as_usual() {
        assert_eq!(
            Pings::new(7, 21),
            Pings { every: Duration::from_secs(7), within: Duration::from_secs(21) }
        );
        assert_eq!(Pings::new(0, -1), Pings::DEFAULT);
    }

    #[test]
    fn a_refusal_is_told_without_the_token() {
        let token = Secret::new(format!("eyJhbGciOiJIUzI1NiJ9.{}.c2lnbmF0dXJl", "x".repeat(300)));
        let body = format!("invalid token: {}, error: could not verify", token.expose());
        let mut response = tungstenite::http::Response::new(Some(body.into_bytes()));
        *response.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
        let error = refused(tungstenite::Error::Http(Box::new(response)), "h", &token);
        let text = error.to_string();
        assert!(text.ends_with("(401): invalid token: ***, error: could not verify"), "{text}");
    }
}
