//! The service as a program: its calls, the remains of killed recorders and services, and its end.

pub(crate) mod bus;
mod frame_grid;
mod health;
mod limits;
mod own_ports;
mod pressure;
mod takeover;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::storage::download;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::processes::{self, Group};
use crate::support::recorder::{size_of, weir};
use crate::support::service::{Callers, Serve, assert_is_ending, cell};
use crate::support::slots;
use crate::support::stores::Store;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::tool::{Tool, command};

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);

/// A recording of the clock page into a file of a directory.
fn clock(pages: &PageServer, file: &Path) -> Value {
    json!({
        "url": pages.url("/pages/clock.html"),
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "advanced": { "width": 640, "height": 360, "framerate": 15, "video_bitrate": 800 },
    })
}

/// A service that records the clock.
struct Recording {
    service: Serve,
    id: String,
    file: PathBuf,
    pages: PageServer,
    // Dropped after everything that writes to it.
    dir: TempDir,
}

impl Recording {
    /// Returns once it records.
    fn begin(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pages = PageServer::start();
        let mut service = Serve::start(dir.path(), configuration);
        let file = dir.path().join("clock.mp4");
        let id = service.callers().start(&clock(&pages, &file));
        service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
        Self { service, id, file, pages, dir }
    }
}

/// The process of the service's one recorder.
fn recorder_of(service: &mut Serve) -> i32 {
    let pid = service.pid();
    service.until("a recorder runs", PATIENCE, |_| {
        let is_recorder = |seen: &processes::Seen| {
            seen.group == Group::Recorder && seen.arguments.iter().any(|argument| argument == "recorder")
        };
        processes::family(pid).into_iter().find(is_recorder).map(|seen| seen.pid)
    })
}

/// Bytes of a recoverable recording: four seconds.
const ENOUGH: u64 = 400_000;
/// Bytes of a recording of two seconds, which may be longer on a busy machine, but not shorter than
/// one.
const SOME: u64 = 200_000;

/// Waits until `bytes` are written.
fn until_written(service: &mut Serve, dir: &Path, id: &str, bytes: u64) {
    let work = cell(dir, id);
    service.until("media is written", PATIENCE, |_| (size_of(&work) > bytes).then_some(()));
}

/// Waits until an egress is reported as failed, and its files are recovered: a recovery of more
/// than eight seconds ends after the report.
fn until_recovered(service: &mut Serve, id: &str) -> Value {
    let info = service.until_over(id, PATIENCE);
    if !details(&info).contains("recovered: ") {
        assert!(details(&info).contains("kept for recovery: "), "{info}");
        let is_notified = |line: &str| line.contains("recovered") && line.contains("recovery=");
        service.until_logged("its files are recovered", is_notified);
    }
    info
}

fn is_there(pid: i32) -> bool {
    processes::all().iter().any(|seen| seen.pid == pid)
}

