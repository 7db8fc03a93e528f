//! Participants and track composites, decoded: what is seen and heard at a moment of a recording is what they showed and said then.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::support::layout::{Layout, Region};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::lossy_link::{LossyLink, Weather};
use crate::support::measure::pictures::{Still, colour_distance, pictures};
use crate::support::measure::timing::{flashes, percentile, sound_lateness};
use crate::support::measure::{Probe, assert_decodable, sound};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::publisher::{Codec, Publisher, beeping, flashing};
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::{self, Publishers, part, whole_in};
use crate::support::signal_proxy::SignalProxy;

const ROOM: &str = "studio";
/// A room's answers, on a busy machine.
const SOON: Duration = Duration::from_secs(40);
const WHOLE: Region = Region::new(0.0, 0.0, 1.0, 1.0);

/// `weir record` with the server in its environment.
fn record_at(dir: &Path, livekit: &LiveKitServer, url: &str, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_at(url, weir))
}

fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    record_at(dir, livekit, &livekit.ws_url(), arguments)
}

/// When things happened, by the wall clock in nanoseconds.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as f64
}

/// Where a moment lies in a recording, in seconds.
fn placed(ended: &Ended, moment: f64) -> f64 {
    let began: f64 = ended.info["fileResults"][0]["startedAt"].as_str().unwrap().parse().unwrap();
    (moment - began) / 1e9
}

/// Who is shown at a moment, and whether it is black then.
fn shown(file: &Path, at: f64) -> (Option<u32>, bool) {
    let still = Still::at(file, at);
    let is_black = room::is_near(still.colour(WHOLE), [0, 0, 0]);
    (room::who(&still, whole_in(&still, WHOLE)), is_black)
}

const SOMEBODY: (Option<u32>, bool) = (Some(1), false);
const NOBODY: (Option<u32>, bool) = (None, true);

/// Camera and microphone; muted, un-muted, gone.
#[test]
fn a_participant_is_recorded_as_they_mute_come_back_and_leave() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let publishers = Publishers::join(&livekit, &pages, ROOM, &["ann", "ben"], "width=640&height=360&fps=30");
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        &["participant", ROOM, "ann", "--size", "640x480", "--fps", "30", "--file", "ann.mp4"][..],
        &["--segments", "hls/ann", "--segment-duration", "2s", "--keyframe-interval", "2"],
        &["--images", "images/ann", "--every", "1s"],
    ];
    let mut recorder = record(dir.path(), &livekit, &arguments.concat());
    recorder.until_written(100_000);
    recorder.runs_for(Duration::from_secs(3));
    publishers.act(0, "camera(false)");
    publishers.act(0, "microphone(false)");
    let muted = now();
    recorder.runs_for(Duration::from_secs(4));
    publishers.act(0, "microphone(true)");
    publishers.act(0, "camera(true)");
    let back = now();
    recorder.runs_for(Duration::from_secs(4));
    publishers.act(0, "leave()");
    let left = now();
    let ended = recorder.finish(SOON).complete();
    assert_eq!(ended.info["sourceType"], "EGRESS_SOURCE_TYPE_SDK", "{}", ended.stdout);

    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [muted, back, left] = [muted, back, left].map(|moment| placed(&ended, moment));
    let probe = Probe::of(&file);
    assert_eq!((probe.stream("video").width, probe.stream("video").height), (640, 480));
    assert_eq!((&*probe.stream("video").codec, &*probe.stream("audio").codec), ("h264", "aac"));
    assert!((probe.duration - left).abs() < 0.8, "{} s, left at {left:.2} s", probe.duration);
    for stream in &probe.streams {
        let length = stream.duration.unwrap();
        assert!((length - probe.duration).abs() < 0.1, "{stream:?} of {}", probe.duration);
    }

    // From the beginning on.
    assert_eq!(shown(&file, 0.5), SOMEBODY);
    assert_eq!(shown(&file, muted - 0.5), SOMEBODY);
    assert_eq!(shown(&file, muted + 1.0), NOBODY);
    assert_eq!(shown(&file, back - 0.3), NOBODY);
    assert_eq!(shown(&file, back + 1.5), SOMEBODY);
    assert_eq!(shown(&file, probe.duration - 0.8), SOMEBODY);
    // 640x360 in 640x480: bars above and below, of 60 pixels each.
    let still = Still::at(&file, muted - 0.5);
    let picture = whole_in(&still, WHOLE);
    assert!(room::is_near(still.colour(part(picture, 0.05, 0.05, 0.2, 0.1)), room::colour(1)));
    for y in [2, 50, -50, -2] {
        assert!(room::is_near(still.pixel(320, y), [0, 0, 0]), "{y}: {:?}", still.pixel(320, y));
    }

    let samples = sound::samples(&file);
    // A second each: sound that is moved to its place is a little higher or lower meanwhile, which a longer look would not take for
    // the tone.
    assert_eq!(room::heard(&samples, muted - 1.4, muted - 0.4, 2), [1]);
    assert_eq!(room::heard(&samples, muted + 0.7, back - 0.3, 2), [0; 0]);
    assert_eq!(room::heard(&samples, probe.duration - 1.5, probe.duration - 0.5, 2), [1]);

    let lists = below(&ended.path("hls"), "m3u8");
    assert!(!lists.is_empty(), "a playlist");
    let segments = below(&ended.path("hls"), "ts");
    let seconds: f64 = segments.iter().map(|segment| Probe::of(segment).duration).sum();
    assert!((seconds - probe.duration).abs() < 0.5, "{seconds} s in {} segments", segments.len());
    segments.iter().for_each(|segment| assert_decodable(segment));
    let images = below(&ended.path("images"), "jpeg");
    let count = images.len() as f64;
    assert!((count - probe.duration).abs() <= 2.0, "{count} images in {} s", probe.duration);
    let who: Vec<_> = images.iter().map(|image| shown(image, 0.0)).collect();
    assert!(who.contains(&SOMEBODY) && who.contains(&NOBODY), "{who:?}");
}

