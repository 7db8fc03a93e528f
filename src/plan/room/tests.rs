use super::*;

fn key(key: &str, secret: &str) -> Option<Signer> {
    Some(Signer { key: key.to_owned(), secret: Secret::new(secret.to_owned()) })
}

fn ticket() -> RoomTicket {
    RoomTicket { name: "stand-up".to_owned(), ..RoomTicket::default() }
}

#[test]
fn what_a_request_brings_along_counts_before_what_the_server_has() {
    let server = Rooms { ws_url: "wss://own.example".to_owned(), signer: key("k", "s"), ..Rooms::default() };
    let own = server.access(&ticket()).unwrap();
    assert_eq!(own.server.as_str(), "wss://own.example/");
    assert!(matches!(&own.entry, RoomEntry::Key(signer) if signer.key == "k"));
    assert!(own.token("EG_1").unwrap().expose().starts_with("eyJ"));

    let (token, ws_url) = (Secret::new("t".to_owned()), "https://theirs.example/a".to_owned());
    let theirs = server.access(&RoomTicket { token, ws_url, ..ticket() }).unwrap();
    assert_eq!(theirs.server.as_str(), "wss://theirs.example/a");
    assert_eq!(theirs.token("EG_1").unwrap().expose(), "t");
}

/// docs/reference/egress.md: the fields have LiveKit's names.
#[test]
fn what_is_missing_is_said_with_what_to_do() {
    for (ws_url, signer, field, help) in [
        ("wss://a.example", None, "token or api key/secret", "LIVEKIT_API_SECRET"),
        ("wss://a.example", key("", "s"), "token or api key/secret", "LIVEKIT_API_KEY"),
        ("wss://a.example", key("k", ""), "token or api key/secret", "give the key"),
        ("", key("k", "s"), "ws_url", "give the address of LiveKit's server"),
        ("livekit.example", key("k", "s"), "ws_url", "write it as wss://"),
        ("ftp://livekit.example", key("k", "s"), "ws_url", "ftp: is not how"),
    ] {
        let rooms = Rooms { ws_url: ws_url.to_owned(), signer, ..Rooms::default() };
        let error = rooms.access(&ticket()).unwrap_err();
        assert_eq!(error.field(), field);
        let text = error.to_string();
        assert!(text.starts_with(&format!("request has missing or invalid field: {field}")), "{text}");
        assert!(text.contains(help), "{text}");
    }
}
