//! Participants who never join, and participants who join twice under one name.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::layout::Region;
use crate::support::livekit::{Client, LiveKitServer, Redis, until_egress};
use crate::support::measure::audio::{RATE, level, samples};
use crate::support::measure::frames::{Snapshot, colour_distance};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::publisher::{Codec, Publisher, encoded_once};
use crate::support::recorder::{Ended, Recorder, seconds_after};
use crate::support::service::{self, Serve};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::track_passthrough::{assert_all_of, file_of, left_out, published_in};

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const LOUD: f64 = 0.4;

/// Tone and colour of a participant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appearance {
    pub(super) hertz: u32,
    /// A colour name of `videotestsrc`.
    pub(super) colour: &'static str,
    rgb: [u8; 3],
}

pub(super) const FIRST: Appearance = Appearance { hertz: 440, colour: "red", rgb: [255, 0, 0] };
pub(super) const SECOND: Appearance = Appearance { hertz: 660, colour: "blue", rgb: [0, 0, 255] };

/// A participant with microphone and camera; the ids of both tracks.
pub(super) fn person(
    server: &LiveKitServer,
    room: &str,
    identity: &str,
    look: Appearance,
) -> (Publisher, [String; 2]) {
    let publisher = Publisher::join(server, room, identity, Codec::Vp8);
    let voice = publisher.publish(Codec::Opus, Codec::Opus.tone(look.hertz, LOUD));
    let frame = publisher.publish(Codec::Vp8, plain(look));
    (publisher, [voice, frame])
}

/// Two seconds of a participant's colour.
pub(super) fn plain(look: Appearance) -> Vec<Vec<u8>> {
    encoded_once(&format!(
        "videotestsrc num-buffers=60 pattern={} ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! \
         vp8enc deadline=1 keyframe-max-dist=30 ! appsink name=out",
        look.colour
    ))
}

/// Whether a frame shows a participant's colour.
pub(super) fn is_shown(still: &Snapshot, look: Appearance) -> bool {
    colour_distance(still.colour(Region::new(0.0, 0.0, 1.0, 1.0)), look.rgb) < 60
}

/// Asserts that between two moments of a file a participant is visible at both ends, and audible
/// most of the time, and nobody else is.
#[track_caller]
pub(super) fn assert_there(file: &Path, look: Appearance, from: f64, to: f64) {
    let other = if look.hertz == FIRST.hertz { SECOND } else { FIRST };
    let samples = samples(file);
    let heard = &samples[(from * RATE) as usize..((to * RATE) as usize).min(samples.len())];
    // Drift correction changes the pitch slightly; in a twentieth of a second this does not matter.
    let mean = |hertz: u32| {
        let levels: Vec<f64> =
            heard.chunks_exact(RATE as usize / 20).map(|piece| level(piece, f64::from(hertz))).collect();
        levels.iter().sum::<f64>() / levels.len() as f64
    };
    let (theirs, others) = (mean(look.hertz), mean(other.hertz));
    // A short stall of the machine leaves silence.
    assert!(
        (LOUD * 0.15..LOUD * 1.1).contains(&theirs) && others < 0.03,
        "{look:?} from {from:.1} to {to:.1} s: {theirs:.3}, and the other {others:.3}"
    );
    for at in [from, to] {
        let still = Snapshot::at(file, at);
        let seen = still.colour(Region::new(0.0, 0.0, 1.0, 1.0));
        assert!(is_shown(&still, look), "{look:?} at {at:.1} s: {seen:?}");
    }
}

/// Waits until a recording writes media, and this track's first key frame is decoded.
pub(super) fn until_there(recorder: &mut Recorder, frame: &str) {
    recorder.until_logged(&format!("shown track={frame}"));
    recorder.until_written(20_000);
}

/// Asserts that a file, and each of its streams, lasts until the participant left.
#[track_caller]
pub(super) fn assert_lasts_until(file: &Path, left: f64) {
    assert_decodable(file);
    let probe = Probe::of(file);
    // The recorder hears of a leave a moment later; on a busy machine after seconds.
    assert!((left - 2.0..left + 40.0).contains(&probe.duration), "{} s, left at {left:.2} s", probe.duration);
    for stream in &probe.streams {
        let length = stream.duration.unwrap();
        assert!((length - probe.duration).abs() < 2.0, "{stream:?} of {}", probe.duration);
    }
}

/// Position of a moment in an ended recording, in seconds.
pub(super) fn placed(ended: &Ended, moment: std::time::SystemTime) -> f64 {
    -seconds_after(moment, &ended.info["fileResults"][0]["startedAt"])
}

