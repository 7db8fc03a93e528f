use super::*;
use crate::plan::json;
use crate::plan::stream_url::StreamProtocol;

const REQUEST: &str = r#"{
    "url": "https://example.com",
    "file_outputs": [{"filepath": "a.mp4"}],
    "stream_outputs": [{"protocol": "RTMP", "urls": ["rtmp://host/app/secretkey"]}],
    "segment_outputs": [{"filename_prefix": "hls/s", "live_playlist_name": "live"}]
}"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn report(request: &str) -> (Report, RecordingPlan) {
    let request = json::parse(request).unwrap();
    let plan = RecordingPlan::new(
        &request,
        &crate::plan::defaults::Defaults::default(),
        crate::plan::EgressId::new("EG_x"),
        &at(0).to_zoned(jiff::tz::TimeZone::UTC),
    );
    let plan = plan.unwrap();
    (Report::new(&plan, Some(crate::plan::info::redacted_request(&request)), at(0)), plan)
}

fn output(plan: &RecordingPlan, wanted: fn(&OutputPlan) -> bool) -> OutputId {
    OutputId(plan.outputs.iter().position(wanted).unwrap())
}

#[test]
fn how_often_it_was_tried_before_is_said() {
    let (first, _) = report(REQUEST);
    assert_eq!(first.info().retry_count, 0);
    let again = r#"{
        "egress_id": "EG_x", "retry_count": 2,
        "web": { "url": "https://example.com", "file_outputs": [{"filepath": "a{retry}.mp4"}] }
    }"#;
    let (again, _) = report(again);
    assert_eq!(again.info().retry_count, 2);
}

/// From the first answer on, and to the end.
#[test]
fn what_was_adjusted_of_a_request_stands_in_the_details() {
    let asked = r#"{
        "url": "https://example.com", "file_outputs": [{"filepath": "a.mp4"}],
        "advanced": {"framerate": 240, "audio_frequency": 96000}
    }"#;
    let (mut report, _) = report(asked);
    let adjusted = "framerate: 240 was requested, 120 is recorded, the highest possible; \
                    audio_frequency: 96000 Hz was requested, AAC is recorded at 48000 Hz";
    assert_eq!(report.info().details, adjusted);
    report.note("a gap".to_owned());
    report.ending(EndReason::StopRequested, Duration::from_secs(1), at(1));
    report.end(&Outcome::Complete, EndReason::StopRequested, at(2));
    let details = &report.info().details;
    assert!(details.contains(adjusted) && details.ends_with("; a gap"), "{details}");
}

#[test]
fn a_whole_life() {
    let (mut report, plan) = report(REQUEST);
    let file = output(&plan, |output| matches!(output, OutputPlan::File(_)));
    let segments = output(&plan, |output| matches!(output, OutputPlan::Segments(_)));
    let stream = output(&plan, |output| matches!(output, OutputPlan::Stream(_)));
    let url = StreamUrl::parse("rtmp://host/app/secretkey", Some(StreamProtocol::Rtmp)).unwrap();
    assert_eq!(report.info().status(), proto::EgressStatus::EgressStarting);

    report.active(at(1), at(2));
    report.stream_started(stream, &url, at(3));
    report.stream_retrying(stream, &url, 1, at(5));
    report.stream_started(stream, &url, at(6));
    report.segment_stored(segments, "hls/s_00000.ts", "/x/hls/s_00000.ts", 1000);
    report.playlist_stored(segments, "hls/live.m3u8", "/x/hls/live.m3u8");
    report.playlist_stored(segments, "hls/s.m3u8", "/x/hls/s.m3u8");
    report.ending(EndReason::StopRequested, Duration::from_secs(10), at(12));
    assert_eq!(report.info().status(), proto::EgressStatus::EgressEnding);
    report.stream_ended(stream, &url, None, at(12));
    report.file_stored(file, "a.mp4", "/x/a.mp4", 5000);
    report.note("2 frames dropped".to_owned());
    report.end(&Outcome::Complete, EndReason::StopRequested, at(13));

    let info = report.info();
    assert_eq!(info.status(), proto::EgressStatus::EgressComplete);
    assert_eq!(info.details, "End reason: StopEgress API; 2 frames dropped");
    assert_eq!((info.file_results[0].size, info.file_results[0].duration), (5000, 10_000_000_000));
    // It lies where its first moment was, not where that was decided.
    let lies = (info.file_results[0].started_at, info.file_results[0].ended_at);
    assert_eq!(lies, (nanoseconds(at(1)), nanoseconds(at(11))));
    assert_eq!(info.segment_results[0].segment_count, 1);
    assert_eq!(info.segment_results[0].live_playlist_location, "/x/hls/live.m3u8");
    assert_eq!(info.segment_results[0].playlist_location, "/x/hls/s.m3u8");
    let stream = &info.stream_results[0];
    assert_eq!(stream.status(), proto::stream_info::Status::Finished);
    assert_eq!((stream.started_at, stream.retries), (nanoseconds(at(3)), 1));
    assert_eq!(stream.duration, 9_000_000_000);
    assert!(info.result.is_none(), "there are several kinds of output");
    assert!(!serde_json::to_string(info).unwrap().contains("secretkey"));
}

