use std::collections::BTreeMap;

use livekit_protocol as proto;
use proto::EgressStatus;

use super::*;
use crate::ipc::Queues;
use crate::psrpc::{Answered, ClaimOutcome, Code, Rpc};
use crate::service::admission::Room;
use crate::service::monitor::{Reading, Use};
use crate::service::snapshot::RecordingView;
use crate::upload::{Place, Status, UploadAttempt};

fn view(egress_id: &str, kind: Kind, pictures: u64) -> RecordingView {
    let progress = RecorderProgress {
        seconds: 1.5,
        pictures,
        dropped: 3,
        audio_lead: (kind == Kind::Web).then_some(-0.25),
        bytes: 1000,
        stored: 400,
        waiting: 2,
        waiting_bytes: 600,
        queues: (kind == Kind::Web).then_some(Queues { segments: 4, playlists: 1 }),
    };
    RecordingView {
        egress_id: egress_id.into(),
        kind,
        pid: Some(7),
        used: Use { cpu: 0.75, memory: 64 },
        progress,
    }
}

fn snapshot(recordings: Vec<RecordingView>) -> Snapshot {
    Snapshot {
        room: Room {
            available: 2.5,
            cores: 4.0,
            is_idle: recordings.is_empty(),
            takes_web: true,
            cpu_ratio: 0.25,
            memory_ratio: Some(0.5),
            max_memory: 8.0,
            ..Room::default()
        },
        reading: Reading { load: 0.125, resident: 3 << 30, cgroup: Some(7 << 30), ..Reading::default() },
        recordings,
        ..Snapshot::default()
    }
}

/// A page as a scraper reads it: `name{labels}` without the two labels that all have, to its value.
fn read(page: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let name = name.replace("cluster_id=\"eu\"", "").replace("node_id=\"NE_1\"", "");
        let name = name.replace(",,", ",").replace("{,", "{").replace(",}", "}").replace("{}", "");
        Some((name, value.parse().ok()?))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

fn page(metrics: &Metrics, snapshot: &Snapshot) -> BTreeMap<String, f64> {
    read(&metrics.page(snapshot).unwrap())
}

fn info(egress_id: &str, status: EgressStatus, error: &str, code: i32) -> proto::EgressInfo {
    let request = Some(proto::egress_info::Request::Web(proto::WebEgressRequest::default()));
    let mut info = proto::EgressInfo { egress_id: egress_id.into(), request, ..Default::default() };
    info.set_status(status);
    info.error = error.into();
    info.error_code = code;
    info
}

#[test]
fn livekits_dashboards_find_their_names() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    let snapshot = snapshot(vec![view("EG_1", Kind::Web, 10), view("EG_2", Kind::Web, 10)]);
    let text = metrics.page(&snapshot).unwrap();
    assert!(text.contains("livekit_egress_available{cluster_id=\"eu\",node_id=\"NE_1\"} 0\n"), "{text}");
    assert!(
        text.contains("# TYPE livekit_egress_handler_results_total counter\n")
            || !text.contains("results_total")
    );
    let page = read(&text);
    for (name, value) in [
        ("livekit_egress_available", 0.0),
        ("livekit_egress_can_accept_request", 1.0),
        ("livekit_egress_is_disabled", 0.0),
        ("livekit_egress_is_terminating", 0.0),
        ("livekit_egress_requests{type=\"web\"}", 2.0),
        ("livekit_egress_requests{type=\"track\"}", 0.0),
        ("livekit_egress_proc_rss_bytes", (3_u64 << 30) as f64),
        ("livekit_egress_cgroup_memory_bytes", (7_u64 << 30) as f64),
        ("livekit_egress_cgroup_read_success", 1.0),
        ("livekit_egress_would_reject_cgroup", 1.0),
        ("livekit_egress_pulse_sinks", 0.0),
        ("livekit_egress_segments_uploads_channel_size{egress_id=\"EG_2\"}", 4.0),
        ("livekit_egress_playlist_uploads_channel_size{egress_id=\"EG_2\"}", 1.0),
        ("livekit_node_cpu_load{node_type=\"EGRESS\"}", 0.125),
        ("livekit_load_ratio{type=\"cpu\"}", 0.25),
        ("livekit_load_ratio{type=\"memory\"}", 0.5),
        ("livekit_load_ratio{type=\"pulse\"}", 0.0),
        ("weir_recording_cpu_cores{egress_id=\"EG_1\",type=\"web\"}", 0.75),
        ("weir_recording_audio_lead_seconds{egress_id=\"EG_1\",type=\"web\"}", -0.25),
        ("weir_recording_memory_bytes{egress_id=\"EG_2\",type=\"web\"}", 64.0),
        ("weir_uploads_waiting{egress_id=\"EG_2\",type=\"web\"}", 2.0),
        ("weir_uploads_waiting_bytes{egress_id=\"EG_2\",type=\"web\"}", 600.0),
        ("weir_pictures_total{type=\"web\"}", 20.0),
        ("weir_cores", 4.0),
        ("weir_cores_available", 2.5),
    ] {
        assert_eq!(page.get(name), Some(&value), "{name} of {text}");
    }
}

