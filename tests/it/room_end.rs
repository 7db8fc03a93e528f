//! End of rooms: everybody leaves, somebody returns, rooms close early, and another recorder takes
//! over.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::late_publishers::placed;
use crate::livekit_restart::IS_THERE;
use crate::storage::{UPLOADED_WITHIN, download, write_storage};
use crate::support::livekit::{Client, LiveKitServer, Redis, room_service};
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::peers::RtmpServer;
use crate::support::processes::{self, Group, Seen};
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::Recorder;
use crate::support::room::{Hearing, files_below};
use crate::support::service::{self, Serve, cell};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::stores::Store;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::webhook_receiver::WebhookReceiver;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const ANN: u32 = 440;
const BEN: u32 = 660;

/// A participant who publishes a tone, once the recorder is subscribed to it.
fn publish_tone_to(recorder: &mut Recorder, identity: &str, hertz: u32) -> Publisher {
    let publisher = Publisher::join(LiveKitServer::shared(), own_room(), identity, Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.tone(hertz, 0.3));
    recorder.until_logged(&format!("subscribed track=\"{sid}\""));
    publisher
}

/// Number of tenths of a second with a tone in a range.
fn tenths(samples: &[f32], hertz: u32, (from, to): (f64, f64)) -> usize {
    let place = |at: f64| ((at.max(0.0) * audio::RATE) as usize).min(samples.len());
    let pieces = samples[place(from)..place(to.max(from))].chunks_exact((audio::RATE / 10.0) as usize);
    pieces.filter(|piece| audio::level(piece, f64::from(hertz)) > 0.05).count()
}

/// The room is empty for a while and continues; somebody joins late; then everybody leaves, and the
/// server closes the room some time later. All of it is in the recording, and nothing more.
#[test]
fn a_room_that_is_left_is_recorded_until_its_server_closes_it() {
    /// Departure timeout of the room. Somebody returns within it, also on a busy machine.
    const DEPARTURE: f64 = 10.0;
    let _slot = slots::encoder();
    let (livekit, store) = (LiveKitServer::shared(), SeaweedFs::shared());
    let dir = tempfile::tempdir().unwrap();
    let bucket = store.bucket("left");
    write_storage(dir.path(), &store.storage(&bucket), None);
    let settings = json!({ "name": own_room(), "departure_timeout": DEPARTURE as u32, "empty_timeout": 120 });
    room_service(livekit, own_room(), "CreateRoom", &settings);
    let arguments = [
        &["room", own_room(), "--audio-only", "--file", "left.mp4", "--segments", "hls/left"][..],
        &["--segment-duration", "2s", "--storage", "storage.yaml"],
    ];
    let mut recorder = Recorder::start_with(dir.path(), &arguments.concat(), |weir| livekit.reached_by(weir));
    let ann = publish_tone_to(&mut recorder, "ann", ANN);
    recorder.until_written(5_000);
    let begun = SystemTime::now();
    recorder.run_for(Duration::from_secs(2));
    let alone = SystemTime::now();
    drop(ann);
    recorder.run_for(Duration::from_secs(3));
    let again = SystemTime::now();
    let ann = publish_tone_to(&mut recorder, "ann", ANN);
    recorder.run_for(Duration::from_secs(2));
    let late = SystemTime::now();
    let ben = publish_tone_to(&mut recorder, "ben", BEN);
    recorder.run_for(Duration::from_secs(3));
    let empty = SystemTime::now();
    drop((ann, ben));
    let ended = recorder.finish(UPLOADED_WITHIN).complete();
    let over = SystemTime::now();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.starts_with("End reason: Source closed"), "{details}");

    let out = dir.path().join("stored");
    download(store, &bucket, &out);
    let (file, playlist) = (out.join("left.mp4"), out.join("hls/left.m3u8"));
    let moments = [begun, alone, again, late, empty, over];
    let [begun, alone, again, late, empty, over] = moments.map(|moment| placed(&ended, moment));
    let told = ended.info["fileResults"][0]["duration"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
    for (name, length) in [("told", told), ("file", Probe::of(&file).duration)] {
        // A server checks once a second whether to close a room. A participant who is late does not
        // make it longer than measured.
        assert!(
            (empty + DEPARTURE - 3.0..over + 3.0).contains(&length),
            "{name}: {length:.2} s of {over:.2} s"
        );
    }
    for path in [file, playlist] {
        assert_decodable(&path);
        let samples = audio::samples(&path);
        let length = samples.len() as f64 / audio::RATE;
        assert!((length - told).abs() < 2.0, "{}: {length:.2} s, told {told:.2} s", path.display());
        let tenths = |hertz: u32, from: f64, to: f64| tenths(&samples, hertz, (from, to));
        // Levels are steady a second after each change; a busy machine leaves gaps.
        let heard = [(ANN, begun, alone), (ANN, again, late), (ANN, late, empty), (BEN, late, empty)];
        for (hertz, from, to) in heard {
            let found = tenths(hertz, from, to);
            assert!(found >= 3, "{}: {hertz} Hz from {from:.2} to {to:.2} s: {found}", path.display());
        }
        let silent = [
            (ANN, alone + 1.0, again),
            (BEN, 0.0, late),
            (ANN, empty + 1.0, length),
            (BEN, empty + 1.0, length),
        ];
        for (hertz, from, to) in silent {
            let found = tenths(hertz, from, to);
            assert_eq!(found, 0, "{}: {hertz} Hz from {from:.2} to {to:.2} s", path.display());
        }
    }
}

