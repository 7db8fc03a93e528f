//! Rooms as a page shows them: a real livekit-server, real participants, real recordings, read back.

mod layouts;
mod service;

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::layout::{Layout, Region};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::pictures::{Still, pictures};
use crate::support::measure::timing::{flashes, percentile};
use crate::support::measure::{Probe, assert_decodable, sound};
use crate::support::page_server::PageServer;
use crate::support::processes;
use crate::support::publisher::{self, Codec, Publisher};
use crate::support::recorder::Recorder;
use crate::support::room::{self, Publishers, part, picture_in};

const SIZE: (f64, f64) = (1280.0, 720.0);
/// Between two tiles, in pixels.
const GAP: f64 = 8.0;
/// An end, a room's included.
const ENDED_WITHIN: Duration = Duration::from_secs(40);

/// `weir record room` with the server in its environment.
fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    let all = [&["room"], arguments].concat();
    Recorder::start_with(dir, &all, |weir| livekit.reached_by(weir))
}

/// Who is in the tiles of a grid, by number; tiles without anybody last. Who speaks comes first in a grid, and here everybody
/// does, so that the order is left to how loud each is heard; what a layout makes of an order is tested where it is made.
fn seen(still: &Still, columns: usize, rows: usize) -> Vec<Option<u32>> {
    let tiles = room::grid(columns, rows, SIZE, GAP).into_iter();
    let mut seen: Vec<_> = tiles.map(|tile| room::who(still, tile)).collect();
    seen.sort_unstable_by_key(|who| (who.is_none(), *who));
    seen
}

/// One to sixteen, in every codec that a browser publishes.
#[test]
fn everybody_is_seen_and_heard() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let names: Vec<String> = (1..=16).map(|number| format!("participant-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let small = "width=320&height=180&fps=10";
    for (count, (columns, rows), options) in [
        (1, (1, 1), "codec=av1&width=640&height=360&fps=10".to_owned()),
        (2, (2, 1), format!("codec=h264&{small}")),
        (4, (2, 2), "simulcast=1&fps=15".to_owned()),
        (9, (3, 3), format!("codec=vp9&{small}")),
        (16, (4, 4), small.to_owned()),
    ] {
        let room = format!("room-of-{count}");
        let _publishers = Publishers::join(&livekit, &pages, &room, &names[..count], &options);
        let dir = tempfile::tempdir().unwrap();
        let file = ["--file", "{room_name}", "--fps", "15"];
        let mut recorder = record(dir.path(), &livekit, &[&[room.as_str()], &file[..]].concat());
        recorder.until_written(50_000);
        recorder.runs_for(Duration::from_secs(4));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.finish(ENDED_WITHIN).complete();
        assert_eq!(ended.info["roomName"], room.as_str(), "{}", ended.info);

        let file = ended.path(&format!("{room}.mp4"));
        assert_decodable(&file);
        let length = Probe::of(&file).duration;
        let everybody: Vec<u32> = (1..=count as u32).collect();
        let seen = seen(&Still::at(&file, length - 1.0), columns, rows);
        assert_eq!(seen, everybody.iter().copied().map(Some).collect::<Vec<_>>(), "{room}");
        let samples = sound::samples(&file);
        let heard = room::heard(&samples, length - 2.0, length - 0.7, 18);
        assert_eq!(heard, everybody, "{room}");
    }
}

/// A flash and a beep of one participant, at each full second, sent together by a publisher that adds nothing of its own.
#[test]
fn sound_and_picture_of_a_participant_are_together() {
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);
    let publisher = Publisher::join(&livekit, "sync", "ann", Codec::Vp8);
    publisher.publish_by_clock(Codec::Vp8, publisher::flashing());
    publisher.publish_by_clock(Codec::Opus, publisher::beeping());
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), &livekit, &["sync", "--file", "sync.mp4", "--size", "640x360"]);
    recorder.until_written(5_000);
    recorder.runs_for(Duration::from_secs(12));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(ENDED_WITHIN).complete();
    let file = ended.path("sync.mp4");
    let flash = Some(Region::new(0.4, 0.4, 0.2, 0.2));
    let pictures = pictures(&file, &Layout { flash, ..Layout::default() });
    let beeps = sound::beeps(&sound::samples(&file));
    // In the first seconds of a call browsers move sound and picture against one another, until they are together.
    let late: Vec<f64> = flashes(&pictures)
        .into_iter()
        .filter(|at| *at > 4.0)
        .filter_map(|at| beeps.iter().map(|beep| beep.at - at).min_by(|a, b| a.abs().total_cmp(&b.abs())))
        .collect();
    assert!(late.len() >= 6, "{late:.3?}");
    let median = percentile(&late, 0.5);
    assert!(median.abs() <= 0.06, "{median:.3} s: {late:.3?}");
}

/// A layout says that a page is wanted, also where only its sound is: then the browser has a display of 16x16.
#[test]
fn sound_alone_of_a_layout_is_a_pages() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let names = ["ann", "ben", "cleo"];
    let publishers = Publishers::join(&livekit, &pages, "sound", &names, "camera=0");
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["sound", "--layout", "grid", "--audio-only", "--file", "sound"];
    let mut recorder = record(dir.path(), &livekit, &arguments);
    recorder.until_written(20_000);
    assert!(recorder.browser() > 0);
    recorder.runs_for(Duration::from_secs(4));
    publishers.act(1, "leave()");
    recorder.runs_for(Duration::from_secs(4));
    recorder.signal(Signal::SIGINT);
    let file = recorder.finish(ENDED_WITHIN).complete().path("sound.ogg");
    let Probe { duration: length, streams, .. } = Probe::of(&file);
    assert_eq!(streams.iter().map(|stream| stream.codec.as_str()).collect::<Vec<_>>(), ["opus"]);
    let samples = sound::samples(&file);
    assert_eq!(room::heard(&samples, length - 6.5, length - 5.0, 9), [1, 2, 3]);
    assert_eq!(room::heard(&samples, length - 2.0, length - 0.7, 9), [1, 3]);
}

