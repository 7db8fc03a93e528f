use axum::http::HeaderValue;
use livekit_token::{AccessToken, VideoGrants};

use super::*;
use crate::secret::Secret;

const SECRET: &str = "a secret of some length";
const HERE: &str = "127.0.0.1:50000";
const LAN: &str = "192.168.1.7:50000";

fn keys() -> ApiKeys {
    [("devkey".to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect()
}

fn token(key: &str, secret: &str, may_record: bool) -> String {
    let grants = VideoGrants { room_record: may_record, ..VideoGrants::default() };
    AccessToken::with_api_key(key, secret).with_grants(grants).to_jwt().unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn asker<'a>(peer: &str, method: &'a Method, headers: &'a HeaderMap) -> Asker<'a> {
    Asker { peer: peer.parse().ok(), version: Version::HTTP_11, method, headers }
}

/// With a session's token, unless the lines have an `authorization` header.
fn ask(peer: &str, method: &Method, lines: &[(&'static str, &str)]) -> Result<(), Code> {
    let mut all = lines.to_vec();
    if !lines.iter().any(|(name, _)| *name == "authorization") {
        all.push(("authorization", "Bearer ws_on"));
    }
    judged(peer, method, &all)
}

fn judged(peer: &str, method: &Method, lines: &[(&'static str, &str)]) -> Result<(), Code> {
    may(&keys(), is_on, asker(peer, method, &headers(lines))).map_err(|error| {
        assert!(!error.message.contains(SECRET) && !error.message.contains("ws_"));
        error.code
    })
}

fn is_on(token: &str) -> bool {
    token == "ws_on"
}

#[test]
fn nobody_is_let_in_for_sitting_at_the_machine() {
    let host = ("host", "localhost:7981");
    for lines in
        [vec![host], vec![host, ("sec-fetch-site", "none")], vec![host, ("sec-fetch-site", "same-origin")]]
    {
        assert_eq!(judged(HERE, &Method::GET, &lines), Err(Code::Unauthenticated), "{lines:?}");
    }
    for value in ["Bearer ws_over", "Bearer ws_", "Basic ws_on", "ws_on", "Bearer wk_on", "Bearer", ""] {
        let lines = [host, ("authorization", value)];
        assert_eq!(judged(HERE, &Method::GET, &lines), Err(Code::Unauthenticated), "{value}");
    }
    let lines = headers(&[host]);
    let refused = may(&keys(), is_on, asker(HERE, &Method::GET, &lines)).unwrap_err();
    assert!(refused.message.contains("weir console"), "it says what to do: {refused}");
}

#[test]
fn a_session_is_good_at_the_machine_by_its_names() {
    for peer in [HERE, "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        for host in ["localhost", "localhost:7981", "LocalHost:80", "127.0.0.1:7981", "[::1]:7981", "[::1]"] {
            for method in [Method::GET, Method::POST] {
                assert_eq!(ask(peer, &method, &[("host", host)]), Ok(()), "{peer} {host}");
            }
        }
    }
}

#[test]
fn a_name_that_only_leads_here_is_not_this_machine() {
    for host in [
        "evil.example",
        "evil.example:7981",
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.nip.io",
        "127.0.0.1@evil.example",
        "0.0.0.0:7981",
        "192.168.1.7:7981",
        "[::2]:7981",
        "[::1",
        "[::1]evil",
        "localhost:evil",
        "localhost:99999",
        "",
    ] {
        assert_eq!(ask(HERE, &Method::GET, &[("host", host)]), Err(Code::Unauthenticated), "{host}");
    }
    assert_eq!(ask(HERE, &Method::GET, &[]), Err(Code::Unauthenticated), "no name at all");
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(ask(HERE, &Method::GET, &two), Err(Code::Unauthenticated));
}

#[test]
fn who_comes_from_elsewhere_needs_a_token() {
    assert_eq!(ask(LAN, &Method::GET, &[("host", "localhost:7981")]), Err(Code::Unauthenticated));
    for name in FORWARDED {
        let lines = [("host", "localhost:7981"), (name, "203.0.113.9")];
        assert_eq!(ask(HERE, &Method::GET, &lines), Err(Code::Unauthenticated), "{name}");
    }
    let here = headers(&[("host", "localhost"), ("authorization", "Bearer ws_on")]);
    let unknown = may(&keys(), is_on, asker("not known", &Method::GET, &here)).unwrap_err();
    assert!(unknown.message.contains("roomRecord"), "it says what to do: {unknown}");
    // As nginx asks when nobody has told it to say more.
    let old = Asker { version: Version::HTTP_10, ..asker(HERE, &Method::GET, &here) };
    assert_eq!(may(&keys(), is_on, old).unwrap_err().code, Code::Unauthenticated);
    assert_eq!(may(&keys(), is_on, Asker { version: Version::HTTP_11, ..old }), Ok(()));
}

#[test]
fn a_token_lets_in_from_anywhere_and_a_wrong_one_from_nowhere() {
    let bearer = |token: String| format!("Bearer {token}");
    let good = bearer(token("devkey", SECRET, true));
    for lines in [
        vec![("host", "weir.example"), ("authorization", good.as_str())],
        vec![("host", "weir.example"), ("authorization", good.as_str()), ("x-forwarded-for", "203.0.113.9")],
    ] {
        assert_eq!(ask(LAN, &Method::POST, &lines), Ok(()));
    }
    for wrong in [
        bearer(token("devkey", "another secret, as long", true)),
        bearer(token("nobody", SECRET, true)),
        bearer(token("devkey", SECRET, false)),
        bearer("rubbish".to_owned()),
        token("devkey", SECRET, true),
        "Bearer ".to_owned(),
        format!("Basic {}", token("devkey", SECRET, true)),
    ] {
        for peer in [LAN, HERE] {
            let lines = [("host", "localhost:7981"), ("authorization", wrong.as_str())];
            assert_eq!(ask(peer, &Method::GET, &lines), Err(Code::Unauthenticated), "{wrong}");
        }
    }
    // Without a key there is no valid token.
    let shown = headers(&[("authorization", &good)]);
    let none = may(&ApiKeys::default(), is_on, asker(LAN, &Method::GET, &shown));
    assert_eq!(none.unwrap_err().code, Code::Unauthenticated);
}

#[test]
fn another_sites_page_in_a_browser_of_this_machine_gets_nothing() {
    let host = ("host", "localhost:7981");
    for method in [Method::GET, Method::POST] {
        for line in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "rubbish"),
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "https://localhost:7981"),
            ("origin", "http://localhost:7981.evil.example"),
            ("origin", "null"),
            ("origin", ""),
        ] {
            assert_eq!(ask(HERE, &method, &[host, line]), Err(Code::PermissionDenied), "{method} {line:?}");
        }
        let both = [host, ("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")];
        assert_eq!(ask(HERE, &method, &both), Err(Code::PermissionDenied));
        let ours = [host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:7981")];
        assert_eq!(ask(HERE, &method, &ours), Ok(()));
    }
    let typed = [host, ("sec-fetch-site", "none")];
    assert_eq!(ask(HERE, &Method::GET, &typed), Ok(()), "a person typed it");
    assert_eq!(ask(HERE, &Method::POST, &typed), Err(Code::PermissionDenied));
}

#[test]
fn the_page_is_not_for_those_who_were_led_to_it_on_this_machine() {
    let led = |peer, lines: &[(&'static str, &str)]| is_led_here(asker(peer, &Method::GET, &headers(lines)));
    assert!(led(HERE, &[("host", "localhost:7981"), ("sec-fetch-site", "cross-site")]));
    assert!(led(HERE, &[("host", "localhost:7981"), ("sec-fetch-site", "same-site")]));
    assert!(!led(HERE, &[("host", "localhost:7981"), ("sec-fetch-site", "none")]));
    assert!(!led(HERE, &[("host", "localhost:7981")]));
    // They will be asked for a token.
    assert!(!led(LAN, &[("host", "weir.example"), ("sec-fetch-site", "cross-site")]));
    assert!(!led(HERE, &[("host", "weir.example"), ("sec-fetch-site", "cross-site"), ("via", "1.1 proxy")]));
}

#[test]
fn only_what_says_that_it_is_json_is_json() {
    for (said, is) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("text/plain", false),
        ("text/plain; application/json", false),
        ("application/x-www-form-urlencoded", false),
        ("application/jsonp", false),
    ] {
        assert_eq!(is_json(&headers(&[("content-type", said)])), is, "{said}");
    }
    assert!(!is_json(&HeaderMap::new()));
    assert!(!is_json(&headers(&[("content-type", "application/json"), ("content-type", "text/plain")])));
}
