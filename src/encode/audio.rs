//! Sound to AAC, Opus or MP3.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::delay;
use crate::media::{Feed, Intake, MediaPipeline, Overflow, PipelineError};
use crate::plan::codec::AudioCodec;
use crate::plan::encoding::AudioEncoding;

/// Buffers of 10 ms that may wait for an encoder: ten seconds, 2 MB. A mix of tracks is handed on in pieces of up to three.
const MAX_WAITING_BUFFERS: u64 = 1000;

/// Jitter of a sound server's time stamps that is smoothed over instead of filled or cut. What is above is a gap (a sound
/// server that came back), and is filled with silence.
const TIMESTAMP_TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(40);

pub(super) struct BuiltAudio {
    pub(super) pipeline: MediaPipeline,
    pub(super) output: Feed,
    pub(super) intake: Intake,
}

/// ```text
/// appsrc(S16LE 48 kHz) ─► audiorate ─► audioconvert ─► audioresample ─► caps(rate) ─► encoder ─► caps(rate) ─► parser ─► appsink
///                              │                                                                                └ moved to where it was
///                              └ without as much as the encoder adds
/// ```
pub(super) fn build(plan: &AudioEncoding) -> Result<BuiltAudio, PipelineError> {
    let (name, feed) = match plan.codec {
        AudioCodec::Aac => ("encode-aac", "aac"),
        AudioCodec::Opus => ("encode-opus", "opus"),
        AudioCodec::Mp3 => ("encode-mp3", "mp3"),
    };
    let pipeline = MediaPipeline::new(name);
    let output = Feed::new(feed);
    let intake = Intake::new("sound", Overflow::Skip { max_buffers: MAX_WAITING_BUFFERS }, false)?;
    pipeline.adopt(intake.element())?;

    let rate = pipeline.add("audiorate")?;
    rate.set_property("tolerance", TIMESTAMP_TOLERANCE.nseconds());
    rate.set_property("skip-to-first", false);
    let convert = pipeline.add("audioconvert")?;
    let resample = pipeline.add("audioresample")?;
    let rate_hz = i32::try_from(plan.rate_hz).unwrap_or(48_000);
    let raw = gst::Caps::builder("audio/x-raw").field("rate", rate_hz).field("channels", 2i32).build();
    let raw = pipeline.add_caps(&raw)?;
    let encoder = add_encoder(&pipeline, plan)?;
    let (media_type, parser) = match plan.codec {
        AudioCodec::Aac => ("audio/mpeg", "aacparse"),
        AudioCodec::Opus => ("audio/x-opus", "opusparse"),
        AudioCodec::Mp3 => ("audio/mpeg", "mpegaudioparse"),
    };
    // LAME would else choose a lower rate, where it finds the bit rate low.
    let kept = pipeline.add_caps(&gst::Caps::builder(media_type).field("rate", rate_hz).build())?;
    // Says that its packets are whole frames, which the encoders leave unsaid and some muxers insist on.
    let parser = pipeline.add(parser)?;
    let sink = pipeline.add_feed(&output, |sample| sample)?;
    let chain = [intake.element(), &rate, &convert, &resample, &raw, &encoder, &kept, &parser, &sink];
    pipeline.link(&chain)?;
    if let Some((raw, encoded)) = rate.static_pad("src").zip(parser.static_pad("src")) {
        delay::take_away(plan.codec, plan.rate_hz, &raw, &encoded);
    }
    Ok(BuiltAudio { pipeline, output, intake })
}

fn add_encoder(pipeline: &MediaPipeline, plan: &AudioEncoding) -> Result<gst::Element, PipelineError> {
    let bits = i32::try_from(plan.bitrate_kbps.saturating_mul(1000)).unwrap_or(128_000);
    match plan.codec {
        AudioCodec::Aac => {
            let encoder = pipeline.add("avenc_aac")?;
            encoder.set_property("bitrate", bits);
            // It would code two channels as their sum and difference whatever they are, and lose the difference: with one tone on the
            // left and another one on the right, both were heard on both sides.
            if encoder.find_property("aac-ms").is_some() {
                encoder.set_property_from_str("aac-ms", "false");
            }
            Ok(encoder)
        }
        AudioCodec::Opus => {
            let encoder = pipeline.add("opusenc")?;
            encoder.set_property("bitrate", bits);
            Ok(encoder)
        }
        AudioCodec::Mp3 => {
            let encoder = pipeline.add("lamemp3enc")?;
            encoder.set_property_from_str("target", "bitrate");
            encoder.set_property("cbr", true);
            encoder.set_property("bitrate", i32::try_from(plan.bitrate_kbps).unwrap_or(128));
            Ok(encoder)
        }
    }
}