/// Room for several recordings, whatever the load of the machine.
const ROOM_FOR_ALL: (&str, &str) = ("LIVEKIT_CPU_REQUEST", "64");

/// A participant who publishes nothing is in the room.
#[test]
fn a_room_that_closes_before_anything_is_published_aborts_its_recordings() {
    let _slot = slots::encoder();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let configuration = format!("ws_url: {}\n", livekit.ws_url());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let silent = Publisher::join(livekit, own_room(), "ann", Codec::Vp8);
    let (out, rtmp, keys) = (dir.path().join("out"), RtmpServer::start(), format!("{}-", own_room()));
    let outputs = |mut request: Value, name: &str| {
        let place = |name: String| out.join(name).display().to_string();
        // Images need video.
        if request["audio_only"].is_null() {
            request["image_outputs"] =
                json!([{ "filename_prefix": place(format!("{name}/seen")), "capture_interval": 1 }]);
        }
        request["room_name"] = json!(own_room());
        request["stream_outputs"] =
            json!([{ "protocol": "RTMP", "urls": [rtmp.url(&format!("{keys}{name}"))] }]);
        request["file_outputs"] = json!([{ "filepath": place(format!("{name}.mp4")) }]);
        request["segment_outputs"] = json!([{ "filename_prefix": place(format!("{name}/part")) }]);
        request
    };
    let small = json!({ "width": 640, "height": 360, "framerate": 15 });
    let requests = [
        ("StartRoomCompositeEgress", outputs(json!({ "audio_only": true }), "room")),
        ("StartRoomCompositeEgress", outputs(json!({ "layout": "grid", "advanced": small }), "page")),
        ("StartParticipantEgress", outputs(json!({ "identity": "ann" }), "ann")),
    ];
    let ids = requests.map(|(method, request)| {
        let info = weir.callers().call(method, &request).unwrap_or_else(|refused| panic!("{refused:?}"));
        info["egress_id"].as_str().unwrap().to_owned()
    });
    for id in &ids {
        let is_there = |line: &str| line.contains(id.as_str()) && line.contains(IS_THERE);
        weir.until("the recorder is in the room", SOON, |_| {
            livekit.look_into_log(|log| log.lines().any(is_there)).then_some(())
        });
    }
    // Longer than the wait of a recording that begins by itself.
    std::thread::park_timeout(Duration::from_secs(2));
    for id in &ids {
        assert_eq!(weir.callers().info(id)["status"], "EGRESS_STARTING");
    }
    livekit.delete_room(own_room());
    for id in &ids {
        let info = weir.until_over(id, SOON);
        assert_eq!((&info["status"], &info["error_code"]), (&json!("EGRESS_ABORTED"), &json!(412)), "{info}");
        assert_eq!(info["error"], "Start signal not received", "{info}");
        let streams = &info["stream_results"];
        let why = json!("the recording ended before media could be sent");
        assert_eq!(
            (streams.as_array().map(Vec::len), &streams[0]["status"], &streams[0]["error"]),
            (Some(1), &json!("FAILED"), &why),
            "{info}"
        );
    }
    drop(silent);
    assert!(weir.end().status.success());
    let is_sent = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(keys.as_str()))
    };
    let sent = files_below(rtmp.home()).into_iter().filter(is_sent);
    let left: Vec<PathBuf> = files_below(&out).into_iter().chain(sent).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Another recorder joins the room for the same egress and owns it from then on: the server evicts
