//! Track composites and participants with copied video: frame by frame, in sync with their audio.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::disturbance::undisturbed;
use crate::support::livekit::LiveKitServer;
use crate::support::measure::timing::DISTURBED;
use crate::support::measure::{Probe, assert_decodable, audio, frames};
use crate::support::publisher::{Codec, Publisher, encoded, encoded_once, units_of};
use crate::support::recorder::{Ended, Recorder};
use crate::support::shared::own_room;
use crate::support::slots;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Seconds between a flash and its beep on an undisturbed machine. Copied Opus is late by the 6.5
/// ms of its encoder's look-ahead.
const TOGETHER: f64 = 0.03;

/// One black second with a flash of 0.2 s at 0.5 s, and a key frame at its beginning.
fn flashes(encoder: &str) -> Vec<Vec<u8>> {
    let shown = |pattern: &str, count: u32| {
        format!(
            "videotestsrc pattern={pattern} num-buffers={count} ! \
             video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! queue ! join. "
        )
    };
    let sources = [shown("black", 15), shown("white", 6), shown("black", 9)].concat();
    encoded_once(&format!("concat name=join ! {encoder} ! appsink name=out {sources}"))
}

pub(super) fn h264_flashes() -> Vec<Vec<u8>> {
    flashes(
        "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 bitrate=500 aud=false ! \
         video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline",
    )
}

/// One silent second with a beep of 0.2 s at 0.5 s.
pub(super) fn beeps() -> Vec<Vec<u8>> {
    let heard = |wave: &str, count: u32| {
        format!(
            "audiotestsrc {wave} num-buffers={count} samplesperbuffer=960 ! \
             audio/x-raw,rate=48000,channels=2 ! queue ! join. "
        )
    };
    let sources = [heard("wave=silence", 25), heard("freq=1000", 10), heard("wave=silence", 15)].concat();
    encoded_once(&format!("concat name=join ! opusenc ! appsink name=out {sources}"))
}

fn record(dir: &Path, server: &LiveKitServer, audio: &str, frame: &str, arguments: &[&str]) -> Recorder {
    let tracks = ["track-composite", own_room(), "--audio-track", audio, "--video-track", frame];
    Recorder::start_with(dir, &[&tracks, arguments].concat(), |weir| server.reached_by(weir))
}

/// The H.264 frames of an MP4, unchanged.
pub(super) fn frames_in(path: &Path) -> Vec<Vec<Vec<u8>>> {
    let frames = encoded(&format!(
        "filesrc location={} ! qtdemux name=d d.video_0 ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out",
        path.display()
    ));
    frames.iter().map(|frame| units_of(frame, Codec::H264)).collect()
}

/// Delay of each beep after its flash in seconds: those in sync, and the others.
fn lateness(path: &Path, bound: f64) -> [Vec<f64>; 2] {
    let apart = beeps_and_lateness(path).into_iter().map(|(_, apart)| apart);
    let (in_step, others) = apart.partition(|apart| apart.abs() <= bound);
    [in_step, others]
}

/// Start of each beep, and its delay after its flash, in seconds.
pub(super) fn beeps_and_lateness(path: &Path) -> Vec<(f64, f64)> {
    let changes = frames::changes(path);
    let beeps = audio::beeps(&audio::samples(path));
    // A flash is 0.2 s long; other changes are not flashes.
    let is_flash = |pair: &&[f64]| (0.1..0.3).contains(&(pair[1] - pair[0]));
    let flashes: Vec<f64> = changes.windows(2).filter(is_flash).map(|pair| pair[0]).collect();
    let nearest = |beep: &audio::Beep| {
        let apart = flashes.iter().map(|flash| beep.at - flash);
        Some((beep.at, apart.min_by(|a, b| a.abs().total_cmp(&b.abs()))?))
    };
    beeps.iter().filter_map(nearest).collect()
}

