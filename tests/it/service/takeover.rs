//! Services that are killed, stopped or lose their terminal, and their recordings, which continue.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{
    PATIENCE, Recording, clock, details, end_reason, is_there, recorder_of, until_gone, until_recovered,
};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::service::{Serve, assert_is_ending, cell};
use crate::support::slots;

/// Whether a service logs that it took over a recorder.
fn is_taken_over(line: &str) -> bool {
    line.contains("taken over") && line.contains("pid=")
}

/// A recorder's pipes from and to its service.
fn pipes_of(recorder: i32) -> [PathBuf; 2] {
    [0, 1].map(|descriptor| {
        let pipe = PathBuf::from(format!("/proc/{recorder}/fd/{descriptor}"));
        let to = fs::read_link(&pipe).unwrap();
        assert!(to.as_os_str().as_encoded_bytes().starts_with(b"pipe:"), "{to:?}");
        pipe
    })
}

/// Shrinks a pipe's buffer to one page.
fn make_small(pipe: &Path) {
    let end = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe).unwrap();
    fcntl(&end, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
}

#[test]
fn a_recording_goes_on_under_the_next_service_and_is_changed_and_stopped_there() {
    let _slot = slots::encoder();
    let (dir, pages, server) = (tempfile::tempdir().unwrap(), PageServer::start(), RtmpServer::start());
    let mut service = Serve::start(dir.path(), "");
    let file = dir.path().join("clock.mp4");
    let mut request = clock(&pages, &file);
    request["stream_outputs"] = json!([{ "protocol": "RTMP", "urls": [server.url("first-key")] }]);
    let id = service.callers().start(&request);
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let recorder = recorder_of(&mut service);
    let watch = service.kill();
    // There is no event for the absence of a change.
    std::thread::park_timeout(Duration::from_secs(3));
    assert!(is_there(recorder), "it goes on without a service");

    let mut next = Serve::start(dir.path(), "");
    let active = next.callers().list(&json!({ "active": true })).unwrap();
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!((&active[0]["egress_id"], &active[0]["status"]), (&json!(id), &json!("EGRESS_ACTIVE")));
    let again = next.callers().call(
        "UpdateStream",
        &json!({
            "egress_id": id,
            "add_output_urls": [server.url("second-key")],
        }),
    );
    let streams = again.unwrap()["stream_results"].as_array().unwrap().len();
    assert_eq!(streams, 2);
    // A pipe without a writer would fail.
    next.until("both are streamed to", PATIENCE, |callers| {
        let streams = callers.info(&id)["stream_results"].as_array()?.clone();
        streams.iter().all(|stream| stream["started_at"] != "0").then_some(())
    });
    let begin = Instant::now();
    assert_is_ending(&next.callers().stop(&id).unwrap(), begin.elapsed());
    let info = next.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(end_reason(&info), "End reason: StopEgress API");
    assert_eq!(info["file_results"][0]["location"], file.display().to_string());
    assert_decodable(&file);
    assert!(Probe::of(&file).duration >= 3.0, "the time without a service is in the file");
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    next.end();
    assert!(!cell(dir.path(), &id).exists(), "nothing is left of a recording that is told");
}

#[test]
fn an_orphaned_recording_ends_and_the_next_service_reports_it() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("orphan_timeout: 2s");
    let recorder = recorder_of(&mut service);
    let watch = service.kill();
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    assert_decodable(&file);

    let mut next = Serve::start(dir.path(), "");
    let info = next.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
    assert!(info["error"].as_str().unwrap().contains("orphan_timeout"), "{info}");
    assert!(details(&info).contains("End reason: Process killed"), "{info}");
    assert_eq!(info["file_results"][0]["location"], file.display().to_string());
    next.end();
    assert!(!cell(dir.path(), &id).exists());
}

#[test]
fn a_drain_of_the_next_service_waits_for_what_it_has_taken_over() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    let recorder = recorder_of(&mut service);
    let watch = service.kill();
    let mut next = Serve::start(dir.path(), "");
    next.until_logged("it is taken over", is_taken_over);
    // A closed terminal drains like SIGTERM.
    next.signal(Signal::SIGHUP);
    std::thread::park_timeout(Duration::from_secs(2));
    assert_eq!(next.callers().info(&id)["status"], "EGRESS_ACTIVE", "{}", next.log());
    let begin = Instant::now();
    assert_is_ending(&next.callers().stop(&id).unwrap(), begin.elapsed());
    let done = next.finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    assert_decodable(&file);
}

