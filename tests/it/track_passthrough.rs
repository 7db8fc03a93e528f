//! Tracks of a room, recorded as published: frame by frame, at full length.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::livekit::{Client, LiveKitServer, Redis, room_service};
use crate::support::measure::timing::percentile;
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::publisher::{Codec, Publisher, encoded, units_of};
use crate::support::recorder::{Ended, Recorder, weir};
use crate::support::service::{self, Serve};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::tool::succeed;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Runs `weir record track` with more arguments.
fn record(dir: &Path, server: &LiveKitServer, track: &str, arguments: &[&str]) -> Recorder {
    let all = [&["track", own_room(), track], arguments].concat();
    Recorder::start_with(dir, &all, |weir| server.reached_by(weir))
}

/// The frames in a file, unchanged.
pub(super) fn frames_in(path: &Path, codec: Codec) -> Vec<Vec<u8>> {
    let path = path.display();
    let out = "appsink name=out";
    encoded(&match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => format!("filesrc location={path} ! oggdemux ! {out}"),
        Codec::Av1 if path.to_string().ends_with("mp4") => {
            format!("filesrc location={path} ! qtdemux ! {out}")
        }
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => format!("filesrc location={path} ! matroskademux ! {out}"),
        Codec::H264 => format!(
            "filesrc location={path} ! qtdemux ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! {out}"
        ),
        Codec::H265 => format!(
            "filesrc location={path} ! qtdemux ! h265parse ! video/x-h265,stream-format=byte-stream,alignment=au ! {out}"
        ),
    })
}

/// The same, without the recorder's additions: OGG headers, and filled-in silence.
pub(super) fn published_in(path: &Path, codec: Codec) -> Vec<Vec<u8>> {
    let is_filled =
        |frame: &Vec<u8>| codec == Codec::Opus && (frame.len() <= 3 || frame.starts_with(b"Opus"));
    frames_in(path, codec).into_iter().filter(|frame| !is_filled(frame)).collect()
}

/// Number of audio packets that a recorder dropped according to its log, because their time had
/// been filled with silence: late packets of a busy publisher, server or recorder.
pub(super) fn left_out(log: &str) -> usize {
    let said = log.lines().filter(|line| line.contains("late audio packets dropped"));
    let count = |line: &str| {
        // As text or as JSON.
        let (_, rest) = line.split_once("left_out")?;
        let count = rest.trim_start_matches(|other: char| !other.is_ascii_digit());
        count.split(|other: char| !other.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    said.filter_map(count).sum()
}

/// Asserts that the frames of a file are a range of the sent ones: in order, unchanged, without
/// gaps except for those that the recorder dropped. Returns the number of frames sent after them.
#[track_caller]
pub(super) fn assert_all_of(sent: &[Arc<[u8]>], found: &[Vec<u8>], codec: Codec, left_out: usize) -> usize {
    let sent: Vec<_> = sent.iter().map(|frame| units_of(frame, codec)).collect();
    let found: Vec<_> = found.iter().map(|frame| units_of(frame, codec)).collect();
    let starts = (0..sent.len()).filter(|at| Some(&sent[*at]) == found.first());
    // Number of missing frames, and the place of the last one.
    let placed = |start: usize| {
        let end = found.iter().try_fold(start, |next, frame| {
            Some(next + sent[next..].iter().position(|sent| sent == frame)? + 1)
        })?;
        Some((end - start - found.len(), end))
    };
    // They are sent repeatedly; this is the last place at which they occur.
    let best = starts.filter_map(placed).min_by_key(|(missing, end)| (*missing, usize::MAX - end));
    let Some((missing, end)) = best else {
        panic!("{codec:?}: {} frames are not as they were sent, or not in order", found.len());
    };
    assert!(missing <= left_out, "{codec:?}: {missing} frames are missing, and {left_out} were left out");
    sent.len() - end
}

/// The one file of a complete recording.
pub(super) fn file_of(ended: &Ended) -> std::path::PathBuf {
    let name = ended.info["fileResults"][0]["filename"].as_str().unwrap();
    ended.path(name)
}

#[test]
fn audio_is_kept_as_published_and_at_full_length() {
    let _slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let arguments = [
        "--file",
        "{room_name}/{publisher_identity}-{track_type}-{track_source}-{track_id}",
        "--duration",
        "4s",
    ];
    let ended = record(dir.path(), server, &sid, &arguments).finish(SOON).complete();
    assert_eq!(ended.info["sourceType"], "EGRESS_SOURCE_TYPE_SDK", "{}", ended.stdout);
    assert_eq!(ended.info["roomName"], own_room());
    let file = file_of(&ended);
    assert_eq!(file, ended.path(&format!("{}/singer-audio-microphone-{sid}.ogg", own_room())));
    let found: Vec<_> =
        frames_in(&file, Codec::Opus).into_iter().filter(|packet| !packet.starts_with(b"Opus")).collect();
    // One packet for every 20 ms of its length, however late some arrived; the server sent those it
    // had buffered at once.
    let length = Probe::of(&file).duration;
    assert!((found.len() as f64 - length * 50.0).abs() <= 10.0, "{} packets in {length} s", found.len());
    // A busy machine ends it a little late.
    assert!((3.8..10.0).contains(&length), "{length}");
    let sung: Vec<_> = found.into_iter().filter(|packet| packet.len() > 3).collect();
    assert!(sung.len() > 50, "{}", sung.len());
    assert_all_of(&publisher.sent(&sid), &sung, Codec::Opus, left_out(&ended.log));
}

/// Records three seconds of a codec into a file with this extension.
#[track_caller]
fn check_kept(codec: Codec, extension: &str) {
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "painter", codec);
    let sid = publisher.publish(codec, codec.frames());
    let mut arguments = vec!["--duration", "3s"];
    if (codec, extension) == (Codec::Av1, "mp4") {
        arguments.extend(["--file", "{track_id}-{time}.mp4"]);
    }
    let ended = record(dir.path(), server, &sid, &arguments).finish(SOON).complete();
    let file = file_of(&ended);
    assert_decodable(&file);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("{sid}-")) && name.ends_with(extension), "{codec:?}: {name}");
    // The publisher has one parameter set, so it is in the index, where Safari and QuickTime need
    // it.
    let written = std::fs::read(&file).unwrap();
    let names = |entry: &[u8]| written.windows(4).any(|bytes| bytes == entry);
    assert!(!names(b"avc3") && !names(b"hev1"), "{codec:?}: no parameter sets in the index");
    let found = frames_in(&file, codec);
    // None of 90 is missing between the first and the last; if the publisher stalls, the last ones
    // come too late.
    assert!((10..=300).contains(&found.len()), "{codec:?}: {} frames", found.len());
    assert_all_of(&publisher.sent(&sid), &found, codec, 0);
    let length = Probe::of(&file).duration;
    // They have the publisher's times, whose estimate improves; a busy machine may delay the end.
    let expected = found.len() as f64 / 30.0;
    assert!((expected - 0.3..expected + 3.0).contains(&length) && length < 10.0, "{codec:?}: {length}");
}