/// The browser dies in the middle, and the server stands still for ten seconds; the page comes back to its room with the token
/// that the request brought, and nothing of that token is to be found anywhere.
#[test]
fn a_page_comes_back_to_its_room_and_tells_nobody_its_token() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let publishers =
        Publishers::join(&livekit, &pages, "comes-back", &["ann", "ben"], "width=320&height=180");
    let dir = tempfile::tempdir().unwrap();
    let token = room::recorder_token(&livekit, "comes-back", "EG_planted");
    let request = serde_json::json!({
        "room_id": "RM_planted",
        "token": token,
        "ws_url": livekit.ws_url(),
        "room_composite": {
            "room_name": "comes-back",
            "layout": "grid",
            "advanced": { "width": 1280, "height": 720, "framerate": 15 },
            "file_outputs": [{ "filepath": "{room_id}.mp4" }],
        },
    });
    let asked = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(asked.path(), request.to_string()).unwrap();
    let mut recorder =
        Recorder::start_with(dir.path(), &["request", asked.path().to_str().unwrap()], |weir| {
            weir.env("RUST_LOG", "debug,chromiumoxide=info");
        });
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let told = |recorder: &Recorder| -> Vec<String> {
        let mut texts: Vec<String> =
            processes::family(recorder.pid()).into_iter().map(|seen| seen.arguments.join(" ")).collect();
        texts.extend(files_below(dir.path()));
        texts
    };
    recorder.until_written(50_000);
    recorder.runs_for(Duration::from_secs(3));
    assert!(!told(&recorder).iter().any(|text| text.contains(&signature)));

    let browser = recorder.browser();
    kill(Pid::from_raw(browser), Signal::SIGKILL).unwrap();
    recorder.runs_for(Duration::from_secs(10));
    livekit.freeze();
    recorder.runs_for(Duration::from_secs(10));
    livekit.thaw();
    // Whoever lost its connection comes back by itself.
    recorder.runs_for(Duration::from_secs(15));
    assert!(!told(&recorder).iter().any(|text| text.contains(&signature)));
    publishers.act(1, "leave()");
    recorder.runs_for(Duration::from_secs(3));
    livekit.delete_room("comes-back");
    let ended = recorder.finish(ENDED_WITHIN).complete();

    let file = ended.path("RM_planted.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    let at = |before_the_end: f64| seen(&Still::at(&file, length - before_the_end), 2, 1);
    assert_eq!(seen(&Still::at(&file, 2.0), 2, 1), [Some(1), Some(2)]);
    assert_eq!(at(5.0), [Some(1), Some(2)], "both are back");
    assert_eq!(seen(&Still::at(&file, length - 1.0), 1, 1), [Some(1)], "one has left");
    assert_eq!(ended.info["roomId"], "RM_planted");
    assert_eq!(ended.info["details"].as_str().map(|text| text.contains("End reason")), Some(true));
    for text in [&ended.stdout, &ended.log, &ended.info.to_string()] {
        assert!(!text.contains(&signature) && !text.contains("access_token"), "{text}");
    }
}

/// A page of somebody else's, which knows nothing but LiveKit's contract, and one that says why it shows nothing.
#[test]
fn other_templates_show_rooms_too() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    room::serve(&pages, "egress-sdk");
    let _publishers = Publishers::join(&livekit, &pages, "theirs", &["ann"], "width=320&height=180");
    let dir = tempfile::tempdir().unwrap();
    let template = pages.url("/egress-sdk/?brand=ours");
    let arguments =
        ["theirs", "--layout", "speaker", "--template-url", &template, "--file", "a.mp4", "--fps", "15"];
    let mut recorder = record(dir.path(), &livekit, &arguments);
    recorder.until_written(50_000);
    recorder.runs_for(Duration::from_secs(2));
    livekit.delete_room("theirs");
    let ended = recorder.finish(ENDED_WITHIN).complete();
    let still = Still::at(&ended.path("a.mp4"), 2.0);
    let picture = picture_in(&still, Region::new(0.0, 0.0, 1.0, 1.0));
    assert_eq!(room::number(&still, picture), Some(1));
    // What the layout is called reaches the page.
    assert!(room::is_near(still.colour(part(picture, 0.6, 0.0, 0.3, 0.06)), [0, 0, 255]));

    // A room that nobody gets into: the page says why, and the token is not in what it says.
    let wrong =
        [&arguments[..3], &["--file", "b.mp4", "--api-secret", "another-secret-of-more-than-32-letters"]];
    let refused = record(dir.path(), &livekit, &wrong.concat()).finish(ENDED_WITHIN);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    let error = refused.info["error"].as_str().unwrap_or_default();
    assert!(error.contains("template error"), "{error}\n{}", refused.log);
    assert!(!format!("{}{}", refused.stdout, refused.log).contains("eyJ"), "{}", refused.log);
}

/// The text of every file below a directory.
fn files_below(dir: &Path) -> Vec<String> {
    let (mut folders, mut texts) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => texts.extend(
                    std::fs::read(entry.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                ),
                Err(_) => {}
            }
        }
    }
    texts
}
