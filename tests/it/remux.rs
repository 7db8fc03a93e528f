//! Track composites whose pictures stay as they were published: frame by frame, in step with their sound.

use std::path::Path;
use std::time::Duration;

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::{Probe, assert_decodable, pictures, sound};
use crate::support::publisher::{Codec, Publisher, encoded, units_of};
use crate::support::recorder::Recorder;

const ROOM: &str = "studio";
/// A room's answers, on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// Seconds between a flash and its beep. Opus as it was published is late by the 6.5 ms that its encoder looked ahead.
const TOGETHER: f64 = 0.02;

/// Two seconds, black but for a flash at 1.0 s, two key frames.
fn flashes(encoder: &str) -> Vec<Vec<u8>> {
    let shown = |pattern: &str, count: u32| {
        format!(
            "videotestsrc pattern={pattern} num-buffers={count} ! \
             video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! queue ! join. "
        )
    };
    let sources = [shown("black", 30), shown("white", 6), shown("black", 24)].concat();
    encoded(&format!("concat name=join ! {encoder} ! appsink name=out {sources}"))
}

pub(super) fn h264_flashes() -> Vec<Vec<u8>> {
    flashes(
        "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 bitrate=500 aud=false ! \
         video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline",
    )
}

/// Two seconds of silence but for a beep of 0.2 s at 1.0 s.
pub(super) fn beeps() -> Vec<Vec<u8>> {
    let heard = |wave: &str, count: u32| {
        format!(
            "audiotestsrc {wave} num-buffers={count} samplesperbuffer=960 ! \
             audio/x-raw,rate=48000,channels=2 ! queue ! join. "
        )
    };
    let sources = [heard("wave=silence", 50), heard("freq=1000", 10), heard("wave=silence", 40)].concat();
    encoded(&format!("concat name=join ! opusenc ! appsink name=out {sources}"))
}

fn record(dir: &Path, server: &LiveKitServer, sound: &str, picture: &str, arguments: &[&str]) -> Recorder {
    let tracks = ["track-composite", ROOM, "--audio-track", sound, "--video-track", picture];
    Recorder::start_with(dir, &[&tracks, arguments].concat(), |weir| server.reached_by(weir))
}

/// The H.264 frames of an MP4, as they lie there.
pub(super) fn frames_in(path: &Path) -> Vec<Vec<Vec<u8>>> {
    let frames = encoded(&format!(
        "filesrc location={} ! qtdemux name=d d.video_0 ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out",
        path.display()
    ));
    frames.iter().map(|frame| units_of(frame, Codec::H264)).collect()
}

/// How much later than its flash each beep begins, in seconds.
fn lateness(path: &Path) -> Vec<f64> {
    beeps_and_lateness(path).into_iter().map(|(_, apart)| apart).collect()
}

/// When each beep begins, and how much later than its flash that is, in seconds.
pub(super) fn beeps_and_lateness(path: &Path) -> Vec<(f64, f64)> {
    let changes = pictures::changes(path);
    let beeps = sound::beeps(&sound::samples(path));
    // A flash is 0.2 s long; whatever else changes is none.
    let is_flash = |pair: &&[f64]| (0.1..0.3).contains(&(pair[1] - pair[0]));
    let flashes: Vec<f64> = changes.windows(2).filter(is_flash).map(|pair| pair[0]).collect();
    let nearest = |beep: &sound::Beep| {
        let apart = flashes.iter().map(|flash| beep.at - flash);
        Some((beep.at, apart.min_by(|a, b| a.abs().total_cmp(&b.abs()))?))
    };
    beeps.iter().filter_map(nearest).collect()
}

#[test]
fn pictures_and_sound_that_begin_seconds_apart_stay_as_they_are_and_in_step() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "drummer", Codec::H264);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    std::thread::park_timeout(Duration::from_millis(1700));
    let seen = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let arguments = ["--file", "drum.mp4", "--audio-codec", "opus", "--duration", "16s"];
    let mut recorder = record(dir.path(), &server, &heard, &seen, &arguments);
    recorder.until_written(2_000);
    recorder.runs_for(Duration::from_secs(2));
    // Without a picture the sound goes on into the file.
    publisher.mute(&seen, true);
    recorder.runs_for(Duration::from_secs(4));
    publisher.mute(&seen, false);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("drum.mp4");
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 and Opus as published"), "{details}");

    let sent: Vec<_> = publisher.sent(&seen).iter().map(|frame| units_of(frame, Codec::H264)).collect();
    let found = frames_in(&file);
    assert!((280..=420).contains(&found.len()), "{} frames", found.len());
    let foreign = found.iter().filter(|frame| !sent.contains(frame)).count();
    assert_eq!(foreign, 0, "of {} frames", found.len());
    let probe = Probe::of(&file);
    assert_eq!(
        (probe.stream("audio").codec.as_str(), probe.stream("video").codec.as_str()),
        ("opus", "h264")
    );
    assert!((probe.duration - 16.0).abs() < 0.3, "{}", probe.duration);
    assert_decodable(&file);
    let apart = lateness(&file);
    assert!(apart.len() >= 3, "{apart:?}");
    let in_step = apart.iter().filter(|apart| apart.abs() <= TOGETHER).count();
    // Of beeps in the pause there is no flash, and the first one is no change.
    assert!(in_step >= 3 && apart.len() - in_step <= 4, "{apart:?}");
}

