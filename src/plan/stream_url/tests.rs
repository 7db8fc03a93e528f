use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> StreamUrl {
    StreamUrl::parse(text, None).unwrap()
}

#[test]
fn addresses_and_what_is_shown_of_them() {
    for (text, address, shown) in [
        ("rtmp://host/app/stream", "rtmp://host/app/stream", "rtmp://host/app/{st...am}"),
        (
            "RTMPS://Host:443/a/b/streamkey live=1",
            "rtmps://host:443/a/b/streamkey",
            "rtmps://host:443/a/b/{str...key}",
        ),
        ("rtmp://host/app/abc", "rtmp://host/app/abc", "rtmp://host/app/{a...c}"),
        ("rtmp://host/app/ab", "rtmp://host/app/ab", "rtmp://host/app/{...}"),
        ("rtmp://host/app/", "rtmp://host/app/", "rtmp://host/app/{...}"),
        (
            "rtmp://host/app?token=secret/abcdef",
            "rtmp://host/app?token=secret/abcdef",
            "rtmp://host/app?token={...}/{ab...ef}",
        ),
        (
            "rtmp://host/app/topsecret?sign=/x",
            "rtmp://host/app/topsecret?sign=/x",
            "rtmp://host/app/{top...=/x}",
        ),
        (
            "rtmp://user:password@host/app/abcdef",
            "rtmp://user:password@host/app/abcdef",
            "rtmp://{...}@host/app/{ab...ef}",
        ),
        (
            "mux://0123456789",
            "rtmps://global-live.mux.com:443/app/0123456789",
            "rtmps://global-live.mux.com:443/app/{012...789}",
        ),
        ("twitch://live_123_abc", "twitch://live_123_abc", "twitch://{liv...abc}"),
        (
            "rtmp://fra02.contribute.live-video.net/app/live_123_abc",
            "twitch://live_123_abc",
            "twitch://{liv...abc}",
        ),
        ("srt://Host:9000", "srt://host:9000", "srt://host:9000"),
        (
            "srt://host:9000?streamid=Abc&passphrase=verysecret",
            "srt://host:9000?streamid=Abc&passphrase=verysecret",
            "srt://host:9000?streamid={A...c}&passphrase={...}",
        ),
        (
            "srt://Host:9000?streamid=#!::r=live/room,m=publish&passphrase=very#secret&latency=200",
            "srt://host:9000?streamid=#!::r=live/room,m=publish&passphrase=very#secret&latency=200",
            "srt://host:9000?streamid=#!::r={liv...oom},m=publish&passphrase={...}&latency=200",
        ),
        ("WSS://Host/a?token=secret", "wss://host/a?token=secret", "wss://host/a?token={...}"),
        ("ws://ann:secret@host:8080", "ws://ann:secret@host:8080/", "ws://{...}@host:8080/"),
    ] {
        let url = parse(text);
        assert_eq!((url.expose(), url.redacted()), (address, shown), "{text}");
        assert_eq!(format!("{url} {url:?}"), format!("{shown} {shown}"));
        assert_eq!(url, parse(address), "normalising twice changes nothing");
    }
}

