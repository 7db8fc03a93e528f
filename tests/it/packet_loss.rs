//! Recordings over bad networks: lost packets are requested again, late ones reordered, and a
//! pulled cable costs only the media sent meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::late_publishers::placed;
use crate::support::livekit::{LiveKitServer, room_service};
use crate::support::lossy_link::{LossyLink, NetworkConditions};
use crate::support::measure::frames::{Snapshot, changes};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher, units_of};
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::{self, Images, Publishers};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::tool::succeed;
use crate::track_passthrough::{assert_all_of, file_of, left_out, published_in};

const SOON: Duration = Duration::from_secs(60);

/// Runs `weir record` over the link.
fn record(dir: &Path, server: &LiveKitServer, link: &LossyLink, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| server.reached_at(&link.ws_url(), weir))
}

/// Video and audio, which are lost and retransmitted in different ways.
const CODECS: [Codec; 2] = [Codec::Vp8, Codec::Opus];

/// Frames of a codec per second.
fn rate(codec: Codec) -> f64 {
    if codec == Codec::Opus { 50.0 } else { 30.0 }
}

/// A running recording of a track.
#[derive(Debug)]
struct Running {
    codec: Codec,
    publisher: Publisher,
    sid: String,
    dir: tempfile::TempDir,
    recorder: Recorder,
}

impl Running {
    fn start(server: &LiveKitServer, link: &LossyLink, codec: Codec, arguments: &[&str]) -> Self {
        let publisher = Publisher::join(server, own_room(), &format!("{codec:?}"), codec);
        let sid = publisher.publish(codec, codec.frames());
        let dir = tempfile::tempdir().unwrap();
        let recorder = record(dir.path(), server, link, &[&["track", own_room(), &sid], arguments].concat());
        Self { codec, publisher, sid, dir, recorder }
    }

    /// Returns the sent and the recorded frames, without filled-in silence.
    fn finish(self) -> Found {
        let Self { codec, publisher, sid, dir, recorder } = self;
        let ended = recorder.finish(SOON).complete();
        let file = file_of(&ended);
        assert_decodable(&file);
        let (sent, frames) = (publisher.sent(&sid), published_in(&file, codec));
        let found =
            Found { codec, sent, frames, times: times_in(&file), length: Probe::of(&file).duration, ended };
        drop(dir);
        found
    }
}

/// Times of the frames of a file in seconds, without filled-in silence.
fn times_in(file: &Path) -> Vec<f64> {
    let arguments =
        ["-v", "error", "-show_entries", "packet=pts_time,size", "-of", "csv=p=0", file.to_str().unwrap()];
    let listed = String::from_utf8(succeed("ffprobe", &arguments, None).stdout).unwrap();
    let packet = |line: &str| {
        let (at, size) = line.split_once(',')?;
        size.trim_end_matches(',').parse().is_ok_and(|size: u32| size > 3).then(|| at.parse().ok())?
    };
    listed.lines().filter_map(packet).collect()
}

/// Records a track of each codec for some seconds, all at the same time.
fn recorded(server: &LiveKitServer, link: &LossyLink, seconds: u32) -> [Found; 2] {
    let length = format!("{seconds}s");
    let running = CODECS.map(|codec| Running::start(server, link, codec, &["--duration", &length]));
    running.map(|running| {
        let found = running.finish();
        found.assert_nothing_foreign();
        let length = found.length;
        // Video begins and ends with a frame, for which a busy machine waits; it also ends later.
        let expected = f64::from(seconds) * 0.4..f64::from(seconds) + 8.0;
        assert!(expected.contains(&length), "{:?}: {length} s, and not {expected:?}", found.codec);
        found
    })
}

#[derive(Debug)]
struct Found {
    codec: Codec,
    sent: Vec<Arc<[u8]>>,
    frames: Vec<Vec<u8>>,
    /// Time of each frame in seconds.
    times: Vec<f64>,
    length: f64,
    ended: Ended,
}

impl Found {
    /// Number of frames missing between the first and the last one; the others are in order.
    fn missing(&self) -> usize {
        let units = |frame: &[u8]| units_of(frame, self.codec);
        let sent: Vec<_> = self.sent.iter().map(|frame| units(frame)).collect();
        let found: Vec<_> = self.frames.iter().map(|frame| units(frame)).collect();
        // Frames are sent repeatedly, so the first one was sent at several places.
        let starts = (0..sent.len()).filter(|at| Some(&sent[*at]) == found.first());
        let missing = |start: usize| {
            let mut rest = sent[start..].iter();
            found.iter().try_fold(0, |missing, frame| Some(missing + rest.position(|sent| sent == frame)?))
        };
        starts.filter_map(missing).min().expect("they are in order")
    }

    /// Asserts that the file has no frame that was not sent.
    fn assert_nothing_foreign(&self) {
        let sent: Vec<_> = self.sent.iter().map(|frame| units_of(frame, self.codec)).collect();
        let foreign = self.frames.iter().filter(|frame| !sent.contains(&units_of(frame, self.codec))).count();
        assert_eq!(foreign, 0, "{:?}: frames that nobody sent, of {}", self.codec, self.frames.len());
    }
}