/// Waits for the exit of a recorder without a service.
#[track_caller]
fn until_gone(recorder: i32) {
    let end = Instant::now() + PATIENCE;
    while is_there(recorder) {
        assert!(Instant::now() < end, "the recorder does not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Kills a service and its recorder at the same time, and waits until both are gone.
#[track_caller]
fn kill_both(mut service: Serve) {
    let recorder = recorder_of(&mut service);
    // The recorder would finish by itself if there was time between the two kills.
    kill(Pid::from_raw(recorder), Signal::SIGSTOP).unwrap();
    service.signal(Signal::SIGKILL);
    kill(Pid::from_raw(recorder), Signal::SIGKILL).unwrap();
    // The directory on tmpfs stays until it is recovered.
    drop(service);
    until_gone(recorder);
}

fn details(info: &Value) -> &str {
    info["details"].as_str().unwrap_or_default()
}

/// Asserts the reason of the end. Nothing else may be in the details except for the cost of a busy
/// machine: dropped frames, and stalls.
#[track_caller]
fn end_reason(info: &Value) -> &str {
    let mut notes = details(info).split("; ");
    let reason = notes.next().unwrap_or_default();
    let is_cost = |note: &str| {
        note.ends_with(" dropped")
            || note.ends_with("the machine was short of CPU")
            || note.contains("did not respond from")
            || note.contains("stood still from")
    };
    assert!(notes.all(is_cost), "{info}");
    reason
}

#[test]
fn a_recording_is_started_listed_and_stopped() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let mut service = Serve::start(dir.path(), "");
    let file = dir.path().join("out/clock.mp4");
    // Answered before anything is recorded: livekit-server repeats the request after 10 s.
    let id = service.callers().start(&clock(&pages, &file));
    let recorder = recorder_of(&mut service);
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let active = service.callers().list(&json!({ "active": true })).unwrap();
    assert_eq!(active.len(), 1, "{active:?}");

    let environment = std::fs::read(format!("/proc/{recorder}/environ")).unwrap();
    let arguments = std::fs::read(format!("/proc/{recorder}/cmdline")).unwrap();
    for bytes in [environment, arguments] {
        assert!(
            !String::from_utf8_lossy(&bytes).contains("a-secret-that-is"),
            "no secret is where others look"
        );
    }
    until_written(&mut service, dir.path(), &id, SOME);
    let begin = Instant::now();
    let stopped = service.callers().stop(&id).unwrap();
    assert_is_ending(&stopped, begin.elapsed());
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(end_reason(&info), "End reason: StopEgress API");
    assert_eq!(info["file_results"][0]["location"], file.display().to_string());
    assert_decodable(&file);
    assert!(Probe::of(&file).duration >= 1.0);

    let again = service.callers().stop(&id).unwrap_err();
    assert_eq!(again.code, "failed_precondition", "{again:?}");
    assert_eq!(service.callers().stop("EG_nobody").unwrap_err().code, "not_found");
    let done = service.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(!cell(dir.path(), &id).exists(), "nothing is left of a recording that is told");
    assert!(!done.stderr.contains("a-secret-that-is"), "no secret is logged");
}

#[test]
fn a_request_that_can_not_be_recorded_is_refused_by_its_field() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let service = Serve::start(dir.path(), "");
    let refused = |request: &Value| service.callers().call("StartWebEgress", request).unwrap_err();
    let file = json!([{ "filepath": "a.mp4" }]);
    let no_url = refused(&json!({ "file_outputs": file }));
    assert!(no_url.code == "invalid_argument" && no_url.message.contains("web url"), "{no_url:?}");
    let local = refused(&json!({ "url": "file:///etc/passwd", "file_outputs": file }));
    assert!(local.code == "invalid_argument" && local.message.contains("web url"), "{local:?}");
    std::fs::write(dir.path().join("a file"), "").unwrap();
    let nowhere = json!([{ "filepath": dir.path().join("a file/a.mp4").display().to_string() }]);
    let nowhere = refused(&json!({ "url": "http://127.0.0.1:1/", "file_outputs": nowhere }));
    assert!(
        nowhere.code == "invalid_argument" && nowhere.message.contains("is not a directory"),
        "{nowhere:?}"
    );
    let room = json!({ "room_name": "a", "file_outputs": file });
    let room = service.callers().call("StartRoomCompositeEgress", &room).unwrap_err();
    assert!(room.code == "invalid_argument" && room.message.contains("ws_url"), "{room:?}");
    let track = json!({ "room_name": "a", "track_id": "TR_a", "file": { "filepath": "a" } });
    let track = service.callers().call("StartTrackEgress", &track).unwrap_err();
    assert!(track.code == "invalid_argument" && track.message.contains("ws_url"), "{track:?}");
    let one = json!({ "room_name": "a", "identity": "ann", "file_outputs": file });
    let one = service.callers().call("StartParticipantEgress", &one).unwrap_err();
    assert!(one.code == "invalid_argument" && one.message.contains("ws_url"), "{one:?}");
    let composite = json!({ "room_name": "a", "file_outputs": file });
    let composite = service.callers().call("StartTrackCompositeEgress", &composite).unwrap_err();
    assert!(composite.message.contains("audio_track_id or video_track_id"), "{composite:?}");
    assert_eq!(service.callers().list(&json!({ "active": true })).unwrap(), Vec::<Value>::new());
    service.end();
}

#[test]
fn a_killed_recorder_is_reported_and_recovered() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages, dir } = Recording::begin("");
    until_written(&mut service, dir.path(), &id, ENOUGH);
    let recorder = recorder_of(&mut service);
    kill(Pid::from_raw(recorder), Signal::SIGKILL).unwrap();
    let info = until_recovered(&mut service, &id);
    assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
    assert_eq!(info["error_code"], 500);
    assert_eq!(info["error"], "the recorder died: it was killed by SIGKILL");
    let name = file.file_name().unwrap().to_str().unwrap();
    let is_named = details(&info).contains(&format!("recovered: {name}"));
    assert!(is_named || details(&info).contains("kept for recovery: "), "{info}");
    assert_decodable(&file);
    assert!(Probe::of(&file).duration >= 1.0, "what was written is there");

    // The service continues.
    let other = dir.path().join("other.mp4");
    let next = service.start_when_there_is_room(&clock(&pages, &other));
    service.until_status(&next, &["EGRESS_ACTIVE"], PATIENCE);
    service.callers().stop(&next).unwrap();
    assert_eq!(service.until_over(&next, PATIENCE)["status"], "EGRESS_COMPLETE");
    service.end();
    assert!(!cell(dir.path(), &id).exists(), "what is recovered is not kept");
}