#[test]
fn a_taken_over_recorder_that_is_killed_is_reported_and_recovered() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    super::until_written(&mut service, dir.path(), &id, super::ENOUGH);
    let recorder = recorder_of(&mut service);
    service.kill().forget();
    let mut next = Serve::start(dir.path(), "");
    next.until_logged("it is taken over", is_taken_over);
    kill(Pid::from_raw(recorder), Signal::SIGKILL).unwrap();
    let info = until_recovered(&mut next, &id);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_FAILED"), &json!(500)), "{info}");
    assert_eq!(info["error"], "the recorder died", "{info}");
    let is_named = details(&info).contains("recovered: clock.mp4");
    assert!(is_named || details(&info).contains("kept for recovery: "), "{info}");
    assert_decodable(&file);
    next.end();
    assert!(!cell(dir.path(), &id).exists());
}

#[test]
fn a_stopped_recorder_obeys_a_stop_when_it_continues() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    super::until_written(&mut service, dir.path(), &id, super::SOME);
    let recorder = recorder_of(&mut service);
    // In this order: the kernel sends SIGHUP and SIGCONT to a stopped process when its parent dies.
    let watch = service.kill();
    kill(Pid::from_raw(recorder), Signal::SIGSTOP).unwrap();
    let mut next = Serve::start(dir.path(), "");
    let stopped = next.callers().stop(&id).unwrap();
    assert_eq!(stopped["status"], "EGRESS_ACTIVE", "{stopped}");
    let update = json!({ "egress_id": id, "add_output_urls": ["rtmp://127.0.0.1:1/live/key"] });
    assert_eq!(next.callers().call("UpdateStream", &update).unwrap_err().code, "unavailable");
    kill(Pid::from_raw(recorder), Signal::SIGCONT).unwrap();
    let info = next.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert!(details(&info).starts_with("End reason: StopEgress API"), "{info}");
    assert_decodable(&file);
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    next.end();
    assert!(!cell(dir.path(), &id).exists());
}

#[test]
fn a_stopped_recorder_obeys_an_interrupt_when_it_continues() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    super::until_written(&mut service, dir.path(), &id, super::SOME);
    let recorder = recorder_of(&mut service);
    // In this order: see above.
    let watch = service.kill();
    kill(Pid::from_raw(recorder), Signal::SIGSTOP).unwrap();
    let mut next = Serve::start(dir.path(), "");
    next.until_logged("it does not answer", |line| line.contains("recorder does not answer"));
    next.signal(Signal::SIGINT);
    let is_named = |line: &str| line.contains("may go on") && line.contains(&id);
    next.until_logged("what may go on is named", is_named);
    kill(Pid::from_raw(recorder), Signal::SIGCONT).unwrap();
    let done = next.finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    assert_decodable(&file);

    let mut last = Serve::start(dir.path(), "");
    let info = last.until_over(&id, PATIENCE);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_FAILED"), &json!(403)), "{info}");
    assert_eq!(info["error"], "server is shutting down", "{info}");
    last.end();
    assert!(!cell(dir.path(), &id).exists());
}

#[test]
fn a_recording_that_ends_while_its_service_is_stopped_is_complete() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    let recorder = recorder_of(&mut service);
    // Pipes are so large that it takes minutes to fill one.
    pipes_of(recorder).iter().for_each(|pipe| make_small(pipe));
    service.signal(Signal::SIGSTOP);
    std::thread::park_timeout(Duration::from_secs(20));
    // A closed terminal is not a failure.
    kill(Pid::from_raw(recorder), Signal::SIGHUP).unwrap();
    // Its last words are not read.
    until_gone(recorder);
    service.signal(Signal::SIGCONT);
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(end_reason(&info), "End reason: Process killed");
    assert_decodable(&file);
    service.end();
    assert!(!cell(dir.path(), &id).exists());
}