#[test]
fn vp8_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::Vp8, "webm");
}

#[test]
fn vp9_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::Vp9, "webm");
}

#[test]
fn h264_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::H264, "mp4");
}

#[test]
fn h265_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::H265, "mp4");
}

#[test]
fn av1_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::Av1, "webm");
}

#[test]
fn av1_in_an_mp4_is_kept_as_it_was_published() {
    let _slot = slots::light();
    check_kept(Codec::Av1, "mp4");
}

/// Records a track that is muted for a while.
#[track_caller]
fn check_muted(codec: Codec) {
    const MUTED: f64 = 2.5;
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "shy", codec);
    let sid = publisher.publish(codec, codec.frames());
    let begin = Instant::now();
    let mut recorder = record(dir.path(), server, &sid, &[]);
    recorder.until_written(1_000);
    let written = Instant::now();
    recorder.run_for(Duration::from_secs(1));
    publisher.mute(&sid, true);
    recorder.run_for(Duration::from_secs_f64(MUTED));
    publisher.mute(&sid, false);
    recorder.run_for(Duration::from_secs(2));
    let least = written.elapsed().as_secs_f64();
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let most = begin.elapsed().as_secs_f64();
    let file = file_of(&ended);
    let mut found = frames_in(&file, codec);
    found.retain(|frame| !frame.starts_with(b"Opus"));
    // Everything in the file was published, except for three-byte silence: no frame was made by the
    // server.
    let sent: Vec<_> = publisher.sent(&sid).iter().map(|frame| units_of(frame, codec)).collect();
    let foreign: Vec<_> = found
        .iter()
        .filter(|frame| frame.as_slice() != [0xf8, 0xff, 0xfe])
        .filter(|frame| !sent.contains(&units_of(frame, codec)))
        .collect();
    assert!(foreign.is_empty(), "{codec:?}: {} foreign frames, {:?}", foreign.len(), foreign[0]);
    // The pause is part of the file.
    let length = Probe::of(&file).duration;
    // Video ends with its last frame, which a busy machine forwards late.
    assert!((least - 3.0..most).contains(&length), "{codec:?}: {length}, and not {least} to {most}");
    let count = found.len() as f64;
    let expected = match codec {
        Codec::Opus => length * 50.0 - 10.0..length * 50.0 + 10.0,
        _ => 15.0..(length - MUTED + 1.0) * 30.0,
    };
    assert!(expected.contains(&count), "{codec:?}: {count} frames in {length} s");
}

