//! The sound of rooms, decoded and mixed without a browser: who is heard, where, how loud and when.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::sound::{RATE, level, peak, samples, samples_of};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::processes::Group;
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::Recorder;

const ROOM: &str = "talk";
/// A room's answers, on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// How loud everybody is; full scale is 1.
const LOUD: f64 = 0.2;
const ANN: u32 = 440;
const BEN: u32 = 660;
const EVE: u32 = 880;

/// `weir record` with the server in its environment.
fn record(dir: &Path, server: &LiveKitServer, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| server.reached_by(weir))
}

/// The same for a request as JSON, with the server's keys.
fn record_request(dir: &Path, server: &LiveKitServer, request: &Value) -> Recorder {
    let file = dir.join("request.json");
    std::fs::write(&file, request.to_string()).unwrap();
    record(dir, server, &["request", file.to_str().unwrap()])
}

/// Somebody who sounds a tone, and the sid of their track.
fn singer(
    server: &LiveKitServer,
    identity: &str,
    codec: Codec,
    hertz: u32,
    kind: &str,
) -> (Publisher, String) {
    let publisher = Publisher::join_as(server, ROOM, identity, codec, kind);
    let sid = publisher.publish(codec, codec.tone(hertz, LOUD));
    (publisher, sid)
}

/// How loud a tone is in each quarter of a second: the mean of short pieces, so that it need not be in tune. Where a clock is
/// followed, it is higher or lower by up to two per cent.
fn levels(samples: &[f32], hertz: u32) -> Vec<f64> {
    let piece = (RATE / 20.0) as usize;
    let level = |quarter: &[f32]| {
        quarter.chunks_exact(piece).map(|piece| level(piece, f64::from(hertz))).sum::<f64>() / 5.0
    };
    samples.chunks_exact(piece * 5).map(level).collect()
}

/// Quarters of a second in which a tone is heard, as stretches.
fn heard(levels: &[f64]) -> Vec<Range<usize>> {
    let is_heard = |at: &usize| levels[*at] > LOUD / 2.0;
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for at in (0..levels.len()).filter(is_heard) {
        match stretches.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => stretches.push(at..at + 1),
        }
    }
    stretches
}

/// Within a stretch everything is as loud as it was sent, as far as [`levels`] can tell.
#[track_caller]
fn assert_as_loud(levels: &[f64], stretch: &Range<usize>) {
    let inside = &levels[stretch.start + 1..stretch.end - 1];
    let is_loud = |level: &f64| (LOUD * 0.6..LOUD * 1.05).contains(level);
    assert!(!inside.is_empty() && inside.iter().all(is_loud), "{stretch:?}: {levels:?}");
}

/// How loud the three tones are in the middle of a side's sound.
fn tones(samples: &[f32]) -> [f64; 3] {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    [ANN, BEN, EVE].map(|hertz| {
        let levels = levels(middle, hertz);
        levels.iter().sum::<f64>() / levels.len() as f64
    })
}

#[track_caller]
fn assert_tones(path: &Path, left: [f64; 3], right: [f64; 3]) {
    for (channel, expected) in [left, right].into_iter().enumerate() {
        let found = tones(&samples_of(path, channel));
        let is_so = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.04);
        assert!(is_so, "{}, channel {channel}: {found:?}, not {expected:?}", path.display());
    }
}

