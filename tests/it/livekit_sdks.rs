//! Participants who publish with LiveKit's own SDKs, as people do: recordings without a browser are
//! complete and in sync.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::layout::{self, Layout, Region};
use crate::support::livekit::LiveKitServer;
use crate::support::measure::audio::{Beep, beeps, beeps_of, samples};
use crate::support::measure::frames::{Frame, changes, frames};
use crate::support::measure::timing::{DISTURBED, av_offsets_of_pairs, cadence, percentile};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::python::PythonPublisher;
use crate::support::recorder::Recorder;
use crate::support::room::Publishers;
use crate::support::shared::own_room;
use crate::support::slots;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn start(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_by(weir))
}

/// Records some seconds of participant `ann`, once they are visible.
#[track_caller]
fn ann(dir: &Path, livekit: &LiveKitServer, room: &str, size: &str, seconds: u32) -> PathBuf {
    let arguments = ["participant", room, "ann", "--size", size, "--file", "ann.mp4"];
    let mut recorder = start(dir, livekit, &arguments);
    // The recording begins with the first of video and audio; on a busy machine the other takes a
    // while.
    recorder.until_logged("shown track=");
    recorder.run_for(Duration::from_secs(seconds.into()));
    recorder.signal(Signal::SIGINT);
    let file = recorder.finish(SOON).complete().path("ann.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!(length > f64::from(seconds) - 1.0, "{length}");
    file
}

/// The same for a browser publisher; `options` as in [`Publishers::join`]. Returns the file and its
/// directory.
#[track_caller]
fn ann_in_a_browser(options: &str, size: &str, seconds: u32) -> (tempfile::TempDir, PathBuf) {
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let _publishers = Publishers::join(livekit, &pages, own_room(), &["ann"], options);
    let dir = tempfile::tempdir().unwrap();
    let file = ann(dir.path(), livekit, own_room(), size, seconds);
    (dir, file)
}

/// Asserts a beep per second, most of them as sent: an encoder and a network that are short of time
/// lose or cut single ones.
#[track_caller]
fn assert_beeps(beeps: &[Beep], at_least: usize) {
    assert!(beeps.len() >= at_least, "{beeps:?}");
    let is_sent = |beep: &&Beep| (beep.hertz - 1000.0).abs() < 30.0 && (beep.length - 0.08).abs() < 0.015;
    assert!(beeps.iter().filter(is_sent).count() * 3 >= beeps.len(), "{beeps:?}");
    // A second apart, or several if one is missing.
    let apart: Vec<f64> = beeps.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let is_on_time = |apart: &&f64| **apart > 0.5 && (**apart - apart.round()).abs() < 0.1;
    assert!(apart.iter().filter(is_on_time).count() * 2 >= apart.len(), "{beeps:?}");
}

/// Asserts the sent frames, from the first one on. An encoder that is short of time drops frames,
/// and makes others so coarse that their counters are unreadable.
#[track_caller]
fn assert_whole(frames: &[Frame]) {
    let there: Vec<_> = frames.iter().filter(|frame| frame.pts > 0.5).cloned().collect();
    let measured = cadence(&there);
    let is_whole = measured.torn * 5 <= there.len() && measured.longest_gap < 4.0;
    assert!(is_whole && measured.distinct > 3.0, "{measured:?}");
}

/// Asserts that beeps come with their flashes once browsers and networks have settled: most of
/// them. Single ones depend on the load of the publisher's machine; the recording's own error is
/// measured with publishers who send by the clock, in `decoded_tracks`.
#[track_caller]
fn assert_in_step(frames: &[Frame], beeps: &[Beep]) {
    let late = av_offsets_of_pairs(frames, beeps).into_iter().filter(|(at, _)| *at > 2.0);
    let apart: Vec<f64> = late.map(|(_, late)| late.abs()).collect();
    assert!(apart.len() >= 2 && percentile(&apart, 0.25) <= DISTURBED, "{apart:.3?}");
}

/// The page beeps at the full second, paints its flash by a timer up to 33 ms later, and captures
/// its canvas when the browser paints it: the flash itself is that unsteady.
#[test]
fn a_participant_in_a_browser_is_in_sync() {
    let _slot = slots::heavy();
    let (_dir, file) = ann_in_a_browser("beep=1&width=640&height=360&fps=30", "640x360", 8);
    let flash = Some(Region::new(0.4, 0.08, 0.2, 0.14));
    assert_in_step(&frames(&file, &Layout { flash, ..Layout::default() }), &beeps(&samples(&file)));
}

/// Chromium's own devices: a video with movement and a running time, and a beep of 20 ms each half
/// second.
#[test]
fn a_browsers_camera_and_microphone_are_recorded_completely() {
    let _slot = slots::heavy();
    let (_dir, file) = ann_in_a_browser("devices=1&width=640&height=480&fps=20", "640x480", 6);
    let moved = changes(&file);
    let longest = moved.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(moved.len() > 12 && longest < 4.0, "{} frames, none for {longest:.2} s", moved.len());
    let heard = beeps_of(&samples(&file), 0.01);
    assert!(heard.len() >= 4, "{heard:?}");
    // Half a second apart, or a multiple of it if some are missing.
    let halves: Vec<f64> = heard.windows(2).map(|pair| (pair[1].at - pair[0].at) * 2.0).collect();
    let is_on_time = |halves: &&f64| **halves > 0.5 && (**halves - halves.round()).abs() < 0.2;
    assert!(halves.iter().filter(is_on_time).count() * 2 >= halves.len(), "{heard:?}");
}

/// Starts to record four seconds of a track as published.
fn track(dir: &Path, livekit: &LiveKitServer, room: &str, sid: &str, name: &str) -> Recorder {
    start(dir, livekit, &["track", room, sid, "--file", name, "--duration", "4s"])
}

/// Waits for its exit.
#[track_caller]
fn ended_track(recorder: Recorder, name: &str) -> (PathBuf, Probe) {
    let file = recorder.finish(SOON).complete().path(name);
    assert_decodable(&file);
    let probe = Probe::of(&file);
    // A video's key frame may come late on a busy machine, and so may the end.
    assert!((1.0..12.0).contains(&probe.duration), "{probe:?}");
    (file, probe)
}

/// One of the codecs that need more CPU than two cores can spare.
#[track_caller]
fn check_track_by_python(codec: &str, container: &str, name: &str) {
    let livekit = LiveKitServer::shared();
    let publisher = PythonPublisher::join(livekit, own_room(), "ann", codec);
    let dir = tempfile::tempdir().unwrap();
    let frame = format!("picture.{container}");
    let recorder = track(dir.path(), livekit, own_room(), &publisher.frame, &frame);
    let (file, probe) = ended_track(recorder, &frame);
    assert_eq!(probe.stream("video").codec, name);
    // An encoder that is short of time drops frames.
    let frames = frames(&file, &layout::synthetic());
    let measured = cadence(&frames);
    assert!(measured.torn * 5 <= frames.len() && measured.distinct > 2.0, "{measured:?}");
}

#[test]
fn vp9_from_the_python_sdk_is_recorded_completely() {
    let _slot = slots::heavy();
    check_track_by_python("VP9", "webm", "vp9");
}

#[test]
fn av1_from_the_python_sdk_is_recorded_completely() {
    let _slot = slots::heavy();
    check_track_by_python("AV1", "mp4", "av1");
}

/// Records both tracks as a participant, and at the same time each of them as published.
#[track_caller]
fn check_participant_by_python(codec: &str, container: &str, name: &str) {
    let livekit = LiveKitServer::shared();
    let publisher = PythonPublisher::join(livekit, own_room(), "ann", codec);
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let frame = format!("picture.{container}");
    let room = own_room();
    let tracks = [
        track(dirs[0].path(), livekit, room, &publisher.frame, &frame),
        track(dirs[1].path(), livekit, room, &publisher.audio, "sound.ogg"),
    ];
    let file = ann(dirs[2].path(), livekit, room, "640x360", 8);
    let (seen, heard) = (frames(&file, &layout::synthetic()), beeps(&samples(&file)));
    assert_whole(&seen);
    assert_beeps(&heard, 3);
    assert_in_step(&seen, &heard);

    let [video, audio] = tracks;
    let (file, probe) = ended_track(video, &frame);
    assert_eq!(probe.stream("video").codec, name);
    assert_whole(&frames(&file, &layout::synthetic()));
    let (file, probe) = ended_track(audio, "sound.ogg");
    assert_eq!(probe.stream("audio").codec, "opus");
    // Drift correction inserts or drops a packet of 20 ms.
    assert_beeps(&beeps(&samples(&file)), 1);
}

#[test]
fn vp8_from_the_python_sdk_is_complete_and_in_sync() {
    let _slot = slots::heavy();
    check_participant_by_python("VP8", "webm", "vp8");
}

#[test]
fn h264_from_the_python_sdk_is_complete_and_in_sync() {
    let _slot = slots::heavy();
    check_participant_by_python("H264", "mp4", "h264");
}
