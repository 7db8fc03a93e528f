//! Room composites: a real livekit-server, real participants, real recordings, measured.

mod layouts;
mod service;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::field_pages::own_address;
use crate::support::disturbance::undisturbed;
use crate::support::layout::{Layout, Region};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::frames::{Snapshot, frames};
use crate::support::measure::timing::{DISTURBED, av_offsets_of_pairs, percentile};
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::page_server::PageServer;
use crate::support::processes;
use crate::support::publisher::{self, Codec, Publisher};
use crate::support::recorder::Recorder;
use crate::support::room::{self, Hearing, Images, Publishers, cropped_frame, part};
use crate::support::service::Serve;
use crate::support::shared::{own_room, unique};
use crate::support::slots;

const SIZE: (f64, f64) = (1280.0, 720.0);
/// Deadline for an end, also of a room.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// `weir record room` with the server in its environment.
fn record(dir: &Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    let all = [&["room"], arguments].concat();
    Recorder::start_with(dir, &all, |weir| livekit.reached_by(weir))
}

/// The participants in the tiles of a grid, by number; empty tiles last. Speakers come first in a
/// grid, and here everybody speaks, so their order depends on the measured levels; the tests of the
/// layouts check the order.
fn seen(still: &Snapshot, columns: usize, rows: usize) -> Vec<Option<u32>> {
    let tiles = room::grid(columns, rows).into_iter();
    let mut seen: Vec<_> = tiles.map(|tile| room::who(still, tile)).collect();
    seen.sort_unstable_by_key(|who| (who.is_none(), *who));
    seen
}

/// Expected moments of a recording: each is awaited in the images that it writes meanwhile, and is
/// checked in its file afterwards.
struct Moments {
    images: Images,
    seen: Vec<Moment>,
}

/// Looks at a frame; returns what it shows if that is not as expected.
type Check = Box<dyn Fn(&Snapshot) -> Option<String>>;

struct Moment {
    /// The wall clock in seconds.
    at: f64,
    /// Returns the wrong content; `None` if the frame is as expected.
    check: Check,
}

/// A recorder, or a service that records.
trait Records {
    fn until_so(&mut self, what: &str, look: &mut dyn FnMut() -> Option<()>);
}

impl Records for Recorder {
    fn until_so(&mut self, what: &str, look: &mut dyn FnMut() -> Option<()>) {
        self.until(what, look);
    }
}

impl Records for Serve {
    fn until_so(&mut self, what: &str, look: &mut dyn FnMut() -> Option<()>) {
        self.until(what, ENDED_WITHIN, |_| look());
    }
}

impl Moments {
    /// A moment lies this many seconds before the next action.
    const BEFORE_NEXT: f64 = 0.7;

    /// `prefix` of the images; see [`Images::new`].
    fn of(prefix: PathBuf) -> Self {
        Self { images: Images::new(prefix), seen: Vec::new() }
    }

    /// Waits until an image shows `expected`, as read by `look`, and 1.5 s more, so that the file
    /// shows it, too.
    fn until<T: PartialEq + std::fmt::Debug + 'static>(
        &mut self,
        recording: &mut impl Records,
        look: impl Fn(&Snapshot) -> T + 'static,
        expected: T,
    ) {
        let what = format!("an image shows {expected:?}");
        let check = move |still: &Snapshot| {
            let found = look(still);
            (found != expected).then(|| format!("{found:?}, not {expected:?}"))
        };
        let mut last = String::new();
        let mut is_so = || match check(&self.images.newest()?) {
            None => Some(()),
            Some(instead) => {
                if instead != last {
                    eprintln!("{what}: {instead}");
                    last = instead;
                }
                None
            }
        };
        recording.until_so(&what, &mut is_so);
        std::thread::park_timeout(Duration::from_millis(1500));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        self.seen.push(Moment { at: now - Self::BEFORE_NEXT, check: Box::new(check) });
    }

    /// Asserts that a file shows the expected content around each moment. `started_at`: start of
    /// the file in the result.
    ///
    /// The expected content is visible until after the moment. A single frame near it may still
    /// differ: a speaker gets another tile, and on a busy machine a stuttering voice counts as a
    /// speaker.
    #[track_caller]
    fn assert_in(&self, file: &Path, started_at: &Value) {
        let started_at = started_at.as_str().unwrap_or_else(|| panic!("no time: {started_at}"));
        let started_at = started_at.parse::<f64>().unwrap() / 1e9;
        for (number, moment) in self.seen.iter().enumerate() {
            let at = moment.at - started_at;
            let mut instead = Vec::new();
            let is_seen = [-0.5, 0.0, 0.5].into_iter().any(|by| {
                // A page that is rarely painted may have its last frame before that.
                let found = Snapshot::found_at(file, at + by)
                    .map_or_else(|| Some("no frame".to_owned()), |still| (moment.check)(&still));
                instead.extend(found.clone());
                found.is_none()
            });
            assert!(is_seen, "moment {number}, at {at:.2} s of {}: {instead:?}", file.display());
        }
    }
}

