//! Audio of rooms, decoded and mixed without a browser: who is audible, on which side, how loud and
//! when.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::livekit::LiveKitServer;
use crate::support::measure::audio::{RATE, level, peak, samples, samples_of};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::peers::RtmpServer;
use crate::support::processes::Group;
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::Recorder;
use crate::support::shared::own_room;
use crate::support::slots;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Amplitude of each participant; full scale is 1.
const LOUD: f64 = 0.2;
const ANN: u32 = 440;
const BEN: u32 = 660;
const EVE: u32 = 880;

/// `weir record` with the server in its environment.
fn record(dir: &Path, server: &LiveKitServer, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| server.reached_by(weir))
}

/// The same for a request in JSON, with the server's keys.
fn record_request(dir: &Path, server: &LiveKitServer, request: &Value) -> Recorder {
    let file = dir.join("request.json");
    std::fs::write(&file, request.to_string()).unwrap();
    record(dir, server, &["request", file.to_str().unwrap()])
}

/// Publishes a tone; returns the publisher and the sid of the track.
fn tone_publisher(
    server: &LiveKitServer,
    identity: &str,
    codec: Codec,
    hertz: u32,
    kind: &str,
) -> (Publisher, String) {
    let publisher = Publisher::join_as(server, own_room(), identity, codec, kind);
    let sid = publisher.publish(codec, codec.tone(hertz, LOUD));
    (publisher, sid)
}

/// Waits until media is written and all of these tracks are subscribed: on a busy machine some come
/// seconds after the first one.
fn until_all_come<'a>(recorder: &mut Recorder, sids: impl IntoIterator<Item = &'a String>) {
    for sid in sids {
        recorder.until_logged(&format!("subscribed track=\"{sid}\""));
    }
    recorder.until_written(5_000);
}

/// Amplitude of a tone in each quarter of a second: the mean of short parts, which tolerates a
/// detuned tone. Drift correction changes the pitch by up to two per cent.
fn levels(samples: &[f32], hertz: u32) -> Vec<f64> {
    let piece = (RATE / 20.0) as usize;
    let level = |quarter: &[f32]| {
        quarter.chunks_exact(piece).map(|piece| level(piece, f64::from(hertz))).sum::<f64>() / 5.0
    };
    samples.chunks_exact(piece * 5).map(level).collect()
}

/// From the first quarter of a second with a tone to the last one.
fn heard(levels: &[f64]) -> Range<usize> {
    let is_heard = |level: &f64| *level > LOUD / 2.0;
    let first = levels.iter().position(is_heard).unwrap_or_else(|| panic!("never heard: {levels:?}"));
    first..levels.iter().rposition(is_heard).unwrap_or(first) + 1
}

/// The longest range of quarters of a second without a tone.
fn silence(levels: &[f64]) -> Range<usize> {
    let mut longest = 0..0;
    let mut begin = 0;
    for (at, level) in levels.iter().enumerate() {
        if *level >= 0.002 {
            begin = at + 1;
        } else if at + 1 - begin > longest.len() {
            longest = begin..at + 1;
        }
    }
    longest
}

/// Asserts that a participant is as loud as sent for most of the time, within the precision of
/// [`levels`]; a busy machine may stutter, but makes nobody louder.
#[track_caller]
fn assert_as_loud(levels: &[f64]) {
    let most = levels.iter().filter(|level| **level > LOUD * 0.6).count();
    let loudest = levels.iter().copied().fold(0.0, f64::max);
    assert!(
        most * 3 >= levels.len() && most > 0 && loudest < LOUD * 1.05,
        "{most} quarters of a second: {levels:?}"
    );
}

/// Amplitudes of the three tones near the end of a side's audio, when all have joined.
fn tones(samples: &[f32]) -> [f64; 3] {
    let before_the_end = |seconds: f64| samples.len().saturating_sub((seconds * RATE) as usize);
    let late = &samples[before_the_end(3.0)..before_the_end(0.5)];
    [ANN, BEN, EVE].map(|hertz| {
        let levels = levels(late, hertz);
        levels.iter().sum::<f64>() / levels.len() as f64
    })
}

