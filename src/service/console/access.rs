//! Authentication: a LiveKit access token with the grant `roomRecord`, from anywhere; on this
//! machine also a session (`login`), which begins with a one-time key.
//!
//! A session is valid on this machine only, and never for pages of other origins in a browser of
//! this machine, such as a recorded page.
//!
//! - A foreign name may resolve to this machine (DNS rebinding): `Host` must be a loopback name.
//! - A page of another origin can send requests and show images: browsers name the origin of a
//!   request (`Origin`, `Sec-Fetch-Site`), and changing requests must be JSON, which browsers send
//!   to other origins only after asking.
//! - All requests through a proxy on this machine come from this machine. A request with a proxy's
//!   headers counts as remote, and so does HTTP/1.0, which nginx speaks by default. A proxy without
//!   any sign can't be detected.
//!
//! Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, Method, Version, header};

use super::login;
use crate::service::error::{Code, ServiceError};
use crate::service::keys::ApiKeys;

const SCHEME: &str = "Bearer ";
const FETCH_SITE: &str = "sec-fetch-site";

/// Headers added by proxies.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "cf-connecting-ip",
];

const HOW: &str = "show a LiveKit access token with the grant `roomRecord`, signed with the service's api_key and api_secret";

/// A request, as far as it says who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// `None`: not known.
    pub(super) peer: Option<SocketAddr>,
    pub(super) version: Version,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

const HOW_HERE: &str = "on the service's own machine, `weir console` prints the address to open";

/// Authenticates a request. `has_session`: whether this token belongs to a session that has not
/// expired.
///
/// # Errors
/// `unauthenticated`, with what to do; `permission_denied` for what another site's page asks for.
pub(super) fn may(
    keys: &ApiKeys,
    has_session: impl FnOnce(&str) -> bool,
    asker: Asker<'_>,
) -> Result<(), ServiceError> {
    // Being local is not enough: other users of this machine and recorded pages are local, too.
    let Some(value) = asker.headers.get(header::AUTHORIZATION) else {
        may_begin(asker)?;
        return Err(ServiceError::unauthenticated(format!("{HOW_HERE}; or {HOW}")));
    };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix(SCHEME)).map(str::trim);
    let token = token.unwrap_or_default();
    if !login::is_session(token) {
        // A token is sufficient. No page of another origin can make a browser send one.
        return by_token(keys, token);
    }
    may_begin(asker)?;
    if has_session(token) {
        Ok(())
    } else {
        Err(ServiceError::unauthenticated(format!("the session is over: {HOW_HERE}; or {HOW}")))
    }
}

/// Whether a request may exchange a key for a session.
///
/// # Errors
/// As [`may`].
pub(super) fn may_begin(asker: Asker<'_>) -> Result<(), ServiceError> {
    if !asker.is_here() {
        return Err(ServiceError::unauthenticated(format!("{HOW}; {HOW_HERE}")));
    }
    if asker.is_foreign() {
        return Err(ServiceError::new(
            Code::PermissionDenied,
            "the request comes from another site's page: open the console by its own address",
        ));
    }
    Ok(())
}

/// Whether a browser of this machine was led to the page by another one. A recorded page could so
/// have itself replaced by the console, and what is seen there would be recorded.
pub(super) fn is_led_here(asker: Asker<'_>) -> bool {
    asker.is_here() && asker.is_foreign()
}

/// Whether a body is JSON, as it says.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let said = only(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn by_token(keys: &ApiKeys, token: &str) -> Result<(), ServiceError> {
    let refused = |why: &str| ServiceError::unauthenticated(format!("{why}: {HOW}"));
    let claims = keys.verify(token).map_err(|error| refused(&error.to_string()))?;
    if claims.video.room_record { Ok(()) } else { Err(refused("the token lacks the grant `roomRecord`")) }
}

impl Asker<'_> {
    /// Whether somebody at this machine asks, for himself, for this machine.
    fn is_here(self) -> bool {
        let is_local = self.peer.is_some_and(|peer| is_loopback(peer.ip()));
        let is_passed_on =
            self.version < Version::HTTP_11 || FORWARDED.iter().any(|name| self.headers.contains_key(*name));
        let host = only(self.headers, header::HOST.as_str());
        is_local && !is_passed_on && host.is_some_and(is_loopback_name)
    }

    /// Whether the browser says that a page of another origin sends the request. Other clients send
    /// no such header.
    fn is_foreign(self) -> bool {
        let site_is_ours = match self.headers.get(FETCH_SITE) {
            None => true,
            // `none`: a person typed the address. Nobody types what changes something.
            Some(site) => site == "same-origin" || (site == "none" && *self.method == Method::GET),
        };
        let origin_is_ours = match self.headers.get(header::ORIGIN) {
            None => true,
            Some(_) => only(self.headers, header::ORIGIN.as_str())
                .and_then(|origin| origin.strip_prefix("http://"))
                .zip(only(self.headers, header::HOST.as_str()))
                .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host)),
        };
        !(site_is_ours && origin_is_ours)
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
    }
}

/// `localhost`, `127.0.0.1` or `[::1]`, with any port.
fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let is_it = address.parse::<Ipv6Addr>().is_ok_and(|address| is_loopback(address.into()));
                return is_it && is_port(port);
            }
            None => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let is_it = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(is_loopback);
    is_it && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

/// A header's value, where there is exactly one that can be read.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
