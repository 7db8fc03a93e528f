//! Requests on the wire → plan, graph plan and the request as it is shown again, as snapshots. A
//! new option starts here: put a request into `tests/data/requests` and its name into the list.

mod adjustments;
mod livekits_words;
mod tracks;

use livekit_protocol as proto;

use super::graph::{GraphPlan, Machine};
use super::render::render;
use super::*;
use crate::plan::defaults::Defaults;
use crate::plan::room::Rooms;
use crate::secret::Secret;
use crate::token::Signer;

macro_rules! requests {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../tests/data/requests/", $name, ".json")))),*]
    };
}

const REQUESTS: &[(&str, &str)] = requests![
    "v1-minimal",
    "v1-everything",
    "v1-deprecated-single-output",
    "v1-audio-only",
    "v1-audio-only-hls",
    "v1-advanced",
    "v1-stream-without-url",
    "v1-retry",
    "v1-storage",
    "v2-minimal",
    "v2-everything",
    "v2-opus-file-beside-rtmp",
    "v2-images-only",
    "v2-storage",
    "v1-room-composite",
    "v1-room-composite-audio-only",
    "v2-template",
    "rpc-room-composite",
    "v1-track",
    "rpc-track",
    "v1-participant",
    "rpc-participant",
    "v1-track-composite",
    "v1-track-composite-sound",
    "v1-room-composite-agents",
    "v2-media",
    "v2-media-images",
    "v2-media-passthrough",
    "v1-track-websocket",
    "v2-websocket",
];

fn now() -> jiff::Zoned {
    "2006-01-02T15:04:05.789+01:00[Europe/Berlin]".parse().unwrap()
}

/// A server that knows where rooms are, and has a key for them.
pub(super) fn defaults() -> Defaults {
    let signer = Signer { key: "devkey".to_owned(), secret: Secret::new("SECRET-of-key".to_owned()) };
    let rooms = Rooms { ws_url: "ws://localhost:7880".to_owned(), signer: Some(signer), ..Rooms::default() };
    Defaults { rooms, ..Defaults::default() }
}

fn plan(text: &str) -> Result<RecordingPlan, error::PlanError> {
    let request = json::parse(text).unwrap_or_else(|error| panic!("{error}"));
    RecordingPlan::new(&request, &defaults(), EgressId::new("EG_test"), &now())
}

#[test]
fn plans_of_requests() {
    for (name, text) in REQUESTS {
        let request = json::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan = RecordingPlan::new(&request, &defaults(), EgressId::new("EG_test"), &now())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let graph = GraphPlan::new(&plan, Machine { cores: 2.0, encoder_threads: 0 });
        let info = livekit_protocol::EgressInfo {
            request: Some(info::redacted_request(&request)),
            ..livekit_protocol::EgressInfo::default()
        };
        let shown = serde_json::to_string_pretty(&info).unwrap();
        let text = format!("{}\n{plan:#?}\n{graph:#?}\n{shown}\n", render(&plan, &graph));
        assert!(!text.contains("SECRET"), "{name} shows a secret:\n{text}");
        insta::assert_snapshot!(*name, text);
    }
}

/// Each kind of request that names a page.
#[test]
fn the_address_of_a_page_is_shown_without_its_secrets() {
    for text in [
        r#"{"url":"https://x/?a=1&token=SECRET","file_outputs":[{}]}"#,
        r#"{"web":{"url":"https://x/?a=1&token=SECRET"},"outputs":[{"file":{"filepath":"a.mp4"}}]}"#,
        r#"{"room_name":"r","custom_base_url":"https://x/?a=1&token=SECRET","file_outputs":[{}]}"#,
        r#"{"room_name":"r","template":{"custom_base_url":"https://x/?a=1&token=SECRET"},"outputs":[{"file":{"filepath":"a.mp4"}}]}"#,
    ] {
        let request = json::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let info =
            proto::EgressInfo { request: Some(info::redacted_request(&request)), ..Default::default() };
        let shown = serde_json::to_string(&info).unwrap();
        assert!(shown.contains("https://x/?a=1&token={...}") && !shown.contains("SECRET"), "{shown}");
    }
}

