//! One recording with every kind of output, from one encode; each test measures one of them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::disturbance::undisturbed;
use crate::support::layout;
use crate::support::measure::audio::{beeps, peak, samples, samples_of};
use crate::support::measure::frames::{Frame, Snapshot, colour_distance, frames};
use crate::support::measure::timing::{
    Cadence, DISTURBED, SCRIPTED, cadence, lateness, millis_since, percentile,
};
use crate::support::measure::{Probe, assert_decodable, top_level_boxes};
use crate::support::peers::{RtmpServer, SrtServer};
use crate::support::ports;
use crate::support::recorder::{Ended, Recorder, page};
use crate::support::slots;

/// Requested length in seconds.
const LENGTH: f64 = 8.0;
/// A key that must not be printed.
const KEY: &str = "hunter2-hunter2";

/// The outputs of the one recording.
struct Outputs {
    ended: Ended,
    rtmp: PathBuf,
    srt: (PathBuf, tempfile::TempDir),
    /// The MP4's frames; all other outputs are compared with them.
    frames: Vec<Frame>,
    /// Whether the machine was undisturbed: only then are offsets and delays exact.
    is_calm: bool,
}

impl Outputs {
    fn path(&self, name: &str) -> PathBuf {
        self.ended.path(name)
    }
}

/// Records once; every test of this file waits for it, and takes its own slot afterwards.
fn everything() -> &'static Outputs {
    static ONCE: OnceLock<Outputs> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _slot = slots::machine();
        let measured = undisturbed("a page with every output", record);
        Outputs { is_calm: measured.is_calm, ..measured.value }
    })
}

fn record() -> Outputs {
    // Not a temporary directory: it outlives every test, and nothing would remove it.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("everything");
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).unwrap();
    let (rtmp, srt) = (RtmpServer::start(), SrtServer::start());
    let bad = format!("rtmp://127.0.0.1:{}/live/{KEY}", ports::closed());
    let (page, good, srt_url) = (page("clock.html"), rtmp.url(KEY), srt.url());
    let arguments = [
        &["web", &page, "--duration", "8s", "--file", "clock.mp4"][..],
        &["--segments", "hls/clock", "--live-playlist", "hls/live", "--segment-duration", "2s"],
        &["--images", "thumbs/clock", "--every", "1s", "--image-size", "640x360"],
        &["--stream", &good, "--stream", &bad, "--stream", &srt_url],
    ];
    let recorder = Recorder::start(&dir, &arguments.concat());
    let ended = recorder.finish(Duration::from_secs(180)).complete();
    let (rtmp, srt) = (rtmp.received(KEY), srt.received());
    let frames = frames(&dir.join("clock.mp4"), &layout::clock());
    Outputs { ended, rtmp, srt, frames, is_calm: false }
}

#[track_caller]
fn assert_lip_sync(path: &Path, frames: &[Frame], at_least: usize) {
    let is_calm = everything().is_calm;
    let lateness = lateness(frames, &beeps(&samples(path)), is_calm);
    assert!(lateness.len() >= at_least, "{} beeps with their flashes in {}", lateness.len(), path.display());
    let millis: Vec<f64> = lateness.iter().map(|(_, late)| (late * 1000.0).round()).collect();
    // A disturbed machine sometimes drops the first frames of a flash, and the flash is late.
    let apart: Vec<f64> = millis.iter().map(|late| late.abs()).collect();
    let (share, bound) = if is_calm { (1.0, SCRIPTED * 1000.0) } else { (0.5, DISTURBED * 1000.0) };
    assert!(percentile(&apart, share) <= bound, "audio against video, in ms: {millis:?}");
}

/// Asserts that every painted frame is in the file and intact, or most of them on a disturbed
/// machine.
#[track_caller]
fn assert_cadence(measured: Cadence) {
    let (distinct, torn) = if everything().is_calm { (27.0, 1) } else { (3.0, 60) };
    assert!(measured.distinct >= distinct && measured.torn <= torn, "{measured:?}");
}

