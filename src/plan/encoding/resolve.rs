//! Preset, advanced options and what the outputs need → encodings.

use std::time::Duration;

use super::{AudioEncoding, Cadence, H264Profile, PRESETS, VideoEncoding};
use crate::config::frame_times::FrameTimes;
use crate::plan::codec::{AudioCodec, VideoCodec};
use crate::plan::error::PlanError;
use crate::plan::request::EncodingRequest;

/// What the outputs ask of the encode.
#[derive(Debug, Clone, Default)]
pub(in crate::plan) struct Needs {
    /// Of each segment output; none is zero.
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

/// Where nothing moves, this many pictures a second keep seeking, segments and key frames regular, and what the encoder
/// holds back short (see the look-ahead in `graph`).
const STILL_FPS: u32 = 5;

pub(in crate::plan) fn video(
    request: &EncodingRequest,
    frame_times: FrameTimes,
    needs: &Needs,
) -> Result<VideoEncoding, PlanError> {
    let base = request.preset.map_or(&PRESETS[0], super::Preset::row);
    let width = request.width.unwrap_or(base.width);
    let height = request.height.unwrap_or(base.height);
    size(width, height)?;
    let fps = request.fps.unwrap_or(base.fps);
    within(&FPS, fps, "framerate", "pictures a second")?;
    let bitrate_kbps = request.video_bitrate_kbps.unwrap_or(base.bitrate_kbps);
    within(&VIDEO_KBPS, bitrate_kbps, "video_bitrate", "kbit/s")?;
    let cadence = match frame_times {
        FrameTimes::Grid if needs.is_encoded => Cadence::Grid,
        // A server drops a stream that does not move, and a viewer who joins waits for the next picture.
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
        key_interval: key_interval(request.key_interval, needs)?,
        cadence,
    })
}

pub(in crate::plan) fn audio(
    request: &EncodingRequest,
    codec: AudioCodec,
) -> Result<AudioEncoding, PlanError> {
    let rates: &[u32] = match codec {
        AudioCodec::Aac => &[8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000],
        AudioCodec::Mp3 => &[32_000, 44_100, 48_000],
        AudioCodec::Opus => &[48_000],
    };
    let rate_hz = match codec {
        // Opus has one clock; a rate that was asked for concerns the other codecs.
        AudioCodec::Opus => 48_000,
        AudioCodec::Aac | AudioCodec::Mp3 => request.audio_rate_hz.unwrap_or(44_100),
    };
    if !rates.contains(&rate_hz) {
        return Err(PlanError::invalid(
            "audio_frequency",
            format!("{codec} can't have {rate_hz} Hz; use one of {}", list(rates)),
        ));
    }
    let bitrate_kbps = request.audio_bitrate_kbps.unwrap_or(128);
    match codec {
        // The encoder's bound: 6144 bits for each channel of a frame of 1024 samples.
        AudioCodec::Aac => within(&(8..=(12 * rate_hz / 1000).min(512)), bitrate_kbps, "audio_bitrate", AAC)?,
        AudioCodec::Opus => within(&(6..=510), bitrate_kbps, "audio_bitrate", "kbit/s of Opus")?,
        AudioCodec::Mp3 if !MP3_KBPS.contains(&bitrate_kbps) => {
            return Err(PlanError::invalid(
                "audio_bitrate",
                format!("MP3 can't have {bitrate_kbps} kbit/s; use one of {}", list(MP3_KBPS)),
            ));
        }
        AudioCodec::Mp3 => {}
    }
    Ok(AudioEncoding { codec, bitrate_kbps, rate_hz })
}

const AAC: &str = "kbit/s of AAC";
/// MPEG-1 layer III has these and no others.
const MP3_KBPS: &[u32] = &[32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];

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

/// Key frames stand where every segment ends; between those no further apart than asked, or than a stream wants.
fn key_interval(asked: Option<Duration>, needs: &Needs) -> Result<Duration, PlanError> {
    if let Some(asked) = asked
        && !KEY_INTERVAL.contains(&asked)
    {
        return Err(PlanError::invalid(
            "key_frame_interval",
            format!(
                "{} s; give {} to {} s",
                asked.as_secs_f64(),
                KEY_INTERVAL.start().as_secs_f64(),
                KEY_INTERVAL.end().as_secs()
            ),
        ));
    }
    let wanted = asked.or(needs.has_stream.then_some(Duration::from_secs(4)));
    let boundary = needs.segment_durations.iter().map(|duration| duration.as_millis()).reduce(gcd);
    Ok(match (boundary, wanted) {
        (Some(boundary), wanted) => {
            let wanted = wanted.map_or(boundary, |wanted| wanted.as_millis());
            millis(largest_divisor(boundary, wanted))
        }
        (None, Some(wanted)) => wanted,
        (None, None) => Duration::from_secs(10),
    })
}

/// The largest divisor of `whole` that is no larger than `bound`.
fn largest_divisor(whole: u128, bound: u128) -> u128 {
    let parts = whole.div_ceil(bound.max(1));
    (parts..=whole).find(|parts| whole.is_multiple_of(*parts)).map_or(whole, |parts| whole / parts)
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
        ] {
            let needs = Needs {
                segment_durations: segments.iter().copied().map(Duration::from_secs).collect(),
                has_stream,
                is_encoded: true,
            };
            let interval = key_interval(asked.map(Duration::from_secs_f64), &needs).unwrap();
            assert_eq!(interval.as_secs_f64(), expected, "{segments:?} {has_stream} {asked:?}");
        }
    }
}
