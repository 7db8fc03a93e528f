//! Three participants in one room who flash and beep at different times: every kind of recording
//! keeps them separate, in every output.
//!
//! Each kind is recorded once, with a file, HLS, images and a stream, to S3; each test measures one
//! of these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::late_publishers::placed;
use crate::storage::{UPLOADED_WITHIN, download, write_storage};
use crate::support::layout::{Layout, Region};
use crate::support::livekit::LiveKitServer;
use crate::support::measure::frames::{Snapshot, frames};
use crate::support::measure::timing::DISTURBED;
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::peers::RtmpServer;
use crate::support::recorder::{Ended, Recorder};
use crate::support::room;
use crate::support::shared::unique;
use crate::support::slots;
use crate::support::stores::Store;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::three_people::{EVERYBODY, Person, Seen, lateness, seen_in, shown_in};

const WHOLE: Region = Region::new(0.0, 0.0, 1.0, 1.0);
/// In the first seconds of a call, browsers adjust audio and video until they are in sync.
const SETTLED: f64 = 4.0;
/// Tracks decoded without a browser are in sync from the beginning. A stream's first second may
/// lack a flash.
const SOON: f64 = 1.0;

/// The place and the targets of a recording.
struct Place {
    dir: PathBuf,
    bucket: String,
    rtmp: RtmpServer,
}

/// The outputs of a recording: the content of its bucket, and the stream that the server received.
struct Outputs {
    ended: Ended,
    dir: PathBuf,
    stream: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        // Not a temporary directory: it outlives every test, and nothing would remove it.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::remove_dir_all(&dir).ok();
        std::fs::create_dir_all(&dir).unwrap();
        let store = SeaweedFs::shared();
        let bucket = store.bucket(name);
        write_storage(&dir, &store.storage(&bucket), None);
        Self { dir, bucket, rtmp: RtmpServer::start() }
    }

    /// Records a source with every output.
    fn record(&self, source: &[&str]) -> Recorder {
        let stream = self.rtmp.url("three");
        let outputs = [
            &["--file", "three.mp4", "--segments", "hls/three", "--segment-duration", "2s"][..],
            &["--images", "seen/three", "--every", "1s", "--stream", &stream],
            &["--size", "640x360", "--fps", "15", "--keyframe-interval", "2"],
        ];
        self.start(&[source, &outputs.concat()].concat())
    }

    fn start(&self, arguments: &[&str]) -> Recorder {
        let all = [arguments, &["--storage", "storage.yaml"]].concat();
        Recorder::start_with(&self.dir, &all, |weir| LiveKitServer::shared().reached_by(weir))
    }

    fn finish(self, recorder: Recorder) -> Outputs {
        let ended = recorder.finish(UPLOADED_WITHIN).complete();
        let dir = self.dir.join("stored");
        download(SeaweedFs::shared(), &self.bucket, &dir);
        Outputs { ended, dir, stream: self.rtmp.received("three") }
    }
}

impl Outputs {
    fn file(&self) -> PathBuf {
        self.dir.join("three.mp4")
    }

    fn playlist(&self) -> PathBuf {
        self.dir.join("hls/three.m3u8")
    }

    fn images(&self) -> Vec<Snapshot> {
        let found = std::fs::read_dir(self.dir.join("seen")).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> =
            found.filter(|path| path.extension().is_some_and(|extension| extension == "jpeg")).collect();
        found.sort();
        found.iter().map(|path| Snapshot::at(path, 0.0)).collect()
    }
}

/// Start of each beep of a person on a side of a recording (0 is left), from `from` seconds on.
fn beeps(path: &Path, side: usize, from: f64) -> impl Fn(Person) -> Vec<f64> {
    let samples = audio::samples_of(path, side);
    move |person| person.beeps_in(&samples).into_iter().filter(|at| *at >= from).collect()
}

/// Asserts that a person's beeps come with their flashes.
#[track_caller]
fn assert_together(path: &Path, who: Person, flashes: &[f64], beeps: &[f64]) {
    let late = lateness(flashes, beeps);
    // A busy machine drops frames, and flashes with them.
    assert!(late.len() >= 2, "{}, {who:?}: flashes {flashes:.2?}, beeps {beeps:.2?}", path.display());
    // A browser without CPU time shows some of them late. Another person's beeps would never be in
    // sync.
    let together = late.iter().filter(|late| late.abs() <= DISTURBED).count();
    assert!(together * 4 >= late.len(), "{}, {who:?}: {late:.3?}", path.display());
}