#[test]
fn the_next_service_recovers_and_reports_after_both_are_killed() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    until_written(&mut service, dir.path(), &id, ENOUGH);
    kill_both(service);

    let mut next = Serve::start(dir.path(), "");
    let info = until_recovered(&mut next, &id);
    assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
    assert_eq!(info["error"], "the recorder died while the service was away");
    assert_decodable(&file);
    next.end();
    assert!(!cell(dir.path(), &id).exists());
}

/// Its file begins with zeros, as after a power cut.
#[test]
fn unreadable_media_is_kept_by_each_next_service() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    until_written(&mut service, dir.path(), &id, SOME);
    kill_both(service);
    let recorded = cell(dir.path(), &id).join(&id).join("0/file-0.recording.mp4");
    let mut bytes = std::fs::read(&recorded).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(&recorded, &bytes).unwrap();

    for _ in 0..2 {
        let mut next = Serve::start(dir.path(), "");
        next.until_logged("it says what it keeps", |line| line.contains("could not be finished and is kept"));
        let info = next.until_over(&id, PATIENCE);
        assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
        assert!(details(&info).contains("kept for recovery: "), "{info}");
        next.end();
        assert!(std::fs::read(&recorded).unwrap() == bytes, "not a byte of it is changed");
        assert!(!file.exists());
    }
}

#[test]
fn a_drain_takes_no_more_work_and_waits_for_what_is_recorded() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages, dir } = Recording::begin("cpu_cost: {web_cpu_cost: 1000}");
    service.signal(Signal::SIGTERM);
    let refused = service.until("work is refused", PATIENCE, |callers| {
        // Until then there is no room for a second one.
        let refused =
            callers.call("StartWebEgress", &clock(&pages, &dir.path().join("late.mp4"))).unwrap_err();
        (refused.message == "server is shutting down").then_some(refused)
    });
    assert_eq!(refused.code, "unavailable");
    // Service managers often signal all processes of a service.
    kill(Pid::from_raw(recorder_of(&mut service)), Signal::SIGTERM).unwrap();
    // There is no event for the absence of a change.
    std::thread::park_timeout(Duration::from_secs(1));
    assert_eq!(service.callers().info(&id)["status"], "EGRESS_ACTIVE", "{}", service.log());
    let begin = Instant::now();
    assert_is_ending(&service.callers().stop(&id).unwrap(), begin.elapsed());
    let done = service.finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert_decodable(&file);
    assert!(!dir.path().join("late.mp4").exists());
}

#[test]
fn an_interrupt_ends_everything_and_finishes_its_files() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    until_written(&mut service, dir.path(), &id, SOME);
    service.signal(Signal::SIGINT);
    let done = service.finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert_decodable(&file);

    let mut next = Serve::start(dir.path(), "");
    let info = next.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
    assert_eq!(info["error_code"], 403);
    assert_eq!(info["error"], "server is shutting down");
    assert_eq!(info["file_results"][0]["location"], file.display().to_string());
    next.end();
}

