//! Addresses that a service's recordings must not reach unless an operator allows them: link-local
//! ones, where clouds provide a machine's keys.

// `core`: there is nothing in it to connect with.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::error::PlanError;
use super::output::OutputPlan;
use super::recording_plan::RecordingPlan;
use super::request::EgressRequest;
use super::storage::{Backend, StorageTarget};
use super::stream_url::StreamUrl;

const WHY: &str = "it is a link-local address, which this service does not connect to (`allow_link_local`)";

/// Metadata services that are not link-local: Alibaba Cloud's, Amazon's and Google's by IPv6.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Whether an address is link-local (RFC 3927, RFC 4291 §2.5.6) or a cloud's metadata service, in
/// whichever form.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == METADATA_V4,
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6)
                || embedded(v6).is_some_and(|v4| is_link_local(v4.into()))
        }
    }
}

/// The IPv4 address in one of IPv6: mapped, compatible (RFC 4291 §2.5.5), translated (RFC 7915), by
/// a prefix of NAT64 (RFC 6052, and for one network RFC 8215), or of 6to4 (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let is_at_end = matches!(
        v6.segments(),
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..]
    );
    match v6.octets() {
        [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        [.., a, b, c, d] => v6.to_ipv4().or_else(|| is_at_end.then(|| Ipv4Addr::new(a, b, c, d))),
    }
}

/// Whether a page's address itself is such an address. Names are checked when they are resolved.
#[must_use]
pub fn names_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(v4)) => is_link_local(v4.into()),
        Some(Host::Ipv6(v6)) => is_link_local(v6.into()),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether a stream's address names such an address itself.
#[must_use]
pub fn stream_names_link_local(url: &StreamUrl) -> bool {
    authority_names_link_local(url.expose())
}

/// The same of an address in any scheme, or without one. The URL standard reads numbers in the
/// hosts of `http` alone.
fn authority_names_link_local(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    Url::parse(&format!("http://{authority}/")).is_ok_and(|url| names_link_local(&url))
}

/// Looks at every address that a plan's outputs go to, of storages and of their proxies.
///
/// # Errors
/// For the first that is link-local, with the field of the request that has it.
pub fn check_outputs(request: &EgressRequest, plan: &RecordingPlan) -> Result<(), PlanError> {
    for (at, output) in plan.outputs.iter().enumerate() {
        let field = request.outputs.get(at).map_or("output", |output| output.field.as_str());
        let urls: &[StreamUrl] = match output {
            OutputPlan::Stream(stream) => stream.urls.as_slice(),
            OutputPlan::WebSocket(socket) => std::slice::from_ref(&socket.url),
            OutputPlan::File(_) | OutputPlan::Segments(_) | OutputPlan::Images(_) => &[],
        };
        if let Some(at) = urls.iter().position(stream_names_link_local) {
            return Err(PlanError::invalid(format!("stream url ({field}.urls[{at}])"), WHY));
        }
        let Some(storage) = output.storage() else { continue };
        for target in std::iter::once(&storage.primary).chain(&storage.backup) {
            if let Some(part) = link_local_part(target) {
                return Err(PlanError::invalid(format!("{field}.storage.{part}"), WHY));
            }
        }
    }
    Ok(())
}

fn link_local_part(target: &StorageTarget) -> Option<&'static str> {
    let proxy = match &target.backend {
        Backend::S3(s3) => s3.proxy_config.as_ref(),
        Backend::Gcs(gcs) => gcs.proxy_config.as_ref(),
        Backend::Local | Backend::Azure(_) | Backend::AliOss(_) => None,
    };
    if target.host().is_some_and(authority_names_link_local) {
        return Some("endpoint");
    }
    proxy.filter(|proxy| authority_names_link_local(proxy.url.expose())).map(|_| "proxy.url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_streams_and_storages_are_looked_at_in_every_form() {
        for refused in [
            "rtmp://169.254.169.254/app/key",
            "rtmps://user@[fe80::1]:443/app/key",
            "srt://2852039166:9000?streamid=a",
            "wss://[fd00:ec2::254]/audio",
            "169.254.169.254:9000",
            "http://user:pass@0xA9FEA9FE:3128",
        ] {
            assert!(authority_names_link_local(refused), "{refused}");
        }
        for allowed in [
            "rtmp://h/169.254.169.254/key",
            "twitch://169.254.1.1.x",
            "srt://10.0.0.1:9000",
            "s3.example.com",
        ] {
            assert!(!authority_names_link_local(allowed), "{allowed}");
        }
    }

    #[test]
    fn addresses_of_the_link_are_told_from_others_in_every_form() {
        for refused in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.0.1",
            // The URL standard's other ways to write it.
            "http://2852039166/",
            "http://0xA9FEA9FE/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://100.100.100.200/",
            "http://[fe80::1]/",
            "http://[febf::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd20:ce::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b:1::169.254.169.254]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[::ffff:0:169.254.169.254]/",
            "http://[::ffff:100.100.100.200]/",
        ] {
            assert!(names_link_local(&Url::parse(refused).unwrap()), "{refused}");
        }
        for allowed in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://10.0.0.1/",
            "http://192.168.0.1/",
            "http://100.100.100.201/",
            "http://169.253.0.1/",
            "http://[fd00::1]/",
            "http://[fec0::1]/",
            "http://[2001:db8::1]/",
            "http://[64:ff9b::8.8.8.8]/",
            "http://[2002:808:808::1]/",
            "http://169.254.169.254.example.com/",
            "https://example.com/169.254.169.254",
        ] {
            assert!(!names_link_local(&Url::parse(allowed).unwrap()), "{allowed}");
        }
    }
}