/// Waits until `is_so` accepts the newest second that a recording has written, and returns where
/// that second begins. `is_so` gets this beginning, in seconds, and the numbers of the audible
/// participants among 1 to `of` in the second.
fn until_heard(
    recording: &mut impl Records,
    hearing: &mut Hearing,
    of: u32,
    mut is_so: impl FnMut(f64, &[u32]) -> bool,
) -> f64 {
    let (mut found, mut last) = (0.0, None);
    let mut look = || {
        let samples = hearing.so_far()?;
        let from = samples.len() as f64 / audio::RATE - 1.0;
        let heard = room::heard(&samples, from, from + 1.0, of);
        let is_found = from >= 0.0 && is_so(from, &heard);
        if last.as_ref() != Some(&heard) {
            eprintln!("heard from {from:.1} s on: {heard:?}");
            last = Some(heard);
        }
        found = from;
        is_found.then_some(())
    };
    recording.until_so("who is to be heard is heard", &mut look);
    found
}

/// Asserts that a file has the audio that [`until_heard`] found. Its beginning may be cut a little
/// differently while it is written.
#[track_caller]
fn assert_heard(samples: &[f32], from: f64, of: u32, expected: &[u32]) {
    let pieces = [0.0, -0.25, 0.25].map(|by| room::heard(samples, from + by, from + by + 1.0, of));
    assert!(
        pieces.iter().any(|piece| piece == expected),
        "from {from:.1} s on: {pieces:?}, not {expected:?}"
    );
}