#[test]
fn bad_requests_of_the_wire() {
    for (text, field, help) in [
        (r#"{"url":"","file_outputs":[{}]}"#, "web url", "empty"),
        (r#"{"url":"file:///etc/passwd","file_outputs":[{}]}"#, "web url", "http:// or https://"),
        (r#"{"url":"chrome://crash","file_outputs":[{}]}"#, "web url", "http:// or https://"),
        (r#"{"url":"data:text/html,x","file_outputs":[{}]}"#, "web url", "http:// or https://"),
        (r#"{"url":"https://x/"}"#, "output", "at least one"),
        (r#"{"web":{"url":"https://x/"},"outputs":[]}"#, "output", "at least one"),
        (
            r#"{"url":"https://x/","file_outputs":[{"file_type":"OGG"}]}"#,
            "file_outputs[0].file_type",
            "no supported codec is compatible with all outputs",
        ),
        (
            r#"{"web":{"url":"https://x/"},"outputs":[{"file":{"file_type":"MP3"}}]}"#,
            "outputs[0].file.file_type",
            "no supported codec is compatible with all outputs",
        ),
        (
            r#"{"url":"https://x/","advanced":{"audio_codec":"OPUS"},"segment_outputs":[{"filename_prefix":"s"}]}"#,
            "audio_codec",
            "format application/x-mpegurl incompatible with codec audio/opus",
        ),
        (r#"{"url":"https://x/","stream_outputs":[{}]}"#, "stream protocol", "neither"),
        (r#"{"url":"https://x/","stream_outputs":[{"protocol":"RTMP"}]}"#, "stream url", "no address"),
        (
            r#"{"url":"https://x/","stream_outputs":[{"protocol":"RTMP","urls":["srt://h:1"]}]}"#,
            "stream url (stream_outputs[0].urls[0])",
            "invalid scheme",
        ),
        (
            r#"{"url":"https://x/","stream_outputs":[{"urls":["rtmp://h/a/k","srt://h:1"]}]}"#,
            "stream url (stream_outputs[0].urls[1])",
            "invalid scheme",
        ),
        (
            r#"{"url":"https://x/","stream_outputs":[{"urls":["mux://k"]},{"urls":["mux://k"]}]}"#,
            "stream_outputs[1].urls",
            "stream_outputs[0]",
        ),
        (
            r#"{"url":"https://x/","audio_only":true,"image_outputs":[{}]}"#,
            "audio_only images",
            "needs video",
        ),
        (
            r#"{"url":"https://x/","video_only":true,"stream_outputs":[{"urls":["wss://h/"]}]}"#,
            "stream_outputs[0]",
            "format audio/x-raw incompatible with codec video/h264",
        ),
        (
            r#"{"url":"https://x/","stream_outputs":[{"urls":["wss://h/"]}],"image_outputs":[{}]}"#,
            "audio_only images",
            "needs video",
        ),
        (
            r#"{"url":"https://x/","stream_outputs":[{"urls":["wss://h/a","wss://h/b"]}]}"#,
            "stream url",
            "an output of its own",
        ),
        (
            r#"{"url":"https://x/","file_outputs":[{}],"stream_outputs":[{"protocol":"WEBSOCKET"}]}"#,
            "stream url",
            "0 addresses",
        ),
        (
            r#"{"url":"https://x/","stream_outputs":[{"urls":["wss://h/"]},{"urls":["wss://H/"]}]}"#,
            "stream_outputs[1].urls",
            "stream_outputs[0]",
        ),
        (r#"{"url":"https://x/","file_outputs":[{},{}]}"#, "file_outputs[1].filepath", "its own name"),
        (
            r#"{"web":{"url":"https://x/","fileOutputs":[{"filepath":"a.mp4"}]},"retryCount":1}"#,
            "file_outputs[0].filepath",
            "does not support retry",
        ),
        (
            r#"{"web":{"url":"https://x/","segmentOutputs":[{"playlistName":"a"}]},"retryCount":1}"#,
            "segment_outputs[0].playlist_name",
            "does not support retry",
        ),
        (
            r#"{"url":"https://x/","advanced":{"audio_frequency":7},"file_outputs":[{}]}"#,
            "audio_frequency",
            "44100",
        ),
        (r#"{"room_name":"","layout":"grid","file_outputs":[{}]}"#, "room_name", "name the room"),
        (r#"{"room_name":"r"}"#, "output", "at least one"),
        (
            r#"{"room_name":"r","custom_base_url":"file:///etc/passwd","file_outputs":[{}]}"#,
            "template base url",
            "http:// nor https://",
        ),
        (
            r#"{"ws_url":"ftp://x","room_composite":{"room_name":"r","file_outputs":[{}]}}"#,
            "ws_url",
            "wss://livekit.example.com",
        ),
        (r#"{"room_name":"r","identity":"","file_outputs":[{}]}"#, "identity", "name the participant"),
        (r#"{"room_name":"","identity":"i","file_outputs":[{}]}"#, "room_name", "name the room"),
        (r#"{"room_name":"r","identity":"i"}"#, "output", "at least one"),
        (
            r#"{"room_name":"r","audio_track_id":"","file_outputs":[{}]}"#,
            "audio_track_id or video_track_id",
            "at least one track",
        ),
        (
            r#"{"room_name":"r","audio_track_id":"TR_a","image_outputs":[{}]}"#,
            "audio_only images",
            "needs video",
        ),
        (
            r#"{"room_name":"r","video_track_id":"TR_a","file_outputs":[{"file_type":"OGG"}]}"#,
            "file_outputs[0].file_type",
            "no supported codec is compatible with all outputs",
        ),
        (r#"{"room_name":"r","media":{},"outputs":[{"file":{}}]}"#, "audio or video", "capture_all"),
        (
            r#"{"room_name":"r","media":{"audio":{"routes":[]}},"outputs":[{"file":{}}]}"#,
            "audio or video",
            "capture_all",
        ),
        (
            r#"{"room_name":"r","media":{"video_track_id":""},"outputs":[{"file":{}}]}"#,
            "video_track_id",
            "empty",
        ),
        (
            r#"{"room_name":"r","media":{"participant_video":{}},"outputs":[{"file":{}}]}"#,
            "participant_video.identity",
            "empty",
        ),
        (
            r#"{"room_name":"r","media":{"audio":{"routes":[{"track_id":""}]}},"outputs":[{"file":{}}]}"#,
            "audio route track_id",
            "empty",
        ),
        (r#"{"media":{"audio":{"capture_all":true}},"outputs":[{"file":{}}]}"#, "room_name", "name the room"),
        (r#"{"room_name":"r","media":{"video_track_id":"TR_a"}}"#, "output", "at least one"),
        (
            r#"{"url":"https://x/","file_outputs":[{"s3":{"access_key":"SECRET","bucket":"b"}}]}"#,
            "file_outputs[0].storage.access_key",
            "come together",
        ),
        (
            r#"{"web":{"url":"https://x/"},"storage":{"azure":{}},"outputs":[{"file":{}}]}"#,
            "outputs[0].file.storage.account_name",
            "missing",
        ),
    ] {
        let error = plan(text).expect_err(text);
        assert_eq!(error.field(), field, "{text}: {error}");
        assert!(error.to_string().contains(help), "{text}: {error}");
    }
}

/// A live stream gets its full frame rate, other outputs only the captured frames.
#[test]
fn pictures_come_as_drawn_and_at_the_full_rate_where_somebody_watches() {
    use encoding::Cadence;
    for (outputs, cadence) in [
        (r#""file_outputs":[{}]"#, Cadence::AsDrawn { at_least: 5 }),
        (
            r#""segment_outputs":[{}],"image_outputs":[{"filename_prefix":"t"}]"#,
            Cadence::AsDrawn { at_least: 5 },
        ),
        (r#""file_outputs":[{}],"stream_outputs":[{"urls":["mux://k"]}]"#, Cadence::AsDrawn { at_least: 30 }),
    ] {
        let plan = plan(&format!(r#"{{"url":"https://x/",{outputs}}}"#)).unwrap();
        assert_eq!(plan.video.unwrap().cadence, cadence, "{outputs}");
    }
}

/// A service's default is a constant frame rate for everything that is encoded. Images and copied
/// tracks have none.
#[test]
fn a_servers_grid_is_for_encoded_frames_only() {
    use crate::config::frame_times::FrameTimes;
    use encoding::Cadence;
    let grid = Defaults { frame_times: FrameTimes::Grid, ..defaults() };
    let plan = |text: &str, said: Option<FrameTimes>| {
        let mut request = json::parse(text).unwrap_or_else(|error| panic!("{error}"));
        request.frame_times = said;
        RecordingPlan::new(&request, &grid, EgressId::new("EG_test"), &now()).unwrap()
    };
    for (outputs, said, cadence) in [
        (r#""file_outputs":[{}]"#, None, Cadence::Grid),
        (r#""segment_outputs":[{}],"image_outputs":[{"filename_prefix":"t"}]"#, None, Cadence::Grid),
        (r#""stream_outputs":[{"urls":["mux://k"]}]"#, None, Cadence::Grid),
        (r#""image_outputs":[{"filename_prefix":"t"}]"#, None, Cadence::AsDrawn { at_least: 5 }),
        (r#""file_outputs":[{}]"#, Some(FrameTimes::Source), Cadence::AsDrawn { at_least: 5 }),
    ] {
        let web = plan(&format!(r#"{{"url":"https://x/",{outputs}}}"#), said);
        assert_eq!(web.video.unwrap().cadence, cadence, "{outputs} {said:?}");
        let participant = plan(&format!(r#"{{"room_name":"r","identity":"ann",{outputs}}}"#), said);
        assert_eq!(participant.video.unwrap().cadence, cadence, "{outputs} {said:?}");
    }
    let copied =
        r#"{"room_name":"r","identity":"ann","preset":"PASSTHROUGH","file_outputs":[{"filepath":"a.mp4"}]}"#;
    assert!(plan(copied, None).is_by_codec());
}

#[test]
fn encoder_threads_follow_the_share_of_the_machine() {
    for (encoding, cores, threads) in [
        (r#""preset":"H264_1080P_30""#, 8.0, 2),
        (r#""preset":"H264_1080P_30""#, 2.0, 2),
        (r#""preset":"H264_1080P_30""#, 1.5, 1),
        (r#""preset":"H264_1080P_30""#, 0.25, 1),
        (r#""preset":"H264_1080P_60""#, 8.0, 4),
        (r#""preset":"H264_1080P_60""#, 3.0, 3),
        (r#""advanced":{"width":3840,"height":2160}"#, 64.0, 8),
        (r#""preset":"H264_720P_30""#, f32::NAN, 1),
        (r#""preset":"H264_720P_30""#, f32::INFINITY, 2),
    ] {
        let plan = plan(&format!(r#"{{"url":"https://x/",{encoding},"file_outputs":[{{}}]}}"#)).unwrap();
        let graph = GraphPlan::new(&plan, Machine { cores, encoder_threads: 0 });
        assert_eq!(graph.video.unwrap().threads, threads, "{encoding} on {cores} cores");
    }
}

#[test]
fn encoder_threads_are_what_an_operator_says() {
    let plan = plan(r#"{"url":"https://x/","preset":"H264_1080P_30","file_outputs":[{}]}"#).unwrap();
    for (said, threads) in [(0, 1), (1, 1), (3, 3), (128, 128), (u32::MAX, 128)] {
        let graph = GraphPlan::new(&plan, Machine { cores: 1.0, encoder_threads: said });
        assert_eq!(graph.video.unwrap().threads, threads, "{said}");
    }
}

#[test]
fn a_webhooks_address_is_shown_without_its_user() {
    let asked = r#"{"url":"https://x/","file_outputs":[{"filepath":"a.mp4"}]}"#;
    let mut request: livekit_protocol::WebEgressRequest = serde_json::from_str(asked).unwrap();
    let url = "https://user:hunter2@hooks.example/a?b=c".to_owned();
    request.webhooks = vec![livekit_protocol::WebhookConfig { url, ..Default::default() }];
    let request = from_v1::web(request).unwrap();
    assert_eq!(request.webhooks[0].url.expose().host_str(), Some("hooks.example"));
    let livekit_protocol::egress_info::Request::Web(shown) = info::redacted_request(&request) else {
        panic!("a v1 request is shown as one")
    };
    // What is left is still an address to send to.
    assert_eq!(shown.webhooks[0].url, "https://{...}@hooks.example/a?b=c");
    assert!(url::Url::parse(&shown.webhooks[0].url).is_ok());
}

#[test]
fn a_webhooks_secrets_are_kept_for_its_sender_and_shown_to_nobody() {
    let asked = r#"{"url":"https://x/","file_outputs":[{"filepath":"a.mp4"}]}"#;
    let mut request: livekit_protocol::WebEgressRequest = serde_json::from_str(asked).unwrap();
    let url = "https://hooks.example/a?token=hunter2&b=c".to_owned();
    request.webhooks = vec![livekit_protocol::WebhookConfig { url: url.clone(), ..Default::default() }];
    let kept = info::redacted_request(&from_v1::web(request).unwrap());
    let kept = livekit_protocol::EgressInfo { request: Some(kept), ..Default::default() };
    let address = |info: &livekit_protocol::EgressInfo| match &info.request {
        Some(livekit_protocol::egress_info::Request::Web(web)) => web.webhooks[0].url.clone(),
        _ => panic!("a v1 request is kept as one"),
    };
    assert_eq!(address(&kept), url);
    assert_eq!(address(&info::shown(kept)), "https://hooks.example/a?token={...}&b=c");
}

#[test]
fn the_tightest_limit_of_a_session_holds_for_all_of_its_outputs() {
    let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
    let limits = SessionLimits {
        file: seconds(60),
        file_size: Some(1000),
        stream: seconds(10),
        segments: seconds(30),
        images: None,
    };
    let plan = plan(
        r#"{"url": "https://a.b", "file_outputs": [{"filepath": "a.mp4"}], "segment_outputs": [{"filename_prefix": "s"}]}"#,
    );
    let plan = plan.unwrap();
    let asked = Limits { duration: seconds(5), size: Some(2000), session: None };
    let expected = Limits { duration: seconds(5), session: seconds(30), size: Some(1000) };
    assert_eq!(limits.apply(&plan.outputs, asked), expected);
    assert_eq!(limits.apply(&plan.outputs[1..], Limits::default()).size, None, "the size is that of files");
    assert_eq!(SessionLimits::default().apply(&plan.outputs, asked), asked);
}

#[test]
fn what_livekit_server_sends_is_planned_or_refused_by_its_kind() {
    use crate::protocol::{StartEgressRequest, start_egress_request::Request};
    let request = |request| StartEgressRequest { retry_count: -1, request, ..Default::default() };
    let web = proto::WebEgressRequest { url: "https://a.b".to_owned(), ..Default::default() };
    let planned = from_rpc::start_egress(request(Some(Request::Web(web)))).unwrap();
    assert_eq!(planned.retry_count, 0);
    let room = proto::RoomCompositeEgressRequest { room_name: "stand-up".to_owned(), ..Default::default() };
    let ticket = StartEgressRequest {
        room_id: "RM_1".to_owned(),
        token: "token".to_owned(),
        ws_url: "wss://livekit.example".to_owned(),
        ..request(Some(Request::RoomComposite(room)))
    };
    let planned = from_rpc::start_egress(ticket).unwrap();
    let room = planned.source.room().unwrap();
    assert_eq!((room.name.as_str(), room.id.as_str()), ("stand-up", "RM_1"));
    assert_eq!((room.token.expose().as_str(), room.ws_url.as_str()), ("token", "wss://livekit.example"));
    for kind in [
        Request::Participant(proto::ParticipantEgressRequest::default()),
        Request::TrackComposite(proto::TrackCompositeEgressRequest::default()),
    ] {
        let planned = from_rpc::start_egress(request(Some(kind))).unwrap();
        assert!(matches!(planned.source, request::SourceRequest::Media(_)), "{planned:?}");
    }
    let replay = Request::Replay(proto::ExportReplayRequest::default());
    let error = from_rpc::start_egress(request(Some(replay))).unwrap_err();
    assert!(error.to_string().contains("not yet supported"), "{error}");
    assert_eq!(from_rpc::start_egress(request(None)).unwrap_err().field(), "request");
}
