//! Participants and track composites, requested as services do: through livekit-server, and over
//! HTTP without it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::livekit_restart::IS_THERE;
use crate::support::layout::Layout;
use crate::support::livekit::{Client, LiveKitServer, Redis};
use crate::support::measure::frames::frames;
use crate::support::measure::timing::percentile;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::publisher::{Codec, Publisher};
use crate::support::room::Hearing;
use crate::support::service::{self, Serve, cell};
use crate::support::shared::{own_room, unique};
use crate::support::slots;

const SOON: Duration = Duration::from_secs(60);
/// Room for several recordings, whatever the load of the machine.
const ROOM_FOR_ALL: (&str, &str) = ("LIVEKIT_CPU_REQUEST", "64");

/// A participant with audio and video, and the ids of both tracks.
fn person(server: &LiveKitServer, identity: &str, codec: Codec) -> (Publisher, String, String) {
    let publisher = Publisher::join(server, own_room(), identity, codec);
    let voice = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let frame = publisher.publish(codec, codec.frames());
    (publisher, voice, frame)
}

/// Waits until two seconds are recorded.
fn until_recorded(weir: &mut Serve, dir: &Path, id: &str) {
    let mut hearing = Hearing::of(cell(dir, id));
    weir.until("two seconds are recorded", SOON, |_| hearing.has(2.0));
}

/// Asserts audio and video, of the reported length, at a constant frame rate, which is a service's
/// default.
#[track_caller]
fn assert_recorded(path: &Path, told: f64, size: (u64, u64), fps: f64) {
    let probe = Probe::of(path);
    let video = probe.stream("video");
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", size.0, size.1), "{probe:?}");
    assert_eq!(probe.stream("audio").codec, "aac", "{probe:?}");
    // The last frame has the duration of the one before, which may be long on a busy machine.
    assert!((probe.duration - told).abs() < 3.0 && probe.duration > 1.0, "told {told}: {probe:?}");
    assert_decodable(path);
    let times: Vec<f64> = frames(path, &Layout::default()).iter().map(|frame| frame.pts).collect();
    let steps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) * fps).collect();
    // On a busy machine the encoder drops frames; the others are on the grid.
    assert!(steps.iter().all(|step| *step > 0.5 && (step - step.round()).abs() < 0.06), "{steps:.2?}");
    assert!((percentile(&steps, 0.5) - 1.0).abs() < 0.06, "{steps:.2?}");
}

