//! LiveKit servers killed during a recording: the recorded media is kept, and returning
//! participants are recorded again.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::late_publishers::{FIRST, SECOND, assert_lasts_until, assert_there, person, placed, until_there};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::{Ended, Recorder};
use crate::support::slots;
use crate::track_passthrough::{assert_all_of, file_of, left_out, published_in};

const ROOM: &str = "studio";
/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// The server's log line when a participant's media can flow.
pub(super) const IS_THERE: &str = "\"participant active\"";

fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_by(weir))
}

/// Waits until the server has logged this `times` times about the recorder.
pub(super) fn until_logged(
    livekit: &LiveKitServer,
    dir: &Path,
    recorder: &mut Recorder,
    what: &str,
    times: usize,
) {
    // Its identity in the room is the egress's id, the name of its work directory.
    let work = std::fs::read_dir(dir.join(".weir")).unwrap().next().unwrap().unwrap();
    let id = work.file_name().into_string().unwrap();
    let by = Instant::now() + SOON;
    loop {
        let of_the_recorder = |log: &str| -> Vec<String> {
            log.lines().filter(|line| line.contains(&id)).map(str::to_owned).collect()
        };
        let log = livekit.look_into_log(of_the_recorder);
        let said = log.iter().filter(|line| line.contains(what)).count();
        if said >= times {
            return;
        }
        assert!(Instant::now() < by, "{what:?}, {said} of {times} times:\n{}", log.join("\n"));
        recorder.run_for(Duration::from_millis(50));
    }
}

#[test]
fn a_participant_goes_on_when_the_server_is_back_and_so_are_they() {
    let _slot = slots::encoder();
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let mut livekit = LiveKitServer::start(&redis);
    let (first, [_, seen]) = person(&livekit, ROOM, "ann", FIRST);
    let arguments = ["participant", ROOM, "ann", "--size", "320x240", "--file", "ann.mp4"];
    let mut recorder = record(dir.path(), &livekit, &arguments);
    until_there(&mut recorder, &seen);
    let begun = SystemTime::now();
    recorder.run_for(Duration::from_secs(3));
    let killed = SystemTime::now();
    livekit.go_away();
    livekit.come_back();
    let (second, [_, seen]) = person(&livekit, ROOM, "ann", SECOND);
    until_logged(&livekit, dir.path(), &mut recorder, IS_THERE, 1);
    until_there(&mut recorder, &seen);
    let whole = SystemTime::now();
    recorder.run_for(Duration::from_secs(5));
    let left = SystemTime::now();
    drop(second);
    let ended = recorder.finish(SOON).complete();
    drop(first);
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.starts_with("End reason: Source closed"), "{details}");
    assert!(details.contains("interrupted at") && details.contains("back after"), "{details}");
    let [begun, killed, whole, left] = [begun, killed, whole, left].map(|moment| placed(&ended, moment));
    let file = ended.path("ann.mp4");
    assert_lasts_until(&file, left);
    assert_there(&file, FIRST, begun.max(0.0) + 1.0, killed - 0.3);
    assert_there(&file, SECOND, whole + 2.5, left - 0.5);
}

/// Numbers of frames sent before the server was killed, and after it was gone.
type Sent = (usize, usize);

/// The frames of a track recorded until the server was killed: everything sent until then,
/// unchanged.
#[track_caller]
fn assert_kept(ended: &Ended, publisher: &Publisher, sid: &str, (before, gone): Sent, codec: Codec) -> f64 {
    let file = file_of(ended);
    assert_decodable(&file);
    let found = published_in(&file, codec);
    let all = publisher.sent(sid);
    let rate = if codec == Codec::Opus { 50 } else { 30 };
    assert!(found.len() > rate / 2, "{codec:?}: {}", found.len());
    let after = assert_all_of(&all[..gone], &found, codec, left_out(&ended.log));
    // Frames that a busy server had not forwarded yet, and frames sent while it was being killed.
    let most = rate * 2 + gone - before;
    assert!(after <= most, "{codec:?}: {after} frames came after the last one in the file, and not {most}");
    Probe::of(&file).duration
}

/// The new server does not know the tracks: they have ended.
#[test]
fn tracks_end_when_the_server_is_back_without_them() {
    let _slot = slots::light();
    let redis = Redis::start();
    let mut livekit = LiveKitServer::start(&redis);
    let mut running = [("ann", Codec::Vp8), ("ben", Codec::Opus)].map(|(identity, codec)| {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::join(&livekit, ROOM, identity, codec);
        let sid = publisher.publish(codec, codec.frames());
        let recorder = record(dir.path(), &livekit, &["track", ROOM, &sid]);
        (dir, publisher, sid, codec, recorder)
    });
    for (.., recorder) in &mut running {
        recorder.until_written(1_000);
    }
    // Three seconds of both, at the same time.
    let begun = running.each_ref().map(|(_, publisher, sid, ..)| publisher.sent(sid).len());
    for ((_, publisher, sid, codec, recorder), begun) in running.iter_mut().zip(begun) {
        let rate: usize = if *codec == Codec::Opus { 50 } else { 30 };
        let since = publisher.sent(sid).len() - begun;
        publisher.until_sent(recorder, sid, (rate * 3).saturating_sub(since));
    }
    let sent = || running.each_ref().map(|(_, publisher, sid, ..)| publisher.sent(sid).len());
    let (killed, before) = (SystemTime::now(), sent());
    livekit.go_away();
    let (gone, after) = (SystemTime::now(), sent());
    livekit.come_back();
    let sent = before.into_iter().zip(after);
    for ((_dir, publisher, sid, codec, recorder), sent) in running.into_iter().zip(sent) {
        let ended = recorder.finish(SOON).complete();
        let details = ended.info["details"].as_str().unwrap();
        assert!(details.starts_with("End reason: Source closed"), "{details}");
        let length = assert_kept(&ended, &publisher, &sid, sent, codec);
        let [killed, gone, over] = [killed, gone, SystemTime::now()].map(|moment| placed(&ended, moment));
        // Audio continues as silence until the end is certain; video ends with its last frame.
        let latest = if codec == Codec::Opus { over } else { gone + 1.0 };
        // A busy machine forwards the last frames late, or not at all.
        assert!(
            (killed - 2.5..latest).contains(&length),
            "{codec:?}: {length:.2} s, killed at {killed:.2} s, over at {over:.2} s"
        );
    }
}

/// Ten attempts, which take a minute and a half.
#[test]
fn a_server_that_stays_away_ends_the_recording_and_its_media_is_kept() {
    // A larger slot than it needs, so that it starts early: it takes longer than others.
    let slot = slots::encoder();
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let mut livekit = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&livekit, ROOM, "ann", Codec::Vp8);
    let sid = publisher.publish(Codec::Vp8, Codec::Vp8.frames());
    let mut recorder = record(dir.path(), &livekit, &["track", ROOM, &sid]);
    recorder.until_written(1_000);
    publisher.until_sent(&mut recorder, &sid, 90);
    let before = publisher.sent(&sid).len();
    livekit.go_away();
    let gone = publisher.sent(&sid).len();
    // Waiting costs the machine nothing, and holds up no other test.
    drop(slot);
    let ended = recorder.finish(Duration::from_secs(300));
    let _slot = slots::light();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED", "{}", ended.stdout);
    assert_eq!(ended.info["errorCode"], 503, "{}", ended.stdout);
    let error = ended.info["error"].as_str().unwrap();
    assert!(error.starts_with("recording ended early: connection to room failed"), "{error}");
    assert_kept(&ended, &publisher, &sid, (before, gone), Codec::Vp8);
}