#[test]
fn of_many_requests_at_once_only_those_that_fit_are_recorded() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    // Two at 0.75 of 1.6 cores.
    let costs = "cpu_cost: {max_cpu_utilization: 0.8, web_cpu_cost: 0.75}";
    let mut service = Serve::start_with(dir.path(), costs, &[("LIVEKIT_CPU_REQUEST", "2")]);
    let request = |at: u32| clock(&pages, &dir.path().join(format!("{at}.mp4")));
    let requests: Vec<Value> = (0..50).map(request).collect();
    let answers = service.callers().start_all(&requests);
    let started: Vec<String> = answers.iter().filter_map(|(started, _)| started.clone().ok()).collect();
    assert_eq!(started.len(), 2, "{answers:?}");
    for (answer, took) in &answers {
        let Err(refused) = answer else { continue };
        assert_eq!((&*refused.code, &*refused.message), ("unavailable", "not enough CPU"));
        // Two pages are opened at the same time. If the service waited for room, it would wait
        // until the call times out, after 180 s.
        assert!(*took < Duration::from_secs(90), "a refusal waits for nothing: {took:?}");
    }
    for id in &started {
        service.until_status(id, &["EGRESS_ACTIVE"], PATIENCE);
    }
    assert_eq!(service.callers().list(&json!({})).unwrap().len(), 2, "who was refused is not listed");
    for id in &started {
        service.callers().stop(id).unwrap();
    }
    for id in &started {
        assert_eq!(service.until_over(id, PATIENCE)["status"], "EGRESS_COMPLETE");
    }
    // Their room is free again.
    let id = service.start_when_there_is_room(&request(50));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    service.callers().stop(&id).unwrap();
    service.until_over(&id, PATIENCE);
    service.end();
}

#[test]
fn a_session_limit_ends_a_recording_as_such() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let limits = "session_limits: {file_output_max_duration: 4s, segment_output_max_duration: 1h}";
    let mut service = Serve::start(dir.path(), limits);
    let file = dir.path().join("clock.mp4");
    let mut request = clock(&pages, &file);
    request["segment_outputs"] =
        json!([{ "filename_prefix": dir.path().join("hls/clock").display().to_string() }]);
    let id = service.callers().start(&request);
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_LIMIT_REACHED", "{info}");
    assert_eq!(info["error"], "Session limit reached");
    assert_eq!(info["error_code"], 413);
    assert_eq!(end_reason(&info), "End reason: Session limit reached");
    let length = Probe::of(&file).duration;
    assert!((0.5..=30.0).contains(&length), "{length} s");
    service.end();
}

/// The limit counts everything that a recording with a file writes; the media so far is finalized
/// and uploaded.
#[test]
fn a_file_that_reaches_its_size_ends_a_recording_whose_outputs_are_uploaded() {
    const MOST: u64 = 300_000;
    let _slot = slots::encoder();
    let (pages, store) = (PageServer::start(), SeaweedFs::shared());
    let (dir, bucket) = (tempfile::tempdir().unwrap(), store.bucket("sized"));
    let limits = format!("session_limits: {{file_output_max_size: {MOST}}}");
    let mut service = Serve::start(dir.path(), &limits);
    let mut request = clock(&pages, Path::new("clock.mp4"));
    let s3 = store.storage(&bucket)["s3"].clone();
    request["file_outputs"][0]["s3"] = s3.clone();
    request["segment_outputs"] = json!([{ "filename_prefix": "hls/clock", "playlist_name": "clock.m3u8", "segment_duration": 1, "s3": s3 }]);
    let id = service.callers().start(&request);
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(
        (&info["status"], &info["error_code"]),
        (&json!("EGRESS_LIMIT_REACHED"), &json!(413)),
        "{info}"
    );
    assert_eq!(info["error"], "Session limit reached");
    assert_eq!(end_reason(&info), "End reason: Session limit reached");
    let out = dir.path().join("stored");
    let keys = download(store, &bucket, &out);
    let file = out.join("clock.mp4");
    assert_decodable(&file);
    assert_decodable(&out.join("hls/clock.m3u8"));
    let size = |path: &Path| path.metadata().unwrap().len();
    assert_eq!(info["file_results"][0]["size"], size(&file).to_string(), "{info}");
    // The written size is polled.
    let all: u64 = keys.iter().map(|key| size(&out.join(key))).sum();
    assert!((MOST / 2..MOST * 20).contains(&all), "{all} bytes: {keys:?}");
    service.end();
}