/// Records a room of `count` people in a grid; `options` as in [`Publishers::join`].
#[track_caller]
fn check_everybody_is_seen_and_heard(count: u32, (columns, rows): (usize, usize), options: &str) {
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let names: Vec<String> = (1..=count).map(|number| format!("participant-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = own_room();
    let _publishers = Publishers::join(livekit, &pages, room, &names, options);
    let dir = tempfile::tempdir().unwrap();
    let name = "{room_name}-{room_id}";
    let arguments = [room, "--file", name, "--fps", "15", "--images", "seen", "--every", "1s"];
    let mut recorder = record(dir.path(), livekit, &arguments);
    let everybody: Vec<u32> = (1..=count).collect();
    let shown: Vec<_> = everybody.iter().copied().map(Some).collect();
    let mut moments = Moments::of(dir.path().join("seen"));
    moments.until(&mut recorder, move |still| seen(still, columns, rows), shown);
    // The audio of many may begin after their video, and on a busy machine single voices stutter
    // now and then.
    let (mut missing, mut pieces) = (everybody.clone(), Vec::new());
    let mut hearing = Hearing::of(dir.path().join(".weir"));
    until_heard(&mut recorder, &mut hearing, 18, |from, heard| {
        pieces.push(from);
        missing.retain(|number| !heard.contains(number));
        missing.is_empty()
    });
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(ENDED_WITHIN).complete();
    assert_eq!(ended.info["roomName"], room, "{}", ended.info);

    // The page has reported it.
    let room_id = ended.info["roomId"].as_str().unwrap();
    assert!(room_id.starts_with("RM_"), "{}", ended.info);
    let file = ended.path(&format!("{room}-{room_id}.mp4"));
    assert_decodable(&file);
    moments.assert_in(&file, &ended.info["fileResults"][0]["startedAt"]);
    let (samples, length) = (audio::samples(&file), Probe::of(&file).duration);
    // The file's beginning may be cut a little differently while it is written.
    let around = pieces.iter().flat_map(|from| [from - 0.25, *from, from + 0.25]);
    let found: Vec<_> = around.map(|from| room::heard(&samples, from, from + 1.0, 18)).collect();
    let is_heard = |number: &u32| found.iter().any(|piece| piece.contains(number));
    assert!(everybody.iter().all(is_heard), "{found:?}");
    // Stuttering voices have other pitches, too, but not all the time.
    let pieces = [3.7, 2.7, 1.7].map(|before_the_end| {
        let from = length - before_the_end;
        room::heard(&samples, from, from + 1.0, 18)
    });
    let is_always_heard = |number: &u32| pieces.iter().all(|piece| piece.contains(number));
    assert!(!(1..=18).any(|number| !everybody.contains(&number) && is_always_heard(&number)), "{pieces:?}");
}

// One to sixteen participants, in every codec that a browser publishes.

#[test]
fn one_person_in_av1_is_seen_and_heard() {
    let _slot = slots::heavy();
    check_everybody_is_seen_and_heard(1, (1, 1), "codec=av1&width=640&height=360&fps=10");
}

#[test]
fn two_people_in_h264_are_seen_and_heard() {
    let _slot = slots::heavy();
    check_everybody_is_seen_and_heard(2, (2, 1), "codec=h264&width=320&height=180&fps=10");
}

#[test]
fn four_people_in_several_sizes_are_seen_and_heard() {
    let _slot = slots::heavy();
    check_everybody_is_seen_and_heard(4, (2, 2), "simulcast=1&fps=10");
}

#[test]
fn nine_people_in_vp9_are_seen_and_heard() {
    let _slot = slots::machine();
    check_everybody_is_seen_and_heard(9, (3, 3), "codec=vp9&width=320&height=180&fps=5");
}

#[test]
fn sixteen_people_in_vp8_are_seen_and_heard() {
    let _slot = slots::machine();
    check_everybody_is_seen_and_heard(16, (4, 4), "width=192&height=108&fps=4");
}

/// A flash and a beep of one participant at each full second, sent together by a publisher without
/// an offset of its own.
#[test]
fn audio_and_video_of_a_participant_are_in_sync() {
    let _slot = slots::machine();
    let livekit = LiveKitServer::shared();
    let measured = undisturbed("audio against video of a participant on a page", || {
        let room = unique("sync");
        let publisher = Publisher::join(livekit, &room, "ann", Codec::Vp8);
        publisher.publish_by_clock(Codec::Vp8, publisher::flashing());
        publisher.publish_by_clock(Codec::Opus, publisher::beeping());
        let dir = tempfile::tempdir().unwrap();
        let arguments = [room.as_str(), "--file", "sync.mp4", "--size", "640x360"];
        let mut recorder = record(dir.path(), livekit, &arguments);
        recorder.until_written(5_000);
        recorder.run_for(Duration::from_secs(8));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.finish(ENDED_WITHIN).complete();
        let file = ended.path("sync.mp4");
        let flash = Some(Region::new(0.4, 0.4, 0.2, 0.2));
        let frames = frames(&file, &Layout { flash, ..Layout::default() });
        av_offsets_of_pairs(&frames, &audio::beeps(&audio::samples(&file)))
    });
    // In the first seconds of a call, browsers adjust audio and video until they are in sync.
    let late: Vec<f64> =
        measured.value.into_iter().filter(|(at, _)| *at > 4.0).map(|(_, late)| late).collect();
    // A busy machine drops frames, and flashes with them.
    let (at_least, bound) = if measured.is_calm { (3, 0.08) } else { (1, DISTURBED) };
    assert!(late.len() >= at_least, "{late:.3?}");
    let median = percentile(&late, 0.5);
    assert!(median.abs() <= bound, "{median:.3} s: {late:.3?}");
}

/// A layout requires a page, also for audio only: then the browser has a display of 16x16.
#[test]
fn audio_only_with_a_layout_is_recorded_from_the_page() {
    let _slot = slots::heavy();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let names = ["ann", "ben", "cleo"];
    let publishers = Publishers::join(livekit, &pages, own_room(), &names, "camera=0");
    let dir = tempfile::tempdir().unwrap();
    let arguments = [own_room(), "--layout", "grid", "--audio-only", "--file", "sound"];
    let mut recorder = record(dir.path(), livekit, &arguments);
    let mut hearing = Hearing::of(dir.path().join(".weir"));
    let all = until_heard(&mut recorder, &mut hearing, 9, |_, heard| heard == [1, 2, 3]);
    assert!(recorder.browser() > 0);
    publishers.act(1, "leave()");
    let left = until_heard(&mut recorder, &mut hearing, 9, |_, heard| heard == [1, 3]);
    recorder.signal(Signal::SIGINT);
    let file = recorder.finish(ENDED_WITHIN).complete().path("sound.ogg");
    let Probe { streams, .. } = Probe::of(&file);
    assert_eq!(streams.iter().map(|stream| stream.codec.as_str()).collect::<Vec<_>>(), ["opus"]);
    let samples = audio::samples(&file);
    assert_heard(&samples, all, 9, &[1, 2, 3]);
    assert_heard(&samples, left, 9, &[1, 3]);
}

/// The browser is killed, and the server stalls for ten seconds; the page rejoins its room with the
/// token of the request, and the token appears nowhere.
#[test]
fn a_page_rejoins_its_room_without_showing_its_token() {
    let _slot = slots::heavy();
    let (redis, pages) = (Redis::start(), PageServer::start());
    // The server is frozen.
    let livekit = LiveKitServer::start(&redis);
    let publishers =
        Publishers::join(&livekit, &pages, "comes-back", &["ann", "ben"], "width=320&height=180&fps=10");
    let dir = tempfile::tempdir().unwrap();
    let token = room::recorder_token(&livekit, "comes-back", "EG_planted");
    let request = json!({
        "room_id": "RM_planted",
        "token": token,
        "ws_url": livekit.ws_url(),
        "room_composite": {
            "room_name": "comes-back",
            "layout": "grid",
            "advanced": { "width": 1280, "height": 720, "framerate": 15 },
            "file_outputs": [{ "filepath": "{room_id}.mp4" }],
            "image_outputs": [{ "filename_prefix": "seen", "capture_interval": 1 }],
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
        texts.extend(texts_below(dir.path()));
        texts
    };
    let mut moments = Moments::of(dir.path().join("seen"));
    let both = |still: &Snapshot| seen(still, 2, 1);
    moments.until(&mut recorder, both, vec![Some(1), Some(2)]);
    assert!(!told(&recorder).iter().any(|text| text.contains(&signature)));

    let browser = recorder.browser();
    kill(Pid::from_raw(browser), Signal::SIGKILL).unwrap();
    recorder.until_logged("the page is back");
    // One image may be old; a change of images is not.
    publishers.act(1, "camera(false)");
    moments.until(&mut recorder, both, vec![Some(1), None]);
    livekit.freeze();
    recorder.run_for(Duration::from_secs(10));
    livekit.thaw();
    // Participants reconnect by themselves.
    publishers.act(1, "camera(true)");
    moments.until(&mut recorder, both, vec![Some(1), Some(2)]);
    assert!(!told(&recorder).iter().any(|text| text.contains(&signature)));
    publishers.act(1, "leave()");
    moments.until(&mut recorder, |still| seen(still, 1, 1), vec![Some(1)]);
    livekit.delete_room("comes-back");
    let ended = recorder.finish(ENDED_WITHIN).complete();

    let file = ended.path("RM_planted.mp4");
    assert_decodable(&file);
    moments.assert_in(&file, &ended.info["fileResults"][0]["startedAt"]);
    assert_eq!(ended.info["roomId"], "RM_planted");
    assert_eq!(ended.info["details"].as_str().map(|text| text.contains("End reason")), Some(true));
    for text in [&ended.stdout, &ended.log, &ended.info.to_string()] {
        assert!(!text.contains(&signature) && !text.contains("access_token"), "{text}");
    }
}

/// A foreign page that implements only LiveKit's contract. It is at another address than the
/// server, which is on loopback: a browser that asks first whether a page may reach loopback (Local
/// Network Access) would show nothing of the room.
#[test]
fn other_templates_show_rooms_too() {
    let _slot = slots::heavy();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let theirs = PageServer::start_on(own_address());
    room::serve(&theirs, "egress-sdk");
    let _publishers = Publishers::join(livekit, &pages, own_room(), &["ann"], "width=320&height=180&fps=10");
    let dir = tempfile::tempdir().unwrap();
    let template = theirs.url("/egress-sdk/?brand=ours");
    let arguments = [
        &[own_room(), "--layout", "speaker", "--template-url", &template, "--file", "a.mp4"][..],
        &["--fps", "15", "--images", "seen", "--every", "1s"],
    ];
    let mut recorder = record(dir.path(), livekit, &arguments.concat());
    // The page gets the layout's name.
    let look = |still: &Snapshot| {
        let frame = cropped_frame(still, Region::new(0.0, 0.0, 1.0, 1.0));
        let brand = still.colour(part(frame, 0.6, 0.0, 0.3, 0.06));
        (room::number(still, frame), room::is_near(brand, [0, 0, 255]))
    };
    let mut moments = Moments::of(dir.path().join("seen"));
    moments.until(&mut recorder, look, (Some(1), true));
    livekit.delete_room(own_room());
    let ended = recorder.finish(ENDED_WITHIN).complete();
    moments.assert_in(&ended.path("a.mp4"), &ended.info["fileResults"][0]["startedAt"]);
}

/// A room that nobody can join: the page says why, without the token.
#[test]
fn a_page_that_fails_to_join_says_why_without_its_token() {
    let _slot = slots::browser();
    let livekit = LiveKitServer::shared();
    let dir = tempfile::tempdir().unwrap();
    let arguments = [own_room(), "--layout", "speaker", "--file", "b.mp4"];
    let wrong = ["--api-secret", "another-secret-of-more-than-32-letters"];
    let refused = record(dir.path(), livekit, &[&arguments[..], &wrong].concat()).finish(ENDED_WITHIN * 2);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    let error = refused.info["error"].as_str().unwrap_or_default();
    assert!(error.contains("template error"), "{error}\n{}", refused.log);
    assert!(!format!("{}{}", refused.stdout, refused.log).contains("eyJ"), "{}", refused.log);
}

/// The text of every file below a directory.
fn texts_below(dir: &Path) -> Vec<String> {
    let files = room::files_below(dir).into_iter();
    files.filter_map(|path| Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned())).collect()
}
