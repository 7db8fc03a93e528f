//! Tracks of a room, recorded as they were published: frame by frame, and as long as they were.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::livekit::{Client, LiveKitServer, Redis, room_service};
use crate::support::measure::{Probe, assert_decodable, sound};
use crate::support::publisher::{Codec, Publisher, encoded, units_of};
use crate::support::recorder::{Ended, Recorder, weir};
use crate::support::service::{self, Serve};
use crate::support::tool::succeed;

const ROOM: &str = "studio";
/// A room's answers, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// `weir record track` with more arguments.
fn record(dir: &Path, server: &LiveKitServer, track: &str, arguments: &[&str]) -> Recorder {
    let all = [&["track", ROOM, track], arguments].concat();
    Recorder::start_with(dir, &all, |weir| server.reached_by(weir))
}

/// The frames in a file, as they lie there.
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

/// The same, without what the recorder put in of its own: OGG's heads, and silence where nothing came.
pub(super) fn published_in(path: &Path, codec: Codec) -> Vec<Vec<u8>> {
    let is_filled =
        |frame: &Vec<u8>| codec == Codec::Opus && (frame.len() <= 3 || frame.starts_with(b"Opus"));
    frames_in(path, codec).into_iter().filter(|frame| !is_filled(frame)).collect()
}

/// Frames of a file are a stretch of those that were sent: in order, nothing changed, nothing missing. Gives how many were sent
/// after them.
#[track_caller]
pub(super) fn assert_all_of(sent: &[Arc<[u8]>], found: &[Vec<u8>], codec: Codec) -> usize {
    let sent: Vec<_> = sent.iter().map(|frame| units_of(frame, codec)).collect();
    let found: Vec<_> = found.iter().map(|frame| units_of(frame, codec)).collect();
    let starts = (0..sent.len()).filter(|at| sent[*at] == found[0]);
    let alike = |start: usize| sent[start..].iter().zip(&found).take_while(|(sent, got)| sent == got).count();
    // They are sent again and again; the last place at which they stand is meant.
    let most = starts.map(|start| (alike(start), start)).max();
    let (most, start) = most.unwrap_or_default();
    assert_eq!(most, found.len(), "{codec:?}: frames that are as they were sent");
    sent.len() - start - most
}

/// The one file of a recording that is complete.
pub(super) fn file_of(ended: &Ended) -> std::path::PathBuf {
    let name = ended.info["fileResults"][0]["filename"].as_str().unwrap();
    ended.path(name)
}

#[test]
fn sound_is_kept_as_it_was_published_and_as_long_as_it_took() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let arguments = [
        "--file",
        "{room_name}/{publisher_identity}-{track_type}-{track_source}-{track_id}",
        "--duration",
        "4s",
    ];
    let ended = record(dir.path(), &server, &sid, &arguments).finish(SOON).complete();
    assert_eq!(ended.info["sourceType"], "EGRESS_SOURCE_TYPE_SDK", "{}", ended.stdout);
    assert_eq!(ended.info["roomName"], ROOM);
    let file = file_of(&ended);
    assert_eq!(file, ended.path(&format!("{ROOM}/singer-audio-microphone-{sid}.ogg")));
    let found: Vec<_> =
        frames_in(&file, Codec::Opus).into_iter().filter(|packet| !packet.starts_with(b"Opus")).collect();
    // Four seconds of packets of 20 ms; those that the server had waiting when it was asked came at once.
    assert!((199..=203).contains(&found.len()), "{}", found.len());
    let sung: Vec<_> = found.into_iter().filter(|packet| packet.len() > 3).collect();
    assert!(sung.len() > 190, "{}", sung.len());
    assert_all_of(&publisher.sent(&sid), &sung, Codec::Opus);
    let length = Probe::of(&file).duration;
    assert!((length - 4.0).abs() < 0.08, "{length}");
}