#[test]
fn copied_video_and_audio_that_begin_seconds_apart_are_in_sync() {
    let _slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "drummer", Codec::H264);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    std::thread::park_timeout(Duration::from_millis(1700));
    let seen = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let begin = Instant::now();
    let arguments = ["--as-published", "--file", "drum.mp4", "--audio-codec", "opus"];
    let mut recorder = record(dir.path(), server, &heard, &seen, &arguments);
    recorder.until_written(2_000);
    let written = Instant::now();
    recorder.run_for(Duration::from_millis(2500));
    // Without video, audio continues in the file.
    publisher.mute(&seen, true);
    recorder.run_for(Duration::from_secs(4));
    publisher.mute(&seen, false);
    recorder.run_for(Duration::from_millis(3500));
    let least = written.elapsed().as_secs_f64();
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let most = begin.elapsed().as_secs_f64();
    let file = ended.path("drum.mp4");
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 and Opus as published"), "{details}");

    let sent: Vec<_> = publisher.sent(&seen).iter().map(|frame| units_of(frame, Codec::H264)).collect();
    let found = frames_in(&file);
    let foreign = found.iter().filter(|frame| !sent.contains(frame)).count();
    assert_eq!(foreign, 0, "of {} frames", found.len());
    let probe = Probe::of(&file);
    assert_eq!(
        (probe.stream("audio").codec.as_str(), probe.stream("video").codec.as_str()),
        ("opus", "h264")
    );
    // A busy machine may not have written the last frames.
    assert!((least - 3.0..most).contains(&probe.duration), "{} s, and not {least}", probe.duration);
    let frames = found.len() as f64;
    assert!((30.0..(probe.duration - 3.0) * 30.0).contains(&frames), "{frames} in {} s", probe.duration);
    assert_decodable(&file);
    let [in_step, others] = lateness(&file, DISTURBED);
    // Beeps during the pause have no flash, and the first flash is not a change; neither are beeps
    // before the first key frame.
    assert!(in_step.len() >= 2 && others.len() <= in_step.len() + 7, "{in_step:.3?}, and not {others:.3?}");
}

/// A finished recording, its directory, and the frames sent meanwhile.
type Recorded = (Ended, tempfile::TempDir, Vec<Arc<[u8]>>);

/// Records the same two tracks into two files: with copied and with encoded audio.
fn record_both() -> [Recorded; 2] {
    let started = [("ann", &["--audio-codec", "opus"][..]), ("ben", &[])].map(|(identity, codec)| {
        let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
        let publisher = Publisher::join(server, own_room(), identity, Codec::H264);
        let heard = publisher.publish_by_clock(Codec::Opus, beeps());
        let seen = publisher.publish_by_clock(Codec::H264, h264_flashes());
        let arguments = [&["--as-published", "--file", "drum.mp4", "--duration", "6s"], codec].concat();
        (record(dir.path(), server, &heard, &seen, &arguments), dir, publisher, seen)
    });
    started.map(|(recorder, dir, publisher, seen)| {
        (recorder.finish(SOON).complete(), dir, publisher.sent(&seen))
    })
}

/// The only exact measurement of the A/V offset of copied tracks.
#[test]
fn copied_video_is_in_sync_with_encoded_and_copied_audio() {
    let measured = {
        let _slot = slots::machine();
        undisturbed("audio and video as published", record_both)
    };
    let _slot = slots::encoder();
    let bound = if measured.is_calm { TOGETHER } else { DISTURBED };
    let expected = [
        ("remuxed: H.264 and Opus as published", "opus"),
        ("remuxed: H.264 as published, audio decoded and encoded", "aac"),
    ];
    for ((ended, _dir, sent), (remuxed, codec)) in measured.value.into_iter().zip(expected) {
        let details = ended.info["details"].as_str().unwrap();
        assert!(details.contains(remuxed), "{details}");
        let file = ended.path("drum.mp4");
        let sent: Vec<_> = sent.iter().map(|frame| units_of(frame, Codec::H264)).collect();
        let found = frames_in(&file);
        // A disturbed machine waits for the first key frame, and is late to end it.
        let (frames, lengths) = if measured.is_calm { (90..=185, 5.5..6.5) } else { (20..=400, 2.0..12.0) };
        assert!(frames.contains(&found.len()), "{codec}: {} frames", found.len());
        assert!(found.iter().all(|frame| sent.contains(frame)), "{codec}");
        let probe = Probe::of(&file);
        assert_eq!((probe.stream("audio").codec.as_str(), probe.stream("video").width), (codec, 320));
        assert!(lengths.contains(&probe.duration), "{codec}: {}", probe.duration);
        let [in_step, others] = lateness(&file, bound);
        let (least, most) = if measured.is_calm { (4, 1) } else { (1, in_step.len() + 2) };
        assert!(
            in_step.len() >= least && others.len() <= most,
            "{codec}: {in_step:.3?}, and not {others:.3?}"
        );
    }
}

