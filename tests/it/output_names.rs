//! Recordings that request the same names: no media is lost to the other.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::measure::assert_decodable;
use crate::support::page_server::PageServer;
use crate::support::processes::{self, Group};
use crate::support::recorder::{Recorder, page, size_of, weir};
use crate::support::service::{Serve, cell};
use crate::support::slots;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a recording of one second or more.
const SOME: u64 = 50_000;

/// A service with room for several recordings on every machine.
fn serve(dir: &Path) -> Serve {
    Serve::start_with(dir, "cpu_cost: {web_cpu_cost: 0.5}", &[("LIVEKIT_CPU_REQUEST", "16")])
}

/// Waits until a recording has written some media.
fn until_written(service: &mut Serve, dir: &Path, id: &str) {
    service.until_status(id, &["EGRESS_ACTIVE"], PATIENCE);
    let work = cell(dir, id);
    service.until("media is written", PATIENCE, |_| (size_of(&work) > SOME).then_some(()));
}

fn clock(pages: &PageServer, outputs: &Value) -> Value {
    let mut request = json!({
        "url": pages.url("/pages/clock.html"),
        "advanced": { "width": 320, "height": 180, "framerate": 15, "video_bitrate": 400 },
    });
    for (list, output) in outputs.as_object().unwrap() {
        request[list] = json!([output]);
    }
    request
}

fn complete(service: &mut Serve, id: &str) -> Value {
    service.callers().stop(id).unwrap();
    let info = service.until_over(id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    info
}

#[test]
fn two_requests_without_a_name_in_one_moment_become_two_files() {
    let _slot = slots::browser();
    let (dir, pages) = (tempfile::tempdir().unwrap(), PageServer::start());
    let mut service = serve(dir.path());
    let request = clock(&pages, &json!({ "file_outputs": {}, "segment_outputs": {} }));
    let started = service.callers().start_all(&[request.clone(), request]);
    let ids: Vec<String> = started.into_iter().map(|(id, _)| id.unwrap()).collect();
    ids.iter().for_each(|id| until_written(&mut service, dir.path(), id));
    let infos: Vec<Value> = ids.iter().map(|id| complete(&mut service, id)).collect();
    let of = |info: &Value, list: &str, name: &str| info[list][0][name].as_str().unwrap().to_owned();
    for (list, name) in [("file_results", "location"), ("segment_results", "playlist_location")] {
        let places: Vec<String> = infos.iter().map(|info| of(info, list, name)).collect();
        assert_ne!(places[0], places[1]);
        places.iter().for_each(|place| assert_decodable(Path::new(place)));
    }
    for info in &infos {
        let name = of(info, "file_results", "filename");
        assert!(of(info, "file_results", "location").ends_with(&name), "{info}");
    }
    service.end();
}

#[test]
fn a_name_of_a_running_recording_is_refused_and_free_when_that_is_killed_or_has_ended() {
    let _slot = slots::browser();
    let (dir, pages) = (tempfile::tempdir().unwrap(), PageServer::start());
    let mut service = serve(dir.path());
    let file = dir.path().join("talk.mp4");
    let request = clock(&pages, &json!({ "file_outputs": { "filepath": file.display().to_string() } }));
    let first = service.callers().start(&request);
    // By another path: relative names are relative to the service's directory.
    let same = clock(&pages, &json!({ "file_outputs": { "filepath": "talk.mp4" } }));
    let refused = service.callers().call("StartWebEgress", &same).unwrap_err();
    assert!(refused.code == "already_exists" && refused.message.contains(&first), "{refused:?}");
    // A recorder at a terminal beside the service is refused, too.
    let by_hand = weir(dir.path(), &["record", "web", "about:blank", "--file", "talk.mp4"]);
    assert_eq!(by_hand.status.code(), Some(2), "{}", by_hand.stderr);
    assert!(by_hand.stderr.contains(&first) && by_hand.stderr.contains("another name"), "{}", by_hand.stderr);

    service.until_status(&first, &["EGRESS_ACTIVE"], PATIENCE);
    let recorder = processes::family(service.pid()).into_iter().find(|seen| {
        seen.group == Group::Recorder && seen.arguments.iter().any(|argument| argument == "recorder")
    });
    kill(Pid::from_raw(recorder.unwrap().pid), Signal::SIGKILL).unwrap();
    service.until_over(&first, PATIENCE);
    // Each replaces the file of the one before, as the API does.
    for _ in 0..2 {
        let id = service.callers().start(&request);
        until_written(&mut service, dir.path(), &id);
        complete(&mut service, &id);
        assert_decodable(&file);
    }
    service.end();
}

#[test]
fn a_file_that_is_there_already_is_not_recorded_over_by_hand() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    for name in ["talk.mp4", "talk.m3u8", "talk_00000.jpeg"] {
        std::fs::write(dir.path().join(name), "older").unwrap();
    }
    for outputs in [["--file", "talk.mp4"], ["--segments", "talk"], ["--images", "talk"]] {
        let refused = weir(dir.path(), &[&["record", "web", "about:blank"], &outputs[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
        for word in ["talk", "exists already", "another name", "{time}"] {
            assert!(refused.stderr.contains(word), "no {word:?} in: {}", refused.stderr);
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left");
    assert_eq!(std::fs::read_to_string(dir.path().join("talk.mp4")).unwrap(), "older");
}

#[test]
fn a_recovered_file_does_not_replace_a_newer_recording() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let clock = page("clock.html");
    let arguments = ["web", &clock, "--file", "clock.mp4", "--size", "640x360"];
    let mut recorder = Recorder::start(dir.path(), &arguments);
    recorder.until_written(400_000);
    recorder.signal(Signal::SIGKILL);
    let since = dir.path().join("clock.mp4");
    let recovered = std::cell::RefCell::new(String::new());
    recorder.finish_and(PATIENCE, || {
        std::fs::write(&since, "recorded since").unwrap();
        let done = weir(dir.path(), &["recover", "."]);
        assert!(done.status.success(), "{}", done.stderr);
        *recovered.borrow_mut() = String::from_utf8(done.stdout).unwrap();
    });
    let recovered = recovered.into_inner();
    assert_eq!(std::fs::read_to_string(&since).unwrap(), "recorded since");
    let finished = recovered.lines().find_map(|line| line.strip_prefix("finished: ")).unwrap_or_default();
    let name = finished.rsplit('/').next().unwrap();
    assert!(name.starts_with("clock-EG_") && name.ends_with(".mp4"), "{recovered}");
    assert_decodable(&dir.path().join(name));
}