#[test]
fn a_configuration_is_checked_and_a_work_directory_has_one_service() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        weir(dir.path(), &["serve", "--config", "a.yaml", "--check"])
    };
    let right = format!("work_dir: {}\napi_key: a-key\napi_secret: {}", dir.path().display(), "s".repeat(32));
    let done = check(&right);
    assert_eq!(done.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&done.stdout), done.stderr);
    let unknown = check(&format!("{right}\nhealt_port: 1"));
    let text = String::from_utf8(unknown.stdout).unwrap();
    assert!(unknown.status.code() == Some(1) && text.contains("healt_port"), "{text}");
    let wrong = check("port: many");
    assert!(wrong.status.code() == Some(2) && wrong.stderr.contains("port"), "{}", wrong.stderr);

    let service = Serve::start(dir.path(), "");
    let second = weir(dir.path(), &["serve", "--config", "weir.yaml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stderr.contains("another service's work directory"), "{}", second.stderr);
    service.end();
}

#[test]
fn a_recorder_takes_rubbish_for_no_job() {
    let _slot = slots::light();
    for stdin in [&b"rubbish\n"[..], b"", b"{\"egress_id\": 1}\n", b"\0\xff\n"] {
        let mut recorder = command(env!("CARGO_BIN_EXE_weir"));
        recorder.arg("recorder");
        let done = Tool::start(recorder, Some(stdin.to_vec())).finish(PATIENCE);
        assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
        assert!(done.stderr.contains("job") && !done.stderr.contains("panicked"), "{}", done.stderr);
    }
}

#[test]
fn addresses_come_and_go_while_a_recording_streams() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let server = RtmpServer::start();
    let mut service = Serve::start(dir.path(), "");
    let mut request = clock(&pages, &dir.path().join("clock.mp4"));
    request["stream_outputs"] = json!([{ "protocol": "RTMP", "urls": [server.url("first-key")] }]);
    let id = service.callers().start(&request);
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let update = |callers: &Callers, add: &[String], remove: &[String]| {
        let request = json!({ "egress_id": id, "add_output_urls": add, "remove_output_urls": remove });
        callers.call("UpdateStream", &request)
    };
    let added = update(service.callers(), &[server.url("second-key")], &[]).unwrap();
    assert_eq!(added["stream_results"].as_array().unwrap().len(), 2, "{added}");
    assert!(!added.to_string().contains("second-key"), "{added}");
    service.until("both are streamed to", PATIENCE, |callers| {
        let info = callers.info(&id);
        let streams = info["stream_results"].as_array()?.clone();
        streams.iter().all(|stream| stream["started_at"] != "0").then_some(())
    });
    let removed = update(service.callers(), &[], &[server.url("first-key")]).unwrap();
    assert_eq!(removed["stream_results"][0]["status"], "FINISHED", "{removed}");
    let twice = update(service.callers(), &[], &[server.url("first-key")]).unwrap_err();
    assert!(twice.code == "not_found" && !twice.message.contains("first-key"), "{twice:?}");
    let wrong = update(service.callers(), &["http://a.b/c".to_owned()], &[]).unwrap_err();
    assert_eq!(wrong.code, "invalid_argument", "{wrong:?}");
    service.callers().stop(&id).unwrap();
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(info["stream_results"][1]["status"], "FINISHED", "{info}");
    service.end();
}

#[test]
fn a_failed_starts_evidence_is_kept_and_reported_once() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let mut service = Serve::start(dir.path(), "");
    let mut request = clock(&pages, &dir.path().join("clock.mp4"));
    request["url"] = json!(pages.url("/status/404"));
    let id = service.callers().start(&request);
    let info = service.until_over(&id, PATIENCE);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_FAILED"), &json!(400)), "{info}");
    let kept = cell(dir.path(), &id).join(&id);
    // Logs contain the location.
    assert!(details(&info).contains(&format!("kept: {id}")), "{info}");
    assert!(!details(&info).contains("/recordings/"), "{info}");
    service.until("it is told", PATIENCE, |_| cell(dir.path(), &id).join("told").exists().then_some(()));
    service.end();
    let next = Serve::start(dir.path(), "");
    assert_eq!(next.callers().info(&id)["status"], "EGRESS_FAILED");
    let done = next.end();
    assert!(!done.stderr.contains("ended while the service was away"), "{}", done.stderr);
    assert!(kept.join("report").exists(), "a day is to look at it");
}
