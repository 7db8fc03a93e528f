//! Recordings over bad networks: what is lost is asked for again, what is late is put in its place, a cable that is pulled costs what
//! was said meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::livekit::{LiveKitServer, Redis, room_service};
use crate::support::lossy_link::{LossyLink, Weather};
use crate::support::measure::pictures::{Still, changes};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher, units_of};
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::{self, Publishers};
use crate::tracks::{assert_all_of, file_of, published_in};

const ROOM: &str = "afar";
const SOON: Duration = Duration::from_secs(40);

/// `weir record` over the link.
fn record(dir: &Path, server: &LiveKitServer, link: &LossyLink, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| server.reached_at(&link.ws_url(), weir))
}

const CODECS: [Codec; 2] = [Codec::Vp8, Codec::Opus];

/// Records a track for so many seconds, while something happens; gives what was sent and what was found, silence that was filled in
/// apart.
fn recorded(
    server: &LiveKitServer,
    link: &LossyLink,
    codec: Codec,
    seconds: u32,
    happens: impl FnOnce(&mut Recorder),
) -> Found {
    let publisher = Publisher::join(server, ROOM, "ann", codec);
    let sid = publisher.publish(codec, codec.frames());
    let dir = tempfile::tempdir().unwrap();
    let length = format!("{seconds}s");
    let mut recorder = record(dir.path(), server, link, &["track", ROOM, &sid, "--duration", &length]);
    happens(&mut recorder);
    let ended = recorder.finish(SOON).complete();
    let file = file_of(&ended);
    assert_decodable(&file);
    let (sent, frames) = (publisher.sent(&sid), published_in(&file, codec));
    Found { codec, sent, frames, length: Probe::of(&file).duration, ended }
}

#[derive(Debug)]
struct Found {
    codec: Codec,
    sent: Vec<Arc<[u8]>>,
    frames: Vec<Vec<u8>>,
    length: f64,
    ended: Ended,
}

impl Found {
    /// How many frames are missing between the first and the last one; those that are there are in order.
    fn missing(&self) -> usize {
        let units = |frame: &[u8]| units_of(frame, self.codec);
        let sent: Vec<_> = self.sent.iter().map(|frame| units(frame)).collect();
        let found: Vec<_> = self.frames.iter().map(|frame| units(frame)).collect();
        // Frames are sent again and again, so that the first one was sent at several places.
        let starts = (0..sent.len()).filter(|at| sent[*at] == found[0]);
        let missing = |start: usize| {
            let mut rest = sent[start..].iter();
            found.iter().try_fold(0, |missing, frame| Some(missing + rest.position(|sent| sent == frame)?))
        };
        starts.filter_map(missing).min().expect("they are in order")
    }

    /// Nothing that was not sent is in it.
    fn assert_nothing_foreign(&self) {
        let sent: Vec<_> = self.sent.iter().map(|frame| units_of(frame, self.codec)).collect();
        let foreign = self.frames.iter().filter(|frame| !sent.contains(&units_of(frame, self.codec))).count();
        assert_eq!(foreign, 0, "{:?}: frames that nobody sent, of {}", self.codec, self.frames.len());
    }
}

#[test]
fn nothing_is_missing_where_packets_are_lost_or_late() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for weather in
        [Weather::losing(0.01), Weather::losing(0.05), Weather::jittery(Duration::from_millis(100))]
    {
        let link = LossyLink::start(server.ws_url(), weather);
        for codec in CODECS {
            let found = recorded(&server, &link, codec, 6, |_| {});
            found.assert_nothing_foreign();
            let Found { frames, length, .. } = &found;
            let expected = if codec == Codec::Opus { 300 } else { 180 };
            assert!(frames.len() + 20 > expected, "{weather:?}: {} frames of {codec:?}", frames.len());
            // A packet of sound whose repetition is lost, too, is waited for in vain.
            let most = if codec == Codec::Opus { 3 } else { 0 };
            assert!(found.missing() <= most, "{weather:?}: {codec:?}: {} are missing", found.missing());
            assert!((length - 6.0).abs() < 0.3, "{weather:?}: {codec:?}: {length}");
        }
    }
}

/// The server takes what is sent twice apart for whoever asks for plain Opus.
#[test]
fn sound_that_is_sent_redundantly_is_kept_as_it_was_published() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let server = LiveKitServer::start(&redis);
    let publisher = Publisher::join_redundant(&server, ROOM, "ann");
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let arguments = ["track", ROOM, &sid, "--duration", "6s"];
    let recorder = Recorder::start_with(dir.path(), &arguments, |weir| server.reached_by(weir));
    let file = file_of(&recorder.finish(SOON).complete());
    let ann = room_service(&server, ROOM, "GetParticipant", &json!({ "room": ROOM, "identity": "ann" }));
    assert_eq!(ann["tracks"][0]["mime_type"], "audio/red", "{ann}");
    let found = published_in(&file, Codec::Opus);
    assert!(found.len() > 280, "{} packets", found.len());
    assert_all_of(&publisher.sent(&sid), &found, Codec::Opus);
    let length = Probe::of(&file).duration;
    assert!((length - 6.0).abs() < 0.15, "{length}");
}

