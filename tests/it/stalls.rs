//! Processes that are stopped and continued during a recording: nothing fails, and the report names
//! the stall.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::measure::assert_decodable;
use crate::support::processes::{Group, Seen};
use crate::support::recorder::{Ended, Recorder, page};
use crate::support::slots;

const SOON: Duration = Duration::from_secs(120);

fn helpers(recorder: &Recorder, mark: &str) -> Vec<Seen> {
    let mut helpers = recorder.children(Group::Browser);
    helpers.retain(|seen| seen.arguments.join(" ").contains(mark));
    helpers
}

fn signal(what: &str, seen: &[Seen], signal: Signal) {
    assert!(!seen.is_empty(), "{what}: there is none");
    for one in seen {
        kill(Pid::from_raw(one.pid), signal).unwrap();
    }
}

/// Records a page, lets `disturb` do something to it, and ends the recording.
fn record(query: &str, disturb: impl FnOnce(&mut Recorder)) -> (tempfile::TempDir, Ended) {
    let dir = tempfile::tempdir().unwrap();
    let page = page(&format!("clock.html{query}"));
    let arguments = ["web", &page, "--file", "clock.mp4", "--size", "640x360"];
    let mut recorder = Recorder::start(dir.path(), &arguments);
    recorder.until_written(50_000);
    // A page must have been audible once before its silence counts.
    recorder.run_for(Duration::from_secs(3));
    disturb(&mut recorder);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    assert_decodable(&ended.path("clock.mp4"));
    (dir, ended)
}

/// The stalls reported as `told`, as from and to in seconds.
fn spans(details: &str, told: &str) -> Vec<[f64; 2]> {
    let notes = details.split("; ").filter(|note| note.contains(told));
    let spans = notes.map(|note| {
        let seconds: Vec<f64> = note.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [from, to] = seconds.as_slice() else { panic!("{note}") };
        [*from, *to]
    });
    spans.collect()
}

/// Durations of these stalls in seconds.
fn stalls(details: &str, told: &str) -> Vec<f64> {
    spans(details, told).into_iter().map(|[from, to]| to - from).collect()
}