/// The room on its page: everybody has a cell.
fn page_outputs() -> &'static Outputs {
    static ONCE: OnceLock<Outputs> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _slot = slots::browser();
        let (livekit, room) = (LiveKitServer::shared(), unique("three"));
        let _people = EVERYBODY.map(|person| person.perform(livekit, &room));
        let place = Place::new("three-on-a-page");
        let mut recorder = place.record(&["room", &room]);
        recorder.until_written(20_000);
        recorder.run_for(Duration::from_secs(12));
        recorder.signal(Signal::SIGINT);
        place.finish(recorder)
    })
}

/// Asserts that everybody is visible in a cell of their own, and audible when they flash.
#[track_caller]
fn assert_everybody(path: &Path) {
    assert_decodable(path);
    let cells = room::grid(2, 2).into_iter();
    let seen: Vec<Seen> = cells.map(|cell| seen_in(path, cell, SETTLED)).collect();
    let mut who: Vec<Person> = seen.iter().filter_map(|seen| seen.who).collect();
    who.sort_unstable();
    assert_eq!(who, EVERYBODY, "{}: {seen:.2?}", path.display());
    let beeps = beeps(path, 0, SETTLED);
    for Seen { who, flashes } in &seen {
        if let Some(who) = who {
            assert_together(path, *who, flashes, &beeps(*who));
        }
    }
}

#[test]
fn three_participants_are_distinct_in_the_composite_file() {
    let all = page_outputs();
    let _slot = slots::encoder();
    assert_everybody(&all.file());
}

#[test]
fn three_participants_are_distinct_in_the_composite_segments() {
    let all = page_outputs();
    let _slot = slots::encoder();
    assert_everybody(&all.playlist());
}

#[test]
fn three_participants_are_distinct_in_the_composite_stream() {
    let all = page_outputs();
    let _slot = slots::encoder();
    assert_everybody(&all.stream);
}

#[test]
fn three_participants_are_distinct_in_the_composite_images() {
    let all = page_outputs();
    let _slot = slots::light();
    let images = all.images();
    // The first ones may not have everybody.
    let cells = room::grid(2, 2);
    let late = images.iter().skip(3);
    let who: BTreeSet<Person> =
        late.flat_map(|image| cells.iter().filter_map(move |cell| shown_in(image, *cell))).collect();
    assert!(who.iter().eq(&EVERYBODY), "{who:?} in {} images", images.len());
}

/// Media of three tracks: ann's audio on the left, ben's on the right, cleo's video.
fn routed_outputs() -> &'static Outputs {
    static ONCE: OnceLock<Outputs> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _slot = slots::encoder();
        let (livekit, room) = (LiveKitServer::shared(), unique("three"));
        let people = EVERYBODY.map(|person| person.perform(livekit, &room));
        let [ann, _, cleo] = &people;
        let place = Place::new("three-by-routes");
        let routes = json!([
            { "track_id": ann.voice, "channel": "AUDIO_CHANNEL_LEFT" },
            { "participant_identity": "ben", "channel": "AUDIO_CHANNEL_RIGHT" },
        ]);
        let request = json!({
            "room_name": room,
            "media": { "video_track_id": cleo.frame, "audio": { "routes": routes } },
            "advanced": { "width": 640, "height": 360, "framerate": 15, "key_frame_interval": 2 },
            "outputs": [
                { "file": { "filepath": "three.mp4" } },
                { "segments": {
                    "filename_prefix": "hls/three", "playlist_name": "three.m3u8", "segment_duration": 2,
                } },
                { "images": { "filename_prefix": "seen/three", "capture_interval": 1 } },
                { "stream": { "protocol": "RTMP", "urls": [place.rtmp.url("three")] } },
            ],
        });
        std::fs::write(place.dir.join("request.json"), request.to_string()).unwrap();
        let mut recorder = place.start(&["request", "request.json"]);
        recorder.until_logged(&format!("shown track={}", cleo.frame));
        recorder.run_for(Duration::from_secs(9));
        recorder.signal(Signal::SIGINT);
        place.finish(recorder)
    })
}

/// Asserts that only cleo is visible, only ann audible on the left, and only ben on the right.
#[track_caller]
fn assert_routed(path: &Path) {
    assert_decodable(path);
    let seen = seen_in(path, WHOLE, SOON);
    assert!(seen.who == Some(Person::Cleo) && seen.flashes.len() >= 2, "{}: {seen:.2?}", path.display());
    for (side, on_it) in [(0, Person::Ann), (1, Person::Ben)] {
        let beeps = beeps(path, side, 0.0);
        for person in EVERYBODY {
            let heard = beeps(person);
            let is_right = if person == on_it { heard.len() >= 2 } else { heard.is_empty() };
            assert!(is_right, "{}, side {side}: {person:?} at {heard:.2?}", path.display());
        }
    }
}