#[track_caller]
fn assert_colours(still: &Snapshot, tolerance: u8) {
    for (region, colour) in layout::clock_patches() {
        let seen = still.colour(region);
        assert!(colour_distance(seen, colour) <= tolerance, "{colour:?} is seen as {seen:?}");
    }
}

#[test]
fn the_file_has_the_requested_length() {
    let all = everything();
    let _slot = slots::encoder();
    let probe = Probe::of(&all.path("clock.mp4"));
    let bound = if all.is_calm { 0.2 } else { 1.5 };
    assert!((probe.duration - LENGTH).abs() <= bound, "{probe:?}");
    for kind in ["video", "audio"] {
        let length = probe.stream(kind).duration.unwrap();
        assert!((length - LENGTH).abs() <= bound, "{kind}: {length} s");
    }
    assert!(probe.start.abs() < 0.05, "{probe:?}");
}

#[test]
fn the_file_has_its_index_first_and_decodes() {
    let all = everything();
    let _slot = slots::encoder();
    let path = all.path("clock.mp4");
    let boxes = top_level_boxes(&path);
    let place = |name: &str| boxes.iter().position(|found| found == name).unwrap_or(usize::MAX);
    assert!(place("moov") < place("mdat"), "{boxes:?}");
    assert!(!boxes.contains(&"moof".to_owned()), "not fragmented any more: {boxes:?}");
    assert_decodable(&path);
}

#[test]
fn the_file_is_encoded_as_planned() {
    let all = everything();
    let _slot = slots::encoder();
    let probe = Probe::of(&all.path("clock.mp4"));
    let video = probe.stream("video");
    assert_eq!((video.codec.as_str(), video.profile.as_str()), ("h264", "Main"));
    assert_eq!((video.width, video.height), (1280, 720));
    assert_eq!((video.color_space.as_str(), video.color_range.as_str()), ("bt709", "tv"));
    assert_eq!(probe.stream("audio").codec, "aac");
}

#[test]
fn audio_and_video_are_in_sync_at_every_beep_of_the_file() {
    let all = everything();
    let _slot = slots::encoder();
    assert_lip_sync(&all.path("clock.mp4"), &all.frames, if all.is_calm { 6 } else { 2 });
    let audio = samples(&all.path("clock.mp4"));
    // The page beeps in mono.
    assert!(audio == samples_of(&all.path("clock.mp4"), 1), "left and right differ");
    let bound = if all.is_calm { 0.08 } else { 0.15 };
    assert!((peak(&audio) - 0.25).abs() < bound, "as loud as the page played it: {}", peak(&audio));
    // A gap in a beep, from a disturbed machine, changes its measured pitch.
    let pitches: Vec<f64> = beeps(&audio).iter().map(|beep| beep.hertz).collect();
    let right = pitches.iter().filter(|hertz| (*hertz - 1000.0).abs() < 25.0).count();
    assert!(right >= if all.is_calm { pitches.len() } else { 2 }, "{pitches:?}");
}

#[test]
fn every_frame_that_the_page_painted_is_in_the_file() {
    let all = everything();
    let _slot = slots::encoder();
    let measured = cadence(&all.frames);
    assert_cadence(measured);
    assert!(!all.is_calm || measured.jitter_p95 <= 0.033, "{measured:?}");
}

#[test]
fn colours_are_the_page_s_up_to_the_edges() {
    let all = everything();
    let _slot = slots::encoder();
    let still = Snapshot::at(&all.path("clock.mp4"), 5.0);
    assert_colours(&still, 8);
    // The page's background, without a black line, on every side.
    for (x, y) in [(0, 300), (-1, 300), (600, 0), (600, -1)] {
        let [r, g, b] = still.pixel(x, y);
        assert!(
            r.abs_diff(0x10) < 8 && g.abs_diff(0x15) < 8 && b.abs_diff(0x1c) < 8,
            "at {x},{y}: {r} {g} {b}"
        );
    }
}