/// LiveKit's keys, in its order, without those that are empty.
#[test]
fn the_manifest_lists_what_was_stored() {
    let request = r#"{
        "url": "https://user:secretkey@example.com/?room=7&token=secretkey",
        "file_outputs": [{"filepath": "a.mp4", "disable_manifest": true}],
        "segment_outputs": [{"filename_prefix": "hls/s"}],
        "image_outputs": [{"filename_prefix": "i/t"}]
    }"#;
    let (mut report, plan) = report(request);
    let file = output(&plan, |output| matches!(output, OutputPlan::File(_)));
    let segments = output(&plan, |output| matches!(output, OutputPlan::Segments(_)));
    let images = output(&plan, |output| matches!(output, OutputPlan::Images(_)));
    report.active(at(2), at(2));
    report.segment_stored(segments, "hls/s_00000.ts", "https://s/hls/s_00000.ts", 1000);
    report.playlist_stored(segments, "hls/s.m3u8", "https://s/hls/s.m3u8");
    report.image_stored(images, "i/t_00000.jpeg", "https://s/<i>", Some(at(3)));
    report.file_stored(file, "a.mp4", "https://s/a.mp4", 5000);
    assert_eq!(
        report.manifest(at(9)).unwrap(),
        concat!(
            r#"{"egress_id":"EG_x","url":"https://{...}@example.com/?room=7&token={...}","#,
            r#""started_at":1700000000000000000,"#,
            r#""ended_at":1700000009000000000,"files":[{"filename":"a.mp4","location":"https://s/a.mp4"}],"#,
            r#""playlists":[{"location":"https://s/hls/s.m3u8","#,
            r#""segments":[{"filename":"hls/s_00000.ts","location":"https://s/hls/s_00000.ts"}]}],"#,
            r#""images":[{"filename":"i/t_00000.jpeg","timestamp":"2023-11-14T22:13:23Z","location":"https://s/<i>"}]}"#,
            "\n"
        )
    );
    report.manifest_stored(images, "https://s/i/EG_x.json");
    report.manifest_stored(segments, "https://s/hls/EG_x.json");
    report.manifest_stored(images, "https://s/i/EG_x.json");
    assert_eq!(report.info().manifest_location, "https://s/hls/EG_x.json");
}

#[test]
fn nobody_wants_a_manifest() {
    let (report, _) = report(
        r#"{"url": "https://example.com", "file_outputs": [{"filepath": "a.mp4", "disable_manifest": true}]}"#,
    );
    assert_eq!(report.manifest(at(9)), None);
}

#[test]
fn an_address_removed_and_added_again_has_two_results() {
    let (mut report, plan) = report(REQUEST);
    let stream = output(&plan, |output| matches!(output, OutputPlan::Stream(_)));
    let url = StreamUrl::parse("rtmp://host/app/secretkey", None).unwrap();
    report.stream_started(stream, &url, at(1));
    report.stream_removed(&url, at(1));
    report.stream_added(stream, &url, at(1));
    // The first one's task still sends what is queued, and then reports its end.
    report.stream_ended(stream, &url, None, at(2));
    report.stream_ended(stream, &url, Some("refused"), at(2));
    let results = &report.info().stream_results;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].status(), proto::stream_info::Status::Finished);
    assert_eq!(results[1].status(), proto::stream_info::Status::Failed);
}

/// The one result that old clients read, as the lists have it.
#[track_caller]
#[allow(deprecated)]
fn assert_one_result(report: &Report) {
    use proto::egress_info::Result;
    let info = report.info();
    match info.result.as_ref().expect("there is one kind of output") {
        Result::File(file) => assert_eq!(file, &info.file_results[0]),
        Result::Segments(segments) => assert_eq!(segments, &info.segment_results[0]),
        Result::Stream(streams) => assert_eq!(streams.info, info.stream_results),
    }
}