#[test]
fn everybody_of_a_room_is_heard_while_they_are_there_and_not_muted() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let (_ann, _) = singer(&server, "ann", Codec::Opus, ANN, "standard");
    let (ben, bens) = singer(&server, "ben", Codec::Pcmu, BEN, "standard");
    let (eve, _) = singer(&server, "eve", Codec::Pcma, EVE, "standard");
    let arguments = ["room", ROOM, "--audio-only", "--file", "talk.ogg", "--duration", "12s"];
    let mut recorder = record(dir.path(), &server, &arguments);
    recorder.runs_for(Duration::from_secs(4));
    for group in [Group::Browser, Group::Display, Group::Sound, Group::Other] {
        assert!(recorder.children(group).is_empty(), "a process of {}", group.name());
    }
    ben.mute(&bens, true);
    recorder.runs_for(Duration::from_secs(2));
    ben.mute(&bens, false);
    recorder.runs_for(Duration::from_secs(2));
    drop(eve);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("talk.ogg");
    let probe = Probe::of(&file);
    assert!((probe.duration - 12.0).abs() < 0.1, "{}", probe.duration);
    assert_eq!(probe.stream("audio").codec, "opus");
    let samples = samples(&file);
    let [ann, ben, eve] = [ANN, BEN, EVE].map(|hertz| levels(&samples, hertz));
    // All the time.
    let [all] = heard(&ann).try_into().unwrap_or_else(|_| panic!("{ann:?}"));
    assert!(all.start <= 1 && all.end >= 47, "{ann:?}");
    assert_as_loud(&ann, &all);
    // But for two seconds.
    let [before, after] = heard(&ben).try_into().unwrap_or_else(|_| panic!("{ben:?}"));
    assert!(before.start <= 2 && after.end >= 47, "{ben:?}");
    assert!((6..=11).contains(&(after.start - before.end)), "{ben:?}");
    assert!(ben[before.end + 1..after.start - 1].iter().all(|level| *level < 0.002), "{ben:?}");
    assert_as_loud(&ben, &before);
    assert_as_loud(&ben, &after);
    // Until she left.
    let [there] = heard(&eve).try_into().unwrap_or_else(|_| panic!("{eve:?}"));
    assert!(there.start <= 2 && (24..=38).contains(&there.end), "{eve:?}");
    assert_as_loud(&eve, &there);
    assert!(eve[there.end + 2..].iter().all(|level| *level < 0.002), "{eve:?}");
}

#[test]
fn agents_and_people_are_kept_apart_and_so_are_those_who_take_turns() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    let _singers = [
        singer(&server, "ann", Codec::Opus, ANN, "agent"),
        singer(&server, "ben", Codec::Opus, BEN, "standard"),
        singer(&server, "eve", Codec::Pcmu, EVE, "standard"),
    ];
    for mixing in ["DUAL_CHANNEL_AGENT", "DUAL_CHANNEL_ALTERNATE"] {
        let dir = tempfile::tempdir().unwrap();
        let request = json!({ "room_composite": {
            "room_name": ROOM, "audio_only": true, "audio_mixing": mixing,
            "file_outputs": [{ "filepath": "talk.mp4" }],
            "segment_outputs": [{ "filename_prefix": "parts/talk", "playlist_name": "talk.m3u8", "segment_duration": 2 }],
        }});
        let mut recorder = record_request(dir.path(), &server, &request);
        recorder.until_written(60_000);
        recorder.runs_for(Duration::from_secs(3));
        recorder.signal(nix::sys::signal::Signal::SIGINT);
        let ended = recorder.finish(SOON).complete();
        let (file, playlist) = (ended.path("talk.mp4"), ended.path("parts/talk.m3u8"));
        assert_decodable(&file);
        assert_eq!(Probe::of(&file).stream("audio").codec, "aac");
        if mixing == "DUAL_CHANNEL_AGENT" {
            for path in [file, playlist] {
                assert_tones(&path, [LOUD, 0.0, 0.0], [0.0, LOUD, LOUD]);
            }
            continue;
        }
        // Two on the left and one on the right, whoever they are.
        let sides = [0, 1].map(|channel| {
            let loud = tones(&samples_of(&file, channel)).map(|level| level > LOUD / 2.0);
            (loud, loud.iter().filter(|is_loud| **is_loud).count())
        });
        let [(left, lefts), (right, rights)] = sides;
        assert_eq!((lefts, rights), (2, 1), "{sides:?}");
        assert!(left.iter().zip(right).all(|(left, right)| *left != right), "{sides:?}");
    }
}