#[test]
fn what_is_not_taken_is_shown_as_such() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    for (state, disabled, terminating) in
        [(State::Unheard, 1.0, 0.0), (State::Terminating, 1.0, 1.0), (State::Serving, 0.0, 0.0)]
    {
        let page = page(&metrics, &Snapshot { state, ..snapshot(Vec::new()) });
        assert_eq!(page["livekit_egress_is_disabled"], disabled);
        assert_eq!(page["livekit_egress_is_terminating"], terminating);
        assert_eq!(page["livekit_egress_can_accept_request"], 1.0 - disabled);
        assert_eq!(page["livekit_egress_available"], 1.0);
    }
}

#[test]
fn sums_never_fall_and_nothing_counts_twice() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    let pictures =
        |snapshot: &Snapshot| page(&metrics, snapshot).get("weir_pictures_total{type=\"web\"}").copied();
    assert_eq!(pictures(&snapshot(Vec::new())), None);
    let both = snapshot(vec![view("EG_1", Kind::Web, 100), view("EG_2", Kind::Web, 50)]);
    assert_eq!(pictures(&both), Some(150.0));
    // A progress that comes late does not take anything back.
    assert_eq!(pictures(&snapshot(vec![view("EG_1", Kind::Web, 90)])), Some(150.0));
    let over = info("EG_1", EgressStatus::EgressComplete, "", 0);
    metrics.record_end(&over);
    metrics.record_end(&over);
    assert_eq!(pictures(&snapshot(vec![view("EG_2", Kind::Web, 60)])), Some(160.0));
    // A snapshot of the service from before the end.
    assert_eq!(pictures(&both), Some(160.0));
    let page = page(&metrics, &snapshot(Vec::new()));
    assert_eq!(page["livekit_egress_handler_results_total{result=\"completed\",type=\"web\"}"], 1.0);
    assert_eq!(page["weir_recorded_seconds_total{type=\"web\"}"], 3.0);
}

/// A service in which one recording has come a little further than was seen before.
struct Last;

impl ServiceView for Last {
    fn snapshot(&self) -> Snapshot {
        snapshot(vec![view("EG_1", Kind::Media, 130)])
    }
}

#[test]
fn an_end_counts_what_was_reached_last_and_what_was_stored_after_that() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    let view: Arc<dyn ServiceView> = Arc::new(Last);
    metrics.set_view(&view);
    let mut over = info("EG_1", EgressStatus::EgressComplete, "", 0);
    let file =
        |location: &str| proto::FileInfo { size: 5000, location: location.into(), ..Default::default() };
    over.file_results = vec![file("s3://there"), file("")];
    over.segment_results = vec![proto::SegmentsInfo { size: 300, ..Default::default() }];
    metrics.record_end(&over);
    let page = page(&metrics, &snapshot(Vec::new()));
    assert_eq!(page["weir_pictures_total{type=\"media\"}"], 130.0);
    assert_eq!(page["weir_stored_bytes_total{type=\"media\"}"], 5300.0);
}