#[test]
fn routed_audio_is_separate_in_a_file() {
    let all = routed_outputs();
    let _slot = slots::encoder();
    assert_routed(&all.file());
}

#[test]
fn routed_audio_is_separate_in_segments() {
    let all = routed_outputs();
    let _slot = slots::encoder();
    assert_routed(&all.playlist());
}

#[test]
fn routed_audio_is_separate_in_a_stream_with_regular_key_frames() {
    let all = routed_outputs();
    let _slot = slots::encoder();
    assert_routed(&all.stream);
    let keys: Vec<f64> = frames(&all.stream, &Layout::default())
        .into_iter()
        .filter(|frame| frame.key)
        .map(|frame| frame.pts)
        .collect();
    // Every two seconds; if frames are dropped, the next frame becomes the key frame.
    let apart: Vec<f64> = keys.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.len() >= 2 && apart.iter().all(|apart| *apart < 3.0), "{keys:.2?}");
}

/// Asserts that one person is in the images, and nobody else.
#[track_caller]
fn assert_alone_in_images(images: &[Snapshot], person: Person) {
    let who: BTreeSet<Person> = images.iter().filter_map(|image| shown_in(image, WHOLE)).collect();
    assert!(who.iter().eq(&[person]), "{who:?} in {} images", images.len());
}

#[test]
fn images_show_only_the_requested_video() {
    let all = routed_outputs();
    let _slot = slots::light();
    assert_alone_in_images(&all.images(), Person::Cleo);
}

/// One of three, with the times of their changes.
struct ParticipantOutputs {
    outputs: Outputs,
    /// She is asked to speak; until then she has no microphone.
    spoke: SystemTime,
    muted: SystemTime,
    back: SystemTime,
    left: SystemTime,
}

/// Only ann, while the others perform, too: her audio starts late, and her video is muted for a
/// while.
fn participant_outputs() -> &'static ParticipantOutputs {
    static ONCE: OnceLock<ParticipantOutputs> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _slot = slots::encoder();
        let (livekit, room) = (LiveKitServer::shared(), unique("three"));
        let _others = [Person::Ben, Person::Cleo].map(|person| person.perform(livekit, &room));
        let ann = Person::Ann.joins(livekit, &room);
        let frame = Person::Ann.shows(&ann);
        let place = Place::new("one-of-three");
        let mut recorder = place.record(&["participant", &room, "ann"]);
        recorder.until_logged(&format!("shown track={frame}"));
        recorder.until_written(5_000);
        recorder.run_for(Duration::from_secs(3));
        let spoke = SystemTime::now();
        let voice = Person::Ann.speaks(&ann);
        recorder.until_logged(&format!("subscribed track=\"{voice}\""));
        recorder.run_for(Duration::from_secs(4));
        let muted = SystemTime::now();
        ann.mute(&frame, true);
        recorder.run_for(Duration::from_secs(3));
        let back = SystemTime::now();
        ann.mute(&frame, false);
        recorder.run_for(Duration::from_secs(4));
        let left = SystemTime::now();
        drop(ann);
        ParticipantOutputs { outputs: place.finish(recorder), spoke, muted, back, left }
    })
}

/// Asserts that one person is visible and audible, and nobody else; returns the times of flashes
/// and beeps.
#[track_caller]
fn assert_alone(path: &Path, who: Person) -> (Vec<f64>, Vec<f64>) {
    assert_decodable(path);
    let seen = seen_in(path, WHOLE, SOON);
    assert_eq!(seen.who, Some(who), "{}: {seen:.2?}", path.display());
    let beeps = beeps(path, 0, 0.0);
    for other in EVERYBODY.into_iter().filter(|other| *other != who) {
        let heard = beeps(other);
        assert!(heard.is_empty(), "{}, {other:?}: {heard:.2?}", path.display());
    }
    let heard = beeps(who);
    assert_together(path, who, &seen.flashes, &heard);
    (seen.flashes, heard)
}