#[test]
fn routes_say_where_a_track_a_person_and_a_kind_are_heard_and_the_rest_is_captured() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let (_ann, anns) = singer(&server, "ann", Codec::Opus, ANN, "standard");
    let _ben = singer(&server, "ben", Codec::Opus, BEN, "agent");
    let _eve = singer(&server, "eve", Codec::Opus, EVE, "standard");
    let media = |audio: Value| {
        json!({
            "room_name": ROOM, "media": { "audio": audio }, "outputs": [{ "file": { "filepath": "talk.ogg" } }],
        })
    };
    let (left, right) = ("AUDIO_CHANNEL_LEFT", "AUDIO_CHANNEL_RIGHT");
    let by_kind = json!({ "participant_kind": "AGENT", "channel": right });
    let cases = [
        (
            json!({ "capture_all": true, "routes": [{ "track_id": anns, "channel": left }, by_kind] }),
            [LOUD, 0.0, LOUD],
            [0.0, LOUD, LOUD],
        ),
        (
            json!({ "routes": [by_kind, { "participant_identity": "eve", "channel": left }] }),
            [0.0, 0.0, LOUD],
            [0.0, LOUD, 0.0],
        ),
    ];
    for (audio, on_left, on_right) in cases {
        let mut recorder = record_request(dir.path(), &server, &media(audio));
        recorder.until_written(60_000);
        recorder.runs_for(Duration::from_secs(2));
        recorder.signal(nix::sys::signal::Signal::SIGINT);
        let ended = recorder.finish(SOON).complete();
        assert_tones(&ended.path("talk.ogg"), on_left, on_right);
        std::fs::remove_file(ended.path("talk.ogg")).unwrap();
    }
}

#[test]
fn a_room_in_which_nobody_says_anything_is_silent_for_as_long_as_it_was_recorded() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let arguments = ["room", "nobody", "--audio-only", "--file", "silence.ogg", "--duration", "4s"];
    let ended = record(dir.path(), &server, &arguments).finish(SOON).complete();
    let file = ended.path("silence.ogg");
    let length = Probe::of(&file).duration;
    assert!((length - 4.0).abs() < 0.1, "{length}");
    assert!(peak(&samples(&file)) < 0.001);
}

/// Forty people at once: each has a tone of their own, and each is heard.
#[test]
fn of_forty_tracks_every_one_is_heard() {
    const PEOPLE: u32 = 40;
    /// All of them together stay below full scale.
    const QUIET: f64 = 0.02;
    let hertz = |number: u32| 300 + 50 * number;
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    // A connection each would measure the machine's handshakes.
    let groups: Vec<u32> = (0..PEOPLE).collect();
    let _choirs: Vec<Publisher> = groups
        .chunks(20)
        .enumerate()
        .map(|(at, voices)| {
            let publisher = Publisher::join(&server, ROOM, &format!("choir-{at}"), Codec::Opus);
            for voice in voices {
                publisher.publish(Codec::Opus, Codec::Opus.tone(hertz(*voice), QUIET));
            }
            publisher
        })
        .collect();
    let arguments = ["room", ROOM, "--audio-only", "--file", "choir.ogg", "--duration", "12s"];
    let ended = record(dir.path(), &server, &arguments).finish(SOON).complete();
    let file = ended.path("choir.ogg");
    let length = Probe::of(&file).duration;
    assert!((length - 12.0).abs() < 0.1, "{length}");
    let all = samples(&file);
    assert!(peak(&all) < 1.0, "{}", peak(&all));
    // The last four seconds: everybody has come.
    let late = &all[all.len() - 4 * RATE as usize..];
    let piece = (RATE / 4.0) as usize;
    let heard = |voice: u32| {
        let levels = late.chunks_exact(piece).map(|piece| level(piece, f64::from(hertz(voice))));
        levels.sum::<f64>() / 16.0
    };
    let levels: Vec<f64> = (0..PEOPLE).map(heard).collect();
    let missing: Vec<(usize, f64)> = levels
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, level)| !(QUIET * 0.5..QUIET * 1.5).contains(level))
        .collect();
    assert!(missing.is_empty(), "who, and how loud, not {QUIET}: {missing:?}");
}
