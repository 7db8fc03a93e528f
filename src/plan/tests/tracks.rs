//! Requests for what a room's tracks are: what is known before the tracks are there, and what they
//! tell.

use super::{REQUESTS, plan};
use crate::plan::codec::{AudioCodec, Container};
use crate::plan::json;
use crate::plan::output::OutputPlan;
use crate::plan::output::PassThrough;
use crate::plan::source::SourcePlan;
use crate::plan::track::{
    AudioHandling, Channel, Discovered, ParticipantKind, PublishedTrack, Rest, TrackCodec, TrackOrigin,
    VideoHandling,
};

/// A track of the camera's.
fn discovered(sid: &str, codec: TrackCodec, publisher: &str) -> Discovered {
    let track = PublishedTrack {
        sid: sid.to_owned(),
        kind: codec.kind(),
        origin: TrackOrigin::Camera,
        publisher: publisher.to_owned(),
        publisher_kind: ParticipantKind::Standard,
        is_muted: false,
    };
    Discovered { track, codec }
}

#[test]
fn a_track_tells_what_its_file_is() {
    for (path, codec, name, container, has_video) in [
        ("", TrackCodec::Opus, "TR_abc-2006-01-02T150405.ogg", Container::Ogg, false),
        ("a/{publisher_identity}.mp4", TrackCodec::Vp8, "a/ann.webm", Container::WebM, true),
        ("painted", TrackCodec::Av1, "painted.webm", Container::WebM, true),
        ("painted.mp4", TrackCodec::Av1, "painted.mp4", Container::Mp4, true),
        (
            "{track_type}-{track_source}-{track_id}",
            TrackCodec::H265,
            "video-camera-TR_abc.mp4",
            Container::Mp4,
            true,
        ),
        ("call", TrackCodec::Pcma, "call.ogg", Container::Ogg, false),
    ] {
        let request =
            serde_json::json!({ "room_name": "r", "track_id": "TR_abc", "file": { "filepath": path } });
        let before = plan(&request.to_string()).unwrap();
        let after = before.discovered(&[discovered("TR_abc", codec, "ann")]).unwrap();
        let [OutputPlan::File(file)] = after.outputs.as_slice() else { panic!("{after:?}") };
        assert_eq!(
            (file.name.as_str(), file.container, file.has_video),
            (name, container, has_video),
            "{path}"
        );
        assert_eq!(file.audio, (!has_video).then_some(AudioCodec::Opus));
        assert_eq!(file.pass_through, Some(PassThrough::Of(codec)));
        // It is decided once.
        assert_eq!(after.discovered(&[discovered("", TrackCodec::Vp9, "")]).unwrap(), after);
    }
}