#[test]
fn one_of_three_is_heard_when_they_speak_and_seen_unless_they_are_muted() {
    let all = participant_outputs();
    let _slot = slots::encoder();
    let file = all.outputs.file();
    let (flashes, beeps) = assert_alone(&file, Person::Ann);
    let moments = [all.spoke, all.muted, all.back, all.left];
    let [spoke, muted, back, left] = moments.map(|moment| placed(&all.outputs.ended, moment));
    assert!(beeps.iter().all(|at| *at > spoke - 0.3), "before {spoke:.2} s: {beeps:.2?}");
    // Frames sent earlier may be shown a moment later.
    let in_the_dark = flashes.iter().filter(|at| (muted + 1.0..back).contains(*at)).count();
    assert_eq!(in_the_dark, 0, "from {muted:.2} to {back:.2} s: {flashes:.2?}");
    let seen = [flashes.iter().any(|at| *at < muted), flashes.iter().any(|at| *at > back)];
    assert_eq!(seen, [true, true], "until {muted:.2} and from {back:.2} s on: {flashes:.2?}");
    // They are audible all the time.
    assert!(
        beeps.iter().any(|at| (muted..back + 1.0).contains(at)),
        "{muted:.2} to {back:.2} s: {beeps:.2?}"
    );
    let length = Probe::of(&file).duration;
    assert!((left - 2.0..left + 40.0).contains(&length), "{length} s, and they left at {left:.2} s");
}

#[test]
fn one_of_three_is_alone_in_their_segments() {
    let all = participant_outputs();
    let _slot = slots::encoder();
    assert_alone(&all.outputs.playlist(), Person::Ann);
}

#[test]
fn one_of_three_is_alone_in_their_stream() {
    let all = participant_outputs();
    let _slot = slots::encoder();
    assert_alone(&all.outputs.stream, Person::Ann);
}

#[test]
fn one_of_three_is_alone_in_their_images() {
    let all = participant_outputs();
    let _slot = slots::light();
    assert_alone_in_images(&all.outputs.images(), Person::Ann);
}

/// Two tracks, and the time in which nothing of them arrived.
struct TrackOutputs {
    outputs: Outputs,
    lost: SystemTime,
    back: SystemTime,
}

/// Ben's two tracks, while the others perform, too: for a while nothing of both arrives.
fn track_outputs() -> &'static TrackOutputs {
    static ONCE: OnceLock<TrackOutputs> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _slot = slots::encoder();
        let (livekit, room) = (LiveKitServer::shared(), unique("three"));
        let people = EVERYBODY.map(|person| person.perform(livekit, &room));
        let [_, ben, _] = &people;
        let place = Place::new("two-tracks-of-three");
        let tracks = ["track-composite", &room, "--video-track", &ben.frame, "--audio-track", &ben.voice];
        let mut recorder = place.record(&tracks);
        recorder.until_logged(&format!("shown track={}", ben.frame));
        recorder.run_for(Duration::from_secs(5));
        let lost = SystemTime::now();
        for sid in [&ben.frame, &ben.voice] {
            ben.publisher.pause(sid, true);
        }
        recorder.run_for(Duration::from_secs(4));
        let back = SystemTime::now();
        for sid in [&ben.frame, &ben.voice] {
            ben.publisher.pause(sid, false);
        }
        recorder.run_for(Duration::from_secs(6));
        recorder.signal(Signal::SIGINT);
        TrackOutputs { outputs: place.finish(recorder), lost, back }
    })
}

#[test]
fn two_tracks_that_are_lost_for_a_while_go_on_together() {
    let all = track_outputs();
    let _slot = slots::encoder();
    let file = all.outputs.file();
    let (flashes, beeps) = assert_alone(&file, Person::Ben);
    let [lost, back] = [all.lost, all.back].map(|moment| placed(&all.outputs.ended, moment));
    // The report has the start of the file with fractions of a second.
    let (gone, again) = (lost + 1.0, back - 1.0);
    for times in [&flashes, &beeps] {
        let count = |from: f64, to: f64| times.iter().filter(|at| (from..to).contains(*at)).count();
        let found = [count(0.0, lost), count(gone, again), count(again, f64::INFINITY)];
        assert!(
            found[0] > 0 && found[1] == 0 && found[2] > 0,
            "lost from {lost:.2} to {back:.2} s: {times:.2?}"
        );
    }
    let after: Vec<f64> = flashes.into_iter().filter(|at| *at > back).collect();
    assert_together(&file, Person::Ben, &after, &beeps);
}

#[test]
fn two_tracks_are_alone_in_their_segments() {
    let all = track_outputs();
    let _slot = slots::encoder();
    assert_alone(&all.outputs.playlist(), Person::Ben);
}

#[test]
fn two_tracks_are_alone_in_their_stream() {
    let all = track_outputs();
    let _slot = slots::encoder();
    assert_alone(&all.outputs.stream, Person::Ben);
}

#[test]
fn two_tracks_are_alone_in_their_images() {
    let all = track_outputs();
    let _slot = slots::light();
    assert_alone_in_images(&all.outputs.images(), Person::Ben);
}