#[test]
fn bad_addresses() {
    for (text, shown, reason) in [
        ("rtmp://host/key123", "rtmp://host/{ke...23}", "must be of format rtmp(s)://"),
        ("rtmp://host", "rtmp://{...}/", "must be of format"),
        ("rtmp:///app/key123", "rtmp:///app/{ke...23}", "must be of format"),
        ("rtmp://host/app/my key", "rtmp://host/app/{my...ey}", "must be of format"),
        ("live_123_abc", "{liv...abc}", "invalid protocol"),
        ("", "", "invalid protocol"),
        ("rtmp://[::1/a/b", "rtmp://[::1/a/{...}", "parse \"rtmp://[::1/a/{...}\": missing ']' in host"),
        ("rtmps://u:p@[::1/a/b", "rtmps://{...}@[::1/a/{...}", "missing ']' in host"),
        ("rtmp://[::g]/a/b", "rtmp://[::g]/a/{...}", "invalid host"),
        ("rtmp://[::1]x/a/b", "rtmp://[::1]x/a/{...}", "invalid port after host"),
        ("rtmp://::1/a/b", "rtmp://::1/a/{...}", "invalid host"),
        ("rtmp://host:port/a/b", "rtmp://host:port/a/{...}", "invalid port after host"),
        ("rtmp://host:99999/a/b", "rtmp://host:99999/a/{...}", "invalid port after host"),
        ("rtmp://host]/a/b", "rtmp://host]/a/{...}", "invalid host"),
        ("srt://[::1:9000", "srt://[::1:9000", "missing ']' in host"),
        ("wss://[::1/x", "wss://[::1/x", "missing ']' in host"),
        ("mux://", "mux://{...}", "stream key"),
        ("twitch://a/b", "twitch://{a...b}", "stream key"),
        ("http://host/?key=1", "http://host/?key={...}", "invalid protocol"),
        ("wss://:9/?key=1", "wss://:9/?key={...}", "write it as wss://example.com/path"),
        ("ws://", "ws://", "write it as ws://example.com/path"),
        ("srt://host", "srt://host", "srt://{host}:{port}"),
        ("srt://:9000?mode=listener", "srt://:9000?mode=listener", "srt://0.0.0.0:9000?mode=listener"),
        ("srt://host:port", "srt://host:port", "invalid port after host"),
    ] {
        let error = StreamUrl::parse(text, None).unwrap_err();
        assert_eq!(error.url, shown);
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
}

#[test]
fn the_scheme_must_be_of_the_protocol() {
    for (text, protocol, fits) in [
        ("rtmp://h/a/k", StreamProtocol::Rtmp, true),
        ("mux://k", StreamProtocol::Rtmp, true),
        ("twitch://k", StreamProtocol::Rtmp, true),
        ("srt://h:1", StreamProtocol::Srt, true),
        ("srt://h:1", StreamProtocol::Rtmp, false),
        ("ws://h/", StreamProtocol::WebSocket, true),
        ("wss://h/", StreamProtocol::Srt, false),
        ("https://h/", StreamProtocol::WebSocket, false),
        ("rtmps://h/a/k", StreamProtocol::Srt, false),
    ] {
        let parsed = StreamUrl::parse(text, Some(protocol));
        assert_eq!(parsed.is_ok(), fits, "{text} as {protocol}");
        if let Err(error) = parsed {
            assert!(error.reason.starts_with("invalid scheme"), "{text}: {error}");
        }
    }
}

/// As LiveKit has it: what can't be read comes first, then the protocol, then the form.
#[test]
fn texts_begin_with_those_of_livekit() {
    let rtmp = Some(StreamProtocol::Rtmp);
    let srt = Some(StreamProtocol::Srt);
    for (text, protocol, begins) in [
        ("", None, "invalid url : invalid protocol"),
        ("", rtmp, "invalid url : invalid scheme"),
        ("http://x/y", None, "invalid url http://x/y: invalid protocol"),
        ("http://x/y", rtmp, "invalid url http://x/y: invalid scheme"),
        ("rtmp://127.0.0.1/a", srt, "invalid url rtmp://127.0.0.1/{...}: invalid scheme"),
        (
            "rtmp://127.0.0.1/a",
            rtmp,
            "invalid url rtmp://127.0.0.1/{...}: rtmp urls must be of format rtmp(s)://{host}(/{path})/{app}/{stream_key}( live=1)",
        ),
        (
            "rtmp://[::1/a/b",
            srt,
            "invalid url rtmp://[::1/a/{...}: parse \"rtmp://[::1/a/{...}\": missing ']' in host",
        ),
    ] {
        let error = StreamUrl::parse(text, protocol).unwrap_err().to_string();
        assert!(error.starts_with(begins), "{text}: {error}");
    }
}

#[test]
fn twitch_is_asked_at_the_connection() {
    let asked = parse("twitch://live_123_abc");
    assert!(asked.needs_lookup());
    assert_eq!(asked.expose(), "twitch://live_123_abc");
}

proptest! {
    #[test]
    fn any_text_is_an_address_or_an_error_and_shows_no_key(
        scheme in "(rtmp|rtmps|srt|mux|twitch|ws|wss|RTMP|x|)", sep in "(://|:|)", rest in ".{0,40}"
    ) {
        let text = format!("{scheme}{sep}{rest}");
        drop(redact::page_url(&text));
        drop(redact::user_info(&text));
        if let Ok(url) = StreamUrl::parse(&text, None) {
            prop_assert_eq!(&StreamUrl::parse(url.expose(), None).unwrap(), &url);
        }
    }

    #[test]
    fn a_key_never_shows(key in "[A-Za-z0-9_-]{12,40}") {
        for text in [
            format!("rtmp://host/app/{key}"), format!("rtmp://host/{key}"), format!("rtmp://{key}"), key.clone(),
            format!("mux://{key}"), format!("twitch://{key}"), format!("srt://host:1?passphrase={key}"),
            format!("srt://user:{key}@host:1"), format!("rtmp://host/app?k={key}/x"), format!("rtmp://h/a/k?{key}=/"),
            format!("wss://host/?token={key}"), format!("wss://bearer:{key}@host/"), format!("wss://{key}@host/"),
            format!("foo://host/?{key}"), format!("rtmp://host/app/{key}?a=b/c/d"), format!("rtmp://u:{key}@h/app/key"),
        ] {
            let shown = match StreamUrl::parse(&text, None) {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(&key), "{} shows {}", text, shown);
        }
    }
}