#[track_caller]
fn check_nothing_missing(weather: NetworkConditions) {
    let server = LiveKitServer::shared();
    let link = LossyLink::start(server.ws_url(), weather);
    for found in recorded(server, &link, 5) {
        let (codec, count) = (found.codec, found.frames.len());
        assert!(count as f64 > 1.5 * rate(codec), "{weather:?}: {count} frames of {codec:?}");
        // An audio packet whose retransmission is lost, too, stays missing.
        let most = match codec {
            Codec::Opus => 6 + left_out(&found.ended.log),
            // So does a frame, on a machine without time for another request.
            _ if weather.loss >= 0.05 => 3,
            _ => 0,
        };
        assert!(found.missing() <= most, "{weather:?}: {codec:?}: {} are missing", found.missing());
    }
}

#[test]
fn nothing_is_missing_where_a_packet_in_a_hundred_is_lost() {
    let _slot = slots::light();
    check_nothing_missing(NetworkConditions::losing(0.01));
}

#[test]
fn nothing_is_missing_where_a_packet_in_twenty_is_lost() {
    let _slot = slots::light();
    check_nothing_missing(NetworkConditions::losing(0.05));
}

#[test]
fn nothing_is_missing_where_packets_are_late() {
    let _slot = slots::light();
    check_nothing_missing(NetworkConditions::jittery(Duration::from_millis(100)));
}

/// The server removes redundancy for clients that request plain Opus.
#[test]
fn redundant_audio_is_kept_as_published() {
    let _slot = slots::light();
    let (server, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let publisher = Publisher::join_redundant(server, own_room(), "ann");
    let sid = publisher.publish(Codec::Opus, Codec::Opus.frames());
    let arguments = ["track", own_room(), &sid, "--duration", "4s"];
    let recorder = Recorder::start_with(dir.path(), &arguments, |weir| server.reached_by(weir));
    let ended = recorder.finish(SOON).complete();
    let file = file_of(&ended);
    let ann =
        room_service(server, own_room(), "GetParticipant", &json!({ "room": own_room(), "identity": "ann" }));
    assert_eq!(ann["tracks"][0]["mime_type"], "audio/red", "{ann}");
    let found = published_in(&file, Codec::Opus);
    assert!(found.len() > 50, "{} packets", found.len());
    assert_all_of(&publisher.sent(&sid), &found, Codec::Opus, left_out(&ended.log));
    let length = Probe::of(&file).duration;
    assert!((3.7..10.0).contains(&length), "{length}");
}

#[test]
fn tcp_carries_everything_if_udp_is_blocked() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let link = LossyLink::start_beside_tcp(server.ws_url(), NetworkConditions::losing(1.0));
    for found in recorded(server, &link, 4) {
        let (codec, count) = (found.codec, found.frames.len());
        assert!(count as f64 > rate(codec), "{count} frames of {codec:?}");
        // Video frames are never dropped.
        let most = left_out(&found.ended.log);
        assert!(found.missing() <= most, "{codec:?}: {} are missing, {most} left out", found.missing());
    }
}

/// At a fifth, retransmissions are lost again, and so are the requests for them.
#[test]
fn a_network_that_loses_a_fifth_leaves_a_recording_of_the_right_length() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let link = LossyLink::start(server.ws_url(), NetworkConditions::losing(0.2));
    for found in recorded(server, &link, 6) {
        // Without retransmissions, four fifths of audio packets would arrive, and fewer frames of
        // video, as a frame has several packets. Video begins when its first key frame has arrived,
        // and has fewer frames if the machine is busy.
        let came = found.frames.len() + left_out(&found.ended.log);
        let share = came as f64 / (found.length.min(6.0) * rate(found.codec));
        let least = if found.codec == Codec::Opus { 0.82 } else { 0.7 };
        assert!(share > least, "{share:.2} of the frames of {:?}", found.codec);
    }
}

