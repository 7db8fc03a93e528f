use serde_json::json;

use super::*;

fn request(form: serde_json::Value) -> Result<Request, ServiceError> {
    let form: Form = serde_json::from_value(form).unwrap();
    let request = form.request()?;
    assert!(request.egress_id.starts_with("EG_"));
    assert!(request.token.is_empty() && request.ws_url.is_empty(), "the recorder has its own");
    Ok(request.request.unwrap())
}

#[test]
fn a_page_becomes_a_web_egress() {
    let Request::Web(web) = request(json!({
        "source": {"type": "web", "url": "https://example.com/", "await_start_signal": true},
        "media": "video",
        "preset": "H264_1080P_30",
        "outputs": {"file": " a.mp4 ", "segments": "hls/a", "streams": ["rtmp://h/app/key", " ", "SRT://h:1"]},
    }))
    .unwrap() else {
        panic!("it is a web egress")
    };
    assert!(web.url == "https://example.com/" && web.await_start_signal && web.video_only && !web.audio_only);
    assert_eq!(web.file_outputs[0].filepath, "a.mp4");
    assert_eq!(web.segment_outputs[0].filename_prefix, "hls/a");
    let streams: Vec<_> = web.stream_outputs.iter().map(|one| (one.protocol(), one.urls.clone())).collect();
    assert_eq!(
        streams,
        [
            (proto::StreamProtocol::Rtmp, vec!["rtmp://h/app/key".to_owned()]),
            (proto::StreamProtocol::Srt, vec!["SRT://h:1".to_owned()]),
        ]
    );
    let preset = proto::EncodingOptionsPreset::H2641080p30 as i32;
    assert_eq!(web.options, Some(proto::web_egress_request::Options::Preset(preset)));
}

#[test]
fn a_room_becomes_a_room_composite() {
    let Request::RoomComposite(room) = request(json!({
        "source": {"type": "room", "room": "standup", "layout": "speaker-dark"},
        "media": "audio",
        "outputs": {"file": "a.ogg", "streams_later": true},
    }))
    .unwrap() else {
        panic!("it is a room composite")
    };
    assert!(room.room_name == "standup" && room.layout == "speaker-dark" && room.audio_only);
    assert_eq!(room.stream_outputs.len(), 1, "addresses may come later");
    assert_eq!(room.stream_outputs[0].urls, Vec::<String>::new());
}

#[test]
fn what_is_missing_is_named() {
    let web = json!({"type": "web", "url": "https://example.com/"});
    for (form, says) in [
        (json!({"source": web}), "outputs"),
        (json!({"source": web, "outputs": {"file": " "}}), "outputs"),
        (json!({"source": web, "outputs": {"file": "a"}, "preset": "HUGE"}), "preset"),
        (json!({"source": {"type": "room", "room": " "}, "outputs": {"file": "a"}}), "room"),
    ] {
        let refused = request(form.clone()).unwrap_err();
        assert!(refused.message.starts_with(says), "{form}: {refused}");
    }
    for rubbish in [json!({}), json!({"source": {"type": "track"}}), json!({"source": web, "more": 1})] {
        assert!(serde_json::from_value::<Form>(rubbish).is_err());
    }
}
