//! Recordings in other forms: audio only, portrait, large, another capture, requests in JSON.

use std::path::Path;
use std::time::Duration;

use crate::support::disturbance::undisturbed;
use crate::support::layout;
use crate::support::measure::audio::{Beep, beeps, samples};
use crate::support::measure::frames::{Snapshot, colour_distance, frames};
use crate::support::measure::timing::{
    DISTURBED, SCRIPTED, av_offsets_of_pairs, cadence, lateness, percentile,
};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Ended, Recorder, page};
use crate::support::slots;

fn record(dir: &Path, arguments: &[&str]) -> Ended {
    let page = page("clock.html");
    Recorder::start(dir, &[&["web", page.as_str()], arguments].concat())
        .finish(Duration::from_secs(120))
        .complete()
}

#[test]
fn audio_only_goes_into_every_audio_container() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let outputs = ["--file", "a.ogg", "--file", "a.mp3", "--file", "a.mp4"];
    let ended = record(dir.path(), &[&["--audio-only", "--duration", "4s"], &outputs[..]].concat());
    for (name, codec) in [("a.ogg", "opus"), ("a.mp3", "mp3"), ("a.mp4", "aac")] {
        let path = ended.path(name);
        assert_decodable(&path);
        let probe = Probe::of(&path);
        assert_eq!(probe.streams.len(), 1, "{name}: {probe:?}");
        assert_eq!(probe.stream("audio").codec, codec);
        assert!((probe.duration - 4.0).abs() <= 1.0, "{name}: {probe:?}");
        let found = beeps(&samples(&path));
        assert!(found.len() >= 2, "{name}: {found:?}");
        // The page starts its beep with a frame, which is late on a busy machine; then others are
        // nearer or farther. So is the second half of a beep with a gap.
        let is_second = |pair: &[Beep]| (pair[1].at - pair[0].at - 1.0).abs() < 0.3;
        assert!(found.len() <= 8 && found.windows(2).any(is_second), "{name}: {found:?}");
    }
}

#[test]
fn video_only_has_no_audio_track() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &["--video-only", "--duration", "3s", "--file", "a.mp4"]);
    let probe = Probe::of(&ended.path("a.mp4"));
    assert_eq!(probe.streams.len(), 1, "{probe:?}");
    assert!((probe.duration - 3.0).abs() <= 1.0, "{probe:?}");
}

#[test]
fn a_portrait_page_fills_a_portrait_frame() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let ended =
        record(dir.path(), &["--preset", "portrait-h264-720p-30", "--duration", "3s", "--file", "a.mp4"]);
    let still = Snapshot::at(&ended.path("a.mp4"), 1.0);
    assert_eq!((still.width, still.height), (720, 1280));
    for (region, colour) in layout::clock_patches() {
        let seen = still.colour(region);
        assert!(colour_distance(seen, colour) <= 8, "{colour:?} is seen as {seen:?}");
    }
}

#[test]
fn full_hd_keeps_its_pace() {
    let _slot = slots::machine();
    let measured = undisturbed("a page at 1080p", || {
        let dir = tempfile::tempdir().unwrap();
        let ended = record(dir.path(), &["--preset", "h264-1080p-30", "--duration", "6s", "--file", "a.mp4"]);
        (ended, dir)
    });
    let path = measured.value.0.path("a.mp4");
    let all = frames(&path, &layout::clock());
    let frames = cadence(&all);
    // A frame is captured 4 ms after its last damage event: a host that takes the CPU in between
    // tears it.
    let (distinct, torn) = if measured.is_calm { (27.0, 1) } else { (2.0, all.len() / 3) };
    assert!(frames.distinct >= distinct && frames.torn <= torn, "{frames:?}");
    let late = lateness(&all, &beeps(&samples(&path)), measured.is_calm);
    let late: Vec<f64> = late.into_iter().map(|(_, late)| late.abs()).collect();
    // One beep may be late if a frame of Chromium's is.
    let (count, share, bound) = if measured.is_calm { (3, 0.75, SCRIPTED) } else { (1, 0.5, DISTURBED) };
    assert!(late.len() >= count && percentile(&late, share) <= bound, "{late:.3?}");
}

#[test]
fn the_other_capture_records_too() {
    let _slot = slots::heavy();
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &["--capture", "ximagesrc", "--duration", "4s", "--file", "a.mp4"]);
    let path = ended.path("a.mp4");
    assert_decodable(&path);
    let length = Probe::of(&path).duration;
    assert!((length - 4.0).abs() <= 1.0, "{length} s");
    let all = frames(&path, &layout::clock());
    // It grabs by its own clock, which beats against the page's.
    let measured = cadence(&all);
    assert!(measured.distinct >= 2.0, "{measured:?}");
    let late: Vec<f64> =
        av_offsets_of_pairs(&all, &beeps(&samples(&path))).into_iter().map(|(_, late)| late.abs()).collect();
    assert!(!late.is_empty() && percentile(&late, 0.5) <= DISTURBED, "{late:.3?}");
}

#[test]
fn frame_times_on_the_grid_are_even() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &["--frame-times", "grid", "--duration", "3s", "--file", "a.mp4"]);
    let all = frames(&ended.path("a.mp4"), &layout::clock());
    // The encoder on a busy machine drops frames, perhaps every other one; the others are on the
    // grid.
    assert!((15..=94).contains(&all.len()), "{} frames in 3 s", all.len());
    let steps: Vec<f64> = all.windows(2).map(|pair| (pair[1].pts - pair[0].pts) * 30.0).collect();
    assert!(steps.iter().all(|step| *step > 0.5 && (step - step.round()).abs() < 0.06), "{steps:.2?}");
    assert!(steps.iter().any(|step| step.round() == 1.0), "{steps:.2?}");
}

#[test]
fn a_request_in_json_records_as_the_command_line_does() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("request.json");
    // Local pages are for the command line only; a request has an http address.
    let server = crate::support::page_server::PageServer::start();
    let url = server.url("/pages/clock.html?end=4");
    std::fs::write(&file, format!(r#"{{"url": "{url}", "file_outputs": [{{"filepath": "a.mp4"}}]}}"#))
        .unwrap();
    let ended =
        Recorder::start(dir.path(), &["request", file.to_str().unwrap()]).finish(Duration::from_secs(120));
    let ended = ended.complete();
    assert_decodable(&ended.path("a.mp4"));
}