#[test]
fn pictures_are_kept_as_they_were_published() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for (codec, extension) in [
        (Codec::Vp8, "webm"),
        (Codec::Vp9, "webm"),
        (Codec::H264, "mp4"),
        (Codec::H265, "mp4"),
        (Codec::Av1, "webm"),
        (Codec::Av1, "mp4"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::join(&server, ROOM, "painter", codec);
        let sid = publisher.publish(codec, codec.frames());
        let mut arguments = vec!["--duration", "3s"];
        if (codec, extension) == (Codec::Av1, "mp4") {
            arguments.extend(["--file", "{track_id}-{time}.mp4"]);
        }
        let ended = record(dir.path(), &server, &sid, &arguments).finish(SOON).complete();
        let file = file_of(&ended);
        assert_decodable(&file);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with(&format!("{sid}-")) && name.ends_with(extension), "{codec:?}: {name}");
        let found = frames_in(&file, codec);
        assert!((80..=95).contains(&found.len()), "{codec:?}: {} frames", found.len());
        assert_all_of(&publisher.sent(&sid), &found, codec);
        let length = Probe::of(&file).duration;
        assert!((length - 3.0).abs() < 0.15, "{codec:?}: {length}");
    }
}

#[test]
fn what_is_muted_is_silent_and_holds_its_last_picture() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for codec in [Codec::Opus, Codec::Vp8, Codec::H264] {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::join(&server, ROOM, "shy", codec);
        let sid = publisher.publish(codec, codec.frames());
        let mut recorder = record(dir.path(), &server, &sid, &["--duration", "7s"]);
        recorder.runs_for(Duration::from_secs(2));
        publisher.mute(&sid, true);
        recorder.runs_for(Duration::from_millis(2500));
        publisher.mute(&sid, false);
        let ended = recorder.finish(SOON).complete();
        let file = file_of(&ended);
        let sent = publisher.sent(&sid);
        let found = frames_in(&file, codec);
        // Everything in the file was published, silence of three bytes apart: nothing that the server made.
        let sent: Vec<_> = sent.iter().map(|frame| units_of(frame, codec)).collect();
        let foreign: Vec<_> = found
            .iter()
            .filter(|frame| !frame.starts_with(b"Opus") && frame.as_slice() != [0xf8, 0xff, 0xfe])
            .filter(|frame| !sent.contains(&units_of(frame, codec)))
            .collect();
        assert!(foreign.is_empty(), "{codec:?}: {} foreign frames, {:?}", foreign.len(), foreign[0]);
        let expected = if codec == Codec::Opus { 350 } else { 210 - 75 };
        assert!(found.len().abs_diff(expected) < 30, "{codec:?}: {} frames", found.len());
        let length = Probe::of(&file).duration;
        assert!((length - 7.0).abs() < 0.1, "{codec:?}: {length}");
    }
}

#[test]
fn telephone_sound_becomes_opus() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let publisher = Publisher::join(&server, ROOM, "caller", codec);
        let sid = publisher.publish(codec, codec.tone(440, 0.4));
        let name = format!("{codec:?}.ogg");
        let ended = record(dir.path(), &server, &sid, &["--file", &name, "--duration", "3s"]);
        let file = ended.finish(SOON).complete().path(&name);
        let probe = Probe::of(&file);
        assert!((probe.duration - 3.0).abs() < 0.1, "{codec:?}: {}", probe.duration);
        assert_eq!(probe.stream("audio").codec, "opus", "{codec:?}");
        assert_decodable(&file);
        // The tone that was published, as loud as it was, on both channels, and nothing that decoding by the other law would add.
        for channel in [0, 1] {
            let samples = sound::samples_of(&file, channel);
            let heard = &samples[24_000..120_000];
            let tone = sound::level(heard, 440.0);
            let power = heard.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            let rest = (power / heard.len() as f64 - tone * tone / 2.0).max(0.0).sqrt();
            assert!(
                (tone - 0.4).abs() < 0.02 && rest < 0.02,
                "{codec:?}: 440 Hz: {tone:.3}, the rest {rest:.3}"
            );
        }
    }
}

#[test]
fn it_ends_with_its_track_and_with_its_room() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for ends in ["publisher", "room"] {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::join(&server, ROOM, "guest", Codec::Opus);
        let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
        let mut recorder = record(dir.path(), &server, &sid, &["--file", "guest"]);
        recorder.runs_for(Duration::from_secs(3));
        match ends {
            "publisher" => drop(publisher),
            _ => drop(room_service(&server, ROOM, "DeleteRoom", &json!({ "room": ROOM }))),
        }
        let ended = recorder.finish(SOON).complete();
        assert_eq!(ended.info["details"], "End reason: Source closed", "{}", ended.stdout);
        let length = Probe::of(&ended.path("guest.ogg")).duration;
        assert!((1.0..4.5).contains(&length), "{ends}: {length}");
    }
}