#[test]
fn where_no_datagram_gets_through_everything_comes_by_tcp() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    let link = LossyLink::start_beside_tcp(server.ws_url(), Weather::losing(1.0));
    for codec in CODECS {
        let found = recorded(&server, &link, codec, 6, |_| {});
        found.assert_nothing_foreign();
        let Found { frames, length, .. } = &found;
        let expected = if codec == Codec::Opus { 300 } else { 180 };
        assert!(frames.len() + 15 > expected, "{} frames of {codec:?}", frames.len());
        assert_eq!(found.missing(), 0, "{codec:?}");
        assert!((length - 6.0).abs() < 0.15, "{codec:?}: {length}");
    }
}

/// A fifth is much: what was asked for again is lost again, and so is the asking.
#[test]
fn a_network_that_loses_a_fifth_leaves_a_recording_of_the_right_length() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    let link = LossyLink::start(server.ws_url(), Weather::losing(0.2));
    for codec in CODECS {
        let found = recorded(&server, &link, codec, 8, |_| {});
        found.assert_nothing_foreign();
        let Found { frames, length, .. } = &found;
        let sent = if codec == Codec::Opus { 400.0 } else { 240.0 };
        let share = frames.len() as f64 / sent;
        assert!(share > 0.9, "{share:.2} of the frames of {codec:?}");
        assert!((length - 8.0).abs() < 0.5, "{codec:?}: {length}");
    }
}

#[test]
fn a_cable_that_is_pulled_for_five_seconds_costs_five_seconds_of_what_was_said() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for codec in CODECS {
        let link = LossyLink::start(server.ws_url(), Weather::FAIR);
        let found = recorded(&server, &link, codec, 14, |recorder| {
            recorder.until_written(1_000);
            recorder.runs_for(Duration::from_secs(2));
            link.turns(Weather::CUT);
            recorder.runs_for(Duration::from_secs(5));
            link.turns(Weather::FAIR);
        });
        found.assert_nothing_foreign();
        let Found { frames, length, ended, .. } = &found;
        let rate = if codec == Codec::Opus { 50.0 } else { 30.0 };
        let seconds = frames.len() as f64 / rate;
        // What it takes to come back is lost, too; what the server kept meanwhile may still come.
        assert!((5.0..=13.0).contains(&seconds), "{codec:?}: {seconds:.1} s of frames: {}", ended.info);
        assert!((length - 14.0).abs() < 0.5, "{codec:?}: {length}");
    }
}

/// The first session loses every datagram, the second none.
#[test]
fn a_session_without_media_is_begun_anew_once() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    let link = LossyLink::start(server.ws_url(), Weather::losing(1.0));
    let found = recorded(&server, &link, Codec::Opus, 4, |recorder| {
        recorder.until_said("coming into the room anew");
        link.turns(Weather::FAIR);
    });
    found.assert_nothing_foreign();
    assert!(found.frames.len() > 180 && found.missing() == 0, "{} frames", found.frames.len());
    assert!((found.length - 4.0).abs() < 0.2, "{}", found.length);

    link.turns(Weather::losing(1.0));
    let publisher = Publisher::join(&server, ROOM, "ben", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &server, &link, &["track", ROOM, &sid]).finish(SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(
        ended.log.contains("no media came through within 15 s: neither UDP nor TCP leads"),
        "{}",
        ended.log
    );
}

/// A page in Chromium comes back by itself, and is recorded all the while.
#[test]
fn a_page_survives_ten_seconds_without_its_network() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let server = LiveKitServer::start(&redis);
    let _publishers =
        Publishers::join(&server, &pages, ROOM, &["ann", "ben", "cleo", "dora"], "width=320&height=180");
    let link = LossyLink::start(server.ws_url(), Weather::FAIR);
    let dir = tempfile::tempdir().unwrap();
    let mut recorder =
        record(dir.path(), &server, &link, &["room", ROOM, "--file", "afar.mp4", "--fps", "15"]);
    recorder.until_written(50_000);
    recorder.runs_for(Duration::from_secs(3));
    link.turns(Weather::CUT);
    recorder.runs_for(Duration::from_secs(10));
    link.turns(Weather::FAIR);
    recorder.runs_for(Duration::from_secs(12));
    recorder.signal(Signal::SIGINT);
    let file = recorder.finish(SOON).complete().path("afar.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!(length > 24.0, "{length}");
    // It stood still meanwhile, and moves again.
    let moved = changes(&file);
    let longest = moved.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!((8.0..=20.0).contains(&longest), "{longest:.1} s without a movement");
    assert!(moved.iter().filter(|at| **at > length - 2.0).count() > 15, "{:?}", moved.last());
    let still = Still::at(&file, length - 1.0);
    let tiles = room::grid(2, 2, (1280.0, 720.0), 8.0);
    let mut seen: Vec<_> = tiles.into_iter().map(|tile| room::who(&still, tile)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [Some(1), Some(2), Some(3), Some(4)]);
}
