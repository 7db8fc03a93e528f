//! A disk that is full, or fills during a recording: a small one made for the test (this needs
//! root, as in the image that tests run in).

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::invalid_requests::without_programs;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Ended, Recorder, page, weir};
use crate::support::slots;
use crate::support::tool::succeed;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file system in memory; unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `options` as for `mount -o`.
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        succeed("mount", &["-t", "tmpfs", "-o", options, "weir-test", dir.path().to_str().unwrap()], None);
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the remaining space.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).unwrap();
        let full = loop {
            match ballast.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    /// All its files, without directories.
    fn files(&self) -> Vec<String> {
        let (mut folders, mut files) = (vec![self.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path.strip_prefix(self.path()).unwrap().display().to_string()),
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may have left a process in it.
        succeed("umount", &["--lazy", self.path().to_str().unwrap()], None);
    }
}

/// Records at a high bit rate until a small disk is nearly full.
fn record(disk: &Disk, more: &[&str]) -> Recorder {
    let page = page("scroll.html");
    let outputs = ["web", &page, "--size", "1280x720", "--video-bitrate", "12000", "--file", "a.mp4"];
    let keep_free = ["--keep-free", "8MB"];
    Recorder::start(disk.path(), &[&outputs[..], &keep_free, more].concat())
}

/// Asserts that the recording gives the reason for its end, and that its file is intact.
#[track_caller]
fn check(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(1), "{}\n{}", ended.stdout, ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED", "{}", ended.info);
    assert_eq!(ended.info["errorCode"], 503, "{}", ended.info);
    let error = ended.info["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("no space left"), "{}", ended.info);
    assert!(!ended.path(".weir").exists(), "nothing is left to recover:\n{}", ended.log);
    let file = ended.path("a.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!(length >= 0.5, "{length} s");
}

#[test]
fn a_recording_that_fills_its_disk_ends_with_all_it_has() {
    let _slot = slots::browser();
    let disk = Disk::new("size=28m");
    let segments = ["--segments", "hls/a", "--segment-duration", "2s", "--images", "a", "--every", "1s"];
    let ended = record(&disk, &segments).finish(PATIENCE + PATIENCE);
    check(&ended);
    let playlist = ended.path("hls/a.m3u8");
    assert_decodable(&playlist);
    let playlist = m3u8_rs::parse_media_playlist_res(&std::fs::read(playlist).unwrap()).unwrap();
    assert!(playlist.end_list);
    let details = ended.info["details"].as_str().unwrap_or_default();
    assert!(details.contains("the disk had "), "it was told before it happened: {details}");
    let length = Probe::of(&ended.path("a.mp4")).duration;
    let segments: f64 = playlist.segments.iter().map(|segment| f64::from(segment.duration)).sum();
    // Either may stall when the disk is full.
    assert!((segments - length).abs() < 2.0, "{segments} s in segments, {length} s in the file");
}

#[test]
fn a_disk_filled_by_another_program_leaves_a_playable_file() {
    let _slot = slots::browser();
    let disk = Disk::new("size=32m");
    let mut recorder = record(&disk, &[]);
    recorder.until_written(3_000_000);
    disk.fill();
    check(&recorder.finish(PATIENCE));
    assert_eq!(disk.files(), ["a.mp4", "ballast"]);
}

#[test]
fn playlists_that_a_full_disk_has_no_room_for_are_ended_by_recover() {
    let _slot = slots::browser();
    let disk = Disk::new("size=32m");
    let mut recorder = record(&disk, &["--segments", "hls/a", "--segment-duration", "4s"]);
    recorder.until_written(3_000_000);
    disk.fill();
    let ended = recorder.finish(PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{}\n{}", ended.stdout, ended.log);
    std::fs::remove_file(disk.path().join("ballast")).unwrap();
    // Chance decides whether a playlist had room: cutting a file makes some.
    let kept = ended.path(".weir").exists();
    assert_eq!(kept, ended.info["details"].as_str().unwrap().contains("kept: "), "{}", ended.info);
    let recovered = weir(disk.path(), &["recover", "."]);
    assert!(recovered.status.success(), "{}", recovered.stderr);

    let playlist =
        m3u8_rs::parse_media_playlist_res(&std::fs::read(ended.path("hls/a.m3u8")).unwrap()).unwrap();
    assert!(playlist.end_list);
    assert_decodable(&ended.path("hls/a.m3u8"));
    let segments = playlist.segments.iter().map(|segment| format!("hls/{}", segment.uri));
    let mut expected: Vec<String> = segments.chain(["a.mp4", "hls/a.m3u8"].map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(disk.files(), expected);
}

/// Asserts that a recording on a disk is refused before any program is looked for.
#[track_caller]
fn check_refused(disk: &Disk, more: &[&str], words: &[&str]) {
    let outputs = ["web", "about:blank", "--file", "a.mp4"];
    let arguments = [&outputs[..], more].concat();
    let ended = Recorder::start_with(disk.path(), &arguments, without_programs).finish(PATIENCE);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    for word in words {
        assert!(ended.log.contains(word), "no word of {word:?} in:\n{}", ended.log);
    }
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_disk_that_is_full_or_can_not_be_written_is_refused() {
    let _slot = slots::light();
    check_refused(&Disk::new("size=300m"), &[], &["a.mp4", "314 MB free", "512 MB", "--keep-free"]);
    check_refused(&Disk::new("size=8m"), &["--keep-free", "16MB"], &["a.mp4", "8 MB free", "16 MB"]);
    check_refused(&Disk::new("size=32m,ro"), &["--keep-free", "8MB"], &["a.mp4", "not writable"]);
}
