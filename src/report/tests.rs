use super::*;
use crate::plan::json;
use crate::plan::output::StreamProtocol;

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
        &crate::plan::provisions::Provisions::default(),
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
    report.end(&Ending::Complete, EndReason::StopRequested, at(2));
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
    report.note("2 pictures dropped".to_owned());
    report.end(&Ending::Complete, EndReason::StopRequested, at(13));

    let info = report.info();
    assert_eq!(info.status(), proto::EgressStatus::EgressComplete);
    assert_eq!(info.details, "End reason: StopEgress API; 2 pictures dropped");
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
        "url": "https://user:secretkey@example.com/",
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
            r#"{"egress_id":"EG_x","url":"https://{...}@example.com/","started_at":1700000000000000000,"#,
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
    report.stream_added(stream, &url);
    // The first one's task still sends what is queued, and then reports its end.
    report.stream_ended(stream, &url, None, at(2));
    report.stream_ended(stream, &url, Some("refused"), at(2));
    let results = &report.info().stream_results;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].status(), proto::stream_info::Status::Finished);
    assert_eq!(results[1].status(), proto::stream_info::Status::Failed);
}

#[test]
#[allow(deprecated)]
fn one_kind_of_output_fills_the_result_that_old_clients_read() {
    let (mut report, _) =
        report(r#"{"url": "https://example.com", "file_outputs": [{"filepath": "a.mp4"}]}"#);
    report.end(&Ending::Failed(Failure::new("no", Fault::User)), EndReason::Failure, at(1));
    assert!(matches!(report.info().result, Some(proto::egress_info::Result::File(_))));
    assert_eq!((report.info().error.as_str(), report.info().error_code), ("no", 400));
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
    assert_eq!(info.details, "End reason: Failure; back after 1.0 s; recovered: /x/a.mp4");
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
    open.end(&Ending::Complete, EndReason::StopRequested, at(5));
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
    assert_eq!(stream_of(&removed).error, "no connection within 12 s");
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
    report.end(&Ending::Failed(browser), EndReason::Failure, at(9));
    let info = report.info();
    assert_eq!((info.error.as_str(), info.error_code), ("the browser is gone", 500));
    assert_eq!(info.details, "End reason: Failure; failed: S3 upload failed: no such bucket");
}
