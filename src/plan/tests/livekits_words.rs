//! Requests that LiveKit refuses, too: the error begins with LiveKit's text, and adds the field and
//! the fix.

use super::defaults;
use crate::plan::{EgressId, RecordingPlan, from_rpc};
use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request;

/// The error of a request in the form in which livekit-server sends it.
fn refusal(request: Request, retry_count: i32) -> String {
    let request = StartEgressRequest {
        egress_id: "EG_test".to_owned(),
        room_name: String::new(),
        request: Some(request),
        retry_count,
        ..StartEgressRequest::default()
    };
    let planned = from_rpc::start_egress(request).and_then(|request| {
        RecordingPlan::new(&request, &defaults(), EgressId::new("EG_test"), &super::now())
    });
    planned.unwrap_err().to_string()
}

fn web(rest: &str) -> String {
    refusal(Request::Web(serde_json::from_str(&format!(r#"{{"url":"http://h/",{rest}}}"#)).unwrap()), 0)
}

fn v2(text: &str) -> String {
    refusal(Request::Egress(serde_json::from_str(text).unwrap()), 0)
}

#[track_caller]
fn begins(error: &str, with: &str) {
    assert!(error.starts_with(with), "{error}\nis to begin with\n{with}");
}

const FIELD: &str = "request has missing or invalid field: ";

#[test]
fn of_pages() {
    let file = |file_type: &str, rest: &str| {
        format!(r#"{rest}"fileOutputs":[{{"fileType":"{file_type}","filepath":"a"}}]"#)
    };
    let codec = |codec: &str| format!(r#""advanced":{{"audioCodec":"{codec}"}},"#);
    let sound = |name: &str| format!(r#""audioOnly":true,{}"#, codec(name));
    for (rest, words) in [
        (r#""audioOnly":false"#.to_owned(), &*format!("{FIELD}output")),
        (file("OGG", ""), "no supported codec is compatible with all outputs"),
        (file("MP3", ""), "no supported codec is compatible with all outputs"),
        (file("OGG", r#""videoOnly":true,"#), "no supported codec is compatible with all outputs"),
        (
            r#""fileOutputs":[{"fileType":"MP3","filepath":"a.ogg"}]"#.to_owned(),
            "no supported codec is compatible with all outputs",
        ),
        (file("OGG", &codec("OPUS")), "format audio/ogg incompatible with codec "),
        (file("MP3", &codec("OPUS")), "format audio/mpeg incompatible with codec "),
        (file("OGG", &codec("AAC")), "format audio/ogg incompatible with codec audio/aac"),
        (file("OGG", &sound("AAC")), "format audio/ogg incompatible with codec audio/aac"),
        (file("MP3", &codec("AAC")), "format audio/mpeg incompatible with codec "),
        (file("MP4", &codec("AC_MP3")), "format video/mp4 incompatible with codec audio/mpeg"),
        (file("MP4", &sound("AC_MP3")), "format video/mp4 incompatible with codec audio/mpeg"),
        (file("OGG", &codec("AC_MP3")), "format audio/ogg incompatible with codec audio/mpeg"),
        (file("MP3", &codec("AC_MP3")), "format audio/mpeg incompatible with codec "),
        (
            file("DEFAULT_FILETYPE", &codec("AC_MP3")),
            "no supported file output type is compatible with the selected codecs",
        ),
        (
            format!(r#"{}"segmentOutputs":[{{"playlistName":"p"}}]"#, codec("OPUS")),
            "format application/x-mpegurl incompatible with codec audio/opus",
        ),
        (r#""streamOutputs":[{}]"#.to_owned(), &format!("{FIELD}stream protocol")),
        (r#""streamOutputs":[{"protocol":"SRT"}]"#.to_owned(), &format!("{FIELD}stream url")),
        (r#""streamOutputs":[{"urls":[""]}]"#.to_owned(), "invalid url : invalid protocol"),
        (
            r#""streamOutputs":[{"protocol":"WEBSOCKET","urls":[""]}]"#.to_owned(),
            &format!("{FIELD}stream output type"),
        ),
        (
            r#""streamOutputs":[{"protocol":"WEBSOCKET","urls":["http://h/"]}]"#.to_owned(),
            "invalid url http://h/: invalid scheme",
        ),
        (
            r#""streamOutputs":[{"protocol":"SRT","urls":["rtmp://h/a/b"]}]"#.to_owned(),
            "invalid url rtmp://h/a/{...}: invalid scheme",
        ),
        (
            r#""streamOutputs":[{"urls":["srt://h:1","rtmp://h/a/b"]}]"#.to_owned(),
            "invalid url rtmp://h/a/{...}: invalid scheme",
        ),
        (
            r#""fileOutputs":[{"filepath":"a.mp4"},{"filepath":"a.mp4"}]"#.to_owned(),
            &format!("{FIELD}multiple file outputs"),
        ),
        (
            r#""streamOutputs":[{"urls":["mux://k"]},{"urls":["mux://k"]}]"#.to_owned(),
            &format!("{FIELD}multiple stream outputs"),
        ),
        (
            r#""segmentOutputs":[{"playlistName":"p"},{"playlistName":"p"}]"#.to_owned(),
            &format!("{FIELD}multiple segmented file outputs"),
        ),
        (
            r#""segmentOutputs":[{"playlistName":"/out/p","livePlaylistName":"/out/p"}]"#.to_owned(),
            &format!("{FIELD}live_playlist_name cannot be identical to playlist_name"),
        ),
        (
            r#""segmentOutputs":[{"playlistName":"/out/p","livePlaylistName":"/other/live"}]"#.to_owned(),
            &format!("{FIELD}live_playlist_name must be in same directory as playlist_name"),
        ),
        (
            r#""imageOutputs":[{"filenamePrefix":"i"}],"audioOnly":true"#.to_owned(),
            &format!("{FIELD}audio_only images"),
        ),
        (
            r#""preset":"PASSTHROUGH","fileOutputs":[{"filepath":"a.mp4"}]"#.to_owned(),
            &format!("{FIELD}preset"),
        ),
    ] {
        begins(&web(&rest), words);
    }
}

#[test]
fn of_numbers_that_no_enum_has() {
    let images = |image: livekit_protocol::ImageOutput| livekit_protocol::WebEgressRequest {
        url: "http://h/".to_owned(),
        image_outputs: vec![image],
        ..Default::default()
    };
    let suffix = livekit_protocol::ImageOutput { filename_suffix: 9, ..Default::default() };
    begins(&refusal(Request::Web(images(suffix)), 0), &format!("{FIELD}filename_suffix"));
    let codec = livekit_protocol::ImageOutput { image_codec: 9, ..Default::default() };
    let words = "no supported codec is compatible with all outputs";
    begins(&refusal(Request::Web(images(codec)), 0), words);
}

#[test]
fn of_rooms_and_other_kinds() {
    let filepath = || "a.mp4".to_owned();
    let files = || vec![livekit_protocol::EncodedFileOutput { filepath: filepath(), ..Default::default() }];
    let room = livekit_protocol::RoomCompositeEgressRequest { file_outputs: files(), ..Default::default() };
    let participant = livekit_protocol::ParticipantEgressRequest {
        identity: "ann".to_owned(),
        file_outputs: files(),
        ..Default::default()
    };
    let tracks = livekit_protocol::TrackCompositeEgressRequest {
        audio_track_id: "TR_a".to_owned(),
        file_outputs: files(),
        ..Default::default()
    };
    let file = livekit_protocol::DirectFileOutput { filepath: filepath(), ..Default::default() };
    let track = livekit_protocol::TrackEgressRequest {
        track_id: "TR_x".to_owned(),
        output: Some(livekit_protocol::track_egress_request::Output::File(file)),
        ..Default::default()
    };
    let egress = |source: &str| {
        let text = format!(r#"{{{source},"outputs":[{{"file":{{"filepath":"a.mp4"}}}}]}}"#);
        Request::Egress(serde_json::from_str(&text).unwrap())
    };
    // None of them names its room.
    for request in [
        Request::RoomComposite(room),
        Request::Participant(participant),
        Request::TrackComposite(tracks),
        Request::Track(track),
        egress(r#""template":{"layout":"speaker"}"#),
        egress(r#""media":{"videoTrackId":"TR_v"}"#),
    ] {
        begins(&refusal(request, 0), &format!("{FIELD}token or api key/secret"));
    }
    let replay = livekit_protocol::ExportReplayRequest::default();
    begins(&refusal(Request::Replay(replay), 0), &format!("{FIELD}source"));
    let again = r#"{"url":"http://h/","fileOutputs":[{"filepath":"x.mp4"}]}"#;
    let words = "output configuration does not support retry";
    begins(&refusal(Request::Web(serde_json::from_str(again).unwrap()), 1), words);
}

#[test]
fn of_v2() {
    for (text, words) in [
        (r#"{"outputs":[{"file":{}}]}"#, "source"),
        (r#"{"web":{"url":"http://h/"}}"#, "output"),
        (r#"{"web":{"url":"http://h/"},"outputs":[{}]}"#, "output config"),
        (r#"{"web":{"url":"http://h/"},"outputs":[{"stream":{"protocol":"RTMP"}}]}"#, "output"),
        (
            r#"{"web":{"url":"http://h/"},"outputs":[{"file":{"filepath":"a.mp4"}},{"file":{"filepath":"a.mp4"}}]}"#,
            "multiple file outputs",
        ),
        (
            r#"{"web":{"url":"http://h/"},"preset":"PASSTHROUGH","outputs":[{"file":{}}]}"#,
            "passthrough source",
        ),
        (
            r#"{"roomName":"r","template":{},"preset":"PASSTHROUGH","outputs":[{"file":{}}]}"#,
            "passthrough source",
        ),
    ] {
        begins(&v2(text), &format!("{FIELD}{words}"));
    }
    let socket =
        r#"{"web":{"url":"http://h/","videoOnly":true},"outputs":[{"stream":{"urls":["ws://h/"]}}]}"#;
    begins(&v2(socket), "format audio/x-raw incompatible with codec ");
}