#[test]
fn livekit_server_has_a_participant_and_two_tracks_recorded() {
    let _slot = slots::browser();
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let (publisher, voice, frame) = person(&livekit, "ann", Codec::Vp8);
    let advanced = json!({ "width": 640, "height": 360, "framerate": 15, "videoBitrate": 500 });
    let file = |name: &str| json!([{ "filepath": dir.path().join(name).display().to_string() }]);
    let wanted = [
        (
            "StartParticipantEgress",
            json!({ "roomName": own_room(), "identity": "ann", "advanced": advanced, "fileOutputs": file("{publisher_identity}-all") }),
            "ann-all.mp4",
        ),
        (
            "StartTrackCompositeEgress",
            json!({
                "roomName": own_room(), "audioTrackId": voice, "videoTrackId": frame, "advanced": advanced,
                "fileOutputs": file("{publisher_identity}-two"),
            }),
            "ann-two.mp4",
        ),
    ];
    // Both at the same time.
    let ids = wanted.map(|(method, request, name)| {
        let started = livekit.ask(Client::Python, method, &request).unwrap();
        (started["egressId"].as_str().unwrap().to_owned(), name)
    });
    for (id, _) in &ids {
        livekit.until_status(&mut weir, Client::Python, id, "EGRESS_ACTIVE");
    }
    for (id, _) in &ids {
        until_recorded(&mut weir, dir.path(), id);
    }
    for (id, name) in &ids {
        livekit.ask(Client::Python, "StopEgress", &json!({ "egressId": id })).unwrap();
        let ended = livekit.until_status(&mut weir, Client::Python, id, "EGRESS_COMPLETE");
        assert_eq!(ended["sourceType"], "EGRESS_SOURCE_TYPE_SDK", "{ended}");
        let result = &ended["fileResults"][0];
        let path = dir.path().join(name);
        assert_eq!(result["location"], path.display().to_string(), "{ended}");
        let told = result["duration"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
        assert_recorded(&path, told, (640, 360), 15.0);
        let manifest = service::manifest(dir.path(), id);
        assert_eq!(manifest["publisher_identity"], "ann", "{manifest}");
        let named = ["audio_track_id", "video_track_id"].map(|key| manifest[key].as_str());
        let tracks = [voice.as_str(), frame.as_str()].map(|sid| (*name == "ann-two.mp4").then_some(sid));
        assert_eq!(named, tracks, "{manifest}");
    }
    drop(publisher);
    assert!(weir.end().status.success());
}

#[test]
fn a_service_without_redis_records_participants_and_reports_absent_publishers() {
    let _slot = slots::encoder();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let configuration = format!("ws_url: {}\n", livekit.ws_url());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let file = |name: &str| json!([{ "filepath": dir.path().join(name).display().to_string() }]);
    let start = |weir: &Serve, method: &str, request: &Value| {
        let info =
            weir.callers().call(method, request).unwrap_or_else(|refused| panic!("{method}: {refused:?}"));
        info["egress_id"].as_str().unwrap().to_owned()
    };

    // Nobody joins this room: its audio does not begin, however long that takes.
    let nowhere = unique("nobody");
    let request = json!({ "room_name": nowhere, "audio_only": true, "file_outputs": file("nobody") });
    let of_nobody = start(&weir, "StartRoomCompositeEgress", &request);

    // A participant who joins, publishes nothing, and leaves.
    let silent = Publisher::join(livekit, own_room(), "bob", Codec::Vp8);
    let request = json!({ "room_name": own_room(), "identity": "bob", "file_outputs": file("bob") });
    let id = start(&weir, "StartParticipantEgress", &request);
    // The recorder knows the other participants then.
    let is_there = |line: &str| line.contains(&id) && line.contains(IS_THERE);
    weir.until("the recorder is in the room", SOON, |_| {
        livekit.look_into_log(|log| log.lines().any(is_there)).then_some(())
    });
    std::thread::park_timeout(Duration::from_secs(1));
    assert_eq!(weir.callers().info(&id)["status"], "EGRESS_STARTING");
    drop(silent);
    let info = weir.until_over(&id, SOON);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_ABORTED"), &json!(412)), "{info}");
    assert_eq!(info["error"], "Start signal not received", "{info}");

    let (publisher, voice, _) = person(livekit, "ann", Codec::Vp8);
    let request = json!({
        "room_name": own_room(),
        "media": { "audio": { "routes": [{ "track_id": voice, "channel": "AUDIO_CHANNEL_LEFT" }] } },
        "outputs": [{ "file": { "filepath": dir.path().join("left").display().to_string() } }],
    });
    let id = start(&weir, "StartEgress", &request);
    weir.until_status(&id, &["EGRESS_ACTIVE"], SOON);
    until_recorded(&mut weir, dir.path(), &id);
    weir.callers().stop(&id).unwrap();
    let info = weir.until_over(&id, SOON);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    let probe = Probe::of(&dir.path().join("left.ogg"));
    assert_eq!((probe.streams.len(), probe.stream("audio").codec.as_str()), (1, "opus"), "{probe:?}");

    // It ends when its participant leaves.
    let request = json!({
        "room_name": own_room(), "identity": "ann", "advanced": { "width": 320, "height": 180 }, "file_outputs": file("ann"),
    });
    let id = start(&weir, "StartParticipantEgress", &request);
    weir.until_status(&id, &["EGRESS_ACTIVE"], SOON);
    until_recorded(&mut weir, dir.path(), &id);
    drop(publisher);
    let info = weir.until_over(&id, SOON);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert!(info["details"].as_str().unwrap().starts_with("End reason: Source closed"), "{info}");
    let told = info["file_results"][0]["duration"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
    assert_recorded(&dir.path().join("ann.mp4"), told, (320, 180), 30.0);
    let manifest = service::manifest(dir.path(), &id);
    assert_eq!(manifest["publisher_identity"], "ann", "{manifest}");

    assert_eq!(weir.callers().info(&of_nobody)["status"], "EGRESS_STARTING");
    weir.callers().stop(&of_nobody).unwrap();
    let info = weir.until_over(&of_nobody, SOON);
    assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_ABORTED"), &json!(412)), "{info}");
    assert_eq!(info["error"], "Start signal not received", "{info}");
    assert!(weir.end().status.success());
}

/// Another instance has the egress: this one reports nothing more, and leaves the file's place to
/// the other.
#[test]
fn a_recorder_that_its_own_identity_throws_out_is_silent_and_keeps_its_file() {
    let _slot = slots::encoder();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let configuration = format!("ws_url: {}\n", livekit.ws_url());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let (publisher, voice, _) = person(livekit, "ann", Codec::Vp8);
    let file = dir.path().join("voice.ogg");
    let request = json!({
        "room_name": own_room(), "audio_track_id": voice, "file_outputs": [{ "filepath": file.display().to_string() }],
    });
    let started = weir.callers().call("StartTrackCompositeEgress", &request).unwrap();
    let id = started["egress_id"].as_str().unwrap().to_owned();
    // Old clients read this field.
    assert_eq!(started["file"]["filename"], file.display().to_string(), "{started}");
    weir.until_status(&id, &["EGRESS_ACTIVE"], SOON);
    until_recorded(&mut weir, dir.path(), &id);
    let twin = Publisher::join(livekit, own_room(), &id, Codec::Opus);
    weir.until_logged("its recorder is gone", |line| line.contains("work directory kept"));
    drop(publisher);
    let info = weir.callers().info(&id);
    assert_eq!((&info["status"], &info["error"]), (&json!("EGRESS_ACTIVE"), &json!("")), "{info}");
    assert!(!file.exists() && !dir.path().join(format!("{id}.json")).exists());
    let work = cell(dir.path(), &id).join(&id);
    assert!(work.join("0").read_dir().unwrap().next().is_some(), "what was recorded is kept");
    assert!(!work.join("storage.json").exists());
    drop(twin);
    assert!(weir.end().status.success());
}
