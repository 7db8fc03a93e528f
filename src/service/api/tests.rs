mod fake;
mod json;
mod refusals;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use fake::{Bench, token};

#[tokio::test]
async fn every_kind_of_start_becomes_the_request_that_a_recorder_knows() {
    let bench = Bench::start().await;
    for (method, body) in [
        ("StartEgress", json!({"web": {"url": "https://x/"}, "outputs": [{"file": {"filepath": "a.mp4"}}]})),
        ("StartRoomCompositeEgress", json!({"room_name": "my room"})),
        ("StartWebEgress", json!({"url": "https://x/"})),
        ("StartParticipantEgress", json!({"room_name": "my room", "identity": "ann"})),
        ("StartTrackCompositeEgress", json!({"room_name": "my room", "audio_track_id": "TR_1"})),
        ("StartTrackEgress", json!({"room_name": "my room", "track_id": "TR_1"})),
    ] {
        let answer = bench.call_json(method, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method}: {}", answer.text());
        let started = bench.fake.started.lock().unwrap().pop().unwrap();
        let id = started.egress_id.strip_prefix("EG_").unwrap();
        assert!(id.len() == 12 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert_eq!(answer.json()["egress_id"], started.egress_id);
        let right = match started.request.unwrap() {
            Start::Egress(v2) => method == "StartEgress" && v2.outputs.len() == 1,
            Start::RoomComposite(room) => method == "StartRoomCompositeEgress" && room.room_name == "my room",
            Start::Web(web) => method == "StartWebEgress" && web.url == "https://x/",
            Start::Participant(one) => method == "StartParticipantEgress" && one.identity == "ann",
            Start::TrackComposite(two) => {
                method == "StartTrackCompositeEgress" && two.audio_track_id == "TR_1"
            }
            Start::Track(one) => method == "StartTrackEgress" && one.track_id == "TR_1",
            Start::Replay(_) => false,
        };
        assert!(right, "{method}");
        assert!(started.token.is_empty() && started.ws_url.is_empty());
    }
}

#[tokio::test]
async fn protobuf_is_answered_in_protobuf() {
    let bench = Bench::start().await;
    let asked =
        proto::WebEgressRequest { url: "https://x/".to_owned(), ..proto::WebEgressRequest::default() };
    let answer = bench.call_protobuf("StartWebEgress", asked.encode_to_vec()).await;
    assert_eq!(answer.content_type, "application/protobuf");
    let info = proto::EgressInfo::decode(answer.body).unwrap();
    assert_eq!(info.status(), proto::EgressStatus::EgressStarting);

    let stop = proto::StopEgressRequest { egress_id: "EG_one".to_owned() };
    let answer = bench.call_protobuf("StopEgress", stop.encode_to_vec()).await;
    assert_eq!(proto::EgressInfo::decode(answer.body).unwrap().status(), proto::EgressStatus::EgressEnding);

    let answer = bench.call_protobuf("ListEgress", Vec::new()).await;
    assert_eq!(proto::ListEgressResponse::decode(answer.body).unwrap().items.len(), 1);
}

#[tokio::test]
async fn no_answer_shows_the_secret_in_a_webhooks_address() {
    let bench = Bench::start().await;
    let stop = proto::StopEgressRequest { egress_id: "EG_one".to_owned() };
    for (method, message, body) in [
        ("ListEgress", Vec::new(), json!({})),
        ("StopEgress", stop.encode_to_vec(), json!({"egress_id": "EG_one"})),
    ] {
        for answer in [bench.call_json(method, &body).await, bench.call_protobuf(method, message).await] {
            let (kind, shown) = (&answer.content_type, answer.text());
            assert!(shown.contains("https://receiver.example/?token={...}"), "{method}, {kind}: {shown}");
            assert!(!shown.contains("hush"), "{method}, {kind}: {shown}");
        }
    }
}

#[tokio::test]
async fn the_other_methods_reach_the_service() {
    let bench = Bench::start().await;
    let layout = bench.call_json("UpdateLayout", &json!({"egress_id": "EG_one", "layout": "grid"})).await;
    assert_eq!(layout.json()["details"], "layout grid");
    let streams =
        json!({"egressId": "EG_one", "addOutputUrls": ["rtmp://a/b"], "remove_output_urls": ["rtmp://c/d"]});
    let streams = bench.call_json("UpdateStream", &streams).await;
    assert_eq!(streams.json()["details"], "1 added, 1 removed");
    let list = bench
        .call_json("ListEgress", &json!({"room_name": "r", "active": true, "page_token": {"token": "t"}}))
        .await;
    assert_eq!(list.json()["items"][0]["details"], "room r, active true, token t");
    let unknown = bench.call_json("StopEgress", &json!({"egress_id": "EG_x"})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.json(), json!({"code": "not_found", "msg": "egress does not exist"}));
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_stop_the_start() {
    let bench = Bench::start().await;
    bench.fake.hold.send_replace(true);
    let answer = bench
        .request("StartWebEgress", &[("content-type", "application/json"), ("x-twirp-timeout-ms", "100")])
        .body(r#"{"url":"https://x/"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({"code": "deadline_exceeded", "msg": "request timed out"}));
    assert!(bench.fake.started.lock().unwrap().is_empty());
    bench.fake.hold.send_replace(false);
    bench.api.tasks.close();
    let done = tokio::time::timeout(Duration::from_secs(20), bench.api.tasks.wait());
    done.await.expect("the start ends");
    assert_eq!(bench.fake.started.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_of_any_origin_may_call() {
    let bench = Bench::start().await;
    let preflight = bench
        .http
        .request(Method::OPTIONS, bench.url("ListEgress"))
        .header("origin", "https://console.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), StatusCode::OK);
    let header = |name: &str| preflight.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), "https://console.example");
    assert_eq!(header("access-control-allow-headers"), "authorization,content-type");
    assert_eq!(header("access-control-max-age"), "86400");
    assert!(header("access-control-allow-methods").contains("POST"));

    let call =
        bench.request("ListEgress", &[("content-type", "application/json"), ("origin", "https://a.example")]);
    let answer = call.body("{}").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers()["access-control-expose-headers"], "*");
}

#[tokio::test]
async fn a_slash_too_many_and_a_token_in_the_address_do() {
    let bench = Bench::start().await;
    let url = format!("{}//twirp/livekit.Egress/ListEgress?access_token={}", bench.base, token(true));
    let answer = bench.http.post(url).header("content-type", "application/json; charset=UTF-8").body("{}");
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::OK);
}

#[test]
fn the_api_prints_without_its_keys() {
    assert!(!format!("{:?}", Bench::keys()).contains(fake::SECRET));
}
