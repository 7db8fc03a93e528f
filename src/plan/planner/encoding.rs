//! Preset, advanced options and what the outputs need → encodings.

use std::time::Duration;

use super::super::codec::{AudioCodec, VideoCodec};
use super::super::encoding::{AudioEncoding, Cadence, H264Profile, PRESETS, Preset, VideoEncoding};
use super::super::error::PlanError;
use super::super::request::EncodingRequest;
use super::adjustments::Adjustments;
use crate::config::frame_times::FrameTimes;

/// The outputs' requirements for the encode.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// Segment durations of the outputs; none is zero.
    pub segment_durations: Vec<Duration>,
    /// Somebody may be watching.
    pub has_stream: bool,
    /// At least one output takes encoded frames. Images take raw ones.
    pub is_encoded: bool,
}

const SMALLEST: u32 = 16;
/// 8K, lying or standing.
const LARGEST: (u32, u32) = (7680, 4320);
const FPS: std::ops::RangeInclusive<u32> = 1..=120;
const VIDEO_KBPS: std::ops::RangeInclusive<u32> = 10..=100_000;
const KEY_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
/// Default key-frame interval of files.
const FILE_KEY_INTERVAL: Duration = Duration::from_secs(10);

/// Frame rate of a static page. It keeps seeking, segments and key frames regular, and the
/// encoder's delay short (see the look-ahead in `graph`).
const STILL_FPS: u32 = 5;

pub(super) fn video(
    request: &EncodingRequest,
    frame_times: FrameTimes,
    needs: &Needs,
    adjustments: &mut Adjustments,
) -> Result<VideoEncoding, PlanError> {
    let base = request.preset.map_or(&PRESETS[0], Preset::row);
    let width = request.width.unwrap_or(base.width);
    let height = request.height.unwrap_or(base.height);
    size(width, height)?;
    let fps = frame_rate(request.fps.unwrap_or(base.fps), adjustments)?;
    let bitrate_kbps = request.video_bitrate_kbps.unwrap_or(base.bitrate_kbps);
    within(&VIDEO_KBPS, bitrate_kbps, "video_bitrate", "kbit/s")?;
    let cadence = match frame_times {
        FrameTimes::Grid if needs.is_encoded => Cadence::Grid,
        // A server drops a stream without frames, and a new viewer waits for the next one.
        FrameTimes::Source if needs.has_stream => Cadence::AsDrawn { at_least: fps },
        FrameTimes::Source | FrameTimes::Grid => Cadence::AsDrawn { at_least: STILL_FPS.min(fps) },
    };
    Ok(VideoEncoding {
        codec: VideoCodec::H264,
        profile: request.profile.unwrap_or(H264Profile::Main),
        width,
        height,
        fps,
        bitrate_kbps,
        key_interval: key_interval(request.key_interval, needs, adjustments)?,
        cadence,
    })
}

pub(super) fn audio(
    request: &EncodingRequest,
    codec: AudioCodec,
    adjustments: &mut Adjustments,
) -> Result<AudioEncoding, PlanError> {
    let requested = request.audio_rate_hz.unwrap_or(44_100);
    let rate_hz = match codec {
        // Opus has one clock; a rate that was asked for concerns the other codecs.
        AudioCodec::Opus => 48_000,
        AudioCodec::Aac => sample_rate(codec, AAC_HZ, requested, adjustments)?,
        AudioCodec::Mp3 => sample_rate(codec, MP3_HZ, requested, adjustments)?,
    };
    let bitrate_kbps = audio_bitrate(codec, rate_hz, request.audio_bitrate_kbps.unwrap_or(128), adjustments)?;
    Ok(AudioEncoding { codec, bitrate_kbps, rate_hz })
}

