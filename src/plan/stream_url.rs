//! Address of a stream: `rtmp(s)://`, `srt://`, the short forms `mux://` and `twitch://`, and
//! `ws(s)://` for audio only.
//!
//! Rules and redaction: docs/reference/media.md. Redaction here accepts any text: text that can't
//! be parsed may be a bare key.

use url::{Host, Url};

use super::redact;
use crate::secret::Secret;

/// Protocol of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamProtocol {
    Rtmp,
    Srt,
    /// Sound alone.
    WebSocket,
}

impl From<Transport> for StreamProtocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Rtmp => Self::Rtmp,
            Transport::Srt => Self::Srt,
        }
    }
}

impl std::fmt::Display for StreamProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rtmp => "RTMP",
            Self::Srt => "SRT",
            Self::WebSocket => "WebSocket",
        })
    }
}

/// How an encoded stream is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Rtmp,
    Srt,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        StreamProtocol::from(*self).fmt(f)
    }
}

/// A stream's address, parsed. It prints redacted. Two are equal when they go to the same place
/// with the same key, so `mux://KEY` equals its long form.
#[derive(Clone)]
pub struct StreamUrl {
    protocol: StreamProtocol,
    /// Normalised; what equality goes by.
    address: Secret<String>,
    redacted: String,
}

/// Reason for an invalid address. It prints redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid url {url}: {reason}")]
pub struct StreamUrlError {
    /// Redacted.
    pub url: String,
    pub reason: String,
}

impl StreamUrl {
    /// Parses an address; with a protocol it must be of that protocol.
    ///
    /// # Errors
    /// When the scheme is unknown, not of the protocol, or the rest is not as that scheme wants it.
    pub fn parse(text: &str, protocol: Option<StreamProtocol>) -> Result<Self, StreamUrlError> {
        let text = text.trim();
        let fail = |reason: &str| StreamUrlError { url: redact::stream_url(text), reason: reason.to_owned() };
        // LiveKit's words, which depend on whether a protocol is given.
        let unknown = if protocol.is_some() { "invalid scheme" } else { "invalid protocol" };
        let unknown = || fail(&format!("{unknown}; {SCHEMES}"));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(unknown());
        };
        if text.chars().any(char::is_control) {
            return Err(fail("it has a control character in it"));
        }
        let scheme = scheme.to_ascii_lowercase();
        let of_scheme = protocol_of(&scheme).ok_or_else(unknown)?;
        if !matches!(scheme.as_str(), "mux" | "twitch") {
            authority(rest).map_err(|why| {
                let shown = redact::stream_url(text);
                fail(&format!("parse \"{shown}\": {why}; write host:port, and an IPv6 address as [::1]"))
            })?;
        }
        if let Some(protocol) = protocol.filter(|protocol| *protocol != of_scheme) {
            return Err(fail(&format!("invalid scheme for a stream output of protocol {protocol}")));
        }
        Ok(match scheme.as_str() {
            "rtmp" | "rtmps" => Self::rtmp(&scheme, rest).map_err(fail)?,
            "mux" => {
                let key = short_form_key(rest).map_err(fail)?;
                let address = format!("rtmps://global-live.mux.com:443/app/{key}");
                Self::new(StreamProtocol::Rtmp, address)
            }
            "twitch" => Self::twitch(short_form_key(rest).map_err(fail)?),
            "srt" => Self::srt(rest).map_err(|reason| fail(&reason))?,
            _ => Self::websocket(&scheme, rest).map_err(|reason| fail(&reason))?,
        })
    }

    /// How it is sent.
    #[must_use]
    pub const fn protocol(&self) -> StreamProtocol {
        self.protocol
    }

    /// The address to connect to, with its key. For `twitch://KEY` Twitch has to be asked which of
    /// its servers that is.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.address.expose()
    }

    /// Whether Twitch has to be asked which of its servers takes the stream.
    #[must_use]
    pub fn needs_lookup(&self) -> bool {
        self.address.expose().starts_with("twitch://")
    }

    /// The address with its key or query values blotted out (docs/reference/media.md).
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.redacted
    }

    fn new(protocol: StreamProtocol, address: String) -> Self {
        let redacted = redact::stream_url(&address);
        Self { protocol, address: Secret::new(address), redacted }
    }

    fn twitch(key: &str) -> Self {
        Self::new(StreamProtocol::Rtmp, format!("twitch://{key}"))
    }

    /// An address as it is, with what it is to print as.
    #[cfg(test)]
    pub(crate) fn for_tests(address: impl Into<String>, redacted: impl Into<String>) -> Self {
        let address = address.into();
        let protocol = match address.split_once(':') {
            Some(("srt", _)) => StreamProtocol::Srt,
            Some(("ws" | "wss", _)) => StreamProtocol::WebSocket,
            _ => StreamProtocol::Rtmp,
        };
        Self { protocol, address: Secret::new(address), redacted: redacted.into() }
    }

    fn rtmp(scheme: &str, rest: &str) -> Result<Self, &'static str> {
        let (host, path, key) = rtmp_parts(rest)?;
        let host = host.to_ascii_lowercase();
        // Twitch's own addresses name one server; the look-up names the nearest.
        if host.ends_with(".contribute.live-video.net") && path == "/app/" && !key.is_empty() {
            return Ok(Self::twitch(key));
        }
        Ok(Self::new(StreamProtocol::Rtmp, format!("{scheme}://{host}{path}{key}")))
    }

    fn websocket(scheme: &str, rest: &str) -> Result<Self, String> {
        let url = Url::parse(&format!("{scheme}://{rest}"))
            .map_err(|error| format!("{error}; write it as {scheme}://example.com/path"))?;
        Ok(Self::new(StreamProtocol::WebSocket, url.into()))
    }

    fn srt(rest: &str) -> Result<Self, String> {
        let address = format!("srt://{rest}");
        let url = Url::parse(&address).map_err(|error| match error {
            url::ParseError::EmptyHost => {
                "srt urls must be of format srt://{host}:{port}; to listen, give the address to listen on, for example \
                 srt://0.0.0.0:9000?mode=listener"
                    .to_owned()
            }
            error => format!("{error}; srt urls must be of format srt://{{host}}:{{port}}(?{{options}})"),
        })?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        if !has_host || url.port().is_none() {
            return Err("srt urls must be of format srt://{host}:{port}(?{options})".to_owned());
        }
        // `Url` lower-cases only the hosts of schemes it knows.
        let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let address = format!("srt://{}{}", rest[..host_end].to_ascii_lowercase(), &rest[host_end..]);
        Ok(Self::new(StreamProtocol::Srt, address))
    }
}