#[test]
fn a_cable_that_is_pulled_for_five_seconds_costs_five_seconds_of_what_was_said() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let link = LossyLink::start(server.ws_url(), NetworkConditions::FAIR);
    let begin = Instant::now();
    let mut running = CODECS.map(|codec| Running::start(server, &link, codec, &[]));
    for running in &mut running {
        running.recorder.until_written(1_000);
    }
    let written = Instant::now();
    running[0].recorder.run_for(Duration::from_secs(2));
    link.turns(NetworkConditions::CUT);
    running[0].recorder.run_for(Duration::from_secs(5));
    link.turns(NetworkConditions::FAIR);
    let back = SystemTime::now();
    // Reconnecting loses some time, too. Silence alone would not grow so much.
    for running in &mut running {
        running.recorder.until_grown(15_000);
    }
    running[0].recorder.run_for(Duration::from_secs(2));
    let least = written.elapsed().as_secs_f64();
    for running in &running {
        running.recorder.signal(Signal::SIGINT);
    }
    for found in running.map(Running::finish) {
        found.assert_nothing_foreign();
        let Found { codec, frames, times, length, ended, .. } = &found;
        assert!(
            (least - 3.0..begin.elapsed().as_secs_f64()).contains(length),
            "{codec:?}: {length}, and not {least}"
        );
        let seconds = frames.len() as f64 / rate(*codec);
        // Packets that the server has buffered may still arrive.
        let cut = format!("{codec:?}: {seconds:.1} s of frames in {length} s: {}", ended.info);
        assert!((1.0..length - 1.0).contains(&seconds), "{cut}");
        let back = placed(ended, back);
        let after = times.iter().filter(|at| **at > back).count();
        assert!(after as f64 > 0.5 * rate(*codec), "{after} frames after {back:.1} s: {cut}");
    }
}

/// The first session loses every datagram, the second one none.
#[test]
fn a_session_without_media_is_begun_anew_once() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let link = LossyLink::start(server.ws_url(), NetworkConditions::losing(1.0));
    let mut running = Running::start(server, &link, Codec::Opus, &["--duration", "4s"]);
    running.recorder.until_logged("rejoining room");
    link.turns(NetworkConditions::FAIR);
    let found = running.finish();
    found.assert_nothing_foreign();
    let (count, missing, most) = (found.frames.len(), found.missing(), left_out(&found.ended.log));
    assert!(count > 50 && missing <= most, "{count} frames, {missing} missing, {most} left out");
    assert!((3.5..10.0).contains(&found.length), "{}", found.length);
}

#[test]
fn a_second_session_without_media_ends_the_recording() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let link = LossyLink::start(server.ws_url(), NetworkConditions::losing(1.0));
    let ended = Running::start(server, &link, Codec::Opus, &[]).recorder.finish(SOON + SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("no media within 15 s: neither UDP nor TCP reaches"), "{}", ended.log);
}

/// A page in Chromium reconnects by itself, and is recorded all the time.
#[test]
fn a_page_survives_ten_seconds_without_its_network() {
    let _slot = slots::heavy();
    let (server, pages) = (LiveKitServer::shared(), PageServer::start());
    let _publishers = Publishers::join(
        server,
        &pages,
        own_room(),
        &["ann", "ben", "cleo", "dora"],
        "width=320&height=180&fps=10",
    );
    let link = LossyLink::start(server.ws_url(), NetworkConditions::FAIR);
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["room", own_room(), "--file", "afar.mp4", "--fps", "15"];
    let arguments = [&arguments[..], &["--images", "seen", "--every", "1s"]].concat();
    let mut recorder = record(dir.path(), server, &link, &arguments);
    let mut images = Images::new(dir.path().join("seen"));
    until_all_four_move(&mut recorder, &mut images);
    link.turns(NetworkConditions::CUT);
    recorder.run_for(Duration::from_secs(10));
    link.turns(NetworkConditions::FAIR);
    let back = SystemTime::now();
    // Earlier images show nothing of it.
    recorder.run_for(Duration::from_secs(2));
    images.newest();
    until_all_four_move(&mut recorder, &mut images);
    let seen = SystemTime::now();
    recorder.run_for(Duration::from_secs(1));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("afar.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!(length > 12.0, "{length}");
    // It stood still meanwhile, and moves again.
    let moved = changes(&file);
    let longest = moved.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!((6.0..60.0).contains(&longest), "{longest:.1} s without a movement");
    let [back, seen] = [back, seen].map(|moment| placed(&ended, moment));
    assert!(moved.iter().filter(|at| **at > back).count() > 3, "{:?}, back at {back:.1} s", moved.last());
    let still = Snapshot::at(&file, seen.min(length - 0.2));
    assert_eq!(in_tiles(&still), ALL_FOUR);
}

const ALL_FOUR: [Option<u32>; 4] = [Some(1), Some(2), Some(3), Some(4)];

/// The participants in the four tiles of a page, in the order of their numbers.
fn in_tiles(still: &Snapshot) -> Vec<Option<u32>> {
    let tiles = room::grid(2, 2).into_iter();
    let mut seen: Vec<_> = tiles.map(|tile| room::who(still, tile)).collect();
    seen.sort_unstable();
    seen
}

/// Waits until all are visible in images that differ: three times from one image to the next.
fn until_all_four_move(recorder: &mut Recorder, images: &mut Images) {
    let mut last: Option<Snapshot> = None;
    let mut steps = 0;
    recorder.until("all four are seen and move", || {
        let still = images.newest()?;
        if in_tiles(&still) != ALL_FOUR {
            (last, steps) = (None, 0);
            return None;
        }
        steps += usize::from(last.as_ref().is_some_and(|last| still.differs_from(last)));
        last = Some(still);
        (steps >= 3).then_some(())
    });
}