#[test]
fn hls_segments_are_as_long_as_the_playlist_says_and_begin_with_key_frames() {
    let all = everything();
    let _slot = slots::encoder();
    let playlist = playlist(&all.path("hls/clock.m3u8"));
    assert!(playlist.end_list, "{playlist:?}");
    assert_eq!(playlist.playlist_type, Some(m3u8_rs::MediaPlaylistType::Event));
    // If frames are dropped, the key frame that begins a segment is late.
    let count = if all.is_calm { 4..=4 } else { 2..=5 };
    assert!(count.contains(&playlist.segments.len()), "{playlist:?}");

    let segments: Vec<Vec<Frame>> = playlist
        .segments
        .iter()
        .map(|segment| frames(&all.path("hls").join(&segment.uri), &layout::clock()))
        .collect();
    let first = |i: usize| segments[i].iter().find_map(|frame| frame.wall).unwrap();
    for (i, segment) in playlist.segments.iter().enumerate() {
        assert!(segments[i][0].key, "segment {i} begins with a key frame");
        let target = playlist.target_duration as f64 + 0.5;
        assert!(f64::from(segment.duration) <= target || !all.is_calm, "{playlist:?}");
        if i + 1 < segments.len() {
            let length = millis_since(first(i), first(i + 1));
            assert!(
                (f64::from(segment.duration) - length).abs() < if all.is_calm { 0.06 } else { 2.5 },
                "segment {i} lasts {length} s: {segment:?}"
            );
        }
    }
    let whole: f64 = playlist.segments.iter().map(|segment| f64::from(segment.duration)).sum();
    assert!((whole - LENGTH).abs() <= if all.is_calm { 0.2 } else { 1.5 }, "{whole} s in all");
    assert_decodable(&all.path("hls/clock.m3u8"));
}

#[test]
fn hls_dates_match_the_frames() {
    let all = everything();
    let _slot = slots::encoder();
    let playlist = playlist(&all.path("hls/clock.m3u8"));
    for segment in &playlist.segments {
        let date = segment.program_date_time.expect("a date for each segment").timestamp_millis();
        let first = frames(&all.path("hls").join(&segment.uri), &layout::clock());
        let drawn = first.iter().find_map(|frame| frame.wall).unwrap();
        // The delay from drawing to showing is some 45 ms.
        let late = (date - i64::from(drawn)).rem_euclid(1 << 24);
        let late = if late > 1 << 23 { late - (1 << 24) } else { late };
        let expected = if all.is_calm { -100..=400 } else { -1000..=5000 };
        assert!(expected.contains(&late), "{late} ms: {segment:?}");
    }
}

#[test]
fn hls_has_a_live_playlist_of_the_last_segments() {
    let all = everything();
    let _slot = slots::light();
    let live = playlist(&all.path("hls/live.m3u8"));
    assert!(live.end_list && live.segments.len() <= 5, "{live:?}");
    let event = playlist(&all.path("hls/clock.m3u8"));
    let (last, count) = (live.segments.last().unwrap(), event.segments.len());
    assert_eq!(last.uri, format!("clock_{:05}.ts", count - 1));
}

