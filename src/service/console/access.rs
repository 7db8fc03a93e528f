//! Who is let in: whoever shows a token with the grant `roomRecord`, and whoever sits at this machine.
//!
//! Who is at this machine has no token to show, so that it takes care to tell them from pages that only run here: those of
//! other origins, a recorded one among them, in a browser of this machine.
//!
//! - A name that is not this machine's may still lead here (DNS rebinding): `Host` has to be a loopback name.
//! - A page of another origin can send a request, and show a picture: browsers say where a request comes from (`Origin`,
//!   `Sec-Fetch-Site`), and what changes something has to be JSON, which they send nowhere else without asking first.
//! - Behind a proxy on this machine everybody comes from it: one that says for whom it asks asks for a stranger.
//!
//! Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, Method, header};

use crate::service::error::{Code, ServiceError};
use crate::service::keys::ApiKeys;

const SCHEME: &str = "Bearer ";
const FETCH_SITE: &str = "sec-fetch-site";

/// What proxies add.
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

/// # Errors
/// `unauthenticated`, with what to do; `permission_denied` for what another site's page asks for.
pub(super) fn may(
    keys: &ApiKeys,
    peer: Option<SocketAddr>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ServiceError> {
    // Who shows a token is judged by it. No page of another origin can make a browser send one.
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| value.strip_prefix(SCHEME)).map(str::trim);
        return by_token(keys, token.unwrap_or_default());
    }
    if !is_here(peer, headers) {
        return Err(ServiceError::unauthenticated(format!(
            "{HOW}; only on the service's own machine none is needed"
        )));
    }
    if is_foreign(method, headers) {
        return Err(ServiceError::new(
            Code::PermissionDenied,
            "the request comes from another site's page: open the console by its own address",
        ));
    }
    Ok(())
}

/// Whether a browser of this machine was led to the page by another one. A recorded page could so have itself replaced by the
/// console, and what is seen there would be recorded.
pub(super) fn is_led_here(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    is_here(peer, headers) && is_foreign(&Method::GET, headers)
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

/// Whether somebody at this machine asks, for himself, for this machine.
fn is_here(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let is_local = peer.is_some_and(|peer| is_loopback(peer.ip()));
    let is_passed_on = FORWARDED.iter().any(|name| headers.contains_key(*name));
    let host = only(headers, header::HOST.as_str());
    is_local && !is_passed_on && host.is_some_and(is_loopback_name)
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

/// Whether a browser says that a page of another origin asks. What is no browser says nothing of it.
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let site_is_ours = match headers.get(FETCH_SITE) {
        None => true,
        // `none`: a person typed the address. Nobody types what changes something.
        Some(site) => site == "same-origin" || (site == "none" && *method == Method::GET),
    };
    let origin_is_ours = match headers.get(header::ORIGIN) {
        None => true,
        Some(_) => only(headers, header::ORIGIN.as_str())
            .and_then(|origin| origin.strip_prefix("http://"))
            .zip(only(headers, header::HOST.as_str()))
            .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host)),
    };
    !(site_is_ours && origin_is_ours)
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
