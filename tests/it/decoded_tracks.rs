//! Decoded participants and track composites: a recording shows and plays at each moment what was
//! published then.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use livekit_protocol::simulate_scenario::Scenario;
use nix::sys::signal::Signal;

use crate::late_publishers::{FIRST, SECOND, is_shown, plain};
use crate::support::disturbance::undisturbed;
use crate::support::layout::{Layout, Region};
use crate::support::livekit::LiveKitServer;
use crate::support::lossy_link::{LossyLink, NetworkConditions};
use crate::support::measure::audio::Beep;
use crate::support::measure::frames::{Frame, Snapshot, colour_distance, frames};
use crate::support::measure::timing::{DISTURBED, av_offsets_of_pairs, flashes, lateness, percentile};
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::publisher::{Codec, Publisher, beeping, flashing};
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::{self, Images, Publishers, fitted_frame, part};
use crate::support::shared::{own_room, unique};
use crate::support::signal_proxy::SignalProxy;
use crate::support::slots;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const WHOLE: Region = Region::new(0.0, 0.0, 1.0, 1.0);

/// `weir record` with the server in its environment.
fn record_at(dir: &Path, livekit: &LiveKitServer, url: &str, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_at(url, weir))
}

fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    record_at(dir, livekit, &livekit.ws_url(), arguments)
}

/// The wall clock in nanoseconds.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as f64
}

/// Position of a moment in a recording, in seconds.
fn placed(ended: &Ended, moment: f64) -> f64 {
    let began: f64 = ended.info["fileResults"][0]["startedAt"].as_str().unwrap().parse().unwrap();
    (moment - began) / 1e9
}

/// The participant shown at a moment, and whether the frame is black.
fn shown(file: &Path, at: f64) -> (Option<u32>, bool) {
    let still = Snapshot::at(file, at);
    let is_black = room::is_near(still.colour(WHOLE), [0, 0, 0]);
    (room::who(&still, fitted_frame(&still, WHOLE)), is_black)
}

const SOMEBODY: (Option<u32>, bool) = (Some(1), false);
const NOBODY: (Option<u32>, bool) = (None, true);

/// Waits until a recording's newest image shows this, in the form of [`shown`].
fn until_shown(recorder: &mut Recorder, images: &mut Images, expected: (Option<u32>, bool)) {
    let is_so = |still: Snapshot| {
        let is_black = room::is_near(still.colour(WHOLE), [0, 0, 0]);
        ((room::who(&still, fitted_frame(&still, WHOLE)), is_black) == expected).then_some(())
    };
    recorder.until(&format!("an image shows {expected:?}"), || images.newest().and_then(is_so));
}

/// Asserts that only the first participant is audible in some part of a range. A busy machine
/// leaves gaps, and audio that is moved in time has a slightly different pitch meanwhile, which
/// would hide the tone in a longer part.
#[track_caller]
fn assert_heard(samples: &[f32], from: f64, to: f64) {
    let from = from.max(0.0);
    let pieces = ((to - from) / 0.5) as usize;
    let heard = |piece: usize| {
        let begin = from + 0.5 * piece as f64;
        room::heard(samples, begin, begin + 0.5, 2)
    };
    let heard: Vec<_> = (0..pieces).map(heard).collect();
    assert!(heard.iter().any(|who| *who == [1]), "from {from:.2} to {to:.2} s: {heard:?}");
}

