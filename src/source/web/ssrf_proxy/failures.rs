//! Why the last connections of a browser were not made. Chromium knows only that its proxy did not
//! connect.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use fast_socks5::util::target_addr::TargetAddr;
use url::{Host, Url};

/// Targets that are kept, the newest.
const KEPT: usize = 32;

/// Why a connection was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    LinkLocal,
    OwnPort,
    NotFound,
    Refused,
    Unreachable,
}

/// Host, without a root's dot and in lower case, and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl Target {
    fn new(host: &str, port: u16) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        Self { host: host.to_ascii_lowercase(), port }
    }

    /// Chromium asks for an IPv4 address where a page names it as an IPv6 one.
    fn of_ip(ip: IpAddr, port: u16) -> Self {
        Self::new(&ip.to_canonical().to_string(), port)
    }

    pub(super) fn asked(target: &TargetAddr) -> Self {
        match target {
            TargetAddr::Ip(address) => Self::of_ip(address.ip(), address.port()),
            TargetAddr::Domain(name, port) => Self::new(name, *port),
        }
    }

    fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let port = url.port_or_known_default()?;
        Some(match url.host()? {
            Host::Domain(name) => Self::new(name, port),
            Host::Ipv4(ip) => Self::of_ip(ip.into(), port),
            Host::Ipv6(ip) => Self::of_ip(ip.into(), port),
        })
    }
}

/// The newest failure of each target, the oldest target first.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<(Target, Failure)>>);

impl Failures {
    /// Replaces what is known of a target. `None`: it was connected to.
    pub(super) fn set(&self, target: &Target, failure: Option<Failure>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(other, _)| other != target);
        known.extend(failure.map(|failure| (target.clone(), failure)));
        if known.len() > KEPT {
            known.pop_front();
        }
    }

    /// Why an address was not reached. Chromium connects to hosts of its own meanwhile, so that the
    /// newest failure counts only where none of this host is known.
    pub(super) fn of(&self, url: &str) -> Option<Failure> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let target = Target::of(url);
        let of_page = known.iter().find(|(other, _)| Some(other) == target.as_ref());
        of_page.or(known.back()).map(|(_, failure)| *failure)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn asked(host: &str, port: u16) -> Target {
        let target = match host.parse() {
            Ok(ip) => TargetAddr::Ip(SocketAddr::new(ip, port)),
            Err(_) => TargetAddr::Domain(host.to_owned(), port),
        };
        Target::asked(&target)
    }

    #[test]
    fn a_page_has_its_own_hosts_failure_and_none_of_chromiums() {
        let failures = Failures::default();
        assert_eq!(failures.of("http://a.test/"), None);
        failures.set(&asked("A.test.", 80), Some(Failure::Refused));
        failures.set(&asked("127.0.0.1", 8080), Some(Failure::OwnPort));
        failures.set(&asked("::1", 443), Some(Failure::LinkLocal));
        failures.set(&asked("chromiums.own.test", 443), Some(Failure::NotFound));
        assert_eq!(failures.of("http://a.test/page?token=…"), Some(Failure::Refused));
        assert_eq!(failures.of("http://127.0.0.1:8080/"), Some(Failure::OwnPort));
        assert_eq!(failures.of("http://[::ffff:127.0.0.1]:8080/"), Some(Failure::OwnPort));
        assert_eq!(failures.of("https://[::1]/"), Some(Failure::LinkLocal));
        assert_eq!(failures.of("http://redirected.test/"), Some(Failure::NotFound), "the newest");
        assert_eq!(failures.of("no address"), Some(Failure::NotFound));
    }

    #[test]
    fn what_is_connected_to_has_no_failure_any_more() {
        let failures = Failures::default();
        failures.set(&asked("a.test", 80), Some(Failure::Refused));
        failures.set(&asked("b.test", 80), Some(Failure::NotFound));
        failures.set(&asked("a.test", 80), None);
        assert_eq!(failures.of("http://a.test/"), Some(Failure::NotFound));
    }

    #[test]
    fn a_page_that_tries_without_end_fills_no_memory() {
        let failures = Failures::default();
        for port in 1..10_000 {
            failures.set(&asked("a.test", port), Some(Failure::Refused));
        }
        assert_eq!(failures.0.lock().unwrap().len(), KEPT);
    }
}
