//! Tests of the measurements, with videos of known content.

use std::path::PathBuf;

use crate::support::layout::{self, Layout};
use crate::support::measure::audio::{beeps, peak, samples};
use crate::support::measure::frames::{Snapshot, colour_distance, frames};
use crate::support::measure::timing::{av_offsets, cadence, flashes};
use crate::support::measure::{Probe, assert_decodable, top_level_boxes};
use crate::support::slots;
use crate::support::synthetic::Synthetic;
use crate::support::tool::succeed;

const MP4: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-c:a", "aac", "-movflags", "+faststart"];

fn written(video: &Synthetic, name: &str, codecs: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    video.write(&path, codecs);
    (dir, path)
}

#[track_caller]
fn check_lateness(name: &str, codecs: &[&str], late_ms: i64) {
    let (_dir, path) = written(&Synthetic { audio_late_ms: late_ms, ..Synthetic::new(30, 4) }, name, codecs);
    let lateness = av_offsets(&frames(&path, &layout::synthetic()), &beeps(&samples(&path)));
    assert!(lateness.len() >= 3, "{lateness:?}");
    for (at, late) in lateness {
        let error = late * 1000.0 - late_ms as f64;
        assert!(error.abs() < 3.0, "{name} at {at:.3} s: {late_ms} ms read as {:.1} ms", late * 1000.0);
    }
}

#[test]
fn av_offset_is_measured_to_three_milliseconds() {
    let _slot = slots::encoder();
    check_lateness("even.mp4", MP4, 0);
    check_lateness("late.mp4", MP4, 50);
    check_lateness("early.mp4", MP4, -30);
    check_lateness("late.ts", &["-c:v", "libx264", "-bf", "0", "-c:a", "aac"], 50);
    check_lateness("late.flv", &["-c:v", "libx264", "-bf", "0", "-c:a", "aac"], 50);
    check_lateness("opus.mp4", &["-c:v", "libx264", "-bf", "0", "-c:a", "libopus"], -30);
}

#[test]
fn audio_that_starts_late_in_the_file_is_measured_at_its_time() {
    let _slot = slots::encoder();
    let (dir, whole) = written(&Synthetic::new(30, 5), "whole.mp4", MP4);
    let cut = dir.path().join("cut.mp4");
    // The same file without its first 1.5 s of audio, and everything else in its place.
    let filter = "[0:a]atrim=start=1.5[a]";
    let mut args = vec!["-v", "error", "-i", whole.to_str().unwrap(), "-filter_complex", filter];
    args.extend(["-map", "0:v", "-map", "[a]", "-c:v", "copy", "-c:a", "aac", cut.to_str().unwrap()]);
    succeed("ffmpeg", &args, None);
    let found = beeps(&samples(&cut));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!((found[0].at - 2.0).abs() < 0.003, "{found:?}");
}

#[test]
fn beeps_are_found_with_their_pitch_and_length() {
    let _slot = slots::encoder();
    let (_dir, path) = written(&Synthetic::new(30, 4), "beeps.mp4", MP4);
    let audio = samples(&path);
    let found = beeps(&audio);
    assert_eq!(found.len(), 4, "{found:?}");
    for (second, beep) in found.iter().enumerate() {
        assert!((beep.at - second as f64).abs() < 0.003, "{beep:?}");
        assert!((beep.hertz - 1000.0).abs() < 20.0, "{beep:?}");
        assert!((beep.length - 0.08).abs() < 0.005, "{beep:?}");
    }
    assert!((peak(&audio) - 0.25).abs() < 0.05);
    assert!(beeps(&vec![0.0; 96_000]).is_empty(), "silence has no beeps");
}

#[test]
fn every_counter_is_read_in_its_order_with_its_time() {
    let _slot = slots::encoder();
    for (fps, name, codecs) in [
        (30, "h264.mp4", MP4),
        (
            25,
            "vp8.webm",
            &["-c:v", "libvpx", "-b:v", "600k", "-deadline", "realtime", "-cpu-used", "8", "-an"],
        ),
    ] {
        let (_dir, path) = written(&Synthetic::new(fps, 4), name, codecs);
        let found = frames(&path, &layout::synthetic());
        assert_eq!(found.len(), fps * 4);
        for (n, frame) in found.iter().enumerate() {
            assert_eq!(frame.counters, [Some(n as u32)], "{name}");
            assert_eq!(frame.wall, Some((n * 1000 / fps) as u32), "{name}");
            assert!(
                (frame.pts - n as f64 / fps as f64).abs() < 0.0015,
                "{name}: picture {n} at {}",
                frame.pts
            );
        }
        assert!(found[0].key);
        let seconds: Vec<f64> = flashes(&found).iter().map(|at| at.round()).collect();
        assert_eq!(seconds, [1.0, 2.0, 3.0], "the one at 0 has no beginning");
    }
}

