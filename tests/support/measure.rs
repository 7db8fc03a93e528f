//! Measures recordings with an independent decoder (ffmpeg).

pub(crate) mod audio;
pub(crate) mod frames;
pub(crate) mod timing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use super::tool::{run, succeed};

/// ffprobe's description of a container.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// Duration of the container in seconds.
    pub(crate) duration: f64,
    /// The earliest timestamp in seconds; measured times count from it.
    pub(crate) start: f64,
    pub(crate) streams: Vec<Stream>,
}

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// `video` or `audio`.
    pub(crate) kind: String,
    pub(crate) codec: String,
    pub(crate) profile: String,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) color_space: String,
    pub(crate) color_range: String,
    pub(crate) sample_rate: String,
    /// Seconds, if the container has it.
    pub(crate) duration: Option<f64>,
}

/// A version of a file: path, length and time of the last write.
type Version = (PathBuf, u64, SystemTime);

impl Probe {
    /// Probes a file once and caches the result: ffprobe takes 0.2 s to start, and several
    /// measurements of one file need it.
    pub(crate) fn of(path: &Path) -> Self {
        static KNOWN: LazyLock<Mutex<HashMap<Version, Probe>>> = LazyLock::new(Mutex::default);
        let Ok(about) = path.metadata() else { return Self::run(path) };
        let version: Version = (path.to_owned(), about.len(), about.modified().unwrap());
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = known().get(&version) {
            return probe.clone();
        }
        let probe = Self::run(path);
        known().insert(version, probe.clone());
        probe
    }

    fn run(path: &Path) -> Self {
        let args = ["-v", "error", "-of", "json", "-show_format", "-show_streams", path.to_str().unwrap()];
        let said: serde_json::Value =
            serde_json::from_slice(&succeed("ffprobe", &args, None).stdout).unwrap();
        let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let streams = said["streams"].as_array().unwrap().iter();
        Self {
            duration: number(&said["format"]["duration"]).unwrap_or_default(),
            start: number(&said["format"]["start_time"]).unwrap_or_default(),
            streams: streams
                .map(|stream| Stream {
                    kind: text(&stream["codec_type"]),
                    codec: text(&stream["codec_name"]),
                    profile: text(&stream["profile"]),
                    width: stream["width"].as_u64().unwrap_or_default(),
                    height: stream["height"].as_u64().unwrap_or_default(),
                    color_space: text(&stream["color_space"]),
                    color_range: text(&stream["color_range"]),
                    sample_rate: text(&stream["sample_rate"]),
                    duration: number(&stream["duration"]),
                })
                .collect(),
        }
    }

    /// The one stream of a kind.
    pub(crate) fn stream(&self, kind: &str) -> &Stream {
        let mut found = self.streams.iter().filter(|stream| stream.kind == kind);
        let stream = found.next().unwrap_or_else(|| panic!("no {kind} stream in {self:?}"));
        assert!(found.next().is_none(), "more than one {kind} stream in {self:?}");
        stream
    }
}

/// Decodes everything; panics at the first decoder error.
pub(crate) fn assert_decodable(path: &Path) {
    // Frames have the times at which they were drawn; a grid of the frame rate would put two of
    // them at the same time.
    let times = ["-fps_mode", "passthrough", "-enc_time_base", "-1"];
    let args = [&["-v", "error", "-xerror", "-i", path.to_str().unwrap()], &times[..], &["-f", "null", "-"]]
        .concat();
    let done = run("ffmpeg", &args, None);
    assert!(
        done.status.success() && done.stderr.trim().is_empty(),
        "{} does not decode cleanly:\n{}",
        path.display(),
        done.stderr
    );
}

/// The names of an MP4's top-level boxes, in the order of the file.
pub(crate) fn top_level_boxes(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let mut names = Vec::new();
    let mut at = 0usize;
    while let Some(head) = bytes.get(at..at + 8) {
        let size = u64::from(u32::from_be_bytes(head[..4].try_into().unwrap()));
        names.push(String::from_utf8_lossy(&head[4..]).into_owned());
        at += match size {
            0 => break,
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()),
            size => size,
        } as usize;
    }
    names
}
