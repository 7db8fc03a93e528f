//! Participants who publish as people do, with LiveKit's own SDKs: what is recorded of them without a browser is whole, and in step.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::layout::{self, Layout, Region};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::pictures::{Picture, changes, pictures};
use crate::support::measure::sound::{Beep, beeps, beeps_of, samples};
use crate::support::measure::timing::{cadence, percentile, sound_lateness};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::python::PythonPublisher;
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::Publishers;

const ROOM: &str = "studio";
/// A room's answers, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Ended {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_by(weir)).finish(SOON).complete()
}

/// So many seconds of participant `ann`, and no more or less.
#[track_caller]
fn ann(dir: &Path, livekit: &LiveKitServer, room: &str, size: &str, seconds: u32) -> PathBuf {
    let duration = format!("{seconds}s");
    let arguments =
        ["participant", room, "ann", "--size", size, "--file", "ann.mp4", "--duration", &duration];
    let file = record(dir, livekit, &arguments).path("ann.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!((length - f64::from(seconds)).abs() < 0.1, "{length}");
    file
}

/// The same, who publishes from a browser; `options` as in [`Publishers::join`]. The directory is the file's.
#[track_caller]
fn ann_in_a_browser(options: &str, size: &str, seconds: u32) -> (tempfile::TempDir, PathBuf) {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let _publishers = Publishers::join(&livekit, &pages, ROOM, &["ann"], options);
    let dir = tempfile::tempdir().unwrap();
    let file = ann(dir.path(), &livekit, ROOM, size, seconds);
    (dir, file)
}

/// A beep at each second, as it was sent. `within`: seconds.
#[track_caller]
fn assert_beeps(beeps: &[Beep], within: f64, at_least: usize) {
    assert!(beeps.len() >= at_least, "{beeps:?}");
    for pair in beeps.windows(2) {
        assert!((pair[1].at - pair[0].at - 1.0).abs() < within, "{beeps:?}");
    }
    // The first and the last one may be cut.
    for beep in &beeps[1..beeps.len() - 1] {
        assert!((beep.hertz - 1000.0).abs() < 30.0 && (beep.length - 0.08).abs() < 0.015, "{beep:?}");
    }
}

/// All pictures that were sent, each whole, once the first one was there.
#[track_caller]
fn assert_whole(pictures: &[Picture]) {
    let there: Vec<_> = pictures.iter().filter(|picture| picture.pts > 0.5).cloned().collect();
    let measured = cadence(&there);
    let is_whole = measured.torn == 0 && measured.longest_gap < 0.12;
    assert!(is_whole && measured.distinct > 29.0, "{measured:?}");
}

/// How much later than its flash each beep is, in ms, once browsers and networks have settled.
fn late(pictures: &[Picture], beeps: &[Beep]) -> Vec<f64> {
    let late = sound_lateness(pictures, beeps);
    late.into_iter().filter(|(at, _)| *at > 2.0).map(|(_, late)| late * 1000.0).collect()
}

/// Where half of them are no further from `expected` than this, in ms. Single ones say more of how busy the publisher's machine was; what
/// recording does to each is measured with publishers who send by the clock, in `decoded`.
fn apart(late: &[f64], expected: f64) -> f64 {
    let apart: Vec<f64> = late.iter().map(|late| (late - expected).abs()).collect();
    percentile(&apart, 0.5)
}

/// The page beeps at the second, paints its flash by a timer up to 33 ms later, and captures its canvas when the browser paints that: the
/// flash itself is that unsteady.
#[test]
fn a_participant_in_a_browser_is_in_step() {
    let (_dir, file) = ann_in_a_browser("beep=1&width=640&height=360&fps=30", "640x360", 14);
    let flash = Some(Region::new(0.4, 0.08, 0.2, 0.14));
    let late = late(&pictures(&file, &Layout { flash, ..Layout::default() }), &beeps(&samples(&file)));
    assert!(late.len() >= 10 && apart(&late, -15.0) <= 60.0, "{late:.0?}");
}

/// Chromium's own devices: a picture in which something moves and the time is counted, and a beep of 20 ms each half second.
#[test]
fn what_a_browsers_camera_and_microphone_send_is_whole() {
    let (_dir, file) = ann_in_a_browser("devices=1&width=640&height=480&fps=20", "640x480", 10);
    let moved = changes(&file);
    let longest = moved.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(moved.len() > 150 && longest < 0.5, "{} pictures, none for {longest:.2} s", moved.len());
    let heard = beeps_of(&samples(&file), 0.01);
    assert!(heard.len() >= 18, "{heard:?}");
    for pair in heard.windows(2) {
        assert!((pair[1].at - pair[0].at - 0.5).abs() < 0.1, "{heard:?}");
    }
}

/// Six seconds of a track as it was published.
#[track_caller]
fn track(dir: &Path, livekit: &LiveKitServer, room: &str, sid: &str, name: &str) -> (PathBuf, Probe) {
    let arguments = ["track", room, sid, "--file", name, "--duration", "6s"];
    let file = record(dir, livekit, &arguments).path(name);
    assert_decodable(&file);
    let probe = Probe::of(&file);
    assert!((probe.duration - 6.0).abs() < 0.3, "{probe:?}");
    (file, probe)
}

/// The codecs that cost more than two cores have for a second time.
#[test]
fn what_pythons_sdk_sends_in_vp9_and_av1_is_whole() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    for (codec, container, name) in [("VP9", "webm", "vp9"), ("AV1", "mp4", "av1")] {
        let room = &format!("{ROOM}-{name}");
        let publisher = PythonPublisher::join(&livekit, room, "ann", codec);
        let dir = tempfile::tempdir().unwrap();
        let picture = format!("picture.{container}");
        let (file, probe) = track(dir.path(), &livekit, room, &publisher.picture, &picture);
        assert_eq!(probe.stream("video").codec, name);
        // An encoder that is short of time leaves pictures out.
        let measured = cadence(&pictures(&file, &layout::synthetic()));
        assert!(measured.torn == 0 && measured.distinct > 20.0, "{measured:?}");
    }
}