/// Camera and microphone: muted, unmuted, unpublished.
#[test]
fn a_participant_is_recorded_as_they_mute_come_back_and_leave() {
    let _slot = slots::heavy();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let publishers =
        Publishers::join(livekit, &pages, own_room(), &["ann", "ben"], "width=640&height=360&fps=15");
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        &["participant", own_room(), "ann", "--size", "640x480", "--fps", "15", "--file", "ann.mp4"][..],
        &["--segments", "hls/ann", "--segment-duration", "2s", "--keyframe-interval", "2"],
        &["--images", "images/ann", "--every", "1s"],
    ];
    let mut recorder = record(dir.path(), livekit, &arguments.concat());
    let mut seen = Images::new(dir.path().join("images/ann"));
    until_shown(&mut recorder, &mut seen, SOMEBODY);
    let begun = now();
    recorder.run_for(Duration::from_secs(2));
    let muted = now();
    publishers.act(0, "microphone(false)");
    publishers.act(0, "camera(false)");
    until_shown(&mut recorder, &mut seen, NOBODY);
    let dark = now();
    recorder.run_for(Duration::from_millis(1500));
    let back = now();
    publishers.act(0, "microphone(true)");
    publishers.act(0, "camera(true)");
    until_shown(&mut recorder, &mut seen, SOMEBODY);
    let lit = now();
    recorder.run_for(Duration::from_secs(2));
    let left = now();
    publishers.act(0, "leave()");
    let ended = recorder.finish(SOON).complete();
    assert_eq!(ended.info["sourceType"], "EGRESS_SOURCE_TYPE_SDK", "{}", ended.stdout);

    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let moments = [begun, muted, dark, back, lit, left];
    let [begun, muted, dark, back, lit, left] = moments.map(|moment| placed(&ended, moment));
    let probe = Probe::of(&file);
    assert_eq!((probe.stream("video").width, probe.stream("video").height), (640, 480));
    assert_eq!((&*probe.stream("video").codec, &*probe.stream("audio").codec), ("h264", "aac"));
    // It ends when they leave; a busy machine notices late.
    let late = probe.duration - left;
    assert!((-2.0..40.0).contains(&late), "{} s, left at {left:.2} s", probe.duration);
    for stream in &probe.streams {
        let length = stream.duration.unwrap();
        assert!((length - probe.duration).abs() < 2.0, "{stream:?} of {}", probe.duration);
    }

    assert_eq!(shown(&file, begun.max(0.0)), SOMEBODY);
    assert_eq!(shown(&file, muted - 0.5), SOMEBODY);
    assert_eq!(shown(&file, dark), NOBODY);
    assert_eq!(shown(&file, back - 0.3), NOBODY);
    assert_eq!(shown(&file, lit), SOMEBODY);
    assert_eq!(shown(&file, left - 0.3), SOMEBODY);
    // 640x360 in 640x480: bars of 60 pixels at the top and bottom.
    let still = Snapshot::at(&file, muted - 0.5);
    let frame = fitted_frame(&still, WHOLE);
    assert!(room::is_near(still.colour(part(frame, 0.05, 0.05, 0.2, 0.1)), room::colour(1)));
    for y in [2, 50, -50, -2] {
        assert!(room::is_near(still.pixel(320, y), [0, 0, 0]), "{y}: {:?}", still.pixel(320, y));
    }

    let samples = audio::samples(&file);
    assert_heard(&samples, 0.0, muted - 0.2);
    assert_eq!(room::heard(&samples, dark + 0.3, back - 0.2, 2), [0; 0]);
    assert_heard(&samples, back, left - 0.2);

    let lists = below(&ended.path("hls"), "m3u8");
    assert!(!lists.is_empty(), "a playlist");
    let segments = below(&ended.path("hls"), "ts");
    let seconds: f64 = segments.iter().map(|segment| Probe::of(segment).duration).sum();
    // If frames are dropped, each segment may end a little before the next one begins.
    let most = 0.5 + 0.2 * segments.len() as f64;
    assert!((seconds - probe.duration).abs() < most, "{seconds} s in {} segments", segments.len());
    segments.iter().for_each(|segment| assert_decodable(segment));
    // One per second, except for those that a busy machine drops.
    let images = below(&ended.path("images"), "jpeg");
    let count = images.len() as f64;
    let expected = probe.duration / 4.0 - 1.0..=probe.duration + 2.0;
    assert!(expected.contains(&count), "{count} images in {} s", probe.duration);
    let who: Vec<_> = images.iter().map(|image| shown(image, 0.0)).collect();
    assert!(who.contains(&SOMEBODY) && who.contains(&NOBODY), "{who:?}");
}