/// the first one.
#[test]
fn an_evicted_recorder_reports_and_uploads_nothing_more() {
    let _slot = slots::encoder();
    let (redis, webhooks, store) = (Redis::start(), WebhookReceiver::start(), SeaweedFs::shared());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[webhooks.url()]);
    let dir = tempfile::tempdir().unwrap();
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let ann = Publisher::join(&livekit, own_room(), "ann", Codec::Opus);
    ann.publish(Codec::Opus, Codec::Opus.tone(ANN, 0.3));
    let bucket = store.bucket("twins");
    let s3 = store.storage(&bucket)["s3"].clone();
    let wanted = json!({
        "roomName": own_room(), "audioOnly": true,
        "fileOutputs": [{ "fileType": "MP4", "filepath": "twin.mp4", "s3": s3 }],
        "segmentOutputs": [{
            "filenamePrefix": "hls/twin", "playlistName": "twin.m3u8", "segmentDuration": 1, "s3": s3,
        }],
    });
    let started = livekit.ask(Client::Python, "StartRoomCompositeEgress", &wanted).unwrap();
    let id = started["egressId"].as_str().unwrap().to_owned();
    livekit.until_status(&mut weir, Client::Python, &id, "EGRESS_ACTIVE");
    let mut hearing = Hearing::of(cell(dir.path(), &id));
    weir.until("two seconds are recorded", SOON, |_| hearing.has(2.0));
    weir.until("a segment is stored", UPLOADED_WITHIN, |_| {
        store.list(&bucket).iter().any(|key| key.ends_with(".ts")).then_some(())
    });

    // Its identity is the egress's id.
    let twin = Publisher::join(&livekit, own_room(), &id, Codec::Opus);
    // Until then it may upload segments that were complete before.
    weir.until_logged("it is evicted", |line| line.contains("another recorder has its egress"));
    let stored = store.list(&bucket);
    let service = weir.pid();
    let is_recorder = |seen: &Seen| seen.group == Group::Recorder && seen.pid != service;
    weir.until("the recorder has ended", SOON, |_| {
        (!processes::family(service).iter().any(is_recorder)).then_some(())
    });
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    drop((twin, ann));

    let listed = livekit.ask(Client::Python, "ListEgress", &json!({ "egressId": id })).unwrap();
    assert_eq!(listed["items"][0]["status"], "EGRESS_ACTIVE", "{listed}");
    let told = webhooks.of_egress(&id);
    let statuses: Vec<&str> = told.iter().filter_map(|(_, info)| info["status"].as_str()).collect();
    assert!(!told.is_empty() && !told.iter().any(|(event, _)| event == "egress_ended"), "{told:?}");
    assert!(
        statuses.iter().all(|status| ["EGRESS_STARTING", "EGRESS_ACTIVE"].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(store.list(&bucket), stored, "nothing more is put where the other's files belong");
    // Neither the file nor a manifest.
    assert!(stored.iter().all(|key| key.starts_with("hls/twin")), "{stored:?}");
    for key in stored.iter().filter(|key| key.ends_with(".m3u8")) {
        let playlist = String::from_utf8(store.get(&bucket, key)).unwrap();
        assert!(!playlist.contains("#EXT-X-ENDLIST"), "{key}: {playlist}");
    }
    let kept = files_below(dir.path());
    let is_media = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "mp4");
    assert!(kept.iter().any(is_media), "what it recorded is kept on its machine: {kept:?}");
}