#[test]
fn pictures_stay_as_they_are_beside_sound_that_is_encoded() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "drummer", Codec::H264);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    let seen = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let recorder = record(dir.path(), &server, &heard, &seen, &["--file", "drum.mp4", "--duration", "7s"]);
    let ended = recorder.finish(SOON).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 as published, sound decoded and encoded"), "{details}");
    let file = ended.path("drum.mp4");
    let sent: Vec<_> = publisher.sent(&seen).iter().map(|frame| units_of(frame, Codec::H264)).collect();
    let found = frames_in(&file);
    assert!((170..=215).contains(&found.len()), "{} frames", found.len());
    assert!(found.iter().all(|frame| sent.contains(frame)));
    let probe = Probe::of(&file);
    assert_eq!((probe.stream("audio").codec.as_str(), probe.stream("video").width), ("aac", 320));
    assert!((probe.duration - 7.0).abs() < 0.3, "{}", probe.duration);
    let apart = lateness(&file);
    let in_step = apart.iter().filter(|apart| apart.abs() <= TOGETHER).count();
    assert!(in_step >= 3 && apart.len() - in_step <= 1, "{apart:?}");
}

/// One camera, then another beside it, which is shown until it is muted.
#[test]
fn a_participants_pictures_stay_as_they_are_where_it_is_asked_for() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "drummer", Codec::H264);
    publisher.publish_by_clock(Codec::Opus, beeps());
    let first = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let arguments =
        ["participant", ROOM, "drummer", "--as-published", "--file", "drum.mp4", "--duration", "12s"];
    let mut recorder = Recorder::start_with(dir.path(), &arguments, |weir| server.reached_by(weir));
    recorder.until_written(2_000);
    recorder.runs_for(Duration::from_secs(3));
    let second = publisher.publish(Codec::H264, Codec::h264_frames(640, 360));
    recorder.runs_for(Duration::from_secs(3));
    publisher.mute(&second, true);
    let ended = recorder.finish(SOON).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 as published, sound decoded and encoded"), "{details}");

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
    // The first is without pictures while a key frame is awaited of it again: a second, and the server's answer.
    assert!((270..=365).contains(&found.len()), "{} frames", found.len());
    let probe = Probe::of(&file);
    assert!((probe.duration - 12.0).abs() < 0.3, "{}", probe.duration);
    assert_decodable(&file);
    let apart = lateness(&file);
    let in_step = apart.iter().filter(|apart| apart.abs() <= TOGETHER).count();
    assert!(in_step >= 3, "{apart:?}");
}

#[test]
fn a_picture_in_another_codec_is_encoded_and_said_to_be() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "drummer", Codec::Vp8);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    let seen = publisher.publish_by_clock(Codec::Vp8, flashes("vp8enc deadline=1 keyframe-max-dist=30"));
    let arguments = ["--file", "drum.mp4", "--audio-codec", "opus", "--duration", "7s"];
    let ended = record(dir.path(), &server, &heard, &seen, &arguments).finish(SOON).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("decoded and encoded: the picture is VP8"), "{details}");
    let file = ended.path("drum.mp4");
    let probe = Probe::of(&file);
    assert_eq!((probe.stream("video").codec.as_str(), probe.stream("video").width), ("h264", 1280));
    assert!((probe.duration - 7.0).abs() < 0.3, "{}", probe.duration);
    let apart = lateness(&file);
    // The first beep may come before the first picture.
    let in_step = apart.iter().filter(|apart| apart.abs() <= TOGETHER).count();
    assert!(in_step >= 3 && apart.len() - in_step <= 1, "{apart:?}");
}

#[test]
fn a_track_of_the_other_kind_is_refused_by_the_name_of_its_field() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "drummer", Codec::Opus);
    let heard = publisher.publish(Codec::Opus, beeps());
    let ended = record(dir.path(), &server, "", &heard, &["--file", "drum.mp4"]).finish(SOON);
    assert_eq!(ended.info["errorCode"], 400, "{}", ended.stdout);
    let expected =
        format!("request has missing or invalid field: video_track_id: track {heard} is one of audio");
    assert_eq!(ended.info["error"], expected);
}
