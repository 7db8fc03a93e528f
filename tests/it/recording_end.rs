//! Start and end of recordings: signals of the page, Ctrl-C.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::layout;
use crate::support::measure::frames::frames;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Recorder, page, weir};
use crate::support::slots;
use crate::support::tool::{Tool, command};

const PATIENCE: Duration = Duration::from_secs(120);

fn record(dir: &Path, query: &str, more: &[&str]) -> Recorder {
    let page = page(&format!("clock.html{query}"));
    Recorder::start(dir, &[&["web", &page, "--file", "clock.mp4"], more].concat())
}

#[test]
fn the_page_ends_the_recording() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), "?end=5", &["--duration", "90s"]).finish(PATIENCE).complete();
    let path = ended.path("clock.mp4");
    assert_decodable(&path);
    let length = Probe::of(&path).duration;
    // A busy machine begins later, and notices the end later.
    assert!((0.2..=40.0).contains(&length), "{length} s of a page that ends after 5 s");
}

#[test]
fn the_recording_begins_at_the_pages_signal() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let more = ["--await-start-signal", "--duration", "3s"];
    let ended = record(dir.path(), "?start=4", &more).finish(PATIENCE).complete();
    let path = ended.path("clock.mp4");
    let length = Probe::of(&path).duration;
    assert!((length - 3.0).abs() <= 1.0, "{length} s");
    // At 30 Hz the page has counted to 120 by then, on a busy machine to less; earlier frames must
    // not be in the file.
    let first = frames(&path, &layout::clock()).iter().find_map(|frame| frame.counters[0]).unwrap();
    assert!((8..=900).contains(&first), "begins with frame {first}");
}

#[test]
fn ctrl_c_finalizes_the_file() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), "", &[]);
    recorder.until_written(100_000);
    recorder.run_for(Duration::from_secs(3));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(PATIENCE).complete();
    assert!(ended.took <= Duration::from_secs(40), "from Ctrl-C to the end it took {:?}", ended.took);
    assert_decodable(&ended.path("clock.mp4"));
    let length = Probe::of(&ended.path("clock.mp4")).duration;
    assert!(length >= 2.0, "{length} s");
}

#[test]
fn ctrl_c_at_any_moment_of_the_start_leaves_nothing_behind() {
    let _slot = slots::browser();
    for millis in [20, 100, 250, 400, 550, 700, 900, 1100, 1400] {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = record(dir.path(), "", &[]);
        recorder.run_for(Duration::from_millis(millis));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.finish(PATIENCE);
        // Before the program's first line, a signal ends it like any program; it has no files yet.
        let had_not_begun = ended.status.signal() == Some(Signal::SIGINT as i32) && ended.log.is_empty();
        assert!(
            ended.status.code().is_some() || had_not_begun,
            "after {millis} ms: {}\n{}",
            ended.status,
            ended.log
        );
        let file = dir.path().join("clock.mp4");
        if file.exists() {
            assert_decodable(&file);
        }
        assert!(
            !dir.path().join(".weir").exists(),
            "after {millis} ms a work directory is left:\n{}",
            ended.log
        );
    }
}

#[test]
fn a_second_ctrl_c_stops_at_once_and_leaves_what_recover_needs() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), "", &[]);
    recorder.until_written(400_000);
    // Both signals are pending at once: between two signals sent by a busy machine it could have
    // ended. Either signal counts. The kernel merges two equal signals that wait for the same
    // process.
    let signals = [Signal::SIGSTOP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCONT];
    signals.into_iter().for_each(|signal| recorder.signal(signal));
    let ended = recorder.finish(PATIENCE);
    assert_eq!(ended.status.code(), Some(130), "{}", ended.log);
    // Nothing is finalized, so there is nothing to wait for.
    assert!(ended.took <= Duration::from_secs(30), "it took {:?}", ended.took);

    let recovered = weir(dir.path(), &["recover", "."]);
    assert!(recovered.status.success(), "{}", recovered.stderr);
    assert_decodable(&dir.path().join("clock.mp4"));
    assert!(!dir.path().join(".weir").exists(), "recover removes what it has brought home");
}

#[test]
fn a_closed_terminal_finalizes_the_file() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), "", &[]);
    recorder.until_written(100_000);
    recorder.signal(Signal::SIGHUP);
    // The shell forwards the signal, the kernel sends another one when the shell ends, and the
    // session ends with SIGTERM. Two signals at the same moment would be one.
    for signal in [Signal::SIGHUP, Signal::SIGHUP, Signal::SIGTERM] {
        if recorder.exit_within(Duration::from_millis(20)).is_none() {
            recorder.signal(signal);
        }
    }
    let ended = recorder.finish(PATIENCE).complete();
    assert_decodable(&ended.path("clock.mp4"));
}

#[test]
fn sigquit_finalizes_the_file() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), "", &[]);
    recorder.until_written(100_000);
    recorder.signal(Signal::SIGQUIT);
    let ended = recorder.finish(PATIENCE).complete();
    assert_decodable(&ended.path("clock.mp4"));
}

#[test]
fn a_recording_with_an_unread_stdout_is_complete() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let weir = env!("CARGO_BIN_EXE_weir");
    // The other end of its standard output and error is closed when it begins.
    let script = format!(
        "'{weir}' record web '{}' --file clock.mp4 --duration 3s --json 2>&1 | true; exit ${{PIPESTATUS[0]}}",
        page("clock.html")
    );
    let mut bash = command("bash");
    bash.arg("-c").arg(script).current_dir(dir.path());
    let done = Tool::start(bash, None).finish(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert_decodable(&dir.path().join("clock.mp4"));
    assert!(!dir.path().join(".weir").exists(), "nothing is left of it");
}