/// Sorted files with an extension below a directory.
fn below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect();
    found.sort();
    found
}

/// A screen share: started, stopped, started again while the camera continues.
#[test]
fn the_screen_of_a_participant_is_recorded_without_their_camera() {
    let _slot = slots::heavy();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let publishers = Publishers::join(livekit, &pages, own_room(), &["ann"], "width=320&height=180&fps=15");
    publishers.act(0, "shareScreen()");
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        &["participant", own_room(), "ann", "--screen-share", "--size", "640x360", "--fps", "15"][..],
        &["--file", "ann.mp4", "--images", "seen", "--every", "1s"],
    ];
    let mut recorder = record(dir.path(), livekit, &arguments.concat());
    let mut images = Images::new(dir.path().join("seen"));
    // A screen with the same number, in other colours.
    let is_as = |still: &Snapshot, (number, colour): (Option<u32>, [u8; 3])| {
        let found = (room::number(still, WHOLE), still.colour(part(WHOLE, 0.48, 0.68, 0.04, 0.04)));
        (found.0 == number && colour_distance(found.1, colour) <= 40, found)
    };
    let mut until = |recorder: &mut Recorder, expected| {
        let is_so = |still: Snapshot| is_as(&still, expected).0.then_some(());
        recorder.until(&format!("an image shows {expected:?}"), || images.newest().and_then(is_so));
        now()
    };
    let (grey, blue) = ((Some(1), [0x40, 0x40, 0x40]), (Some(1), [0x20, 0x40, 0xd0]));
    let nothing = (None, [0, 0, 0]);
    until(&mut recorder, grey);
    recorder.run_for(Duration::from_secs(1));
    let stopped = now();
    publishers.act(0, "stopScreen()");
    let dark = until(&mut recorder, nothing);
    recorder.run_for(Duration::from_secs(1));
    let again = now();
    publishers.act(0, "shareScreen('#2040d0')");
    let back = until(&mut recorder, blue);
    recorder.run_for(Duration::from_secs(1));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [stopped, dark, again, back] = [stopped, dark, again, back].map(|moment| placed(&ended, moment));
    let looks = [(stopped - 0.3, grey), (dark, nothing), (again - 0.3, nothing), (back, blue)];
    for (at, expected) in looks {
        let (is_so, found) = is_as(&Snapshot::at(&file, at), expected);
        assert!(is_so, "at {at:.2} s: {found:?} instead of {expected:?}");
    }
    // Their microphone is not the screen's audio.
    assert!(audio::peak(&audio::samples(&file)) < 0.01);
}

/// Records a browser publisher until three seconds of them are visible; returns the file, the
/// visible range, and its directory. `options` as in [`Publishers::join`].
#[track_caller]
fn check_a_browser_is_recorded(options: &str) -> (PathBuf, [f64; 3], tempfile::TempDir) {
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let _publishers = Publishers::join(livekit, &pages, own_room(), &["ann"], options);
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["participant", own_room(), "ann", "--size", "1280x720", "--file", "ann.mp4"];
    let arguments = [&arguments[..], &["--fps", "15", "--images", "seen", "--every", "1s"]].concat();
    let mut recorder = record(dir.path(), livekit, &arguments);
    // A browser's new encoders take some tenths of a second to their first frame, and more on a
    // busy machine.
    until_shown(&mut recorder, &mut Images::new(dir.path().join("seen")), SOMEBODY);
    let seen = now();
    recorder.run_for(Duration::from_secs(3));
    let stopped = now();
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [seen, stopped] = [seen, stopped].map(|moment| placed(&ended, moment));
    let length = Probe::of(&file).duration;
    assert!(length > stopped - 2.0, "{length} s, stopped at {stopped:.2} s");
    let times = [seen, f64::midpoint(seen, length), length - 0.5];
    for at in times {
        assert_eq!(shown(&file, at), SOMEBODY, "at {at} s: {}", ended.log);
    }
    assert_heard(&audio::samples(&file), 0.0, length);
    // Part of the largest layer once a publisher is up to speed; all of it on a free machine.
    let late = frames(&file, &Layout::default()).into_iter().filter(|frame| frame.pts > seen).count();
    assert!(late >= 3, "{late} frames after {seen:.2} s");
    (file, times, dir)
}