const SCHEMES: &str = "streams go to rtmp://, rtmps://, srt://, mux://, twitch://, ws:// or wss://";

/// `scheme`: in lower case.
fn protocol_of(scheme: &str) -> Option<StreamProtocol> {
    match scheme {
        "rtmp" | "rtmps" | "mux" | "twitch" => Some(StreamProtocol::Rtmp),
        "srt" => Some(StreamProtocol::Srt),
        "ws" | "wss" => Some(StreamProtocol::WebSocket),
        _ => None,
    }
}

/// Whether host and port in front of a path can be read, with Go's words where they can't, which
/// LiveKit's texts have. Whether there is a host at all is checked elsewhere.
fn authority(rest: &str) -> Result<(), &'static str> {
    let authority = &rest[..rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len())];
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or("missing ']' in host")?;
            // A zone may stand behind it.
            let number = host.split('%').next().unwrap_or_default();
            if !matches!(Host::parse(&format!("[{number}]")), Ok(Host::Ipv6(_))) {
                return Err("invalid host");
            }
            (host, port)
        }
        None => place.split_at(place.rfind(':').unwrap_or(place.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some("") => true,
        Some(number) => number.chars().all(|c| c.is_ascii_digit()) && number.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    // The port is not quoted: whoever forgets a slash has a key there.
    match (is_port, host.contains([':', '[', ']']) && !place.starts_with('[')) {
        (false, _) => Err("invalid port after host"),
        (true, true) => Err("invalid host"),
        (true, false) => Ok(()),
    }
}

const RTMP_FORMAT: &str = "rtmp urls must be of format rtmp(s)://{host}(/{path})/{app}/{stream_key}( live=1)";

/// The parts after `rtmp://`: host with port, `/…/app/`, and key. The rule is
/// `^(rtmps?://)(.*/)(.*/)(\S*)( live=1)?$`; the suffix is for librtmp and dropped, as streams are
/// always live.
fn rtmp_parts(rest: &str) -> Result<(&str, &str, &str), &'static str> {
    let rest = rest.strip_suffix(" live=1").unwrap_or(rest);
    let (before, key) = rest.rsplit_once('/').ok_or(RTMP_FORMAT)?;
    let (host, app) = before.split_once('/').ok_or(RTMP_FORMAT)?;
    if host.is_empty() || app.is_empty() || key.contains(char::is_whitespace) {
        return Err(RTMP_FORMAT);
    }
    Ok((host, &rest[host.len()..rest.len() - key.len()], key))
}

fn short_form_key(rest: &str) -> Result<&str, &'static str> {
    if rest.is_empty() || rest.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err("write the stream key right after the two slashes, and nothing else");
    }
    Ok(rest)
}

impl PartialEq for StreamUrl {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for StreamUrl {}

impl std::hash::Hash for StreamUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

impl std::fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl std::fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted)
    }
}

#[cfg(test)]
mod tests;
