//! Crashes during a recording: the recorder itself, the page, the browser, the display.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::layout;
use crate::support::measure::frames::{Frame, frames};
use crate::support::measure::timing::millis_since;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::processes::{Group, Seen};
use crate::support::recorder::{Recorder, page, size_of, weir};
use crate::support::slots;

/// The size does not matter here, and a small page leaves more of the machine to other tests.
const SMALL: [&str; 2] = ["--size", "640x360"];

fn wall_now() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    (now.as_millis() % (1 << 24)) as u32
}

/// Records for `time`; returns the last moment at which media was written. A machine that gives the
/// recorder no time loses more than the recorder does.
fn record_for(recorder: &mut Recorder, dir: &Path, time: Duration) -> u32 {
    let work = dir.join(".weir");
    let end = Instant::now() + time;
    let (mut size, mut at) = (size_of(&work), wall_now());
    while Instant::now() < end {
        recorder.run_for(Duration::from_millis(20));
        let now = size_of(&work);
        if now != size {
            (size, at) = (now, wall_now());
        }
    }
    at
}

/// Kills the recorder during the recording and measures the recovered media.
#[track_caller]
fn check_killed_after(seconds: f64) {
    let dir = tempfile::tempdir().unwrap();
    let page = page("clock.html");
    let file = ["--file", "clock.mp4"];
    let segments =
        ["--segments", "hls/clock", "--live-playlist", "hls/live.m3u8", "--segment-duration", "2s"];
    let images = ["--images", "images/clock", "--every", "1s"];
    let outputs = [&file[..], &segments, &images, &SMALL].concat();
    let mut recorder = Recorder::start(dir.path(), &[&["web", page.as_str()], &outputs[..]].concat());
    recorder.until_written(120_000);
    let killed = record_for(&mut recorder, dir.path(), Duration::from_secs_f64(seconds));
    recorder.signal(Signal::SIGKILL);
    // Its children, display and audio server end with it.
    let ended = recorder.finish_and(Duration::from_secs(60), || {
        let recovered = weir(dir.path(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    assert_eq!(ended.status.code(), None, "killed");
    assert!(!dir.path().join(".weir").exists(), "recover removes what it has brought home");

    for name in ["clock.mp4", "hls/clock.m3u8"] {
        let path = dir.path().join(name);
        assert_decodable(&path);
        let last = frames(&path, &layout::clock()).iter().rev().find_map(|frame| frame.wall).unwrap();
        let lost = millis_since(last, killed);
        // Two seconds at most on a free machine; a busy host adds some.
        assert!(lost <= 5.0, "{name}: {lost:.2} s lost, killed after {seconds} s");
    }
    let length = Probe::of(&dir.path().join("clock.mp4")).duration;
    assert_segments_agree(&dir.path().join("hls"), length);
    let mut images = names(&dir.path().join("images"));
    images.sort();
    let expected: Vec<String> = (0..images.len()).map(|index| format!("clock_{index:05}.jpeg")).collect();
    assert_eq!(images, expected);
    // A busy machine drops some frames.
    assert!(images.len() as f64 >= length / 2.0 - 1.0, "{} images of {length} s", images.len());
    images.iter().for_each(|image| assert_decodable(&dir.path().join("images").join(image)));
}

/// Asserts that a directory holds the playlists `clock` and `live` with their segments and nothing
/// else, that both playlists end, and that each segment can be played by itself for the duration of
/// its entry.
#[track_caller]
fn assert_segments_agree(dir: &Path, length: f64) {
    let read =
        |name: &str| m3u8_rs::parse_media_playlist_res(&std::fs::read(dir.join(name)).unwrap()).unwrap();
    let (event, live) = (read("clock.m3u8"), read("live.m3u8"));
    assert!(event.end_list && live.end_list, "both have ended");
    let addresses: Vec<&str> = event.segments.iter().map(|segment| segment.uri.as_str()).collect();
    let last: Vec<&str> = live.segments.iter().map(|segment| segment.uri.as_str()).collect();
    assert_eq!(last, addresses[addresses.len().saturating_sub(5)..]);
    assert_eq!(live.media_sequence as usize, addresses.len() - last.len());

    let mut found = names(dir);
    found.retain(|name| name != "clock.m3u8" && name != "live.m3u8");
    found.sort();
    assert_eq!(found, addresses, "every segment is in the playlist, and nothing else is there");
    let mut sum = 0.0;
    for (index, segment) in event.segments.iter().enumerate() {
        let path = dir.join(&segment.uri);
        assert_decodable(&path);
        let (said, is) = (f64::from(segment.duration), Probe::of(&path).duration);
        // Tolerance: one frame, and audio that crosses the edge by some frames. A busy machine
        // leaves gaps at the edges.
        assert!(is - said <= 0.3 && said - is <= 1.5, "segment {index}: {said} s said, {is} s there");
        sum += said;
    }
    // The file loses up to a fragment, the segments lose less. Either may be late when the recorder
    // is killed.
    assert!(sum >= length - 2.0 && sum <= length + 4.0, "{sum} s in segments, {length} s in the file");
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

// Not multiples of the length of a fragment or segment, so that the kills hit different places.

#[test]
fn a_recorder_that_is_killed_in_its_first_segment_loses_seconds_at_most() {
    let _slot = slots::browser();
    check_killed_after(1.7);
}

#[test]
fn a_recorder_that_is_killed_later_loses_seconds_at_most() {
    let _slot = slots::browser();
    check_killed_after(5.3);
}

/// Kills a part of a recording after some seconds and measures the file.
#[track_caller]
fn check_survives(what: &str, victims: impl Fn(&Recorder) -> Vec<Seen>) {
    let dir = tempfile::tempdir().unwrap();
    let page = page("clock.html");
    let arguments = [&["web", &page, "--file", "clock.mp4"], &SMALL[..]].concat();
    let mut recorder = Recorder::start(dir.path(), &arguments);
    recorder.until_written(120_000);
    recorder.run_for(Duration::from_secs(2));
    let killed = wall_now();
    let victims = victims(&recorder);
    assert!(!victims.is_empty(), "{what}: nothing to kill");
    for victim in victims {
        kill(Pid::from_raw(victim.pid), Signal::SIGKILL).ok();
    }
    recorder.until_logged("the page is back");
    let written = size_of(&dir.path().join(".weir"));
    recorder.run_for(Duration::from_secs(3));
    recorder.until_written(written + 50_000);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(Duration::from_secs(120)).complete();

    let path = ended.path("clock.mp4");
    assert_decodable(&path);
    // The length includes the gap.
    let length = Probe::of(&path).duration;
    assert!(length >= 4.0, "{what}: {length} s");
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(!details.is_empty(), "{what}: the gap is in the result's details: {}", ended.info);
    assert_goes_on(what, &frames(&path, &layout::clock()), killed, &path);
}

/// Asserts that the file shows the page again after `killed`, with a gap of a few seconds.
#[track_caller]
fn assert_goes_on(what: &str, all: &[Frame], killed: u32, path: &Path) {
    let seen: Vec<(f64, f64)> =
        all.iter().filter_map(|frame| Some((frame.pts, millis_since(frame.wall?, killed)))).collect();
    // Page times before the kill are small; those after it are just below 2^24 ms.
    let after = seen.iter().find(|(_, before_kill)| *before_kill > 8_000.0);
    let (back, _) =
        after.unwrap_or_else(|| panic!("{what}: the page does not come back in {}", path.display()));
    let (last, _) = seen.iter().rfind(|(_, before_kill)| *before_kill < 8_000.0).unwrap();
    // Some two seconds; the exact length depends on the machine.
    assert!(back - last <= 40.0, "{what}: {:.2} s without the page", back - last);
    let moving = seen.iter().filter(|(pts, _)| pts > back).count();
    assert!(moving > 5, "{what}: {moving} frames after it came back");
}

#[test]
fn a_crashed_renderer_costs_a_gap() {
    let _slot = slots::browser();
    check_survives("renderer", |recorder| {
        let mut renderers = recorder.children(Group::Browser);
        renderers.retain(|seen| {
            let line = seen.arguments.join(" ");
            line.contains("--type=renderer")
                && !line.contains("--top-chrome-webui")
                && !line.contains("--extension-process")
        });
        renderers
    });
}

#[test]
fn a_dead_browser_costs_a_gap() {
    let _slot = slots::browser();
    check_survives("browser", |recorder| recorder.children(Group::Browser));
}

#[test]
fn a_dead_display_costs_a_gap() {
    let _slot = slots::browser();
    check_survives("display", |recorder| recorder.children(Group::Display));
}

#[test]
fn a_dead_audio_server_costs_a_gap() {
    let _slot = slots::browser();
    check_survives("audio server", |recorder| recorder.children(Group::Audio));
}

/// Kills a recorder, damages its files, and recovers them.
#[track_caller]
fn check_damaged(damage: impl FnOnce(&Path), finished: bool) {
    let dir = tempfile::tempdir().unwrap();
    let page = page("clock.html");
    let arguments = [&["web", page.as_str(), "--file", "clock.mp4"], &SMALL[..]].concat();
    let mut recorder = Recorder::start(dir.path(), &arguments);
    recorder.until_written(200_000);
    recorder.run_for(Duration::from_secs(3));
    recorder.signal(Signal::SIGKILL);
    recorder.finish_and(Duration::from_secs(60), || {
        let work = std::fs::read_dir(dir.path().join(".weir")).unwrap().next().unwrap().unwrap().path();
        damage(&work);
        let before = recorded_bytes(&work);
        assert!(!before.is_empty());
        // A repeated recovery has the same result.
        for _ in 0..2 {
            let recovered = weir(dir.path(), &["recover", "."]);
            assert_eq!(recovered.status.code(), Some(1), "{}", recovered.stderr);
            let told = String::from_utf8(recovered.stdout).unwrap();
            assert!(
                told.contains("kept: ") && recovered.stderr.contains("ffplay"),
                "{told}\n{}",
                recovered.stderr
            );
            assert_eq!(recorded_bytes(&work), before, "every byte is still there");
            assert_eq!(dir.path().join("clock.mp4").exists(), finished);
        }
    });
    if finished {
        // Frames that refer to lost ones can't be decoded; the others are kept.
        let length = Probe::of(&dir.path().join("clock.mp4")).duration;
        assert!(length >= 2.0, "{length} s");
    }
}

/// The contents of a work directory's recorded files, under any name.
fn recorded_bytes(work: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(work.join("0")).unwrap().map(|entry| entry.unwrap().path());
    let media = files.filter(|path| path.extension().is_some_and(|extension| extension == "mp4"));
    media.map(|path| std::fs::read(path).unwrap()).collect()
}

fn change(work: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let file = work.join("0/file-0.recording.mp4");
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn a_recording_whose_beginning_is_lost_is_kept_and_named() {
    let _slot = slots::browser();
    check_damaged(|work| change(work, |bytes| bytes[..4096].fill(0)), false);
}

#[test]
fn a_recording_with_a_damaged_fragment_is_finished_around_it_and_kept() {
    let _slot = slots::browser();
    let size_of_a_moof = |bytes: &mut Vec<u8>| {
        let half = bytes.len() / 2;
        let moof = half + bytes[half..].windows(4).position(|at| at == b"moof").unwrap();
        bytes[moof - 1] ^= 0x40;
    };
    check_damaged(|work| change(work, size_of_a_moof), true);
}

#[test]
fn a_recording_that_its_manifest_does_not_know_is_kept_and_named() {
    let _slot = slots::browser();
    let forget = |work: &Path| {
        let path = work.join("manifest.json");
        let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        manifest["outputs"] = serde_json::json!([]);
        std::fs::write(&path, manifest.to_string()).unwrap();
    };
    check_damaged(forget, false);
}