#[track_caller]
fn assert_tones(path: &Path, left: [f64; 3], right: [f64; 3]) {
    for (channel, expected) in [left, right].into_iter().enumerate() {
        let found = tones(&samples_of(path, channel));
        // A busy machine may lose some of the sent audio.
        let fits = |found: f64, expected: f64| {
            if expected > 0.0 { (expected * 0.25..expected * 1.1).contains(&found) } else { found < 0.04 }
        };
        let is_so = found.iter().zip(expected).all(|(found, expected)| fits(*found, expected));
        assert!(is_so, "{}, channel {channel}: {found:?}, not {expected:?}", path.display());
    }
}

#[test]
fn everybody_of_a_room_is_heard_while_they_are_there_and_not_muted() {
    let _slot = slots::encoder();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let (_ann, anns) = tone_publisher(server, "ann", Codec::Opus, ANN, "standard");
    let (ben, bens) = tone_publisher(server, "ben", Codec::Pcmu, BEN, "standard");
    let (eve, eves) = tone_publisher(server, "eve", Codec::Pcma, EVE, "standard");
    let arguments = ["room", own_room(), "--audio-only", "--file", "talk.ogg"];
    let mut recorder = record(dir.path(), server, &arguments);
    until_all_come(&mut recorder, [&anns, &bens, &eves]);
    let written = Instant::now();
    for group in [Group::Browser, Group::Display, Group::Audio, Group::Other] {
        assert!(recorder.children(group).is_empty(), "a process of {}", group.name());
    }
    // A publisher may stall for a while on a busy machine; this is the least that each sends.
    ben.until_sent(&mut recorder, &bens, 75);
    eve.until_sent(&mut recorder, &eves, 25);
    ben.mute(&bens, true);
    recorder.run_for(Duration::from_secs(2));
    ben.mute(&bens, false);
    ben.until_sent(&mut recorder, &bens, 75);
    eve.until_sent(&mut recorder, &eves, 25);
    drop(eve);
    ben.until_sent(&mut recorder, &bens, 150);
    let least = written.elapsed().as_secs_f64();
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("talk.ogg");
    let probe = Probe::of(&file);
    assert!(probe.duration > least - 1.0, "{} and not {least}", probe.duration);
    assert_eq!(probe.stream("audio").codec, "opus");
    let samples = samples(&file);
    let [ann, ben, eve] = [ANN, BEN, EVE].map(|hertz| levels(&samples, hertz));
    // In quarters of a second.
    let end = ann.len();
    // All the time, except for losses of a busy machine when somebody joins, and at the end.
    let all = heard(&ann);
    assert!(all.end + 10 >= end, "{ann:?}");
    // Except for two seconds, and the time until he is audible again.
    let bens = heard(&ben);
    let mute = silence(&ben[bens.clone()]);
    let mute = bens.start + mute.start..bens.start + mute.end;
    assert!(bens.end + 10 >= end && (5..=40).contains(&mute.len()), "{ben:?}");
    assert!(all.start <= mute.start, "{ann:?} {ben:?}");
    assert_as_loud(&ann[all]);
    assert_as_loud(&ben[bens.start..mute.start]);
    assert_as_loud(&ben[mute.end..bens.end]);
    // Until she left.
    let there = heard(&eve);
    assert!(there.start <= mute.start && (mute.start..=end - 4).contains(&there.end), "{eve:?}");
    assert_as_loud(&eve[there.clone()]);
    assert!(eve[there.end + 2..].iter().all(|level| *level < 0.002), "{eve:?}");
}

/// Records an agent and two people whose audio is mixed in this way; returns the file, the playlist
/// of its segments, and the stream received by a server.
#[track_caller]
fn record_mixed(dir: &Path, mixing: &str) -> [PathBuf; 3] {
    let (server, rtmp) = (LiveKitServer::shared(), RtmpServer::start());
    let singers = [
        tone_publisher(server, "ann", Codec::Opus, ANN, "agent"),
        tone_publisher(server, "ben", Codec::Opus, BEN, "standard"),
        tone_publisher(server, "eve", Codec::Pcmu, EVE, "standard"),
    ];
    let request = json!({ "room_composite": {
        "room_name": own_room(), "audio_only": true, "audio_mixing": mixing,
        "file_outputs": [{ "filepath": "talk.mp4" }],
        "segment_outputs": [{ "filename_prefix": "parts/talk", "playlist_name": "talk.m3u8", "segment_duration": 2 }],
        "stream_outputs": [{ "protocol": "RTMP", "urls": [rtmp.url("talk")] }],
    }});
    let mut recorder = record_request(dir, server, &request);
    until_all_come(&mut recorder, singers.iter().map(|(_, sid)| sid));
    recorder.run_for(Duration::from_secs(4));
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let (file, playlist) = (ended.path("talk.mp4"), ended.path("parts/talk.m3u8"));
    assert_decodable(&file);
    assert_eq!(Probe::of(&file).stream("audio").codec, "aac");
    [file, playlist, rtmp.received("talk")]
}