#[test]
fn bad_track_requests() {
    for (text, field) in [
        (r#"{"room_name":"r","track_id":"","file":{}}"#, "track_id"),
        (r#"{"room_name":"","track_id":"TR_a","file":{}}"#, "room_name"),
        (r#"{"room_name":"r","track_id":"TR_a"}"#, "output"),
        (r#"{"room_name":"r","track_id":"","websocket_url":"wss://x/"}"#, "track_id"),
        (r#"{"room_name":"r","track_id":"TR_a","websocket_url":""}"#, "stream url (websocket_url.urls[0])"),
        (
            r#"{"room_name":"r","track_id":"TR_a","websocket_url":"rtmp://h/a/k"}"#,
            "stream url (websocket_url.urls[0])",
        ),
    ] {
        assert_eq!(plan(text).unwrap_err().field(), field, "{text}");
    }
}

/// The publisher names the outputs of a track composite, and is known when the tracks are
/// discovered.
#[test]
fn names_of_a_track_composite_wait_for_its_publisher() {
    let found = |publisher: &str| discovered("TR_video", TrackCodec::Vp8, publisher);
    let (_, text) = REQUESTS.iter().find(|(name, _)| *name == "v1-track-composite").unwrap();
    let before = plan(text).unwrap();
    assert!(before.awaits_tracks());
    let after = before.discovered(&[found("bob/../x")]).unwrap();
    assert!(!after.awaits_tracks());
    let [OutputPlan::File(file), OutputPlan::Segments(segments), OutputPlan::Images(images)] =
        after.outputs.as_slice()
    else {
        panic!("{after:?}")
    };
    assert_eq!(file.name.as_str(), "calls/bob/x.mp4");
    assert_eq!((segments.dir.as_str(), segments.playlist.as_str()), ("hls/", "list.m3u8"));
    assert_eq!((segments.prefix.as_str(), images.prefix.as_str()), ("bob/x", "thumbs/bob/x"));
    // All else is as it was.
    assert_eq!((&after.source, &after.video, &after.audio), (&before.source, &before.video, &before.audio));

    let same = r#"{"room_name":"r","video_track_id":"TR_a","file_outputs":[{"filepath":"{publisher_identity}"},{"filepath":"bob"}]}"#;
    let error = plan(same).unwrap().discovered(&[found("bob")]).unwrap_err();
    assert!(error.to_string().contains("its own name"), "{error}");

    let named = r#"{"room_name":"r","video_track_id":"TR_a","file_outputs":[{"filepath":"a"}]}"#;
    assert_eq!(plan(named).unwrap().deferred_names, None);
}

#[test]
fn a_media_source_is_passed_through_where_it_names_one_track() {
    let file = r#"{"file":{}}"#;
    let request = |media: &str, outputs: &str| {
        format!(r#"{{"room_name":"r","media":{media},"preset":"PASSTHROUGH","outputs":[{outputs}]}}"#)
    };
    let route = |route: &str| format!(r#"{{"audio":{{"routes":[{route}]}}}}"#);
    for (media, outputs, field) in [
        (r#"{"participant_video":{"identity":"i"}}"#, file, "participant_video"),
        (r#"{"audio":{"capture_all":true}}"#, file, "capture_all"),
        (&route(r#"{"participant_identity":"i"}"#), file, "audio route match"),
        (&route(r#"{"track_id":""}"#), file, "audio route track_id"),
        (&route(r#"{"track_id":"a"},{"track_id":"b"}"#), file, "audio routes"),
        (r#"{"video_track_id":""}"#, file, "video_track_id"),
        (r#"{"video_track_id":"a","audio":{"routes":[{"track_id":"b"}]}}"#, file, "track_id"),
        ("{}", file, "track_id"),
        (r#"{"video_track_id":"a"}"#, "", "outputs"),
        (r#"{"video_track_id":"a"}"#, r#"{"file":{}},{"file":{"filepath":"b"}}"#, "outputs"),
        (r#"{"video_track_id":"a"}"#, r#"{"segments":{"filename_prefix":"s"}}"#, "output"),
        (r#"{"video_track_id":"a"}"#, r#"{"file":{"file_type":"MP4"}}"#, "file_type"),
    ] {
        let error = json::parse(&request(media, outputs)).expect_err(media);
        assert_eq!(error.field(), format!("passthrough {field}"), "{media} {outputs}: {error}");
    }
    for other in [
        r#"{"room_name":"r","template":{},"preset":"PASSTHROUGH","outputs":[{"file":{}}]}"#,
        r#"{"room_name":"r","preset":"PASSTHROUGH","file_outputs":[{}]}"#,
    ] {
        assert_eq!(json::parse(other).unwrap_err().field(), "preset");
    }
}

#[test]
fn a_participant_is_recorded_as_published_where_it_is_asked_for_and_can_be_had() {
    let request =
        |preset: &str, outputs: &str| format!(r#"{{"room_name":"r","identity":"i"{preset},{outputs}}}"#);
    let (passthrough, file) = (r#","preset":"PASSTHROUGH""#, r#""file_outputs":[{"filepath":"a.mp4"}]"#);
    for (preset, by_codec) in [(passthrough, true), ("", false)] {
        let planned = plan(&request(preset, file)).unwrap();
        let SourcePlan::Tracks(tracks) = &planned.source else { panic!("{planned:?}") };
        assert_eq!(matches!(tracks.video, VideoHandling::ByCodec { .. }), by_codec);
        assert_eq!(tracks.audio, AudioHandling::Mixed);
        // What is not H.264 is encoded.
        assert!(planned.video.is_some());
    }
    for outputs in [
        r#""segment_outputs":[{"filename_prefix":"s"}]"#,
        r#""file_outputs":[{"filepath":"a.mp4"},{"filepath":"b.mp4"}]"#,
    ] {
        let error = plan(&request(passthrough, outputs)).unwrap_err();
        assert_eq!(error.field(), "preset", "{outputs}: {error}");
    }
}

/// With a layout, or with video, everybody is on both channels.
#[test]
fn a_rooms_sound_is_mixed_by_channel_where_no_page_plays_it() {
    for (mixing, layout, rest) in [
        ("DEFAULT_MIXING", "", Some(Rest::On(Channel::Both))),
        ("DUAL_CHANNEL_AGENT", "", Some(Rest::On(Channel::Right))),
        ("DUAL_CHANNEL_ALTERNATE", "", Some(Rest::ByTurns)),
        ("DUAL_CHANNEL_ALTERNATE", "grid", None),
    ] {
        let request = serde_json::json!({
            "room_name": "r", "audio_only": true, "audio_mixing": mixing, "layout": layout, "file_outputs": [{}],
        });
        let found = match plan(&request.to_string()).unwrap().source {
            SourcePlan::Web(_) => None,
            SourcePlan::Tracks(tracks) => tracks.wanted.audio.unwrap().rest,
        };
        assert_eq!(found, rest, "{mixing} {layout}");
    }
}

/// Names of a recording of an unknown room: before the room is joined, and after.
#[test]
fn the_id_of_a_room_comes_into_names_when_it_is_joined() {
    let path = r#""file_outputs":[{"filepath":"{room_id}/{room_name}-{publisher_identity}"}]"#;
    let picture = discovered("TR_v", TrackCodec::Vp8, "ann");
    for (request, found, before, after) in [
        (
            format!(r#"{{"room_name":"r",{path}}}"#),
            vec![],
            "_/r-{publisher_identity}.mp4",
            "RM_1/r-{publisher_identity}.mp4",
        ),
        (
            format!(r#"{{"room_name":"r","audio_only":true,{path}}}"#),
            vec![discovered("TR_a", TrackCodec::Opus, "ann")],
            "_/r-{publisher_identity}.ogg",
            "RM_1/r-{publisher_identity}.ogg",
        ),
        (
            format!(r#"{{"room_name":"r","identity":"cem",{path}}}"#),
            vec![picture.clone()],
            "_/r-cem.mp4",
            "RM_1/r-cem.mp4",
        ),
        (
            format!(r#"{{"room_name":"r","video_track_id":"TR_v",{path}}}"#),
            vec![picture.clone()],
            "_/r-{publisher_identity}.mp4",
            "RM_1/r-ann.mp4",
        ),
    ] {
        let mut planned = plan(&request).unwrap();
        assert!(planned.awaits_tracks() && planned.deferred_names.is_some(), "{request}");
        let name = |plan: &crate::plan::RecordingPlan| match &plan.outputs[0] {
            OutputPlan::File(file) => file.name.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(name(&planned), before, "{request}");
        // No page has told it: it is left out.
        assert_eq!(name(&planned.discovered(&found).unwrap()), after.replace("RM_1", "_"), "{request}");
        assert!(planned.source.set_room_id("RM_1"), "{request}");
        assert!(!planned.source.set_room_id("RM_2"), "it is told once");
        let named = planned.discovered(&found).unwrap();
        assert_eq!((name(&named).as_str(), named.deferred_names.is_some()), (after, false), "{request}");
    }
    // livekit-server has looked it up.
    let known = r#"{"egress_id":"EG_x","room_id":"RM_1","room_composite":{"room_name":"r","file_outputs":[{"filepath":"{room_id}"}]}}"#;
    assert_eq!(plan(known).unwrap().deferred_names, None);
    // Nobody asks for it.
    assert_eq!(
        plan(r#"{"room_name":"r","file_outputs":[{"filepath":"{room_name}"}]}"#).unwrap().deferred_names,
        None
    );
}

/// Names of rooms and participants come from afar: no request fails because of them.
#[test]
fn names_that_get_too_long_are_shortened_and_those_that_are_too_long_refused() {
    let (room, identity) = ("r".repeat(130), "i".repeat(130));
    let outputs = r#""file_outputs":[{"filepath":"{room_name}-{publisher_identity}.mp4"}],
        "segment_outputs":[{"filename_prefix":"{room_name}-{publisher_identity}","live_playlist_name":"live-{room_name}{publisher_identity}"}],
        "image_outputs":[{"filename_prefix":"{room_name}-{publisher_identity}-{time}"}]"#;
    let request = format!(r#"{{"room_name":"{room}","identity":"{identity}",{outputs}}}"#);
    let mut planned = plan(&request).unwrap();
    for has_id in [false, true] {
        for output in (0..planned.outputs.len()).map(crate::plan::output::OutputId) {
            if has_id {
                planned.add_id_to_names(output);
            }
            for written in planned.written(output) {
                let longest = written.name.replace('*', "20060102150405789");
                assert!(longest.len() <= 255, "{longest}");
                assert_eq!(longest.contains("EG_test"), has_id, "{longest}");
            }
        }
    }
    let long = "n".repeat(256);
    for (outputs, field) in [
        (format!(r#""file_outputs":[{{"filepath":"{long}"}}]"#), "file_outputs[0].filepath"),
        (format!(r#""file_outputs":[{{"filepath":"{long}/a.mp4"}}]"#), "file_outputs[0].filepath"),
        (
            format!(r#""segment_outputs":[{{"filename_prefix":"{long}"}}]"#),
            "segment_outputs[0].filename_prefix",
        ),
        (format!(r#""segment_outputs":[{{"playlist_name":"{long}"}}]"#), "segment_outputs[0].playlist_name"),
        (format!(r#""image_outputs":[{{"filename_prefix":"{long}"}}]"#), "image_outputs[0].filename_prefix"),
    ] {
        let error = plan(&format!(r#"{{"url":"https://example.com",{outputs}}}"#)).unwrap_err();
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains("a file system takes 255"), "{error}");
    }
    let track = format!(r#"{{"room_name":"r","track_id":"TR_a","file":{{"filepath":"{long}"}}}}"#);
    assert_eq!(plan(&track).unwrap_err().field(), "file.filepath");
}