/// The files of a kind below a directory, in order.
fn below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect();
    found.sort();
    found
}

/// What is not a camera: shared, put away, shared again while the camera goes on.
#[test]
fn the_screen_of_a_participant_is_recorded_without_their_camera() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let publishers = Publishers::join(&livekit, &pages, ROOM, &["ann"], "width=320&height=180&fps=15");
    publishers.act(0, "shareScreen()");
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        "participant",
        ROOM,
        "ann",
        "--screen-share",
        "--size",
        "640x360",
        "--fps",
        "15",
        "--file",
        "ann.mp4",
    ];
    let mut recorder = record(dir.path(), &livekit, &arguments);
    recorder.until_written(50_000);
    recorder.runs_for(Duration::from_secs(2));
    publishers.act(0, "stopScreen()");
    let stopped = now();
    recorder.runs_for(Duration::from_secs(3));
    publishers.act(0, "shareScreen('#2040d0')");
    let again = now();
    recorder.runs_for(Duration::from_secs(4));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [stopped, again] = [stopped, again].map(|moment| placed(&ended, moment));
    let seen = |at: f64| {
        let still = Still::at(&file, at);
        (room::number(&still, WHOLE), still.colour(part(WHOLE, 0.48, 0.68, 0.04, 0.04)))
    };
    // A screen of the same number, in the colours it was given.
    for (at, number, colour) in [
        (0.5, Some(1), [0x40, 0x40, 0x40]),
        (stopped - 0.4, Some(1), [0x40, 0x40, 0x40]),
        (stopped + 1.0, None, [0, 0, 0]),
        (again - 0.3, None, [0, 0, 0]),
        (again + 2.0, Some(1), [0x20, 0x40, 0xd0]),
    ] {
        let found = seen(at);
        let is_near = colour_distance(found.1, colour) <= 40;
        assert!(found.0 == number && is_near, "at {at:.2} s: {found:?} instead of {number:?}, {colour:?}");
    }
    // Their microphone is not a screen's sound.
    assert!(sound::peak(&sound::samples(&file)) < 0.01);
}

