//! Videos of known frames and audio: they verify the measurements, and the bench's page of nine
//! videos plays them.

use std::path::Path;

use super::barcode;
use super::layout::{Region, SYNTHETIC_COUNTER, SYNTHETIC_FLASH, SYNTHETIC_WALL};
use super::tool::succeed;

/// A video of a grey frame with a moving shade, a frame counter, a clock, and a flash with a beep
/// at each full second.
#[derive(Debug, Clone)]
pub(crate) struct Synthetic {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) fps: usize,
    pub(crate) seconds: usize,
    /// Delay of each beep after its flash in milliseconds.
    pub(crate) audio_late_ms: i64,
    /// Index of the frame shown at each place; a repeated index is a repeated frame.
    pub(crate) shown: fn(usize) -> usize,
}

impl Synthetic {
    pub(crate) const fn new(fps: usize, seconds: usize) -> Self {
        Self { width: 640, height: 360, fps, seconds, audio_late_ms: 0, shown: |n| n }
    }

    /// Encodes it. `codecs` are ffmpeg's output arguments.
    pub(crate) fn write(&self, path: &Path, codecs: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let wav = dir.path().join("sound.s16");
        std::fs::write(&wav, self.audio()).unwrap();
        let (size, fps) = (format!("{}x{}", self.width, self.height), self.fps.to_string());
        let mut args = vec!["-v", "error", "-y"];
        args.extend(["-f", "rawvideo", "-pix_fmt", "gray", "-s", &size, "-r", &fps, "-i", "pipe:0"]);
        args.extend(["-f", "s16le", "-ar", "48000", "-ac", "1", "-i", wav.to_str().unwrap()]);
        args.extend(["-pix_fmt", "yuv420p"]);
        args.extend(codecs);
        args.push(path.to_str().unwrap());
        succeed("ffmpeg", &args, Some(self.frames()));
    }

    fn frames(&self) -> Vec<u8> {
        (0..self.fps * self.seconds).flat_map(|place| self.frame((self.shown)(place))).collect()
    }

    fn frame(&self, frame: usize) -> Vec<u8> {
        // The shade moves, so that the encoder has something to do.
        let mut luma: Vec<u8> = (0..self.width * self.height)
            .map(|at| (64 + (at % self.width + at / self.width + frame * 4) % 128) as u8)
            .collect();
        let millis = frame * 1000 / self.fps;
        self.bar(&mut luma, SYNTHETIC_COUNTER, frame as u32);
        self.bar(&mut luma, SYNTHETIC_WALL, millis as u32);
        let lit = millis % 1000 < 100;
        self.fill(&mut luma, SYNTHETIC_FLASH, |_| if lit { 255 } else { 30 });
        luma
    }

    fn bar(&self, luma: &mut [u8], region: Region, value: u32) {
        let cells = barcode::cells(value);
        self.fill(luma, region, |along| {
            if cells[((along * barcode::CELLS as f64) as usize).min(barcode::CELLS - 1)] { 255 } else { 0 }
        });
    }

    fn fill(&self, luma: &mut [u8], region: Region, value: impl Fn(f64) -> u8) {
        let pixels = |from: f64, length: f64, all: usize| {
            (from * all as f64).round() as usize..((from + length) * all as f64).round() as usize
        };
        let across = pixels(region.x, region.width, self.width);
        for y in pixels(region.y, region.height, self.height) {
            for x in across.clone() {
                luma[y * self.width + x] = value((x - across.start) as f64 / across.len() as f64);
            }
        }
    }

    fn audio(&self) -> Vec<u8> {
        let sample = |n: usize| {
            let since = n as i64 - 48 * self.audio_late_ms;
            let into = since.rem_euclid(48_000);
            let level = if since >= 0 && into < 48 * 80 { 0.25 } else { 0.0 };
            let wave = (into as f64 / 48_000.0 * 1000.0 * std::f64::consts::TAU).sin();
            ((level * wave * 32767.0) as i16).to_le_bytes()
        };
        (0..self.seconds * 48_000).flat_map(sample).collect()
    }
}
