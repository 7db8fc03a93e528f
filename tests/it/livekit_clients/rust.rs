//! LiveKit's client for Rust: its results from a service, in the form of the other two clients'
//! scripts (`tests/clients/`).

use livekit_api::access_token::TokenVerifier;
use livekit_api::services::egress::{
    EgressClient, EgressListFilter, EgressListOptions, EgressOutput, RoomCompositeOptions, WebOptions,
};
use livekit_api::services::{ServerError, ServiceError, ServiceResult};
use livekit_api::webhooks::WebhookReceiver;
use livekit_protocol as livekit;
use serde_json::{Value, json};

use super::PATIENCE;

pub(super) async fn calls(url: &str, key: &str, secret: &str) -> Value {
    let client = EgressClient::with_api_key(url, key, secret).with_request_timeout(PATIENCE);
    let s3 = livekit::S3Upload {
        access_key: "k".to_owned(),
        secret: "s".to_owned(),
        bucket: "b".to_owned(),
        ..Default::default()
    };
    let file = livekit::EncodedFileOutput {
        file_type: livekit::EncodedFileType::Mp4.into(),
        filepath: "a.mp4".to_owned(),
        output: Some(livekit::encoded_file_output::Output::S3(s3)),
        ..Default::default()
    };
    let stream = livekit::StreamOutput {
        protocol: livekit::StreamProtocol::Rtmp.into(),
        urls: vec!["rtmp://a/b/c".to_owned()],
    };
    let outputs = vec![EgressOutput::File(file), EgressOutput::Stream(stream)];
    let web = client.start_web_egress("https://example.com/", outputs, WebOptions::default()).await.unwrap();
    let Some(livekit::egress_info::Request::Web(asked)) = &web.request else { panic!("{web:?}") };
    let told_of_web = json!([name(&web), asked.url, asked.file_outputs.len(), web.started_at > 0]);

    let source = livekit::WebSource { url: "https://example.com/".to_owned(), ..Default::default() };
    let file = livekit::FileOutput { filepath: "b.mp4".to_owned(), ..Default::default() };
    let request = livekit::StartEgressRequest {
        source: Some(livekit::start_egress_request::Source::Web(source)),
        outputs: vec![livekit::Output {
            config: Some(livekit::output::Config::File(file)),
            ..Default::default()
        }],
        ..Default::default()
    };
    let v2 = client.start_egress(request).await.unwrap();
    let Some(livekit::egress_info::Request::Egress(asked)) = &v2.request else { panic!("{v2:?}") };
    let told_of_v2 = json!([name(&v2), asked.outputs.len()]);

    let file = livekit::EncodedFileOutput { filepath: "c.mp4".to_owned(), ..Default::default() };
    let options = RoomCompositeOptions { layout: "speaker".to_owned(), ..Default::default() };
    let file = vec![EgressOutput::File(file)];
    let room = client.start_room_composite_egress("my room", file, options).await.unwrap();
    let Some(livekit::egress_info::Request::RoomComposite(asked)) = &room.request else { panic!("{room:?}") };
    let told_of_room = json!([name(&room), room.room_name, asked.layout]);

    let everything = client.list_egress(EgressListOptions::default()).await.unwrap();
    let in_room = EgressListOptions {
        filter: EgressListFilter::Room("my room".to_owned()),
        active: true,
        ..Default::default()
    };
    let in_room = client.list_egress(in_room).await.unwrap();
    let streams = vec!["rtmp://d/e/f".to_owned()];
    let updated = client.update_stream(&web.egress_id, streams, Vec::new()).await.unwrap();
    let layout = client.update_layout(&room.egress_id, "grid").await.unwrap();
    let no_layout = refusal(client.update_layout(&web.egress_id, "grid").await);
    let stopped = client.stop_egress(&web.egress_id).await.unwrap();
    let unknown = refusal(client.stop_egress("EG_unknown").await);
    let stranger = EgressClient::with_api_key(url, key, "not the secret").with_request_timeout(PATIENCE);
    let ids =
        |infos: &[livekit::EgressInfo]| infos.iter().map(|info| info.egress_id.clone()).collect::<Vec<_>>();
    json!({
        "web": told_of_web,
        "v2": told_of_v2,
        "room": told_of_room,
        "listed": ids(&everything) == [&room, &v2, &web].map(|info| info.egress_id.clone()),
        "in_room": ids(&in_room) == [room.egress_id.clone()],
        "updated": updated.stream_results.iter().map(|stream| stream.url.as_str()).collect::<Vec<_>>(),
        "layout": layout.egress_id == room.egress_id,
        "no_layout": no_layout,
        "stopped": name(&stopped),
        "unknown": unknown,
        "stranger": refusal(stranger.list_egress(EgressListOptions::default()).await),
    })
}

pub(super) fn webhooks(key: &str, secret: &str, arrived: &[Value]) -> Value {
    let receiver = WebhookReceiver::new(TokenVerifier::with_api_key(key, secret));
    let told = arrived.iter().map(|webhook| {
        let (body, token) = (webhook["body"].as_str().unwrap(), webhook["token"].as_str().unwrap());
        let event = receiver.receive(body, token).unwrap();
        let info = event.egress_info.unwrap();
        json!([event.event, name(&info), event.id.starts_with("EV_"), event.created_at > 0])
    });
    told.collect()
}

fn name(info: &livekit::EgressInfo) -> &'static str {
    info.status().as_str_name()
}

/// Code and message; the crate does not show the HTTP status.
fn refusal<T>(answer: ServiceResult<T>) -> Value {
    match answer.err() {
        Some(ServiceError::Twirp(ServerError::Twirp(error))) => json!([error.code, error.msg]),
        other => panic!("no refusal: {other:?}"),
    }
}