#[test]
fn a_track_that_is_not_there_is_not_found() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let _publisher = Publisher::join(&server, ROOM, "nobody", Codec::Opus);
    let ended = record(dir.path(), &server, "TR_none", &[]).finish(Duration::from_secs(60));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED");
    assert_eq!(ended.info["error"], "track TR_none not found");
    assert_eq!(ended.info["errorCode"], 404);
    assert!(!dir.path().join(".weir").exists());
}

#[test]
fn a_publisher_may_change_its_size() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&server, ROOM, "zoomer", Codec::H264);
    let sid = publisher.publish(Codec::H264, Codec::H264.frames());
    let larger = Codec::h264_frames(640, 480);
    let mut recorder = record(dir.path(), &server, &sid, &["--file", "zoom", "--duration", "6s"]);
    recorder.runs_for(Duration::from_secs(3));
    publisher.replace(&sid, larger);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("zoom.mp4");
    assert_all_of(&publisher.sent(&sid), &frames_in(&file, Codec::H264), Codec::H264);
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
        count("320") > 45 && count("640") > 45 && count("320") + count("640") == widths.len(),
        "{widths:?}"
    );
}

#[test]
fn a_killed_recording_of_a_track_is_recovered() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for codec in [Codec::Vp8, Codec::Opus] {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::join(&server, ROOM, "unlucky", codec);
        let sid = publisher.publish(codec, codec.frames());
        let mut recorder = record(dir.path(), &server, &sid, &["--file", "unlucky"]);
        recorder.until_written(20_000);
        recorder.runs_for(Duration::from_secs(3));
        recorder.signal(nix::sys::signal::Signal::SIGKILL);
        let ended = recorder.finish_and(SOON, || {
            let recovered = weir(dir.path(), &["recover", "."]);
            assert!(recovered.status.success(), "{}", recovered.stderr);
        });
        let file = ended.path(if codec == Codec::Vp8 { "unlucky.webm" } else { "unlucky.ogg" });
        let found = frames_in(&file, codec);
        assert!(found.len() > 50, "{codec:?}: {}", found.len());
        let found: Vec<_> =
            found.into_iter().filter(|frame| frame.len() > 3 && !frame.starts_with(b"Opus")).collect();
        assert_all_of(&publisher.sent(&sid), &found, codec);
        assert!(Probe::of(&file).duration > 1.5, "{codec:?}");
    }
}

#[test]
fn livekit_server_has_a_track_recorded() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start(dir.path(), &configuration);
    let publisher = Publisher::join(&livekit, ROOM, "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let path = dir.path().join("{room_name}-{track_source}");
    let wanted =
        json!({ "roomName": ROOM, "trackId": sid, "file": { "filepath": path.display().to_string() } });
    let started = livekit.ask(Client::Python, "StartTrackEgress", &wanted).unwrap();
    let id = started["egressId"].as_str().unwrap().to_owned();
    let mut until = |status: &str| {
        weir.until(&format!("it is {status}"), SOON, |_| {
            let listed = livekit.ask(Client::Python, "ListEgress", &json!({ "egressId": id })).unwrap();
            let found = listed["items"][0].clone();
            assert!(found["status"] != "EGRESS_FAILED", "{found}");
            (found["status"] == status).then_some(found)
        })
    };
    until("EGRESS_ACTIVE");
    std::thread::park_timeout(Duration::from_secs(2));
    livekit.ask(Client::Python, "StopEgress", &json!({ "egressId": id })).unwrap();
    let ended = until("EGRESS_COMPLETE");
    let file = dir.path().join(format!("{ROOM}-microphone.ogg"));
    assert_eq!(ended["fileResults"][0]["location"], file.display().to_string(), "{ended}");
    assert_eq!(ended["track"]["trackId"], sid, "{ended}");
    let sung: Vec<_> = frames_in(&file, Codec::Opus).into_iter().filter(|packet| packet.len() > 20).collect();
    assert!(sung.len() > 80, "{}", sung.len());
    assert_all_of(&publisher.sent(&sid), &sung, Codec::Opus);
    drop(publisher);
    assert!(weir.end().status.success());
}