fn tried(mime: &str, status: Status, ms: u64, place: Place) -> UploadAttempt {
    UploadAttempt { mime: mime.into(), status, custom_endpoint: ms > 100, ms, place }
}

#[test]
fn uploads_count_under_livekits_names_and_outlive_their_recording() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    for tried in [
        tried("video/mp4", Status::Success, 15, Place::Primary),
        tried("video/mp4", Status::Success, 20, Place::Primary),
        tried("video/mp4", Status::Refused, 40_000, Place::Primary),
        tried("video/mp2t", Status::Busy, 700, Place::Primary),
        tried("image/jpeg", Status::Internal, 5, Place::Primary),
        tried("video/mp4", Status::Success, 30, Place::Backup),
        tried("video/mp4", Status::Refused, 30, Place::Backup),
        tried("no type of ours", Status::Success, 1, Place::Primary),
    ] {
        metrics.uploaded(&tried);
    }
    metrics.record_end(&info("EG_1", EgressStatus::EgressComplete, "", 0));
    let text = metrics.page(&snapshot(Vec::new())).unwrap();
    assert!(text.contains("# TYPE livekit_egress_pipeline_uploads counter\n"), "{text}");
    assert!(text.contains("# TYPE livekit_egress_pipline_upload_response_time_ms histogram\n"), "{text}");
    let page = read(&text);
    let of = |name: &str, custom: bool, bucket: &str, status: &str, mime: &str| {
        let name = format!(
            "livekit_egress_{name}{{custom_endpoint=\"{custom}\",status=\"{status}\",type=\"{mime}\"{bucket}}}"
        );
        *page.get(&name).unwrap_or_else(|| panic!("{name} of {text}"))
    };
    for (custom, status, mime, count) in [
        (false, "success", "video/mp4", 2.0),
        (true, "4xx", "video/mp4", 1.0),
        (true, "5xx", "video/mp2t", 1.0),
        (false, "internal", "image/jpeg", 1.0),
        (false, "success", "application/octet-stream", 1.0),
    ] {
        assert_eq!(of("pipeline_uploads", custom, "", status, mime), count, "{status} {mime}");
    }
    for (bound, count) in [("10", 0.0), ("20", 2.0), ("30000", 2.0), ("+Inf", 2.0)] {
        let bucket = format!(",le=\"{bound}\"");
        let name = "pipline_upload_response_time_ms_bucket";
        assert_eq!(of(name, false, &bucket, "success", "video/mp4"), count, "{bound}");
    }
    let slow = "pipline_upload_response_time_ms";
    assert_eq!(of(&format!("{slow}_bucket"), true, ",le=\"30000\"", "4xx", "video/mp4"), 0.0);
    assert_eq!(of(&format!("{slow}_sum"), true, "", "4xx", "video/mp4"), 40_000.0);
    assert_eq!(page["livekit_egress_backup_storage_writes{output_type=\"video/mp4\"}"], 1.0);
    assert!(!text.contains("no type of ours"));
}