// Every codec of browsers, and simulcast video.

#[test]
fn a_browsers_vp8_in_several_sizes_is_recorded() {
    let _slot = slots::heavy();
    check_a_browser_is_recorded("simulcast=1&width=1280&height=720&fps=15");
}

#[test]
fn a_browsers_vp9_is_recorded() {
    let _slot = slots::heavy();
    check_a_browser_is_recorded("codec=vp9&width=640&height=360&fps=15");
}

#[test]
fn a_browsers_h264_is_recorded_in_its_colours() {
    let _slot = slots::heavy();
    let (file, times, _dir) = check_a_browser_is_recorded("codec=h264&width=1280&height=720&fps=15");
    // Only H.264 carries the colour space of a canvas; browsers, too, show the others with a slight
    // error. An encoder that is short of time starts with coarse frames.
    let colour = |at: f64| Snapshot::at(&file, at).colour(room::part(WHOLE, 0.48, 0.68, 0.04, 0.04));
    let seen = times.map(colour);
    let is_close = |seen: &[u8; 3]| colour_distance(*seen, room::colour(1)) <= 6;
    assert!(seen.iter().any(is_close), "{seen:?} instead of {:?}", room::colour(1));
}

#[test]
fn a_browsers_av1_is_recorded() {
    let _slot = slots::heavy();
    check_a_browser_is_recorded("codec=av1&width=640&height=360&fps=15");
}

/// The frames of a file, with their flashes, and its beeps.
fn beeps_and_flashes(file: &Path) -> (Vec<Frame>, Vec<Beep>) {
    let flash = Layout { flash: Some(WHOLE), ..Layout::default() };
    (frames(file, &flash), audio::beeps(&audio::samples(file)))
}

/// Frames that flash while audio beeps, in a file and a stream; their distance is the error of the
/// recording.
#[test]
fn audio_and_video_of_a_track_composite_are_in_sync() {
    let _slot = slots::machine();
    let livekit = LiveKitServer::shared();
    let measured = undisturbed("audio against video of a track composite", || {
        let (rtmp, room) = (RtmpServer::start(), unique("together"));
        let publisher = Publisher::join(livekit, &room, "ann", Codec::Vp8);
        let video = publisher.publish_by_clock(Codec::Vp8, flashing());
        let audio = publisher.publish_by_clock(Codec::Opus, beeping());
        let dir = tempfile::tempdir().unwrap();
        let stream = rtmp.url("live");
        let arguments = [
            &["track-composite", &room, "--video-track", &video, "--audio-track", &audio][..],
            &["--size", "640x480", "--file", "both.mp4", "--stream", &stream],
        ];
        let mut recorder = record(dir.path(), livekit, &arguments.concat());
        recorder.until_logged(&format!("shown track={video}"));
        recorder.run_for(Duration::from_secs(7));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.finish(SOON).complete();
        [ended.path("both.mp4"), rtmp.received("live")].map(|path| {
            assert_decodable(&path);
            (Probe::of(&path).duration, beeps_and_flashes(&path), path)
        })
    });
    for (length, (frames, beeps), path) in measured.value {
        let path = path.display();
        let (lengths, least, pairs, bound) =
            if measured.is_calm { (5.0..10.0, 120, 3, 0.03) } else { (2.0..60.0, 20, 2, DISTURBED) };
        assert!(lengths.contains(&length), "{path}: {length}");
        assert!(frames.len() > least, "{path}: {} frames", frames.len());
        let late = lateness(&frames, &beeps, measured.is_calm);
        assert!(late.len() >= pairs, "{path}: {late:.3?}");
        let apart: Vec<f64> = late.iter().map(|(_, late)| late.abs()).collect();
        // The first flash may have begun earlier.
        let measured = percentile(&apart[1..], if measured.is_calm { 0.95 } else { 0.25 });
        assert!(measured <= bound, "{path}: {late:.3?}");
    }
}