/// Every codec of browsers, and a picture in several sizes.
#[test]
fn every_codec_of_a_browser_is_recorded() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    for (name, options) in [
        ("simulcast", "simulcast=1&width=1280&height=720&fps=30"),
        ("vp9", "codec=vp9&width=640&height=360&fps=30"),
        ("h264", "codec=h264&width=1280&height=720&fps=30"),
        ("av1", "codec=av1&width=640&height=360&fps=15"),
    ] {
        let _publishers = Publishers::join(&livekit, &pages, name, &["ann"], options);
        let dir = tempfile::tempdir().unwrap();
        let arguments =
            ["participant", name, "ann", "--size", "1280x720", "--file", "ann.mp4", "--duration", "5s"];
        let ended = record(dir.path(), &livekit, &arguments).finish(SOON);
        assert_eq!(ended.info["status"], "EGRESS_COMPLETE", "{name}: {}\n{}", ended.stdout, ended.log);
        let file = ended.path("ann.mp4");
        assert_decodable(&file);
        assert!((Probe::of(&file).duration - 5.0).abs() < 0.1, "{name}: {}", Probe::of(&file).duration);
        // A browser's encoders, which have just begun, take some tenths of a second to their first picture.
        for at in [1.0, 2.5, 4.5] {
            assert_eq!(shown(&file, at), SOMEBODY, "{name} at {at} s: {}", ended.log);
        }
        // Of these only H.264 says which colours a canvas is in; browsers, too, show the others a little off.
        if name == "h264" {
            let seen = Still::at(&file, 2.5).colour(room::part(WHOLE, 0.48, 0.68, 0.04, 0.04));
            assert!(colour_distance(seen, room::colour(1)) <= 6, "{seen:?} instead of {:?}", room::colour(1));
        }
        let samples = sound::samples(&file);
        assert_eq!(room::heard(&samples, 3.5, 4.5, 2), [1], "{name}");
        // All there is of the largest picture, as soon as a publisher has got going.
        let late =
            pictures(&file, &Layout::default()).into_iter().filter(|picture| picture.pts > 3.0).count();
        assert!(late >= 20, "{name}: {late} pictures in two seconds");
    }
}

/// Pictures that flash when sound beeps, into a file and a stream; how far the two are apart is what recording does to them.
#[test]
fn sound_and_picture_of_a_track_composite_are_together() {
    let (redis, rtmp) = (Redis::start(), RtmpServer::start());
    let livekit = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&livekit, ROOM, "ann", Codec::Vp8);
    let video = publisher.publish_by_clock(Codec::Vp8, flashing());
    let audio = publisher.publish_by_clock(Codec::Opus, beeping());
    let dir = tempfile::tempdir().unwrap();
    let stream = rtmp.url("live");
    let arguments = [
        &["track-composite", ROOM, "--video-track", &video, "--audio-track", &audio][..],
        &["--size", "640x480", "--file", "both.mp4", "--stream", &stream, "--duration", "14s"],
    ];
    let ended = record(dir.path(), &livekit, &arguments.concat()).finish(SOON).complete();
    let file = ended.path("both.mp4");
    let (received, _kept) = rtmp.received("live");
    for path in [&file, &received] {
        assert_decodable(path);
        let length = Probe::of(path).duration;
        assert!((12.5..14.2).contains(&length), "{}: {length}", path.display());
        let flash = Layout { flash: Some(WHOLE), ..Layout::default() };
        let pictures = pictures(path, &flash);
        assert!(pictures.len() > 350, "{}: {} pictures", path.display(), pictures.len());
        let late = sound_lateness(&pictures, &sound::beeps(&sound::samples(path)));
        assert!(late.len() >= 11, "{}: {late:.3?}", path.display());
        let apart: Vec<f64> = late.iter().map(|(_, late)| late.abs()).collect();
        // The first flash may be one that had begun before.
        assert!(percentile(&apart[1..], 0.95) <= 0.02, "{}: {late:.3?}", path.display());
    }
}

/// A microphone whose crystal is 3000 ppm off is as far away from the camera after twenty seconds as one of 200 ppm is after five
/// minutes: 60 ms. Sender reports come each 3 s, so that it is followed by some 5 s behind: 15 ms of this one, 1 ms of that one.
#[test]
fn sound_by_a_fast_crystal_stays_with_its_picture() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&livekit, ROOM, "ann", Codec::Vp8);
    publisher.publish_by_clock(Codec::Vp8, flashing());
    publisher.publish_by_fast_clock(Codec::Opus, beeping(), 3000.0);
    let dir = tempfile::tempdir().unwrap();
    let arguments =
        ["participant", ROOM, "ann", "--size", "320x180", "--file", "ann.mp4", "--duration", "20s"];
    let file = record(dir.path(), &livekit, &arguments).finish(SOON).complete().path("ann.mp4");
    let flash = Layout { flash: Some(WHOLE), ..Layout::default() };
    let late = sound_lateness(&pictures(&file, &flash), &sound::beeps(&sound::samples(&file)));
    assert!(late.len() >= 18, "{late:.3?}");
    // A beep begins with a packet: by such a crystal from 10 ms before its time to 10 ms after it, all of that within 7 s.
    for seven in late[1..].windows(7) {
        let mean = seven.iter().map(|(_, late)| late).sum::<f64>() / 7.0;
        assert!(mean.abs() < 0.03, "{mean:.3}: {late:.3?}");
    }
}