fn playlist(path: &Path) -> m3u8_rs::MediaPlaylist {
    let text = std::fs::read(path).unwrap();
    m3u8_rs::parse_media_playlist_res(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn images_show_what_was_on_the_page_at_their_times() {
    let all = everything();
    let _slot = slots::encoder();
    let mut names: Vec<_> =
        std::fs::read_dir(all.path("thumbs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let count = if all.is_calm { 7..=9 } else { 3..=9 };
    assert!(count.contains(&names.len()), "every second of 8 s: {names:?}");
    for (index, name) in names.iter().enumerate() {
        assert_eq!(name.to_str().unwrap(), format!("clock_{index:05}.jpeg"));
        let path = all.path("thumbs").join(name);
        let image = &frames(&path, &layout::clock())[0];
        // A disturbed machine may tear the frame, which makes it unreadable.
        assert!(image.counters[0].is_some() || !all.is_calm, "{name:?} cannot be read");
        if let Some(counter) = image.counters[0] {
            let shown = all.frames.iter().find(|frame| frame.counters[0] == Some(counter));
            // The encoder of a disturbed machine drops frames of which there may be images.
            assert!(shown.is_some() || !all.is_calm, "{name:?}: picture {counter} is not in the file");
            if let Some(shown) = shown.map(|frame| frame.pts) {
                let bound = if all.is_calm { 0.3 } else { 3.0 };
                assert!((shown - index as f64).abs() < bound, "{name:?} is of {shown:.3} s");
            }
        }

        let still = Snapshot::at(&path, 0.0);
        assert_eq!((still.width, still.height), (640, 360));
        assert_colours(&still, 10);
    }
}

#[test]
fn an_rtmp_server_receives_the_recording() {
    let all = everything();
    let _slot = slots::encoder();
    let path = &all.rtmp;
    let received = frames(path, &layout::clock());
    assert_cadence(cadence(&received));
    let length = Probe::of(path).duration;
    assert!(length >= LENGTH - if all.is_calm { 3.0 } else { 6.0 }, "{length} s");
    assert_lip_sync(path, &received, if all.is_calm { 3 } else { 1 });
}

#[test]
fn an_srt_receiver_receives_the_recording() {
    let all = everything();
    let _slot = slots::encoder();
    let (path, _dir) = &all.srt;
    // Frames before the first key frame can't be decoded.
    let received: Vec<Frame> =
        frames(path, &layout::clock()).into_iter().skip_while(|frame| frame.torn()).collect();
    assert_cadence(cadence(&received));
    let length = received.last().unwrap().pts - received[0].pts;
    assert!(length >= LENGTH - if all.is_calm { 5.0 } else { 7.0 }, "{length} s");
    assert_lip_sync(path, &received, if all.is_calm { 2 } else { 1 });
}

#[test]
fn the_result_names_every_output_with_its_state() {
    let all = everything();
    let _slot = slots::light();
    let info = &all.ended.info;
    assert_eq!(info["fileResults"].as_array().map(Vec::len), Some(1), "{info}");
    // Their own tests check their number.
    let segments = playlist(&all.path("hls/clock.m3u8")).segments.len();
    assert_eq!(info["segmentResults"][0]["segmentCount"], segments.to_string(), "{info}");
    let images = std::fs::read_dir(all.path("thumbs")).unwrap().count();
    assert_eq!(info["imageResults"][0]["imageCount"], images.to_string(), "{info}");
    let states: Vec<_> = info["streamResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["status"].as_str().unwrap_or("ACTIVE").to_owned())
        .collect();
    assert_eq!(states, ["FINISHED", "FAILED", "FINISHED"], "{info}");
    let size: u64 = info["fileResults"][0]["size"].as_str().unwrap().parse().unwrap();
    assert_eq!(size, std::fs::metadata(all.path("clock.mp4")).unwrap().len());
}

#[test]
fn a_stream_s_key_is_never_printed() {
    let all = everything();
    let _slot = slots::light();
    let ended = &all.ended;
    assert!(!ended.stdout.contains(KEY) && !ended.log.contains(KEY), "{}\n{}", ended.stdout, ended.log);
}

#[test]
fn the_first_frame_comes_soon_after_the_request() {
    let all = everything();
    let _slot = slots::light();
    let first = all.frames.iter().find_map(|frame| frame.wall).unwrap();
    let started = all.ended.started.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u32;
    let took = millis_since(started & 0x00ff_ffff, first);
    // The benchmark measures the speed.
    assert!(took < 60.0, "{took} s");
    let reported = all.ended.since_start(&all.ended.info["fileResults"][0]["startedAt"]);
    assert!(
        (reported - took).abs() < if all.is_calm { 0.6 } else { 5.0 },
        "reported {reported:.3} s, in the picture {took:.3} s"
    );
}