#[test]
fn audio_with_a_fast_clock_stays_in_sync() {
    let _slot = slots::encoder();
    check_fast_clock(8);
}

/// Records a microphone whose clock is 3000 ppm fast: without correction, its audio is 0.6 s away
/// from the video after 200 s. Sender reports arrive every 3 s, so that the correction lags by 5 s:
/// 15 ms of this drift.
#[track_caller]
pub(super) fn check_fast_clock(seconds: u32) {
    let livekit = LiveKitServer::shared();
    let publisher = Publisher::join(livekit, own_room(), "ann", Codec::Vp8);
    publisher.publish_by_clock(Codec::Vp8, flashing());
    publisher.publish_by_fast_clock(Codec::Opus, beeping(), 3000.0);
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["participant", own_room(), "ann", "--size", "320x180", "--file", "ann.mp4"];
    let mut recorder = record(dir.path(), livekit, &arguments);
    recorder.until_logged("shown track=");
    recorder.run_for(Duration::from_secs(seconds.into()));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let (frames, beeps) = beeps_and_flashes(&ended.path("ann.mp4"));
    let late = av_offsets_of_pairs(&frames, &beeps);
    assert!(late.len() >= seconds as usize / 4, "{late:.3?}");
    // The better quarter of the pairs: a busy machine delays others, not the clocks.
    for some in late.chunks_exact(late.len().min(4)) {
        let apart: Vec<f64> = some.iter().map(|(_, late)| late.abs()).collect();
        assert!(percentile(&apart, 0.25) < DISTURBED, "{some:.3?} of {late:.3?}");
    }
}

/// A participant speaks, and publishes video only seconds later, in the middle of the recording.
/// Without `reports`, the sender does not tell how its tracks are aligned.
#[track_caller]
fn check_tracks_that_begin_seconds_apart(reports: bool) {
    let livekit = LiveKitServer::shared();
    let link = LossyLink::start(
        livekit.ws_url(),
        if reports { NetworkConditions::FAIR } else { NetworkConditions::UNREPORTED },
    );
    let publisher = Publisher::join(livekit, own_room(), "ann", Codec::Vp8);
    publisher.publish_by_clock(Codec::Opus, beeping());
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["participant", own_room(), "ann", "--size", "320x180", "--file", "ann.mp4"];
    let mut recorder = record_at(dir.path(), livekit, &link.ws_url(), &arguments);
    // The recording waits for a camera for a while, then begins without it.
    recorder.until_written(5_000);
    recorder.run_for(Duration::from_secs(2));
    let video = publisher.publish_by_clock(Codec::Vp8, flashing());
    recorder.until_logged(&format!("shown track={video}"));
    recorder.run_for(Duration::from_secs(5));
    if !reports {
        recorder.until("a report is kept back", || (link.kept_back() > 0).then_some(()));
    }
    recorder.signal(Signal::SIGINT);
    let file = recorder.finish(SOON).complete().path("ann.mp4");
    // The server reports its tracks together, every 3 s.
    let kept_back = link.kept_back();
    assert!(if reports { kept_back == 0 } else { kept_back >= 1 }, "{kept_back}");

    let (frames, beeps) = beeps_and_flashes(&file);
    let flashes = flashes(&frames);
    // They are audible before they are visible.
    assert!(beeps[0].at + 0.5 < flashes[0], "{beeps:?} {flashes:.3?}");
    // The first flash may have begun earlier.
    let late = av_offsets_of_pairs(&frames, &beeps).into_iter().filter(|(at, _)| *at > flashes[0]);
    let apart: Vec<f64> = late.map(|(_, late)| late.abs()).collect();
    assert!(apart.len() >= 2 && percentile(&apart, 0.25) <= 0.2, "{apart:.3?}");
}

