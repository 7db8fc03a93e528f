use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use livekit_token::AccessToken;
use serde_json::{Value, json};

use super::*;

fn signer() -> Signer {
    Signer { key: "devkey".to_owned(), secret: Secret::new("a secret of some length".to_owned()) }
}

fn keys() -> ApiKeys {
    [("devkey".to_owned(), signer().secret), ("blank".to_owned(), Secret::new(String::new()))]
        .into_iter()
        .collect()
}

/// The claims as they are on the wire, read without the library that wrote them.
fn claims(token: &Secret<String>) -> Value {
    let part = token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn a_recorder_joins_its_room_unseen_and_only_listens() {
    let claims = claims(&signer().recorder("my room", "EG_abc").unwrap());
    assert_eq!(claims["iss"], "devkey");
    assert_eq!(claims["sub"], "EG_abc");
    assert_eq!(claims["kind"], "egress");
    // The flags that are false are written, too: left out, they would mean true.
    assert_eq!(
        claims["video"],
        json!({
            "roomJoin": true, "room": "my room", "canSubscribe": true, "canPublish": false, "canPublishData": false,
            "hidden": true, "recorder": true,
        })
    );
    let left = claims["exp"].as_i64().unwrap() - now();
    assert!((86_390..=86_400).contains(&left), "{left} s");
    assert!(claims["nbf"].as_i64().unwrap() <= now());
}

#[test]
fn a_recorder_needs_a_room_and_an_id() {
    assert!(signer().recorder("", "EG_abc").is_err());
    assert!(signer().recorder("room", "").is_err());
    let keyless = Signer { key: String::new(), secret: Secret::new(String::new()) };
    assert!(keyless.recorder("room", "EG_abc").is_err());
}

#[test]
fn an_admin_is_one_of_one_room() {
    let claims = claims(&signer().room_admin("my room").unwrap());
    assert_eq!(claims["video"], json!({"roomAdmin": true, "room": "my room"}));
    let left = claims["exp"].as_i64().unwrap() - now();
    assert!((290..=300).contains(&left), "{left} s");
}

#[test]
fn what_is_signed_here_is_accepted_here() {
    let token = signer().room_admin("room").unwrap();
    let claims = keys().verify(token.expose()).unwrap();
    assert!(claims.video.room_admin);
}

#[test]
fn what_is_not_in_order_is_refused() {
    let token = |build: &dyn Fn(AccessToken) -> AccessToken, key: &str, secret: &str| {
        build(AccessToken::with_api_key(key, secret)).to_jwt().unwrap()
    };
    let good = signer().secret;
    let as_is: &dyn Fn(AccessToken) -> AccessToken = &|token| token;
    let refused = |token: &str| keys().verify(token).unwrap_err();

    assert_eq!(refused(&token(as_is, "devkey", "another secret")), TokenError::Invalid);
    assert_eq!(refused(&token(as_is, "nobody", good.expose())), TokenError::UnknownKey("nobody".to_owned()));
    assert_eq!(refused(&token(as_is, "blank", "x")), TokenError::UnknownKey("blank".to_owned()));
    for rubbish in ["", "x", "a.b.c", "a.b", &"x".repeat(10_000)] {
        assert_eq!(refused(rubbish), TokenError::Malformed, "{rubbish:.10}");
    }
    // One letter of what was signed.
    let whole = token(as_is, "devkey", good.expose());
    let (head, signature) = whole.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    assert_eq!(refused(&format!("{head}.{first}{}", &signature[1..])), TokenError::Invalid);
}

/// A token with just these claims, signed with our secret.
fn raw(header: &Value, claims: &Value) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(signer().secret.expose().as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn only_the_time_between_is_good() {
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let check = |claims: Value| keys().verify(&raw(&hs256, &claims)).map(|_| ());
    let base = |exp: i64, nbf: i64| json!({"iss": "devkey", "exp": now() + exp, "nbf": now() + nbf});
    assert_eq!(check(base(60, 0)), Ok(()));
    assert_eq!(check(base(-120, -300)), Err(TokenError::Invalid));
    assert_eq!(check(base(600, 300)), Err(TokenError::Invalid));
    assert_eq!(check(json!({"iss": "devkey"})), Err(TokenError::Invalid), "for ever");
}

#[test]
fn only_the_one_algorithm_is_good() {
    let claims = json!({"iss": "devkey", "exp": now() + 60});
    for alg in ["none", "HS384", "HS512", "RS256"] {
        let token = raw(&json!({"alg": alg, "typ": "JWT"}), &claims);
        assert!(keys().verify(&token).is_err(), "{alg}");
    }
    let unsigned = raw(&json!({"alg": "HS256"}), &claims);
    let (head, _) = unsigned.rsplit_once('.').unwrap();
    assert!(keys().verify(&format!("{head}.")).is_err());
}

#[test]
fn a_signer_prints_without_its_secret() {
    assert!(!format!("{:?}", signer()).contains("length"));
}