/// Stops something for ten seconds, and asserts that the report has the time of the stall. A busy
/// machine may stall parts for a moment, too: the longest stall counts.
#[track_caller]
fn check_stopped(what: &str, victims: impl Fn(&Recorder) -> Vec<Seen>, query: &str, told: &str) {
    const STOPPED: Duration = Duration::from_secs(10);
    let (_dir, ended) = record(query, |recorder| {
        let victims = victims(recorder);
        signal(what, &victims, Signal::SIGSTOP);
        recorder.until_logged("stall began");
        recorder.run_for(STOPPED);
        signal(what, &victims, Signal::SIGCONT);
        recorder.until_logged("stall ended");
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    let longest = stalls(details, told).into_iter().fold(0.0, f64::max);
    assert!(longest >= STOPPED.as_secs_f64() - 1.0, "{what}: {details}\n{}", ended.log);
}

fn renderers(recorder: &Recorder) -> Vec<Seen> {
    helpers(recorder, "--type=renderer")
}

#[test]
fn a_stopped_renderer_is_reported() {
    let _slot = slots::browser();
    check_stopped("renderer", renderers, "", "the page did not respond from ");
}

/// A page that stops painting at its second second has no stall.
#[test]
fn a_stopped_renderer_of_a_static_page_is_reported() {
    let _slot = slots::browser();
    check_stopped("renderer", renderers, "?stop=2&resume=600", "the page did not respond from ");
}

#[test]
fn a_stopped_gpu_process_is_reported() {
    let _slot = slots::browser();
    let victims = |recorder: &Recorder| helpers(recorder, "--type=gpu-process");
    check_stopped("GPU process", victims, "", "the page did not respond from ");
}

/// Parts that the page shows without this process still have frames.
#[test]
fn a_stopped_network_process_is_reported() {
    let _slot = slots::browser();
    let victims = |recorder: &Recorder| helpers(recorder, "network.mojom.NetworkService");
    check_stopped("network process", victims, "", "the browser's network process stood still from ");
}

#[test]
fn a_stopped_audio_server_is_reported() {
    let _slot = slots::browser();
    let victims = |recorder: &Recorder| recorder.children(Group::Audio);
    check_stopped("audio server", victims, "", "audio capture stood still from ");
}

/// Stops only the recorder for a while, and ends the recording some time later. The recorder does
/// not report stalls of others during its own.
#[track_caller]
fn check_recorder_stopped(ends_after: Duration) {
    const STOPPED: Duration = Duration::from_secs(6);
    let (_dir, ended) = record("", |recorder| {
        recorder.signal(Signal::SIGSTOP);
        recorder.run_for(STOPPED);
        recorder.signal(Signal::SIGCONT);
        recorder.run_for(ends_after);
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    let own = spans(details, "the recorder stood still from ");
    let longest = own.into_iter().max_by(|one, other| (one[1] - one[0]).total_cmp(&(other[1] - other[0])));
    let [from, to] = longest.unwrap_or_default();
    assert!(to - from >= STOPPED.as_secs_f64() - 1.0, "{details}\n{}", ended.log);
    // A busy machine may stall another part before and after.
    for other in ["did not respond", "capture stood still", "process stood still"] {
        for [begin, end] in spans(details, other) {
            assert!(end.min(to) - begin.max(from) < 2.0, "{details}\n{}", ended.log);
        }
    }
}

#[test]
fn a_stopped_recorder_is_reported_as_the_only_stall() {
    let _slot = slots::browser();
    check_recorder_stopped(Duration::from_secs(4));
}

/// The recorder obeys the stop before it looks for stalls.
#[test]
fn a_recorder_that_ends_right_after_a_stop_reports_it() {
    let _slot = slots::browser();
    check_recorder_stopped(Duration::ZERO);
}

#[test]
fn a_stall_that_lasts_until_the_end_is_reported() {
    let _slot = slots::browser();
    let (_dir, ended) = record("", |recorder| {
        signal("renderer", &renderers(recorder), Signal::SIGSTOP);
        recorder.until_logged("stall began");
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(details.contains("the page did not respond from "), "{details}");
}

/// The audio server does not answer a goodbye, and the recorder does not wait for one.
#[test]
fn an_audio_server_stopped_at_the_end_is_reported_without_waiting() {
    let _slot = slots::browser();
    let (_dir, ended) = record("", |recorder| {
        signal("audio server", &recorder.children(Group::Audio), Signal::SIGSTOP);
        recorder.until_logged("audio capture stood still");
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(details.contains("audio capture stood still from "), "{details}");
}

/// The recorder does not wait for a stopped display: it replaces it.
#[test]
fn a_display_of_a_still_page_that_is_stopped_is_replaced() {
    let _slot = slots::browser();
    let (_dir, ended) = record("?stop=2&resume=600", |recorder| {
        signal("display", &recorder.children(Group::Display), Signal::SIGSTOP);
        recorder.until_logged("the page is back");
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(details.contains("interrupted at ") && details.contains("back after "), "{details}");
}

#[track_caller]
fn check_killed(mark: &str, name: &str) {
    let (_dir, ended) = record("", |recorder| {
        signal(name, &helpers(recorder, mark), Signal::SIGKILL);
        recorder.until_logged("a part of the browser died");
    });
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(details.contains(&format!("{name} died at ")), "{details}");
}

#[test]
fn a_dead_gpu_process_is_reported() {
    let _slot = slots::browser();
    check_killed("--type=gpu-process", "the browser's GPU process");
}

#[test]
fn a_dead_network_process_is_reported() {
    let _slot = slots::browser();
    check_killed("network.mojom.NetworkService", "the browser's network process");
}

#[test]
fn a_static_page_reports_no_stall() {
    let _slot = slots::browser();
    let (_dir, ended) = record("?stop=2&resume=600", |recorder| recorder.run_for(Duration::from_secs(8)));
    let details = ended.info["details"].as_str().unwrap_or_default();
    // A busy machine stalls a page now and then, but not most of the time.
    let silent: f64 = ["did not respond", "stood still"].iter().flat_map(|told| stalls(details, told)).sum();
    assert!(silent <= 4.0, "{details}\n{}", ended.log);
}
