use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use tokio_util::task::TaskTracker;

use super::*;
use crate::ports;
use crate::secret::Secret;
use crate::service::keys::ApiKeys;

fn signer() -> Signer {
    Signer { key: "devkey".to_owned(), secret: Secret::new("a secret of some length".to_owned()) }
}

fn in_room(room: &str) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: "EG_one".to_owned(),
        room_name: room.to_owned(),
        ..proto::EgressInfo::default()
    }
}

/// Requests received by a `RoomService`.
#[derive(Debug, Default)]
struct Asked {
    requests: Vec<(String, proto::UpdateParticipantRequest)>,
}

/// A `RoomService` that knows `EG_one` in `room`, and refuses tokens that are not for it.
async fn room_service(tasks: &TaskTracker) -> (String, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let keep = asked.clone();
    let answer = async move |headers: HeaderMap, body: Bytes| {
        let request = proto::UpdateParticipantRequest::decode(body).unwrap();
        let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let keys: ApiKeys = [(signer().key, signer().secret)].into_iter().collect();
        let claims = keys.verify(&token).unwrap();
        assert!(claims.video.room_admin && claims.video.room == request.room);
        let content_type = headers["content-type"].to_str().unwrap().to_owned();
        let known = request.room == "room";
        keep.lock().unwrap().requests.push((content_type, request));
        if known {
            proto::ParticipantInfo::default().encode_to_vec().into_response()
        } else {
            let text = r#"{"code":"not_found","msg":"participant does not exist"}"#;
            (StatusCode::NOT_FOUND, text).into_response()
        }
    };
    let router = axum::Router::new()
        .route("/base/twirp/livekit.RoomService/UpdateParticipant", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}/base/", listener.local_addr().unwrap());
    tasks.spawn(axum::serve(listener, router).into_future());
    (address, asked)
}

#[tokio::test]
async fn a_layout_becomes_the_recorders_metadata() {
    let (address, asked) = room_service(&TaskTracker::new()).await;
    let layouts = Layouts::new(&address, signer(), reqwest::Client::new()).unwrap();
    layouts.update(&in_room("room"), "speaker\"dark").await.unwrap();
    let asked = asked.lock().unwrap();
    let (content_type, request) = &asked.requests[0];
    assert_eq!(content_type, "application/protobuf");
    assert_eq!(request.identity, "EG_one");
    assert_eq!(request.metadata, r#"{"layout":"speaker\"dark"}"#);
}

#[tokio::test]
async fn livekits_answer_is_passed_on() {
    let (address, _) = room_service(&TaskTracker::new()).await;
    let layouts = Layouts::new(&address, signer(), reqwest::Client::new()).unwrap();
    let refused = layouts.update(&in_room("another"), "grid").await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (Code::NotFound, NOT_THERE));
}

#[tokio::test]
async fn an_egress_in_no_room_is_not_asked_about() {
    let (address, asked) = room_service(&TaskTracker::new()).await;
    let layouts = Layouts::new(&address, signer(), reqwest::Client::new()).unwrap();
    let refused = layouts.update(&in_room(""), "grid").await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (Code::NotFound, NOT_THERE));
    assert!(asked.lock().unwrap().requests.is_empty());
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let closed = format!("127.0.0.1:{}", ports::closed());
    let layouts = Layouts::new(&format!("ws://{closed}"), signer(), reqwest::Client::new()).unwrap();
    let refused = layouts.update(&in_room("room"), "grid").await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(!refused.message.contains(&closed), "{refused}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for bad in ["", "localhost:7880", "ftp://host", "ws//host"] {
        assert!(Layouts::new(bad, signer(), reqwest::Client::new()).is_err(), "{bad}");
    }
}