/// Both of its tracks as a participant, and each by itself as it was published.
#[test]
fn a_participant_with_pythons_sdk_is_whole_and_in_step() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    for (codec, container, name) in [("VP8", "webm", "vp8"), ("H264", "mp4", "h264")] {
        let room = &format!("{ROOM}-{name}");
        let publisher = PythonPublisher::join(&livekit, room, "ann", codec);
        let dir = tempfile::tempdir().unwrap();
        let file = ann(dir.path(), &livekit, room, "640x360", 12);
        let (seen, heard) = (pictures(&file, &layout::synthetic()), beeps(&samples(&file)));
        assert_whole(&seen);
        assert_beeps(&heard, 0.03, 11);
        // WebRTC reports the moment at which a packet was full for its first sample: sound that is handed on as it begins, in
        // pieces of 10 ms, is 10 ms late by the sender's own clock, which on a busy machine is as unsteady again.
        let late = late(&seen, &heard);
        assert!(late.len() >= 9 && apart(&late, 10.0) <= 40.0, "{name}: {late:.0?}");

        let picture = format!("picture.{container}");
        let (file, probe) = track(dir.path(), &livekit, room, &publisher.picture, &picture);
        assert_eq!(probe.stream("video").codec, name);
        assert_whole(&pictures(&file, &layout::synthetic()));
        let (file, probe) = track(dir.path(), &livekit, room, &publisher.sound, "sound.ogg");
        assert_eq!(probe.stream("audio").codec, "opus");
        // Where it follows the sender's clock, a packet of 20 ms is filled in or left out.
        assert_beeps(&beeps(&samples(&file)), 0.045, 5);
    }
}