#[test]
fn calls_over_the_bus_are_counted_by_method() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    let observer = metrics.observer();
    let rpc = Rpc { service: "EgressInternal", method: "StartEgress" };
    let millis = std::time::Duration::from_millis;
    for _ in 0..3 {
        observer.received(rpc);
    }
    observer.expired(rpc);
    observer.claimed(rpc, ClaimOutcome::Granted, millis(7));
    observer.claimed(rpc, ClaimOutcome::TimedOut, millis(1005));
    let call = Answered { multi: false, took: millis(80), error: None, received: 100, sent: 40 };
    observer.answered(rpc, call);
    observer.answered(rpc, Answered { error: Some(Code::AlreadyExists), sent: 0, ..call });
    observer.answered(Rpc { method: "ListActiveEgress", ..rpc }, Answered { multi: true, ..call });
    let gone = Answered { error: Some(Code::Unavailable), received: 7, sent: 9, ..call };
    observer.called(rpc, gone);
    let text = metrics.page(&snapshot(Vec::new())).unwrap();
    let page = read(&text);
    let of = |name: &str, more: [&str; 4], method: &str| {
        let [before, kind, role, after] = more;
        let name = format!(
            "livekit_psrpc_{name}{{{before}{kind}method=\"{method}\",node_type=\"EGRESS\",{role}service=\"EgressInternal\"{after}}}"
        );
        *page.get(&name).unwrap_or_else(|| panic!("{name} of {text}"))
    };
    let (rpc, role) = ("kind=\"rpc\",", "role=\"server\",");
    let start = "StartEgress";
    assert_eq!(of("requests_received_total", [""; 4], start), 3.0);
    assert_eq!(of("requests_expired_total", [""; 4], start), 1.0);
    assert_eq!(of("bytes_total", ["direction=\"rx\",", rpc, role, ""], start), 200.0);
    assert_eq!(of("bytes_total", ["direction=\"tx\",", rpc, role, ""], start), 40.0);
    assert_eq!(of("error_total", ["error_code=\"already_exists\",", rpc, role, ""], start), 1.0);
    assert_eq!(of("request_time_ms_count", ["", rpc, role, ""], start), 1.0);
    for (bound, count) in [("50", 0.0), ("100", 1.0)] {
        let bound = format!(",le=\"{bound}\"");
        assert_eq!(of("request_time_ms_bucket", ["", rpc, role, &bound], start), count);
    }
    let (client, rx) = ("role=\"client\",", ["direction=\"rx\",", rpc]);
    assert_eq!(of("bytes_total", [rx[0], rx[1], client, ""], start), 7.0);
    assert_eq!(of("error_total", ["error_code=\"unavailable\",", rpc, client, ""], start), 1.0);
    let multi = "kind=\"multirpc\",";
    assert_eq!(of("request_time_ms_count", ["", multi, role, ""], "ListActiveEgress"), 1.0);
    let (granted, timed_out) = ("outcome=\"granted\",", "outcome=\"timed_out\",");
    assert_eq!(of("claim_total", ["", "", granted, ""], start), 1.0);
    assert_eq!(of("claim_wait_time_ms_sum", ["", "", timed_out, ""], start), 1005.0);
}

#[test]
fn only_recordings_of_segments_have_queues_of_them() {
    let metrics = Metrics::new("NE_1", "eu").unwrap();
    let text = metrics.page(&snapshot(vec![view("EG_1", Kind::Track, 1)])).unwrap();
    assert!(!text.contains("uploads_channel_size"), "{text}");
}

#[test]
fn ends_have_livekits_words() {
    for (status, error, code, expected) in [
        (EgressStatus::EgressComplete, "", 0, "completed"),
        (EgressStatus::EgressLimitReached, "Session limit reached", 413, "completed"),
        (EgressStatus::EgressAborted, "Start signal not received", 412, "aborted"),
        (EgressStatus::EgressFailed, "OOM: 4.26 GB used", 403, "killed_oom"),
        (EgressStatus::EgressFailed, "CPU exhausted: 3.00 cores used", 403, "killed_cpu"),
        (EgressStatus::EgressFailed, "server is shutting down", 403, "killed_shutdown"),
        (EgressStatus::EgressFailed, "the recorder died: it was killed by SIGKILL", 500, "process_error"),
        (EgressStatus::EgressFailed, "page load error", 400, "failed"),
    ] {
        assert_eq!(EndResult::of(&info("EG_1", status, error, code)).as_str(), expected, "{error}");
    }
    // It has no last report that could say so.
    assert_eq!(EndResult::DuplicateIdentity.as_str(), "duplicate_identity");
}

#[test]
fn names_of_old_recordings_are_forgotten() {
    let mut tally = Tally::default();
    for at in 0..10_000 {
        tally.record_end(&format!("EG_{at}"), Kind::Web, EndResult::Completed);
    }
    let text = format!("{tally:?}");
    assert!(!text.contains("EG_5000\"") && text.contains("EG_9999\""));
    assert_eq!(tally.results()[&(Kind::Web, EndResult::Completed)], 10_000);
}