/// One camera, then another beside it, which is shown until it is muted.
#[test]
fn a_participants_video_is_copied_on_request() {
    let _slot = slots::encoder();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "drummer", Codec::H264);
    publisher.publish_by_clock(Codec::Opus, beeps());
    let first = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let begin = Instant::now();
    let arguments = ["participant", own_room(), "drummer", "--as-published", "--file", "drum.mp4"];
    let mut recorder = Recorder::start_with(dir.path(), &arguments, |weir| server.reached_by(weir));
    recorder.until_written(2_000);
    let written = Instant::now();
    publisher.until_sent(&mut recorder, &first, 60);
    let second = publisher.publish(Codec::H264, Codec::h264_frames(640, 360));
    recorder.until_logged(&format!("subscribed track=\"{second}\""));
    publisher.until_sent(&mut recorder, &second, 75);
    publisher.mute(&second, true);
    publisher.until_sent(&mut recorder, &first, 120);
    let least = written.elapsed().as_secs_f64();
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let most = begin.elapsed().as_secs_f64();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 as published, audio decoded and encoded"), "{details}");

    let file = ended.path("drum.mp4");
    let sent = |sid: &str| -> Vec<_> {
        publisher.sent(sid).iter().map(|frame| units_of(frame, Codec::H264)).collect()
    };
    let sent = [sent(&first), sent(&second)];
    let found = frames_in(&file);
    let whose: Vec<Option<usize>> =
        found.iter().map(|frame| sent.iter().position(|sent| sent.contains(frame))).collect();
    assert!(whose.iter().all(Option::is_some), "{whose:?}");
    let mut turns = whose;
    turns.dedup();
    assert_eq!(turns, [Some(0), Some(1), Some(0)]);
    let probe = Probe::of(&file);
    assert!((least - 3.0..most).contains(&probe.duration), "{} s, and not {least}", probe.duration);
    // The first one has no video until its next key frame arrives: a second, plus the server's
    // answer.
    let share = found.len() as f64 / (probe.duration * 30.0);
    assert!((0.25..1.1).contains(&share), "{} frames in {} s", found.len(), probe.duration);
    assert_decodable(&file);
    let [in_step, others] = lateness(&file, DISTURBED);
    assert!(!in_step.is_empty(), "{in_step:.3?}, and not {others:.3?}");
}

#[test]
fn video_in_another_codec_is_encoded_and_reported() {
    let _slot = slots::encoder();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "drummer", Codec::Vp8);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    let seen = publisher.publish_by_clock(Codec::Vp8, flashes("vp8enc deadline=1 keyframe-max-dist=30"));
    let arguments = ["--as-published", "--file", "drum.mp4", "--audio-codec", "opus"];
    let mut recorder = record(dir.path(), server, &heard, &seen, &arguments);
    // Until its first key frame is decoded, nothing is visible; on a busy machine that takes a
    // while.
    recorder.until_logged(&format!("shown track={seen}"));
    let shown = Instant::now();
    recorder.run_for(Duration::from_secs(4));
    let least = shown.elapsed().as_secs_f64();
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("decoded and encoded: the video is VP8"), "{details}");
    let file = ended.path("drum.mp4");
    let probe = Probe::of(&file);
    assert_eq!((probe.stream("video").codec.as_str(), probe.stream("video").width), ("h264", 1280));
    assert!(probe.duration > least - 2.0, "{} s, and not {least}", probe.duration);
    let [in_step, others] = lateness(&file, DISTURBED);
    // The first beeps may come before the first frame; a busy machine may drop a flash.
    assert!(!in_step.is_empty() && others.len() <= in_step.len() + 2, "{in_step:.3?}, and not {others:.3?}");
}

#[test]
fn a_track_of_the_other_kind_is_refused_by_the_name_of_its_field() {
    let _slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "drummer", Codec::Opus);
    let heard = publisher.publish(Codec::Opus, beeps());
    let ended = record(dir.path(), server, "", &heard, &["--file", "drum.mp4"]).finish(SOON);
    assert_eq!(ended.info["errorCode"], 400, "{}", ended.stdout);
    let expected =
        format!("request has missing or invalid field: video_track_id: track {heard} is one of audio");
    assert_eq!(ended.info["error"], expected);
}