const AAC: &str = "kbit/s of AAC";
/// Nothing that is recorded has more than 48 kHz.
const AAC_HZ: &[u32] = &[8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
const MP3_HZ: &[u32] = &[32_000, 44_100, 48_000];
/// Sample rates and bit rates that somebody may mean; others are a mistake, for example bits in
/// place of kilobits.
const AUDIO_HZ: std::ops::RangeInclusive<u32> = 4000..=384_000;
const AUDIO_KBPS: std::ops::RangeInclusive<u32> = 8..=512;
/// MPEG-1 layer III has these and no others.
const MP3_KBPS: &[u32] = &[32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];

/// Frames per second as requested, or as many as are possible.
fn frame_rate(fps: u32, adjustments: &mut Adjustments) -> Result<u32, PlanError> {
    let highest = *FPS.end();
    match within(&FPS, fps, "framerate", "frames per second") {
        Err(refused) if fps > highest => {
            let note = format!("framerate: {fps} was requested, {highest} is recorded, the highest possible");
            adjustments.replace(highest, note, refused)
        }
        checked => checked.map(|()| fps),
    }
}

/// A sample rate as requested, or the nearest one that the codec has.
fn sample_rate(
    codec: AudioCodec,
    rates: &[u32],
    requested: u32,
    adjustments: &mut Adjustments,
) -> Result<u32, PlanError> {
    if rates.contains(&requested) {
        return Ok(requested);
    }
    let refused = PlanError::invalid(
        "audio_frequency",
        format!("{codec} can't have {requested} Hz; use one of {}", list(rates)),
    );
    match rates.iter().copied().min_by_key(|rate| rate.abs_diff(requested)) {
        Some(nearest) if AUDIO_HZ.contains(&requested) => {
            let note =
                format!("audio_frequency: {requested} Hz was requested, {codec} is recorded at {nearest} Hz");
            adjustments.replace(nearest, note, refused)
        }
        Some(_) | None => Err(refused),
    }
}

/// A bit rate as requested, or the nearest one that the codec has at its sample rate.
fn audio_bitrate(
    codec: AudioCodec,
    rate_hz: u32,
    kbps: u32,
    adjustments: &mut Adjustments,
) -> Result<u32, PlanError> {
    let note = |nearest: u32| {
        format!(
            "audio_bitrate: {kbps} kbit/s is not possible, {codec} at {rate_hz} Hz is recorded at {nearest} kbit/s"
        )
    };
    match codec {
        AudioCodec::Aac => {
            // The encoder's bound: 6144 bits for each channel of a frame of 1024 samples.
            let highest = (12 * rate_hz / 1000).min(*AUDIO_KBPS.end());
            match within(&(*AUDIO_KBPS.start()..=highest), kbps, "audio_bitrate", AAC) {
                // Too much for this sample rate alone.
                Err(refused) if AUDIO_KBPS.contains(&kbps) => {
                    adjustments.replace(highest, note(highest), refused)
                }
                checked => checked.map(|()| kbps),
            }
        }
        AudioCodec::Opus => within(&(6..=510), kbps, "audio_bitrate", "kbit/s of Opus").map(|()| kbps),
        AudioCodec::Mp3 if MP3_KBPS.contains(&kbps) => Ok(kbps),
        AudioCodec::Mp3 => {
            let refused = PlanError::invalid(
                "audio_bitrate",
                format!("MP3 can't have {kbps} kbit/s; use one of {}", list(MP3_KBPS)),
            );
            match MP3_KBPS.iter().copied().min_by_key(|possible| possible.abs_diff(kbps)) {
                Some(nearest) if AUDIO_KBPS.contains(&kbps) => {
                    adjustments.replace(nearest, note(nearest), refused)
                }
                Some(_) | None => Err(refused),
            }
        }
    }
}

fn size(width: u32, height: u32) -> Result<(), PlanError> {
    for (field, pixels) in [("width", width), ("height", height)] {
        if pixels < SMALLEST {
            return Err(PlanError::invalid(
                field,
                format!("{pixels} pixels is too small; give {SMALLEST} or more"),
            ));
        }
        if pixels % 2 != 0 {
            let down = pixels - 1;
            return Err(PlanError::invalid(
                field,
                format!(
                    "{pixels} is odd and H.264 wants even sizes; give {down} or {}",
                    u64::from(pixels) + 1
                ),
            ));
        }
    }
    let (long, short) = if width > height { (width, height) } else { (height, width) };
    if long > LARGEST.0 || short > LARGEST.1 {
        let field = if width > height && long > LARGEST.0 || height > width && short > LARGEST.1 {
            "width"
        } else {
            "height"
        };
        return Err(PlanError::invalid(
            field,
            format!(
                "{width}x{height} is too large; give at most {}x{}, lying or standing",
                LARGEST.0, LARGEST.1
            ),
        ));
    }
    Ok(())
}

/// Key frames stand where every segment ends; between those no further apart than asked, or than a
/// stream wants.
fn key_interval(
    asked: Option<Duration>,
    needs: &Needs,
    adjustments: &mut Adjustments,
) -> Result<Duration, PlanError> {
    let asked = asked.map(|asked| possible_key_interval(asked, adjustments)).transpose()?;
    let wanted = asked.or(needs.has_stream.then_some(Duration::from_secs(4)));
    let boundary = needs.segment_durations.iter().map(|duration| duration.as_millis()).reduce(gcd);
    Ok(match (boundary, wanted) {
        (Some(boundary), Some(wanted)) => millis(largest_divisor(boundary, wanted.as_millis())),
        // A segment of this length is a file by itself, and is to be as easy to seek in.
        (Some(boundary), None) if boundary > KEY_INTERVAL.end().as_millis() => {
            millis(largest_divisor(boundary, FILE_KEY_INTERVAL.as_millis()))
        }
        (Some(boundary), None) => millis(boundary),
        (None, Some(wanted)) => wanted,
        (None, None) => FILE_KEY_INTERVAL,
    })
}

fn possible_key_interval(asked: Duration, adjustments: &mut Adjustments) -> Result<Duration, PlanError> {
    let (shortest, longest) = (*KEY_INTERVAL.start(), *KEY_INTERVAL.end());
    if KEY_INTERVAL.contains(&asked) {
        return Ok(asked);
    }
    let seconds = asked.as_secs_f64();
    let refused = PlanError::invalid(
        "key_frame_interval",
        format!("{seconds} s; give {} to {} s", shortest.as_secs_f64(), longest.as_secs()),
    );
    let nearest = asked.clamp(shortest, longest);
    let note = format!(
        "key_frame_interval: {seconds} s was requested, {} s is recorded, the nearest possible",
        nearest.as_secs_f64()
    );
    adjustments.replace(nearest, note, refused)
}

/// The largest divisor of `whole` that is at most `bound`, which is a key-frame interval and small
/// enough to try all.
fn largest_divisor(whole: u128, bound: u128) -> u128 {
    (1..=bound.min(whole)).rev().find(|divisor| whole.is_multiple_of(*divisor)).unwrap_or(1)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn millis(millis: u128) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn within(
    range: &std::ops::RangeInclusive<u32>,
    value: u32,
    field: &str,
    unit: &str,
) -> Result<(), PlanError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(PlanError::invalid(field, format!("{value} {unit}; give {} to {}", range.start(), range.end())))
}

fn list(values: &[u32]) -> String {
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::RequestOrigin;

    fn terminal() -> Adjustments {
        Adjustments::new(&RequestOrigin::CommandLine)
    }

    #[test]
    fn key_frames_fall_on_every_segment_boundary() {
        for (segments, has_stream, asked, expected) in [
            (&[][..], false, None, 10.0),
            (&[], true, None, 4.0),
            (&[], true, Some(2.0), 2.0),
            (&[], false, Some(2.5), 2.5),
            (&[4], false, None, 4.0),
            (&[4], false, Some(2.0), 2.0),
            (&[4], false, Some(3.0), 2.0),
            (&[4], false, Some(30.0), 4.0),
            (&[5], false, Some(2.0), 1.25),
            (&[6], true, None, 3.0),
            (&[10], true, None, 2.5),
            (&[10], false, None, 10.0),
            (&[4, 6], false, None, 2.0),
            (&[4, 6, 3], true, None, 1.0),
            (&[600], false, None, 600.0),
            (&[601], false, None, 6.01),
            (&[100_000], false, None, 10.0),
            (&[100_000], true, None, 4.0),
            (&[4_294_967_295], true, None, 3.855),
        ] {
            let needs = Needs {
                segment_durations: segments.iter().copied().map(Duration::from_secs).collect(),
                has_stream,
                is_encoded: true,
            };
            let asked = asked.map(Duration::from_secs_f64);
            let interval = key_interval(asked, &needs, &mut terminal()).unwrap();
            assert_eq!(interval.as_secs_f64(), expected, "{segments:?} {has_stream} {asked:?}");
        }
    }
}
