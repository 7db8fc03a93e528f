//! SRT addresses without their secrets. The part that distinguishes two streams to one server stays
//! readable, like the ends of an RTMP key.

use percent_encoding::percent_decode_str;

use super::secret_values::names_secret;
use super::url::{key, user_info};

const HIDDEN: &str = "{...}";

/// Options that say how a connection is made: those of libsrt, GStreamer and FFmpeg. All others are
/// hidden.
const HARMLESS: [&str; 39] = [
    "adapter",
    "congestion",
    "conntimeo",
    "connect_timeout",
    "cryptomode",
    "enforced_encryption",
    "enforcedencryption",
    "fc",
    "ffs",
    "groupconnect",
    "inputbw",
    "iptos",
    "ipttl",
    "ipv6only",
    "kmpreannounce",
    "kmrefreshrate",
    "latency",
    "linger",
    "localaddress",
    "localport",
    "lossmaxttl",
    "maxbw",
    "messageapi",
    "minversion",
    "mode",
    "mss",
    "nakreport",
    "oheadbw",
    "packetfilter",
    "payload_size",
    "payloadsize",
    "pbkeylen",
    "peerlatency",
    "pkt_size",
    "poll-timeout",
    "rcvlatency",
    "timeout",
    "tlpktdrop",
    "transtype",
];

/// Whether the value of an option may be read by everybody.
#[must_use]
pub fn is_harmless_srt_option(name: &str, value: &str) -> bool {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | ',' | '-' | '_' | '[' | ']');
    HARMLESS.contains(&name) && value.len() <= 64 && value.chars().all(is_plain)
}

/// The part after `srt://`. A `#` in the query belongs to it, as in `streamid=#!::r=live/room`.
pub(super) fn address(rest: &str) -> String {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    // Nothing reads what follows a `#` here; it may be a value that was meant for the query.
    let (place, fragment) = match place.split_once('#') {
        Some((place, _)) => (place, "#{...}"),
        None => (place, ""),
    };
    // `user_info` wants an address; the scheme is cut off again.
    let place = user_info(&format!("srt://{place}"));
    let shown = format!("{}{fragment}", place.trim_start_matches("srt://"));
    match query {
        None => shown,
        Some(query) => {
            let options: Vec<String> = query.split('&').map(option).collect();
            format!("{shown}?{}", options.join("&"))
        }
    }
}

fn option(option: &str) -> String {
    match option.split_once('=') {
        Some(("streamid", id)) => format!("streamid={}", stream_id(id)),
        Some((name, value)) if is_harmless_srt_option(name, value) => option.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None if option.is_empty() => String::new(),
        // A value without a name may be a secret too.
        None => HIDDEN.to_owned(),
    }
}

/// A stream id: one key; or the list of SRT's access control, `#!::r=live/room,m=publish,u=me`, of
/// which the resource is the key; or MediaMTX's `publish:room:user:password`.
fn stream_id(id: &str) -> String {
    let decoded = percent_decode_str(id).decode_utf8_lossy();
    if let Some(list) = decoded.strip_prefix("#!::") {
        let fields: Vec<String> = list.split(',').map(field).collect();
        return format!("#!::{}", fields.join(","));
    }
    let parts: Vec<&str> = decoded.split(':').collect();
    match parts.as_slice() {
        [action @ ("publish" | "read" | "request"), path, hidden @ ..] if !hidden.is_empty() => {
            format!("{action}:{}{}", key(path), format!(":{HIDDEN}").repeat(hidden.len()))
        }
        _ if names_secret(&decoded) => HIDDEN.to_owned(),
        _ => key(id),
    }
}

/// A field of the list: type and mode are words of the protocol, and user and session may be
/// secrets.
fn field(field: &str) -> String {
    match field.split_once('=') {
        Some(("r", resource)) => format!("r={}", key(resource)),
        Some((name @ ("m" | "t"), value)) if value.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{name}={value}")
        }
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address() {
        for (rest, shown) in [
            ("host:9000", "host:9000"),
            (
                "host:9000?mode=caller&latency=200&pbkeylen=16",
                "host:9000?mode=caller&latency=200&pbkeylen=16",
            ),
            ("host:9000?streamid=publish-cam-one", "host:9000?streamid={pub...one}"),
            ("host:9000?streamid=", "host:9000?streamid={...}"),
            ("host:9000?passphrase=hunter2&mode=caller", "host:9000?passphrase={...}&mode=caller"),
            ("host:9000?passphrase=hun#ter2", "host:9000?passphrase={...}"),
            ("host:9000?passphrase=hun&ter2", "host:9000?passphrase={...}&{...}"),
            ("host:9000?Passphrase=hunter2&x=hunter2", "host:9000?Passphrase={...}&x={...}"),
            ("host:9000?latency=hunter2%20", "host:9000?latency={...}"),
            ("host:9000#!::s=hunter2", "host:9000#{...}"),
            ("me:hunter2@host:9000?mode=caller", "{...}@host:9000?mode=caller"),
            (
                "host:9000?streamid=#!::r=live/room,m=publish,u=me,s=hunter2,x",
                "host:9000?streamid=#!::r={liv...oom},m=publish,u={...},s={...},{...}",
            ),
            (
                "host:9000?streamid=%23!::r%3Dlive%2Froom%2Cm%3Dhunter2!",
                "host:9000?streamid=#!::r={liv...oom},m={...}",
            ),
            (
                "host:9000?streamid=publish:camera:me:hunter2",
                "host:9000?streamid=publish:{ca...ra}:{...}:{...}",
            ),
            ("host:9000?streamid=room,password=hunter2", "host:9000?streamid={...}"),
        ] {
            assert_eq!(address(rest), shown, "{rest}");
        }
    }

    #[test]
    fn two_streams_to_one_server_are_told_apart() {
        for (one, other) in [
            ("cam-a", "cam-b"),
            ("publish:cam-a", "publish:cam-b"),
            ("publish:cam-a:me:hunter2", "publish:cam-b:me:hunter2"),
            ("#!::r=live/a,m=publish", "#!::r=live/b,m=publish"),
            ("#!::m=publish,r=live/a,u=me", "#!::m=publish,r=live/b,u=me"),
        ] {
            assert_ne!(stream_id(one), stream_id(other));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_and_no_passphrase_survives(before in "[a-z0-9=&#?:/@%]{0,20}", secret in "[A-Z]{8,20}") {
            drop(address(&before));
            let shown = address(&format!("host:9000?{before}&passphrase={secret}"));
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
            let shown = address(&format!("host:9000#{before}{secret}"));
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
