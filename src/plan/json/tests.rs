use proptest::prelude::*;

use super::*;
use crate::plan::request::{OutputKind, RequestOrigin};

fn error(text: &str) -> (String, String) {
    let error = parse(text).unwrap_err();
    (error.field().to_owned(), error.to_string())
}

#[test]
fn camel_case_snake_case_and_envelopes_say_the_same() {
    let snake =
        parse(r#"{"url":"https://x/","await_start_signal":true,"file_outputs":[{"filepath":"a.mp4"}]}"#);
    let camel = parse(r#"{"url":"https://x/","awaitStartSignal":true,"fileOutputs":[{"filepath":"a.mp4"}]}"#);
    let wrapped = parse(
        r#"{"egressId":"EG_x","room_id":"","web":{"url":"https://x/","awaitStartSignal":true,"fileOutputs":[{"filepath":"a.mp4"}]}}"#,
    );
    let snake = snake.unwrap();
    assert_eq!(camel.unwrap(), snake);
    assert_eq!(wrapped.unwrap(), snake);

    let v2 = r#"{"web":{"url":"https://x/"},"outputs":[{"file":{"filepath":"a.mp4"}}]}"#;
    let wrapped = parse(&format!(r#"{{"egress":{v2},"retryCount":2}}"#)).unwrap();
    assert_eq!(EgressRequest { retry_count: 0, ..wrapped }, parse(v2).unwrap());
}

#[test]
fn the_deprecated_single_output_counts_where_its_list_is_empty() {
    let single = parse(r#"{"url":"https://x/","file":{"filepath":"a.mp4"}}"#).unwrap();
    assert_eq!(single.outputs.len(), 1);
    let both =
        parse(r#"{"url":"https://x/","file":{"filepath":"a.mp4"},"file_outputs":[{"filepath":"b.mp4"}]}"#);
    let both = both.unwrap();
    assert_eq!(both.outputs.len(), 1);
    assert!(matches!(&both.outputs[0].kind, OutputKind::File(file) if file.path == "b.mp4"));
}

#[test]
fn fields_that_are_wrong_are_named_by_their_path() {
    for (text, field, part) in [
        (
            r#"{"url":"https://x/","fileOutputs":[{"filpath":"a.mp4"}]}"#,
            "fileOutputs[0].filpath",
            "no such field",
        ),
        (r#"{"url":"https://x/","advanced":{"framrate":30}}"#, "advanced.framrate", "no such field"),
        (r#"{"web":{"url":"https://x/","layout":"x"},"outputs":[]}"#, "web.layout", "no such field"),
        (
            r#"{"web":{"url":"https://x/"},"outputs":[{"file":{"filepath":"a"}},{"images":{"captureInterval":"often"}}]}"#,
            "outputs[1].images.captureInterval",
            "invalid",
        ),
        (r#"{"url":7,"file_outputs":[]}"#, "url", "expected a string"),
        (r#"{"url":"https://x/","audio_only":"yes"}"#, "audio_only", "expected a boolean"),
        (r#"{"url":"https://x/","preset":"H264_4K"}"#, "preset", "H264_1080P_30"),
        (r#"{"url":"https://x/","preset":99}"#, "preset", "H264_1080P_30"),
        (r#"{"url":"https://x/","file_outputs":[{"file_type":"MOV"}]}"#, "file_outputs[0].file_type", "OGG"),
        (r#"{"url":"https://x/","file_outputs":{"filepath":"a"}}"#, "file_outputs", "sequence"),
        (r#"{"uri":"https://x/","file_outputs":[]}"#, "uri", "no such field"),
        (r#"{"web":{"uri":"x"}}"#, "web.uri", "no such field"),
        (
            r#"{"web":{"url":"https://x/"},"outputs":[],"storage":{"gcp":{"buckett":"b"}}}"#,
            "storage.gcp.buckett",
            "no such field",
        ),
        (
            r#"{"url":"https://x/","webhooks":[{"url":"https://y/"}]}"#,
            "webhooks",
            "the command line sends none",
        ),
        (r#"{"url":"https://x/","webhooks":[{"url":"ftp://y/"}]}"#, "webhooks[0].url", "http://"),
        (r#"{"url":"https://x/","preset":"PASSTHROUGH"}"#, "preset", "H264_720P_30"),
        (r#"{"url":"https://x/","advanced":{"width":-2}}"#, "width", "negative"),
        (r#"{"url":"https://x/","advanced":{"depth":7}}"#, "depth", "24"),
        (r#"{"url":"https://x/","advanced":{"videoCodec":"VP8"}}"#, "video_codec", "not yet supported"),
        (r#"{"url":"https://x/","advanced":{"keyFrameInterval":-1}}"#, "key_frame_interval", "seconds"),
        (r#"{"url":"https://x/","advanced":{"keyFrameInterval":"NaN"}}"#, "key_frame_interval", "seconds"),
        (
            r#"{"url":"https://x/","audio_only":true,"video_only":true}"#,
            "audio_only and video_only",
            "excludes",
        ),
        (r#"{"outputs":[{"file":{}}]}"#, "source", "web"),
        (r#"{"web":{"url":"https://x/"},"outputs":[{}]}"#, "output config", "file"),
    ] {
        let (named, shown) = error(text);
        assert_eq!(named, field, "{text}: {shown}");
        assert!(shown.contains(part) && shown.contains(field), "{text}: {shown}");
    }
}

#[test]
fn kinds_are_told_by_their_fields() {
    use livekit_protocol::egress_info::Request;
    for (text, kind) in [
        (r#"{"roomName":"r","identity":"i","fileOutputs":[{}]}"#, "participant"),
        (r#"{"participant":{"roomName":"r","identity":"i"}}"#, "participant"),
        (r#"{"roomName":"r","audioTrackId":"t"}"#, "track composite"),
        (r#"{"room_name":"r","track_composite":{"video_track_id":"t"}}"#, "track composite"),
        (r#"{"roomName":"r","trackId":"t","file":{}}"#, "track"),
        (r#"{"roomName":"r"}"#, "room composite"),
        (r#"{"media":{"audio":{"captureAll":true}},"outputs":[]}"#, "v2"),
        (r#"{"url":"https://x/"}"#, "web"),
    ] {
        let request = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let RequestOrigin::Wire(wire) = &request.origin else { panic!("{request:?}") };
        let found = match wire.expose().as_ref() {
            Request::Participant(_) => "participant",
            Request::TrackComposite(_) => "track composite",
            Request::Track(_) => "track",
            Request::RoomComposite(_) => "room composite",
            Request::Egress(_) => "v2",
            Request::Web(_) => "web",
            Request::Replay(_) => "replay",
        };
        assert_eq!(found, kind, "{text}");
    }
    let two = r#"{"participant":{"roomName":"r","identity":"i"},"track":{"roomName":"r","trackId":"t"}}"#;
    assert!(error(two).1.contains("exclude each other"));
    assert!(error(r#"{"participant":null}"#).1.contains("null"));
}

#[test]
fn what_is_no_request_is_told_apart() {
    let (_, shown) = error(r#"{"replay_id":"x"}"#);
    assert!(shown.contains("a replay is not yet supported"), "{shown}");
    for text in ["[]", "{}", "7", r#"{"foo":1}"#] {
        assert!(matches!(parse(text), Err(RequestError::Unrecognised)), "{text}");
    }
    assert!(error("{\"url\":").1.contains("not JSON"));
}

#[test]
fn a_request_shows_no_stream_key() {
    let request =
        parse(r#"{"url":"https://x/","stream_outputs":[{"urls":["rtmp://h/a/secretkey"]}]}"#).unwrap();
    assert!(matches!(request.origin, RequestOrigin::Wire(_)));
    assert!(!format!("{request:?}").contains("secretkey"));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        "(|https://x/|rtmp://h/a/k|MP4|\\.\\./a|.{0,8})".prop_map(serde_json::Value::from),
    ];
    let key = prop_oneof![
        Just("url"),
        Just("web"),
        Just("outputs"),
        Just("file"),
        Just("filepath"),
        Just("fileOutputs"),
        Just("segments"),
        Just("stream_outputs"),
        Just("urls"),
        Just("advanced"),
        Just("width"),
        Just("keyFrameInterval"),
        Just("preset"),
        Just("protocol"),
        Just("segment_outputs"),
        Just("segment_duration"),
        Just("image_outputs"),
        Just("x"),
        Just("filename_prefix"),
        Just("capture_interval"),
        Just("audio_only"),
        Just("live_playlist_name"),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A key that stands in the wrong place is still one.
#[test]
fn a_value_of_the_wrong_type_is_not_quoted() {
    for text in [
        r#"{"url":"https://x/","stream_outputs":"rtmp://a/b/HUNTER2"}"#,
        r#"{"url":"https://x/","audio_only":"HUNTER2\", expected"}"#,
        r#"{"url":"https://x/","stream_outputs":[{"urls":"rtmp://a/b/HUNTER2"}]}"#,
    ] {
        let (_, said) = error(text);
        assert!(said.contains("expected") && !said.contains("HUNTER2"), "{said}");
    }
}

proptest! {
    #[test]
    fn any_json_is_a_request_or_an_error(value in json()) {
        let now = "2006-01-02T15:04:05[UTC]".parse().unwrap();
        if let Ok(request) = parse(&value.to_string()) {
            let defaults = crate::plan::defaults::Defaults::default();
            let id = crate::plan::EgressId::new("EG_x");
            drop(crate::plan::RecordingPlan::new(&request, &defaults, id, &now));
            drop(crate::plan::info::redacted_request(&request));
        }
    }

    #[test]
    fn any_text_is_a_request_or_an_error(text in "\\PC{0,80}") {
        drop(parse(&text));
    }
}
