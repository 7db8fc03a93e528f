//! Where a stream's address leads, looked at before GStreamer connects to it by itself.
//!
//! SRT goes to the address that was looked at. RTMP keeps the host's name, which certificates and
//! servers with several hosts go by; it is looked up again by GLib a moment later.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use super::lifecycle::Loss;
use super::pipeline::{SrtMode, srt_mode};
use crate::outbound::{self, Guard};
use crate::plan::stream_url::Transport;

/// Gives the address that may be connected to. Where the guard refuses nothing, that is the one it
/// was given.
pub(super) async fn checked(
    guard: Guard,
    address: &str,
    protocol: Transport,
    within: Duration,
) -> Result<String, Fault> {
    let is_listener = protocol == Transport::Srt && srt_mode(address) == SrtMode::Listener;
    if !guard.refuses_link_local() || is_listener {
        return Ok(address.to_owned());
    }
    let refused = |text: String| Fault { text, loss: Loss::Refused };
    let Some(Place { before, host, port, after }) = Place::of(address) else {
        return Err(refused("the address has no host that can be looked up".to_owned()));
    };
    let lookup = async {
        match protocol {
            Transport::Srt => guard.lookup(host, port).await,
            // It may connect to any of them.
            Transport::Rtmp => guard.lookup_all(host, port).await,
        }
    };
    let found = match tokio::time::timeout(within, lookup).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let text = match outbound::refusal_in(&error) {
                Some(refusal) => refusal.to_string(),
                None => format!("could not look {host} up: {error}"),
            };
            return Err(refused(text));
        }
        Err(_) => {
            let text = format!("could not look {host} up within {} s", within.as_secs_f32());
            return Err(Fault { text, loss: Loss::Interrupted });
        }
    };
    Ok(match (protocol, found.first()) {
        (Transport::Srt, Some(address)) => format!("{before}{}{after}", SocketAddr::new(address.ip(), port)),
        _ => address.to_owned(),
    })
}

/// An address in its parts: all but the host and port as they are.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    /// `rtmp://`
    before: &'a str,
    /// IPv6 without brackets.
    host: &'a str,
    port: u16,
    after: &'a str,
}

impl<'a> Place<'a> {
    /// `None` for one that parsers may read in more than one way.
    fn of(address: &'a str) -> Option<Self> {
        let start = address.find("://")? + 3;
        let (before, rest) = address.split_at(start);
        let (authority, after) = rest.split_at(rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len()));
        let (user, place) = authority.rsplit_once('@').map_or(("", authority), |(user, place)| (user, place));
        if user.contains(['@', '\\']) || place.contains(['\\', '%']) {
            return None;
        }
        let before = &address[..before.len() + authority.len() - place.len()];
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => v6.split_once(']')?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match (port.strip_prefix(':'), before.starts_with("rtmps:")) {
            (Some(port), _) => port.parse().ok()?,
            (None, true) => 443,
            (None, false) => 1935,
        };
        (!host.is_empty()).then_some(Self { before, host, port, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::link_local::is_link_local;

    #[test]
    fn addresses_are_taken_apart() {
        let place = |before, host, port, after| Some(Place { before, host, port, after });
        for (address, expected) in [
            ("rtmp://h/app/key", place("rtmp://", "h", 1935, "/app/key")),
            ("rtmps://h/app/key?a=b:c", place("rtmps://", "h", 443, "/app/key?a=b:c")),
            ("rtmp://u:p@h:1936/app/k@y", place("rtmp://u:p@", "h", 1936, "/app/k@y")),
            ("srt://[fe80::1]:9000?mode=caller", place("srt://", "fe80::1", 9000, "?mode=caller")),
            ("rtmp://a@169.254.169.254@h/app/key", None),
            ("rtmp://h\\@169.254.169.254/app/key", None),
            ("rtmp://h%2f/app/key", None),
            ("rtmp:///app/key", None),
        ] {
            assert_eq!(Place::of(address), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_stream_does_not_lead_to_the_link_by_number_or_by_name() {
        let guard = Guard::refusing(is_link_local);
        let within = Duration::from_secs(20);
        for (address, protocol) in [
            ("rtmp://169.254.169.254/app/key", Transport::Rtmp),
            ("rtmps://[fd00:ec2::254]/app/key", Transport::Rtmp),
            ("rtmp://2852039166:80/app/key", Transport::Rtmp),
            ("srt://169.254.1.1:9000", Transport::Srt),
            // None of these listens: GStreamer calls them.
            ("srt://169.254.1.1:9000?mode=listener&streamid=#x&mode=caller", Transport::Srt),
            ("srt://169.254.1.1:9000#?mode=listener", Transport::Srt),
        ] {
            let fault = checked(guard, address, protocol, within).await.unwrap_err();
            assert_eq!(fault.loss, Loss::Refused, "{address}");
            assert!(fault.text.contains("allow_link_local"), "{address}: {}", fault.text);
            assert_eq!(checked(Guard::open(), address, protocol, within).await.unwrap(), address);
        }
        for (address, protocol, expected) in [
            ("rtmps://127.0.0.1/app/key", Transport::Rtmp, "rtmps://127.0.0.1/app/key"),
            ("rtmp://localhost:1936/app/key", Transport::Rtmp, "rtmp://localhost:1936/app/key"),
            ("srt://127.0.0.1:9000?latency=200", Transport::Srt, "srt://127.0.0.1:9000?latency=200"),
            ("srt://169.254.1.1:9000?mode=listener", Transport::Srt, "srt://169.254.1.1:9000?mode=listener"),
        ] {
            assert_eq!(checked(guard, address, protocol, within).await.unwrap(), expected);
        }
        for options in ["?streamid=a", "?mode=listener&x=#&mode=caller"] {
            let address = format!("srt://localhost:9000{options}");
            let named = checked(guard, &address, Transport::Srt, within).await.unwrap();
            let numbers = ["127.0.0.1", "[::1]"].map(|localhost| format!("srt://{localhost}:9000{options}"));
            assert!(numbers.contains(&named), "{named}");
        }
    }
}
