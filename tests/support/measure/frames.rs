//! Decodes the frames of a recording: their times and the numbers in them.

use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Probe;
use crate::support::barcode;
use crate::support::layout::{Layout, Region};
use crate::support::tool::succeed;

/// One decoded frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Seconds after the file's start.
    pub(crate) pts: f64,
    pub(crate) key: bool,
    /// Values in the order of [`Layout::counters`]; `None` if unreadable.
    pub(crate) counters: Vec<Option<u32>>,
    /// The wall clock in milliseconds mod 2^24.
    pub(crate) wall: Option<u32>,
    /// Luma in the middle of the flash.
    pub(crate) flash: Option<u8>,
}

impl Frame {
    /// Whether the flash of a beep is lit.
    pub(crate) fn lit(&self) -> bool {
        self.flash.is_some_and(|luma| luma > 128)
    }

    /// Whether its counters, all of one page, differ or are unreadable.
    pub(crate) fn torn(&self) -> bool {
        self.counters.iter().any(|counter| counter.is_none() || *counter != self.counters[0])
    }
}

/// Width and height of the kept samples of each region: eight samples per cell, four rows.
const ROW: usize = barcode::CELLS * 8;
const ROWS: usize = 4;

/// Decodes every frame of `path` and reads the parts that `layout` describes.
///
/// ffmpeg crops and scales the regions, so that a second of 1080p takes a few kilobytes here.
/// `showinfo` prints each frame's time and key flag, at the head of the chain because `vstack`
/// loses them.
pub(crate) fn frames(path: &Path, layout: &Layout) -> Vec<Frame> {
    let start = Probe::of(path).start;
    let flash = layout.flash.map(Region::middle);
    let regions: Vec<_> = layout.counters.iter().copied().chain(layout.wall).chain(flash).collect();
    let args = [
        "-v",
        "info",
        "-nostats",
        "-copyts",
        "-i",
        path.to_str().unwrap(),
        "-filter_complex",
        &filter(&regions),
        "-map",
        "[out]",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "pipe:1",
    ];
    let done = succeed("ffmpeg", &args, None);
    let times = showinfo(&done.stderr);
    let size = ROW * ROWS * regions.len().max(1);
    assert_eq!(times.len(), done.stdout.len() / size, "a time for each picture of {}", path.display());

    let bars = layout.counters.len();
    let frame = |((pts, key), bytes): ((f64, bool), &[u8])| {
        let row = |i: usize| -> Vec<u8> {
            // The two inner rows of four: the outer ones may hold pixels beside the bar.
            let rows = &bytes[i * ROW * ROWS..(i + 1) * ROW * ROWS];
            (0..ROW).map(|x| u8::midpoint(rows[ROW + x], rows[2 * ROW + x])).collect()
        };
        Frame {
            pts: pts - start,
            key,
            counters: (0..bars).map(|i| barcode::read(&row(i))).collect(),
            wall: layout.wall.and_then(|_| barcode::read(&row(bars))),
            flash: flash.map(|_| {
                let row = row(regions.len() - 1);
                (row.iter().map(|&v| u32::from(v)).sum::<u32>() / ROW as u32) as u8
            }),
        }
    };
    times.into_iter().zip(done.stdout.chunks_exact(size)).map(frame).collect()
}

/// Times of frames that differ from the one before, in seconds after the file's start: for pages
/// without counters. Encoding changes a frame a little; a movement of some size changes some places
/// much.
pub(crate) fn changes(path: &Path) -> Vec<f64> {
    const WIDTH: usize = 480;
    const HEIGHT: usize = 270;
    const MUCH: u8 = 16;
    let start = Probe::of(path).start;
    let scale = format!("showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area");
    let mut args = vec!["-v", "info", "-nostats", "-copyts", "-i", path.to_str().unwrap(), "-vf", &scale];
    args.extend(["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"]);
    let done = succeed("ffmpeg", &args, None);
    let frames: Vec<&[u8]> = done.stdout.chunks_exact(WIDTH * HEIGHT).collect();
    let times = showinfo(&done.stderr);
    assert_eq!(times.len(), frames.len(), "a time for each picture of {}", path.display());
    let differ = |pair: &[&[u8]]| pair[0].iter().zip(pair[1]).any(|(a, b)| a.abs_diff(*b) > MUCH);
    let pairs = frames.windows(2).zip(&times[1..]);
    pairs.filter(|(pair, _)| differ(pair)).map(|(_, (pts, _))| pts - start).collect()
}

fn filter(regions: &[Region]) -> String {
    let count = regions.len();
    if count == 0 {
        return format!("[0:v]showinfo=checksum=0,scale={ROW}:{ROWS}:flags=area[out]");
    }
    let names = |prefix: &str| (0..count).map(|i| format!("[{prefix}{i}]")).collect::<String>();
    let mut text = format!("[0:v]showinfo=checksum=0,format=gray,split={count}{};", names("in"));
    for (i, Region { x, y, width, height }) in regions.iter().enumerate() {
        text += &format!(
            "[in{i}]crop=iw*{width:.5}:ih*{height:.5}:iw*{x:.5}:ih*{y:.5},scale={ROW}:{ROWS}:flags=area[part{i}];"
        );
    }
    match count {
        1 => text + "[part0]null[out]",
        _ => text + &format!("{}vstack=inputs={count}[out]", names("part")),
    }
}