#[test]
fn agents_and_people_are_separate() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    for path in record_mixed(dir.path(), "DUAL_CHANNEL_AGENT") {
        assert_tones(&path, [LOUD, 0.0, 0.0], [0.0, LOUD, LOUD]);
    }
}

#[test]
fn participants_who_take_turns_are_separate() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    for path in record_mixed(dir.path(), "DUAL_CHANNEL_ALTERNATE") {
        // Two on the left and one on the right, in any assignment.
        let sides = [0, 1].map(|channel| {
            let loud = tones(&samples_of(&path, channel)).map(|level| level > LOUD * 0.25);
            (loud, loud.iter().filter(|is_loud| **is_loud).count())
        });
        let [(left, lefts), (right, rights)] = sides;
        assert_eq!((lefts, rights), (2, 1), "{}: {sides:?}", path.display());
        assert!(left.iter().zip(right).all(|(left, right)| *left != right), "{}: {sides:?}", path.display());
    }
}

/// Telephone audio is mono, and lost packets are not concealed.
#[test]
fn mono_voices_are_the_same_on_both_sides_of_aac() {
    let _slot = slots::encoder();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let (_ben, bens) = tone_publisher(server, "ben", Codec::Pcmu, BEN, "standard");
    let (_eve, eves) = tone_publisher(server, "eve", Codec::Pcma, EVE, "standard");
    let arguments = ["room", own_room(), "--audio-only", "--file", "talk.mp4"];
    let mut recorder = record(dir.path(), server, &arguments);
    until_all_come(&mut recorder, [&bens, &eves]);
    recorder.run_for(Duration::from_secs(2));
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let file = recorder.finish(SOON).complete().path("talk.mp4");
    assert_eq!(Probe::of(&file).stream("audio").codec, "aac");
    let [left, right] = [0, 1].map(|channel| samples_of(&file, channel));
    assert!(f64::from(peak(&left)) > LOUD / 2.0, "{}", peak(&left));
    let mut sides = left.iter().zip(&right);
    let different = sides.position(|(left, right)| left.to_bits() != right.to_bits());
    assert_eq!((left.len(), different), (right.len(), None), "the first sample that differs");
}

const LEFT: &str = "AUDIO_CHANNEL_LEFT";
const RIGHT: &str = "AUDIO_CHANNEL_RIGHT";

/// Records ann, ben (an agent) and eve, with `audio` built from the sid of ann's track; asserts the
/// amplitude of the three on the left and on the right.
#[track_caller]
fn check_routes(audio: impl FnOnce(&str) -> Value, on_left: [f64; 3], on_right: [f64; 3]) {
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let (_ann, anns) = tone_publisher(server, "ann", Codec::Opus, ANN, "standard");
    let (_ben, bens) = tone_publisher(server, "ben", Codec::Opus, BEN, "agent");
    let (_eve, eves) = tone_publisher(server, "eve", Codec::Opus, EVE, "standard");
    let request = json!({
        "room_name": own_room(), "media": { "audio": audio(&anns) }, "outputs": [{ "file": { "filepath": "talk.ogg" } }],
    });
    let mut recorder = record_request(dir.path(), server, &request);
    // A participant without a matching route is not subscribed to.
    let heard = [&anns, &bens, &eves].into_iter().zip(on_left).zip(on_right);
    let heard = heard.filter(|((_, left), right)| left + right > 0.0);
    until_all_come(&mut recorder, heard.map(|((sid, _), _)| sid));
    recorder.run_for(Duration::from_millis(3500));
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    assert_tones(&ended.path("talk.ogg"), on_left, on_right);
}