/// Somebody speaks, and is seen only seconds later, in the middle of the recording; with and without the reports by which a sender
/// tells how its tracks lie to each other.
#[test]
fn tracks_that_begin_seconds_apart_are_together_also_without_sender_reports() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    for (name, weather) in [("told", Weather::FAIR), ("untold", Weather::UNREPORTED)] {
        let link = LossyLink::start(livekit.ws_url(), weather);
        let publisher = Publisher::join(&livekit, name, "ann", Codec::Vp8);
        publisher.publish_by_clock(Codec::Opus, beeping());
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["participant", name, "ann", "--size", "320x180", "--file", "ann.mp4"];
        let mut recorder = record_at(dir.path(), &livekit, &link.ws_url(), &arguments);
        // A camera is waited for, for a while; then it is recorded without.
        recorder.runs_for(Duration::from_secs(8));
        publisher.publish_by_clock(Codec::Vp8, flashing());
        recorder.runs_for(Duration::from_secs(10));
        recorder.signal(Signal::SIGINT);
        let file = recorder.finish(SOON).complete().path("ann.mp4");
        // The server tells of its tracks together, each 3 s.
        let kept_back = link.kept_back();
        assert!(if weather.unreported { kept_back >= 2 } else { kept_back == 0 }, "{name}: {kept_back}");

        let flash = Layout { flash: Some(WHOLE), ..Layout::default() };
        let (flashes, beeps) = (flashes(&pictures(&file, &flash)), sound::beeps(&sound::samples(&file)));
        assert!(beeps[0].at < 1.5 && flashes[0] > 1.5, "{beeps:?} {flashes:.3?}");
        let nearest = |flash: &f64| {
            let apart = beeps.iter().map(|beep| (beep.at - flash).abs());
            apart.min_by(f64::total_cmp).unwrap()
        };
        // The first flash may be one that had begun before.
        let apart: Vec<f64> = flashes[1..].iter().map(nearest).collect();
        assert!(apart.len() >= 6 && percentile(&apart, 0.95) <= 0.02, "{name}: {apart:.3?}");
    }
}

/// A publisher who is cut off comes back under the same name, and the recorder itself has to come into the room anew.
#[test]
fn who_is_cut_off_and_comes_back_is_still_recorded() {
    use livekit_protocol::simulate_scenario::Scenario;
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    let proxy = SignalProxy::start(livekit.ws_url());
    let publish = || {
        let publisher = Publisher::join(&livekit, ROOM, "ann", Codec::Vp8);
        publisher.publish(Codec::Vp8, Codec::Vp8.frames());
        publisher
    };
    let publisher = publish();
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["participant", ROOM, "ann", "--size", "320x240", "--file", "ann.mp4"];
    let mut recorder = record_at(dir.path(), &livekit, &proxy.ws_url(), &arguments);
    recorder.until_written(20_000);
    recorder.runs_for(Duration::from_secs(2));
    // The recorder comes into the room anew; nobody has left.
    proxy.simulate(Scenario::NodeFailure(true));
    recorder.runs_for(Duration::from_secs(5));
    let whole = now();
    // They are gone without a word, and are back before the server has noticed.
    publisher.vanish();
    recorder.runs_for(Duration::from_secs(3));
    let gone = now();
    let publisher = publish();
    recorder.runs_for(Duration::from_secs(4));
    let again = now();
    drop(publisher);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let [whole, gone, again] = [whole, gone, again].map(|moment| placed(&ended, moment));
    let length = Probe::of(&file).duration;
    assert!(length > again - 0.5, "{length} s, and they left after {again:.1} s");
    // The ball moves where somebody paints; a picture that stands still is a stall.
    let seen = pictures(&file, &Layout::default());
    let painted =
        |from: f64, to: f64| seen.iter().filter(|picture| (from..to).contains(&picture.pts)).count();
    assert!(painted(whole - 1.5, whole) >= 30, "{}", painted(whole - 1.5, whole));
    assert!(painted(gone - 1.0, gone) < 12, "{}", painted(gone - 1.0, gone));
    assert!(painted(again - 1.5, again) >= 30, "{}", painted(again - 1.5, again));
}

#[test]
fn somebody_who_never_comes_is_told_of() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &livekit, &["participant", ROOM, "nobody", "--file", "nobody.mp4"])
        .finish(SOON + SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["error"], "participant nobody not found", "{}", ended.info);
    assert!(!ended.path("nobody.mp4").exists());
}
