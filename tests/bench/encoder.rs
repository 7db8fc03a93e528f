//! The encoder's settings against others at the same bit rate: quality and CPU cost.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

use crate::support::tool::{run, succeed};

/// Seconds of 720p30.
const SECONDS: f64 = 12.0;

/// One setting of x264enc at 3 Mb/s.
#[derive(Debug, Serialize)]
pub(crate) struct Encoder {
    pub(crate) name: &'static str,
    /// Luma SSIM in dB against the encoder's input frames.
    pub(crate) ssim_db: f64,
    /// CPU seconds a second of video.
    pub(crate) cores: f64,
    pub(crate) kbps: f64,
}

const SETTINGS: &[(&str, &str)] = &[
    (
        "superfast, bframes=0, rc-lookahead=10, mbtree",
        "speed-preset=superfast bframes=0 rc-lookahead=10 mb-tree=true",
    ),
    ("superfast, bframes=0", "speed-preset=superfast bframes=0 rc-lookahead=0 mb-tree=false"),
    ("veryfast, bframes=0", "speed-preset=veryfast bframes=0"),
    ("veryfast, as LiveKit Egress", "speed-preset=veryfast"),
    ("ultrafast", "speed-preset=ultrafast"),
];

pub(crate) fn compare() -> Vec<Encoder> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let original = path("original.y4m");
    // Zooming, noisy, never the same twice: camera tiles are like that.
    let graph = "mandelbrot=size=1280x720:rate=30,noise=alls=3:allf=t,format=yuv420p";
    let length = SECONDS.to_string();
    succeed("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", graph, "-t", &length, &original], None);

    let mut found = Vec::new();
    for &(name, options) in SETTINGS {
        let encoded = path("encoded.mp4");
        let before = children_cpu();
        let line = format!(
            "filesrc location={original} ! y4mdec ! x264enc bitrate=3000 key-int-max=300 threads=2 vbv-buf-capacity=2000 \
             {options} ! video/x-h264,profile=main ! h264parse ! mp4mux ! filesink location={encoded}"
        );
        succeed(
            "gst-launch-1.0",
            &[&["-q"], &line.split_whitespace().collect::<Vec<_>>()[..]].concat(),
            None,
        );
        let cores = (children_cpu() - before) / SECONDS;
        let inputs = ["-v", "info", "-nostats", "-i", &encoded, "-i", &original];
        let compared = run("ffmpeg", &[&inputs[..], &["-lavfi", "ssim", "-f", "null", "-"]].concat(), None);
        found.push(Encoder {
            name,
            ssim_db: luma_db(&compared.stderr),
            cores,
            kbps: std::fs::metadata(&encoded).unwrap().len() as f64 * 8.0 / 1000.0 / SECONDS,
        });
    }
    found
}

/// `SSIM Y:0.957 (13.7) U:…`
fn luma_db(log: &str) -> f64 {
    let (_, rest) = log.split_once("SSIM Y:").expect("ffmpeg prints the SSIM");
    let (_, rest) = rest.split_once('(').expect("with its value in dB");
    rest.split(')').next().unwrap().parse().unwrap()
}

/// CPU seconds of all children that have ended.
fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}
