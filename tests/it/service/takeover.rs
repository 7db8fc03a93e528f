//! Services that are killed, stand still or lose their terminal, and their recordings, which go on.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{PATIENCE, Recording, clock, details, end_reason, is_there, recorder_of};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::service::{Serve, cell};
use crate::support::slots;

/// Waits until a recorder that nobody attends has ended.
#[track_caller]
fn until_gone(recorder: i32) {
    let end = Instant::now() + PATIENCE;
    while is_there(recorder) {
        assert!(Instant::now() < end, "the recorder does not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
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
    // Nothing tells that nothing happens.
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
    assert_eq!(next.callers().stop(&id).unwrap()["status"], "EGRESS_ENDING", "{}", next.log());
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
fn a_recording_that_no_service_comes_back_to_ends_and_the_next_one_tells_of_it() {
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
    next.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    // A terminal that goes away drains like SIGTERM.
    next.signal(Signal::SIGHUP);
    std::thread::park_timeout(Duration::from_secs(2));
    assert_eq!(next.callers().info(&id)["status"], "EGRESS_ACTIVE", "{}", next.log());
    assert_eq!(next.callers().stop(&id).unwrap()["status"], "EGRESS_ENDING");
    let done = next.finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    until_gone(recorder);
    watch.assert_nothing_left(|| {});
    assert_decodable(&file);
}

#[test]
fn a_recorder_that_was_taken_over_and_is_killed_is_told_and_recovered() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    super::until_written(&mut service, dir.path(), &id, super::SOME);
    let recorder = recorder_of(&mut service);
    drop(service.kill());
    let mut next = Serve::start(dir.path(), "");
    next.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    next.until("it is taken over", PATIENCE, |callers| {
        let active = callers.list(&json!({ "active": true })).ok()?;
        (active.len() == 1).then_some(())
    });
    kill(Pid::from_raw(recorder), Signal::SIGKILL).unwrap();
    let info = next.until_over(&id, PATIENCE);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_FAILED"), &json!(500)), "{info}");
    assert!(info["error"].as_str().unwrap().starts_with("the recorder died"), "{info}");
    assert!(details(&info).contains(&format!("recovered: {}", file.display())), "{info}");
    assert_decodable(&file);
    next.end();
    assert!(!cell(dir.path(), &id).exists());
}

#[test]
fn a_recording_that_ends_while_its_service_stands_still_is_complete() {
    let _slot = slots::encoder();
    let Recording { mut service, id, file, pages: _pages, dir } = Recording::begin("");
    let recorder = recorder_of(&mut service);
    service.signal(Signal::SIGSTOP);
    std::thread::park_timeout(Duration::from_secs(2));
    // A terminal that goes away is no failure.
    kill(Pid::from_raw(recorder), Signal::SIGHUP).unwrap();
    let end = Instant::now() + PATIENCE;
    let ended = || {
        std::fs::read_dir(cell(dir.path(), &id)).unwrap().flatten().all(|entry| entry.file_name() != "socket")
    };
    while !ended() {
        assert!(Instant::now() < end, "the recorder does not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    service.signal(Signal::SIGCONT);
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(end_reason(&info), "End reason: Process killed");
    assert_decodable(&file);
    service.end();
    assert!(!cell(dir.path(), &id).exists());
}