#[test]
fn muted_audio_is_silent() {
    let _slot = slots::light();
    check_muted(Codec::Opus);
}

#[test]
fn muted_vp8_holds_its_last_frame() {
    let _slot = slots::light();
    check_muted(Codec::Vp8);
}

#[test]
fn muted_h264_holds_its_last_frame() {
    let _slot = slots::light();
    check_muted(Codec::H264);
}

/// Records three seconds of a telephone's tone.
#[track_caller]
fn check_telephone(codec: Codec) {
    /// Samples in a twentieth of a second, 22 periods of the tone: late packets shift a tone, which
    /// does not matter in a part of it.
    const PIECE: usize = 2_400;
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "caller", codec);
    let sid = publisher.publish(codec, codec.tone(440, 0.4));
    let name = format!("{codec:?}.ogg");
    let ended = record(dir.path(), server, &sid, &["--file", &name, "--duration", "3s"]);
    let file = ended.finish(SOON).complete().path(&name);
    let probe = Probe::of(&file);
    assert!((1.5..10.0).contains(&probe.duration), "{codec:?}: {}", probe.duration);
    assert_eq!(probe.stream("audio").codec, "opus", "{codec:?}");
    assert_decodable(&file);
    // The published tone, at its amplitude, on both channels, and no noise as from decoding by the
    // other law.
    for channel in [0, 1] {
        let samples = audio::samples_of(&file, channel);
        let pieces = samples[24_000..samples.len() - 12_000].chunks_exact(PIECE);
        let (tones, rests): (Vec<f64>, Vec<f64>) =
            pieces.map(|heard| audio::tone_and_rest(heard, 440.0)).unzip();
        // Parts of a gap contain neither; the other law adds noise to each part with the tone.
        let (tone, rest) = (percentile(&tones, 0.75), percentile(&rests, 0.5));
        assert!(
            (tone - 0.4).abs() < 0.02 && rest < 0.02,
            "{codec:?}: 440 Hz: {tone:.3}, the rest {rest:.3}, of {tones:.3?}, {rests:.3?}"
        );
    }
}

#[test]
fn telephone_audio_in_mu_law_becomes_opus() {
    let _slot = slots::encoder();
    check_telephone(Codec::Pcmu);
}

#[test]
fn telephone_audio_in_a_law_becomes_opus() {
    let _slot = slots::encoder();
    check_telephone(Codec::Pcma);
}

/// Records a track until something ends it.
#[track_caller]
fn check_ended_by(what: &str, ends: impl FnOnce(Publisher, &LiveKitServer)) {
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "guest", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let begin = Instant::now();
    let mut recorder = record(dir.path(), server, &sid, &["--file", "guest"]);
    recorder.until_written(1_000);
    recorder.run_for(Duration::from_millis(1500));
    ends(publisher, server);
    let ended = recorder.finish(SOON).complete();
    assert_eq!(ended.info["details"], "End reason: Source closed", "{}", ended.stdout);
    let length = Probe::of(&ended.path("guest.ogg")).duration;
    assert!((0.5..begin.elapsed().as_secs_f64()).contains(&length), "{what}: {length}");
}

#[test]
fn it_ends_with_its_track() {
    let _slot = slots::light();
    check_ended_by("publisher", |publisher, _| drop(publisher));
}

#[test]
fn it_ends_with_its_room() {
    let _slot = slots::light();
    check_ended_by("room", |_publisher, server| {
        room_service(server, own_room(), "DeleteRoom", &json!({ "room": own_room() }));
    });
}

#[test]
fn a_missing_track_is_not_found() {
    let slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let _publisher = Publisher::join(server, own_room(), "nobody", Codec::Opus);
    let recorder = record(dir.path(), server, "TR_none", &[]);
    // Half a minute of waiting costs the machine nothing.
    drop(slot);
    let ended = recorder.finish(Duration::from_secs(120));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED");
    assert_eq!(ended.info["error"], "track TR_none not found");
    assert_eq!(ended.info["errorCode"], 404);
    assert!(!dir.path().join(".weir").exists());
}