#[test]
fn tracks_that_begin_seconds_apart_are_together() {
    let _slot = slots::encoder();
    check_tracks_that_begin_seconds_apart(true);
}

#[test]
fn tracks_that_begin_seconds_apart_are_together_also_without_sender_reports() {
    let _slot = slots::encoder();
    check_tracks_that_begin_seconds_apart(false);
}

/// A publisher reconnects under the same name, and the recorder itself has to join again.
#[test]
fn a_participant_who_reconnects_is_still_recorded() {
    let _slot = slots::encoder();
    let livekit = LiveKitServer::shared();
    let proxy = SignalProxy::start(livekit.ws_url());
    let publish = |frames: Vec<Vec<u8>>| {
        let publisher = Publisher::join(livekit, own_room(), "ann", Codec::Vp8);
        let sid = publisher.publish(Codec::Vp8, frames);
        (publisher, sid)
    };
    let (publisher, sid) = publish(Codec::Vp8.frames());
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        &["participant", own_room(), "ann", "--size", "320x240", "--file", "ann.mp4"][..],
        &["--images", "seen", "--every", "1s"],
    ];
    let mut recorder = record_at(dir.path(), livekit, &proxy.ws_url(), &arguments.concat());
    let mut images = Images::new(dir.path().join("seen"));
    let mut until = |recorder: &mut Recorder, look| {
        let is_so = || images.newest().filter(|still| is_shown(still, look)).map(|_| ());
        recorder.until(&format!("an image shows {look:?}"), is_so);
        now()
    };
    recorder.until_logged(&format!("shown track={sid}"));
    recorder.until_written(5_000);
    // The recorder joins again; nobody has left.
    proxy.simulate(Scenario::NodeFailure(true));
    recorder.until_logged("room rejoined");
    // Only frames sent after that have this colour.
    publisher.replace(&sid, plain(FIRST));
    let whole = until(&mut recorder, FIRST);
    // They disconnect silently, and are back before the server has noticed.
    publisher.vanish();
    recorder.run_for(Duration::from_secs(3));
    let gone = now();
    let (publisher, sid) = publish(plain(SECOND));
    recorder.until_logged(&format!("shown track={sid}"));
    let again = until(&mut recorder, SECOND);
    drop(publisher);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [whole, gone, again] = [whole, gone, again].map(|moment| placed(&ended, moment));
    let length = Probe::of(&file).duration;
    assert!(length > again - 2.0, "{length} s, and they left after {again:.1} s");
    // The publisher paints at 30 fps; a frame that stays is a stall.
    let seen = frames(&file, &Layout::default());
    let painted = |from: f64, to: f64| seen.iter().filter(|frame| (from..to).contains(&frame.pts)).count();
    assert!(painted(gone - 1.0, gone) < 12, "{}", painted(gone - 1.0, gone));
    for (at, look) in [(whole, FIRST), (again.min(length - 0.2), SECOND)] {
        assert!(is_shown(&Snapshot::at(&file, at), look), "{look:?} at {at:.2} of {length:.2} s");
    }
}

#[test]
fn an_absent_participant_is_reported() {
    let _slot = slots::light();
    let livekit = LiveKitServer::shared();
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), livekit, &["participant", own_room(), "nobody", "--file", "nobody.mp4"])
        .finish(SOON + SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["error"], "participant nobody not found", "{}", ended.info);
    assert!(!ended.path("nobody.mp4").exists());
}