#[test]
fn key_frames_and_cadence_are_those_of_the_file() {
    let _slot = slots::encoder();
    let (_dir, path) = written(&Synthetic::new(30, 6), "even.mp4", MP4);
    let even = frames(&path, &layout::synthetic());
    let keys: Vec<f64> = even.iter().filter(|frame| frame.key).map(|frame| frame.pts).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let measured = cadence(&even);
    assert!((measured.distinct - 30.0).abs() < 0.05, "{measured:?}");
    assert!(measured.jitter_p95 < 0.001 && measured.torn == 0, "{measured:?}");

    // Every third frame repeats the one before: 20 different ones per second, one in two 33 ms
    // late.
    let doubled = Synthetic { shown: |n| if n % 3 == 2 { n - 1 } else { n }, ..Synthetic::new(30, 6) };
    let (_dir, path) = written(&doubled, "doubled.mp4", MP4);
    let measured = cadence(&frames(&path, &layout::synthetic()));
    assert!((measured.distinct - 20.0).abs() < 0.2, "{measured:?}");
    assert!((measured.longest_gap - 0.0667).abs() < 0.001, "{measured:?}");

    // One frame in ten has the content of the next: 33 ms of jitter for a tenth of all frames.
    let shifted = Synthetic { shown: |n| if n % 10 == 4 { n + 1 } else { n }, ..Synthetic::new(30, 6) };
    let (_dir, path) = written(&shifted, "shifted.mp4", MP4);
    let measured = cadence(&frames(&path, &layout::synthetic()));
    assert!((measured.jitter_p95 - 0.033).abs() < 0.002, "{measured:?}");
}

#[test]
fn a_frame_without_a_bar_code_reads_as_torn() {
    let _slot = slots::encoder();
    let (_dir, path) = written(&Synthetic::new(30, 1), "elsewhere.mp4", MP4);
    let elsewhere = Layout { counters: vec![layout::SYNTHETIC_FLASH], ..Layout::default() };
    let found = frames(&path, &elsewhere);
    assert!(found.iter().all(|frame| frame.torn()), "{found:?}");
}

#[test]
fn a_snapshot_has_the_colours_of_its_frame() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("colours.mp4");
    let mut graph = "color=c=0x10151c:s=1280x720:r=30:d=2".to_owned();
    for (region, [r, g, b]) in layout::clock_patches() {
        let (x, y) = (region.x * 1280.0, region.y * 720.0);
        let (w, h) = (region.width * 1280.0, region.height * 720.0);
        graph += &format!(",drawbox=x={x}:y={y}:w={w}:h={h}:c=0x{r:02x}{g:02x}{b:02x}:t=fill");
    }
    // The same as the recorder's: bt709, limited range, with matching tags.
    graph = graph.replacen(",drawbox", ",format=gbrp,drawbox", 1);
    graph += ",scale=out_color_matrix=bt709:out_range=tv,format=yuv420p";
    let tags =
        ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"];
    let mut args = vec!["-v", "error", "-f", "lavfi", "-i", &graph, "-c:v", "libx264", "-crf", "16"];
    args.extend(tags);
    args.push(path.to_str().unwrap());
    succeed("ffmpeg", &args, None);
    let still = Snapshot::at(&path, 1.0);
    for (region, colour) in layout::clock_patches() {
        let seen = still.colour(region);
        assert!(colour_distance(seen, colour) <= 4, "{colour:?} is seen as {seen:?}");
    }
    assert_eq!((still.width, still.height), (1280, 720));
    assert!(still.pixel(-1, -1)[0] < 40);
}

#[test]
fn containers_are_recognized_by_their_parts() {
    let _slot = slots::encoder();
    let (dir, path) = written(&Synthetic::new(30, 3), "whole.mp4", MP4);
    let probe = Probe::of(&path);
    assert!((probe.duration - 3.0).abs() < 0.05, "{probe:?}");
    assert_eq!((probe.stream("video").codec.as_str(), probe.stream("audio").codec.as_str()), ("h264", "aac"));
    let boxes = top_level_boxes(&path);
    let place = |name: &str| boxes.iter().position(|found| found == name).unwrap();
    assert!(place("moov") < place("mdat"), "{boxes:?}");
    assert_decodable(&path);

    let bytes = std::fs::read(&path).unwrap();
    let broken = dir.path().join("broken.mp4");
    std::fs::write(&broken, [&bytes[..bytes.len() / 2], &vec![0x55; bytes.len() / 2]].concat()).unwrap();
    let caught = std::panic::catch_unwind(|| assert_decodable(&broken));
    assert!(caught.is_err(), "a file half of which is rubbish does not decode");
}