#[test]
fn a_publisher_may_change_its_size() {
    let _slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "zoomer", Codec::H264);
    let sid = publisher.publish(Codec::H264, Codec::H264.frames());
    let larger = Codec::h264_frames(640, 480);
    let mut recorder = record(dir.path(), server, &sid, &["--file", "zoom"]);
    recorder.until_written(1_000);
    publisher.until_sent(&mut recorder, &sid, 45);
    publisher.replace(&sid, larger);
    publisher.until_sent(&mut recorder, &sid, 60);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("zoom.mp4");
    assert_all_of(&publisher.sent(&sid), &frames_in(&file, Codec::H264), Codec::H264, 0);
    let arguments = ["-v", "error", "-show_entries", "frame=width", "-of", "csv=p=0", file.to_str().unwrap()];
    let decoded = succeed("ffprobe", &arguments, None).stdout;
    let widths: Vec<&str> = std::str::from_utf8(&decoded)
        .unwrap()
        .lines()
        .map(|line| line.trim_matches(','))
        .filter(|line| !line.is_empty())
        .collect();
    let count = |width: &str| widths.iter().filter(|seen| **seen == width).count();
    assert!(
        count("320") > 5 && count("640") > 5 && count("320") + count("640") == widths.len(),
        "{widths:?}"
    );
}

/// Kills a recording of a track, and recovers it.
#[track_caller]
fn check_killed(codec: Codec) {
    const WRITTEN: u64 = 12_000;
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join(server, own_room(), "unlucky", codec);
    let sid = publisher.publish(codec, codec.frames());
    let mut recorder = record(dir.path(), server, &sid, &["--file", "unlucky"]);
    recorder.until_written(WRITTEN);
    recorder.run_for(Duration::from_secs(1));
    recorder.signal(Signal::SIGKILL);
    let ended = recorder.finish_and(SOON, || {
        let recovered = weir(dir.path(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    let file = ended.path(if codec == Codec::Vp8 { "unlucky.webm" } else { "unlucky.ogg" });
    let mut found = frames_in(&file, codec);
    let filled = found.iter().filter(|frame| frame.len() <= 3).count();
    found.retain(|frame| frame.len() > 3 && !frame.starts_with(b"Opus"));
    // A killed recorder does not say what it dropped, but silence is in its place.
    assert_all_of(&publisher.sent(&sid), &found, codec, filled);
    // All written frames are there, without the container's additions.
    let bytes: usize = found.iter().map(Vec::len).sum();
    assert!(bytes as u64 > WRITTEN * 3 / 4, "{codec:?}: {bytes} bytes in {} frames", found.len());
    assert!(Probe::of(&file).duration > 0.5, "{codec:?}");
}

#[test]
fn a_killed_video_recording_is_recovered() {
    let _slot = slots::light();
    check_killed(Codec::Vp8);
}

#[test]
fn a_killed_audio_recording_is_recovered() {
    let _slot = slots::light();
    check_killed(Codec::Opus);
}

#[test]
fn livekit_server_has_a_track_recorded() {
    let _slot = slots::light();
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start(dir.path(), &configuration);
    let publisher = Publisher::join(&livekit, own_room(), "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let path = dir.path().join("{room_name}-{track_source}");
    let wanted =
        json!({ "roomName": own_room(), "trackId": sid, "file": { "filepath": path.display().to_string() } });
    let started = livekit.ask(Client::Python, "StartTrackEgress", &wanted).unwrap();
    let id = started["egressId"].as_str().unwrap().to_owned();
    livekit.until_status(&mut weir, Client::Python, &id, "EGRESS_ACTIVE");
    let sent = publisher.sent(&sid).len();
    weir.until("two seconds are sent", SOON, |_| (publisher.sent(&sid).len() >= sent + 100).then_some(()));
    livekit.ask(Client::Python, "StopEgress", &json!({ "egressId": id })).unwrap();
    let ended = livekit.until_status(&mut weir, Client::Python, &id, "EGRESS_COMPLETE");
    let file = dir.path().join(format!("{}-microphone.ogg", own_room()));
    assert_eq!(ended["fileResults"][0]["location"], file.display().to_string(), "{ended}");
    assert_eq!(ended["track"]["trackId"], sid, "{ended}");
    let manifest = service::manifest(dir.path(), &id);
    let named =
        ["publisher_identity", "track_id", "track_kind", "track_source"].map(|key| manifest[key].as_str());
    let tone_publisher = ["singer", sid.as_str(), "audio", "microphone"].map(Some);
    assert_eq!(named, tone_publisher, "{manifest}");
    let sung: Vec<_> = frames_in(&file, Codec::Opus).into_iter().filter(|packet| packet.len() > 20).collect();
    assert!(sung.len() > 20, "{}", sung.len());
    let sent = publisher.sent(&sid);
    drop(publisher);
    let done = weir.end();
    assert!(done.status.success());
    assert_all_of(&sent, &sung, Codec::Opus, left_out(&done.stderr));
}