/// Requested as a service does it, through livekit-server.
#[test]
fn a_participant_who_never_joins_is_not_found_after_half_a_minute() {
    let slot = slots::light();
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start(dir.path(), &configuration);
    // Another participant is there.
    let (other, _) = person(&livekit, own_room(), "bob", FIRST);
    let out = dir.path().join("out");
    let wanted = json!({
        "roomName": own_room(), "identity": "ann",
        "fileOutputs": [{ "filepath": out.join("{publisher_identity}.mp4").display().to_string() }],
        "segmentOutputs": [{
            "filenamePrefix": out.join("hls/ann").display().to_string(), "playlistName": "ann.m3u8",
        }],
    });
    let started = livekit.ask(Client::Python, "StartParticipantEgress", &wanted).unwrap();
    let id = started["egressId"].as_str().unwrap().to_owned();
    // Half a minute of waiting costs the machine nothing.
    drop(slot);
    let door = (&*livekit.url(), livekit.keys());
    let ended = until_egress(&mut weir, door, Client::Python, &id, |found| {
        assert!(found["status"] != "EGRESS_ACTIVE", "{found}");
        found["status"] != "EGRESS_STARTING"
    });
    assert_eq!(ended["status"], "EGRESS_FAILED", "{ended}");
    assert_eq!(ended["error"], "participant ann not found", "{ended}");
    assert_eq!(ended["errorCode"], 404, "{ended}");
    assert_eq!(ended["details"], "End reason: Failure", "{ended}");
    let time = |name: &str| ended[name].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
    let took = time("endedAt") - time("startedAt");
    assert!((30.0..120.0).contains(&took), "{took:.1} s");
    drop(other);
    assert!(weir.end().status.success());
    let left: Vec<_> = std::fs::read_dir(&out).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    let cells: Vec<_> = std::fs::read_dir(dir.path().join("work/recordings")).into_iter().flatten().collect();
    assert!(cells.is_empty(), "{cells:?}");
}

/// The server evicts the first one; the second one is the requested participant.
#[test]
fn a_participant_who_joins_a_second_time_goes_on_in_their_recording() {
    let _slot = slots::encoder();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let (first, [_, seen]) = person(livekit, own_room(), "ann", FIRST);
    let arguments = ["participant", own_room(), "ann", "--size", "320x240", "--file", "ann.mp4"];
    let mut recorder = Recorder::start_with(dir.path(), &arguments, |weir| livekit.reached_by(weir));
    // The recording begins with the first of both tracks; on a busy machine the other takes a
    // while.
    until_there(&mut recorder, &seen);
    let begun = std::time::SystemTime::now();
    recorder.run_for(Duration::from_secs(3));
    let twice = std::time::SystemTime::now();
    let (second, [_, seen]) = person(livekit, own_room(), "ann", SECOND);
    until_there(&mut recorder, &seen);
    let again = std::time::SystemTime::now();
    recorder.run_for(Duration::from_secs(5));
    let left = std::time::SystemTime::now();
    drop(second);
    let ended = recorder.finish(SOON).complete();
    drop(first);
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.starts_with("End reason: Source closed"), "{details}");
    let [begun, twice, again, left] = [begun, twice, again, left].map(|moment| placed(&ended, moment));
    let file = ended.path("ann.mp4");
    assert_lasts_until(&file, left);
    assert_there(&file, FIRST, begun.max(0.0) + 1.0, twice - 0.3);
    assert_there(&file, SECOND, again + 2.5, left - 0.5);
}

/// A track belongs to its publisher's session: a participant who joins again brings another one.
#[track_caller]
fn check_ended_by_a_second_session(codec: Codec, rate: usize) {
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let first = Publisher::join(livekit, own_room(), "ann", codec);
    let sid = first.publish(codec, codec.frames());
    let begin = Instant::now();
    let mut recorder =
        Recorder::start_with(dir.path(), &["track", own_room(), &sid], |weir| livekit.reached_by(weir));
    recorder.until_written(1_000);
    first.until_sent(&mut recorder, &sid, rate * 2);
    let before = first.sent(&sid).len();
    let second = Publisher::join(livekit, own_room(), "ann", codec);
    let others = second.publish(codec, codec.frames());
    assert_ne!(sid, others);
    let ended = recorder.finish(SOON).complete();
    assert_eq!(ended.info["details"], "End reason: Source closed", "{}", ended.stdout);
    let file = file_of(&ended);
    assert_decodable(&file);
    let (found, sent) = (published_in(&file, codec), first.sent(&sid));
    let after = assert_all_of(&sent, &found, codec, left_out(&ended.log));
    // The first session sends until it notices its eviction, and a busy server forwards its last
    // frames late.
    let most = sent.len() - before + rate;
    assert!(after <= most, "{codec:?}: {after} frames came after the last one in the file, and not {most}");
    let length = Probe::of(&file).duration;
    let expected = found.len() as f64 / rate as f64;
    let range = expected - 0.5..begin.elapsed().as_secs_f64();
    assert!(expected > 0.5 && range.contains(&length), "{codec:?}: {length} s, and not {range:?}");
}

#[test]
fn video_whose_publisher_joins_again_keeps_all_its_frames() {
    let _slot = slots::light();
    check_ended_by_a_second_session(Codec::Vp8, 30);
}

#[test]
fn audio_whose_publisher_joins_again_keeps_all_its_frames() {
    let _slot = slots::light();
    check_ended_by_a_second_session(Codec::Opus, 50);
}