#[test]
fn routes_by_track_and_kind_apply_and_the_rest_is_captured() {
    let _slot = slots::encoder();
    let audio = |anns: &str| {
        let track = json!({ "track_id": anns, "channel": LEFT });
        let kind = json!({ "participant_kind": "AGENT", "channel": RIGHT });
        json!({ "capture_all": true, "routes": [track, kind] })
    };
    check_routes(audio, [LOUD, 0.0, LOUD], [0.0, LOUD, LOUD]);
}

#[test]
fn routes_by_kind_and_identity_apply_and_the_rest_is_silent() {
    let _slot = slots::encoder();
    let audio = |_: &str| {
        let kind = json!({ "participant_kind": "AGENT", "channel": RIGHT });
        json!({ "routes": [kind, { "participant_identity": "eve", "channel": LEFT }] })
    };
    check_routes(audio, [0.0, 0.0, LOUD], [0.0, LOUD, 0.0]);
}

#[test]
fn a_silent_room_is_recorded_at_full_length() {
    let _slot = slots::encoder();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let (ann, sid) = tone_publisher(server, "ann", Codec::Opus, ANN, "standard");
    ann.mute(&sid, true);
    let arguments = ["room", own_room(), "--audio-only", "--file", "{room_id}.ogg", "--duration", "4s"];
    let ended = record(dir.path(), server, &arguments).finish(SOON).complete();
    let room_id = ended.info["roomId"].as_str().unwrap();
    assert!(room_id.starts_with("RM_"), "{}", ended.info);
    let file = ended.path(&format!("{room_id}.ogg"));
    let length = Probe::of(&file).duration;
    // A busy machine ends it late.
    assert!((3.7..10.0).contains(&length), "{length}");
    assert!(peak(&samples(&file)) < 0.001);
}

/// Forty people at once, each with a tone of their own.
#[test]
fn each_of_forty_tracks_is_audible() {
    const PEOPLE: u32 = 40;
    /// All of them together stay below full scale.
    const QUIET: f64 = 0.02;
    let _slot = slots::machine();
    let hertz = |number: u32| 300 + 50 * number;
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    // One connection for each would measure the machine's handshakes.
    let groups: Vec<u32> = (0..PEOPLE).collect();
    let choirs: Vec<(Publisher, Vec<String>)> = groups
        .chunks(20)
        .enumerate()
        .map(|(at, voices)| {
            let publisher = Publisher::join(server, own_room(), &format!("choir-{at}"), Codec::Opus);
            let sing = |voice: &u32| publisher.publish(Codec::Opus, Codec::Opus.tone(hertz(*voice), QUIET));
            let sids = voices.iter().map(sing).collect();
            (publisher, sids)
        })
        .collect();
    let arguments = ["room", own_room(), "--audio-only", "--file", "choir.ogg"];
    let mut recorder = record(dir.path(), server, &arguments);
    until_all_come(&mut recorder, choirs.iter().flat_map(|(_, sids)| sids));
    recorder.run_for(Duration::from_secs(5));
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("choir.ogg");
    let length = Probe::of(&file).duration;
    assert!(length > 4.0, "{length}");
    let all = samples(&file);
    assert!(peak(&all) < 1.0, "{}", peak(&all));
    // The last three seconds: everybody has joined.
    let late = &all[all.len() - 3 * RATE as usize..];
    let piece = (RATE / 4.0) as usize;
    let heard = |voice: u32| {
        let levels = late.chunks_exact(piece).map(|piece| level(piece, f64::from(hertz(voice))));
        levels.sum::<f64>() / 12.0
    };
    // A busy machine loses some audio; the tests above check the amplitudes.
    let levels: Vec<f64> = (0..PEOPLE).map(heard).collect();
    let missing: Vec<(usize, f64)> = levels
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, level)| !(QUIET * 0.1..QUIET * 1.5).contains(level))
        .collect();
    assert!(missing.is_empty(), "who, and how loud, not {QUIET}: {missing:?}");
    let nobody = heard(PEOPLE + 10);
    assert!(nobody < QUIET * 0.1, "what nobody sounds: {nobody}");
}
