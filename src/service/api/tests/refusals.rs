//! Refused calls and their errors.

use super::*;
use livekit_token::{AccessToken, VideoGrants};

#[tokio::test]
async fn only_whoever_may_record_is_let_in() {
    let bench = Bench::start().await;
    let grants = || VideoGrants { room_record: true, ..VideoGrants::default() };
    let wrong =
        AccessToken::with_api_key(fake::KEY, "another secret").with_grants(grants()).to_jwt().unwrap();
    let stranger = AccessToken::with_api_key("nobody", fake::SECRET).with_grants(grants()).to_jwt().unwrap();
    let ask = async |authorization: Option<String>| {
        let call =
            bench.http.post(bench.url("ListEgress")).header("content-type", "application/json").body("{}");
        let call = match authorization {
            Some(value) => call.header("authorization", value),
            None => call,
        };
        let answer = Bench::answer(call).await;
        (answer.status.as_u16(), answer.json()["code"].as_str().unwrap_or("let in").to_owned(), answer.text())
    };
    let (status, _, _) = ask(Some(format!("Bearer {}", token(true)))).await;
    assert_eq!(status, 200);
    for (authorization, says) in [
        (None, "permissions denied"),
        (Some(String::new()), "permissions denied"),
        // What stands at the end of a header is not sent.
        (Some("Bearer ".to_owned()), "Must start with Bearer"),
        (Some(token(true)), "Must start with Bearer"),
        (Some(format!("Basic {}", token(true))), "Must start with Bearer"),
        (Some("Bearer rubbish".to_owned()), "invalid authorization token"),
        (Some(format!("Bearer {wrong}")), "invalid token"),
        (Some(format!("Bearer {stranger}")), "invalid API key: nobody"),
        (Some(format!("Bearer {}", token(false))), "permissions denied"),
    ] {
        let (status, code, text) = ask(authorization.clone()).await;
        assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{authorization:?}");
        assert!(text.contains(says), "{authorization:?}: {text}");
    }
    // Nor does a token in the address help, where the header holds another.
    let url = format!("{}?access_token={}", bench.url("ListEgress"), token(true));
    let call = bench.http.post(url).bearer_auth(wrong).header("content-type", "application/json").body("{}");
    assert_eq!(Bench::answer(call).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_route_that_is_none_is_told() {
    let bench = Bench::start().await;
    let json = [("content-type", "application/json")];
    for path in [
        "/twirp/livekit.Egress/Nothing",
        "/twirp/livekit.RoomService/ListRooms",
        "/twirp/livekit.Egress",
        "/twirp/livekit.Egress/ListEgress/more",
    ] {
        let call = bench.http.post(format!("{}{path}", bench.base)).header(json[0].0, json[0].1).body("{}");
        let answer = Bench::answer(call).await;
        assert_eq!(answer.status.as_u16(), 404, "{path}");
        let expected = json!({
            "code": "bad_route", "msg": format!("no handler for path {path:?}"),
            "meta": {"twirp_invalid_route": format!("POST {path}")},
        });
        assert_eq!(answer.json(), expected);
    }
    let get = Bench::answer(bench.http.get(bench.url("ListEgress"))).await;
    assert_eq!((get.status.as_u16(), &get.json()["code"]), (404, &json!("bad_route")));
    for content_type in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"] {
        let call = bench.request("ListEgress", &[("content-type", content_type)]).body("{}");
        let answer = Bench::answer(call).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (404, &json!("bad_route")),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_malformed_and_not_repeated() {
    let bench = Bench::start().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "7",
        r#"{"url": 7}"#,
        r#"{"fileOutputs": {"hush": 1}}"#,
        r#"{"preset":"hush"}"#,
    ] {
        let call = bench.request("StartWebEgress", &[("content-type", "application/json")]).body(body);
        let answer = Bench::answer(call).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("malformed")), "{body}");
        assert!(!answer.text().contains("hush"), "{}", answer.text());
    }
    let answer = bench.call_protobuf("StartWebEgress", vec![0xff; 10]).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("malformed")));
    assert!(answer.content_type.starts_with("application/json"), "errors are JSON");
    assert!(bench.fake.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let bench = Bench::start().await;
    let large = json!({"url": "x".repeat(LARGEST)});
    let answer = bench.call_json("StartWebEgress", &large).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("malformed")));
    let just_fits = json!({"url": "x".repeat(LARGEST - 100)});
    assert_eq!(bench.call_json("StartWebEgress", &just_fits).await.status.as_u16(), 200);
}

#[tokio::test]
async fn webhooks_with_an_unknown_key_are_refused() {
    let bench = Bench::start().await;
    let asked = json!({"url": "https://x/", "webhooks": [{"url": "https://y/", "signing_key": "nobody"}]});
    let answer = bench.call_json("StartWebEgress", &asked).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("invalid_argument")));
    assert!(answer.text().contains("webhooks[0].signing_key"));
    let asked = json!({"url": "https://x/", "webhooks": [{"url": "https://y/", "signingKey": fake::KEY}]});
    assert_eq!(bench.call_json("StartWebEgress", &asked).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_defect_behind_the_api_is_an_internal_error() {
    let bench = Bench::start().await;
    let answer = bench.call_json("StopEgress", &json!({"egress_id": "EG_panic"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (500, &json!("internal")));
    assert_eq!(bench.call_json("StopEgress", &json!({"egress_id": "EG_one"})).await.status.as_u16(), 200);
}