/// Distance of two colours: the largest difference of a channel.
pub(crate) fn colour_distance(one: [u8; 3], other: [u8; 3]) -> u8 {
    let [red, green, blue] = std::array::from_fn(|channel| one[channel].abs_diff(other[channel]));
    red.max(green).max(blue)
}

/// Time and key flag of each frame in the output of `showinfo`.
fn showinfo(log: &str) -> Vec<(f64, bool)> {
    let lines = || log.lines().filter(|line| line.contains("showinfo"));
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    // `pts_time` has six significant digits; `pts` is exact.
    let base = lines().find_map(|line| field(line, "time_base: ")).and_then(|base| {
        let (numerator, denominator) = base.trim_end_matches(',').split_once('/')?;
        Some(numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?)
    });
    lines()
        .filter_map(|line| {
            let pts: f64 = field(line, " pts:")?.parse().ok()?;
            let key = field(line, "iskey:")? == "1";
            Some((pts * base.expect("showinfo tells its time base first"), key))
        })
        .collect()
}

/// A complete frame in sRGB.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) width: usize,
    pub(crate) height: usize,
    rgb: Vec<u8>,
}

impl Snapshot {
    /// The frame at `at` seconds; found by seeking, as a player does. A JPEG has one frame,
    /// whatever `at` is.
    pub(crate) fn at(path: &Path, at: f64) -> Self {
        Self::found_at(path, at).unwrap_or_else(|| panic!("no picture at {at:.3} s of {}", path.display()))
    }

    /// The same; `None` if the last frame is before `at`.
    pub(crate) fn found_at(path: &Path, at: f64) -> Option<Self> {
        if path.extension().is_some_and(|extension| extension == "jpeg") {
            return Some(Self::of_jpeg(path));
        }
        let at = format!("{at:.3}");
        let args = ["-v", "error", "-ss", &at, "-i", path.to_str().unwrap(), "-frames:v", "1"];
        let output = ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"];
        let ppm = succeed("ffmpeg", &[&args[..], &output[..]].concat(), None).stdout;
        Self::of_ppm(&ppm)
    }

    /// Decodes a JPEG; tests that wait for a change look at many of these.
    fn of_jpeg(path: &Path) -> Self {
        let bytes = std::io::Cursor::new(std::fs::read(path).unwrap());
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(bytes, options);
        let rgb = decoder.decode().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (width, height) = decoder.dimensions().unwrap();
        Self { width, height, rgb }
    }

    /// `P6`, width, height and 255 in lines of text, then the colours (ppm(5)).
    fn of_ppm(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(4, |byte| byte.is_ascii_whitespace());
        let mut word = || std::str::from_utf8(parts.next()?).ok();
        if word()? != "P6" {
            return None;
        }
        let (width, height) = (word()?.parse().ok()?, word()?.parse().ok()?);
        let rgb = parts.next()?.strip_prefix(b"255\n")?;
        (rgb.len() == width * height * 3).then(|| Self { width, height, rgb: rgb.to_owned() })
    }

    /// Whether anything of some size differs from another frame of the same size.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        const MUCH: u8 = 32;
        let pixels = self.rgb.chunks_exact(3).zip(other.rgb.chunks_exact(3));
        let differs =
            |(one, other): &(&[u8], &[u8])| one.iter().zip(*other).any(|(a, b)| a.abs_diff(*b) > MUCH);
        pixels.filter(differs).count() * 5_000 > self.width * self.height
    }

    /// The average colour in the middle of a region.
    pub(crate) fn colour(&self, region: Region) -> [u8; 3] {
        let Region { x, y, width, height } = region.middle();
        let part = |from: f64, length: f64, all: usize| {
            (from * all as f64) as usize..((from + length) * all as f64) as usize
        };
        let (mut sum, mut count) = ([0usize; 3], 0);
        for y in part(y, height, self.height) {
            for x in part(x, width, self.width) {
                let at = (y * self.width + x) * 3;
                (0..3).for_each(|i| sum[i] += usize::from(self.rgb[at + i]));
                count += 1;
            }
        }
        sum.map(|value| (value / count) as u8)
    }

    /// The colour of one pixel; negative coordinates count from the right and from the bottom.
    pub(crate) fn pixel(&self, x: isize, y: isize) -> [u8; 3] {
        let place = |at: isize, length: usize| at.rem_euclid(length as isize) as usize;
        let at = (place(y, self.height) * self.width + place(x, self.width)) * 3;
        self.rgb[at..at + 3].try_into().unwrap()
    }
}