#[test]
fn one_kind_of_output_fills_the_result_that_old_clients_read_from_the_start_on() {
    const ID: OutputId = OutputId(0);
    let url = |url: &str| StreamUrl::parse(url, None).unwrap();
    for outputs in [
        r#""file_outputs": [{"filepath": "a.mp4"}]"#,
        r#""segment_outputs": [{"filename_prefix": "s"}]"#,
        r#""stream_outputs": [{"urls": ["rtmp://host/app/secretkey"]}]"#,
    ] {
        let (mut report, _) = report(&format!(r#"{{"url": "https://example.com", {outputs}}}"#));
        assert_one_result(&report);
        report.active(at(1), at(2));
        assert_one_result(&report);
        report.file_stored(ID, "a.mp4", "/x/a.mp4", 5000);
        report.segment_stored(ID, "s_00000.ts", "/x/s_00000.ts", 1000);
        assert_one_result(&report);
        report.playlist_stored(ID, "s.m3u8", "/x/s.m3u8");
        assert_one_result(&report);
        if outputs.contains("rtmp") {
            report.stream_started(ID, &url("rtmp://host/app/secretkey"), at(3));
            assert_one_result(&report);
            report.stream_added(ID, &url("srt://other:1"), at(4));
            assert_one_result(&report);
            report.stream_retrying(ID, &url("srt://other:1"), 1, at(5));
            assert_one_result(&report);
            report.stream_ended(ID, &url("srt://other:1"), Some("refused"), at(6));
            assert_one_result(&report);
            report.stream_removed(&url("rtmp://host/app/secretkey"), at(7));
            assert_one_result(&report);
        }
        report.ending(EndReason::StopRequested, Duration::from_secs(8), at(9));
        assert_one_result(&report);
        report.end(&Outcome::Failed(Failure::new("no", Fault::User)), EndReason::Failure, at(10));
        assert_one_result(&report);
        assert_eq!((report.info().error.as_str(), report.info().error_code), ("no", 400));
    }
    let (images, _) = report(
        r#"{"url": "https://example.com", "file_outputs": [{}], "image_outputs": [{"filename_prefix": "i"}]}"#,
    );
    assert!(images.info().result.is_none(), "there are two kinds");
}

#[test]
fn streams_but_rtmp_have_started_at_once_and_again_with_the_recording() {
    use proto::stream_info::Status::{Failed, Finished};
    let request =
        |url: &str| format!(r#"{{"url": "https://example.com", "stream_outputs": [{{"urls": ["{url}"]}}]}}"#);
    for (address, from_the_start) in
        [("rtmp://host/app/key", false), ("srt://host:1", true), ("wss://host/", true)]
    {
        let url = StreamUrl::parse(address, None).unwrap();
        let (mut report, _) = report(&request(address));
        let started = |report: &Report| report.info().stream_results.last().unwrap().started_at;
        let then = |at: Timestamp| if from_the_start { nanoseconds(at) } else { 0 };
        assert_eq!(started(&report), then(at(0)), "{address}");
        report.active(at(2), at(3));
        assert_eq!(started(&report), then(at(2)), "{address}");
        report.stream_started(OutputId(0), &url, at(4));
        assert_eq!(started(&report), nanoseconds(if from_the_start { at(2) } else { at(4) }), "{address}");
        report.stream_added(OutputId(0), &StreamUrl::parse(&format!("{address}2"), None).unwrap(), at(5));
        assert_eq!(started(&report), then(at(5)), "{address}");
        // That it counts as started sends nothing.
        report.end(&Outcome::Complete, EndReason::StopRequested, at(9));
        let states: Vec<_> = report.info().stream_results.iter().map(proto::StreamInfo::status).collect();
        assert_eq!(states, [Finished, Failed], "{address}");
    }
}

#[test]
fn a_recording_that_failed_says_so_before_it_is_over() {
    let (mut report, _) = report(REQUEST);
    report.active(at(1), at(1));
    report.ending(EndReason::Failure, Duration::from_secs(3), at(4));
    assert_eq!((report.info().status(), report.info().ended_at), (proto::EgressStatus::EgressFailed, 0));
    report.end(&Outcome::Failed(Failure::new("no", Fault::Destination)), EndReason::Failure, at(5));
    assert_eq!(report.info().ended_at, nanoseconds(at(5)));
}

#[test]
fn details_have_no_path_of_this_machine() {
    let (mut report, _) = report(REQUEST);
    report.note("kept: /var/lib/weir/recordings/EG_x/EG_x".to_owned());
    report.fail(&Failure::new("S3 upload failed: no such bucket (kept at /w/0/file-0.mp4)", Fault::Storage));
    assert_eq!(
        report.info().details,
        "kept: EG_x; failed: S3 upload failed: no such bucket (kept at file-0.mp4)"
    );
    let info =
        failed(report.info().clone(), "gone", Fault::Service, &["recovered: /out/a.mp4".to_owned()], at(1));
    assert!(info.details.ends_with("; recovered: a.mp4") && !info.details.contains('/'), "{}", info.details);
    report.note("storage away: /srv/my recs/a, b.mp4: permission denied".to_owned());
    report.set_local_dirs(LocalDirs::new(["/srv/my recs".into()]));
    assert!(
        report.info().details.contains("; storage away: a, b.mp4: permission denied"),
        "{}",
        report.info().details
    );
}

#[test]
fn a_web_recording_for_a_room_has_the_rooms_name() {
    let request = r#"{
        "room_name": "stand-up", "web": {"url": "https://example.com"},
        "outputs": [{"file": {"filepath": "{room_name}/{time}"}}, {"images": {}}]
    }"#;
    let (of_room, plan) = report(request);
    assert_eq!((of_room.info().room_name.as_str(), of_room.info().room_id.as_str()), ("stand-up", ""));
    assert_eq!(of_room.info().file_results[0].filename, "stand-up/2023-11-14T221320.mp4");
    assert_eq!(of_room.info().image_results[0].filename_prefix, "stand-up-2023-11-14T221320");
    assert!(of_room.manifest(at(9)).unwrap().contains(r#""room_name":"stand-up""#));
    assert_eq!(of_room.info().source_type(), proto::EgressSourceType::Web);
    assert!(plan.deferred_names.is_none(), "it joins no room that could tell more");
    let (of_none, _) = report(REQUEST);
    assert_eq!(of_none.info().room_name, "");
}

/// LiveKit's keys for whose media they are, and what the room tells of them.
#[test]
fn the_manifest_says_whose_media_they_are() {
    use crate::plan::track::{ParticipantKind, PublishedTrack, TrackCodec, TrackOrigin};
    let found = |sid: &str, codec: TrackCodec, origin, publisher: &str| {
        let (sid, publisher) = (sid.to_owned(), publisher.to_owned());
        let (kind, publisher_kind) = (codec.kind(), ParticipantKind::Standard);
        let track = PublishedTrack { sid, kind, origin, publisher, publisher_kind, is_muted: false };
        Discovered { track, codec }
    };
    let camera = found("TR_v", TrackCodec::Vp8, TrackOrigin::Camera, "ann");
    let voice = found("TR_a", TrackCodec::Opus, TrackOrigin::Microphone, "ben");
    let file = r#""file_outputs": [{}]"#;
    let cases = [
        (
            "track",
            r#"{"room_name": "r", "track_id": "TR_a", "file": {}}"#.to_owned(),
            vec![voice.clone()],
            serde_json::json!({
                "publisher_identity": "ben", "track_id": "TR_a", "track_kind": "audio", "track_source": "microphone",
            }),
        ),
        (
            "track_composite",
            format!(r#"{{"room_name": "r", "audio_track_id": "TR_a", "video_track_id": "TR_v", {file}}}"#),
            vec![voice.clone(), camera.clone()],
            serde_json::json!({
                "publisher_identity": "ann", "audio_track_id": "TR_a", "video_track_id": "TR_v",
            }),
        ),
        (
            "participant",
            format!(r#"{{"room_name": "r", "identity": "cem", {file}}}"#),
            vec![camera.clone()],
            serde_json::json!({ "publisher_identity": "cem" }),
        ),
        (
            "egress",
            r#"{"room_name": "r", "media": {"video_track_id": "TR_v"}, "outputs": [{"file": {}}]}"#
                .to_owned(),
            vec![camera],
            serde_json::json!({ "publisher_identity": "ann", "video_track_id": "TR_v" }),
        ),
        (
            "room_composite",
            format!(r#"{{"room_name": "r", "audio_only": true, {file}}}"#),
            vec![voice],
            serde_json::json!({}),
        ),
    ];
    for (kind, request, tracks, expected) in cases {
        let request =
            format!(r#"{{"egress_id": "EG_x", "token": "t", "ws_url": "ws://h", "{kind}": {request}}}"#);
        let (mut report, _) = report(&request);
        report.note_tracks(&tracks);
        let manifest = report.manifest(at(9)).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let keys = [
            "publisher_identity",
            "track_id",
            "track_kind",
            "track_source",
            "audio_track_id",
            "video_track_id",
        ];
        for key in keys {
            assert_eq!(manifest.get(key), expected.get(key), "{key} of {request}");
        }
    }
}

#[test]
fn a_recorder_that_died_failed_and_keeps_what_was_told_of_it() {
    let (mut report, _) = report(REQUEST);
    report.active(at(2), at(2));
    report.note("back after 1.0 s".to_owned());
    report.ending(EndReason::StopRequested, Duration::from_secs(10), at(12));
    let notes = ["recovered: /x/a.mp4".to_owned()];
    let info = died(report.info().clone(), "the recorder died: it was killed by SIGKILL", &notes, at(13));
    assert_eq!(info.status(), proto::EgressStatus::EgressFailed);
    assert_eq!((info.error_code, info.ended_at), (500, nanoseconds(at(13))));
    assert_eq!(info.error, "the recorder died: it was killed by SIGKILL");
    assert_eq!(info.details, "End reason: Failure; back after 1.0 s; recovered: a.mp4");
    assert_eq!(info.stream_results[0].status(), proto::stream_info::Status::Failed);
}

#[test]
fn a_stream_that_never_started_has_failed_however_it_ended() {
    use proto::stream_info::Status;
    let stream_of = |report: &Report| report.info().stream_results[0].clone();
    let url = StreamUrl::parse("rtmp://host/app/secretkey", None).unwrap();
    // Its task says why, or nothing, or never anything.
    let (mut told, plan) = report(REQUEST);
    let id = output(&plan, |output| matches!(output, OutputPlan::Stream(_)));
    told.stream_ended(id, &url, Some("no connection within 12 s"), at(5));
    let (mut untold, _) = report(REQUEST);
    untold.stream_ended(id, &url, None, at(5));
    let (mut open, _) = report(REQUEST);
    open.end(&Outcome::Complete, EndReason::StopRequested, at(5));
    let (mut removed, _) = report(REQUEST);
    removed.stream_removed(&url, at(5));
    for (report, why) in [
        (&told, "no connection within 12 s"),
        (&untold, "the recording ended before media could be sent"),
        (&open, "the recording ended before media could be sent"),
        (&removed, "it was removed before media could be sent"),
    ] {
        let stream = stream_of(report);
        assert_eq!((stream.status(), stream.error.as_str(), stream.duration), (Status::Failed, why, 0));
    }
    let unsent = told.unsent().unwrap();
    assert!(unsent.ends_with(": no connection within 12 s") && !unsent.contains("secretkey"), "{unsent}");
    assert!(removed.unsent().is_some());

    // Its task knows better than whoever removed it.
    removed.stream_ended(id, &url, Some("no connection within 12 s"), at(7));
    let stream = stream_of(&removed);
    assert_eq!((stream.error.as_str(), stream.duration), ("no connection within 12 s", 0));
    let (mut late, _) = report(REQUEST);
    late.stream_removed(&url, at(5));
    late.stream_started(id, &url, at(6));
    late.stream_ended(id, &url, None, at(7));
    let late = stream_of(&late);
    assert_eq!((late.status(), late.error.as_str(), late.duration), (Status::Finished, "", 1_000_000_000));

    let (mut good, _) = report(REQUEST);
    good.stream_started(id, &url, at(1));
    assert_eq!(good.unsent(), None);
    good.stream_removed(&url, at(5));
    good.stream_ended(id, &url, None, at(7));
    assert_eq!((stream_of(&good).status(), stream_of(&good).duration), (Status::Finished, 4_000_000_000));
    assert_eq!(good.unsent(), None);
}

#[test]
fn the_first_failure_is_the_error_and_the_others_stand_in_the_details() {
    let (mut report, _) = report(REQUEST);
    let browser = Failure::new("the browser is gone", Fault::Service);
    let store = Failure::new("S3 upload failed: no such bucket", Fault::Storage);
    report.fail(&browser);
    report.fail(&store);
    // As long as it runs, a recorder that is killed has told of both.
    assert!(report.info().details.contains("failed: the browser is gone; failed: S3 upload failed"));
    report.end(&Outcome::Failed(browser), EndReason::Failure, at(9));
    let info = report.info();
    assert_eq!((info.error.as_str(), info.error_code), ("the browser is gone", 500));
    assert_eq!(info.details, "End reason: Failure; failed: S3 upload failed: no such bucket");
}
