//! Sound to AAC, Opus or MP3.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::aac::AacEncoder;
use super::delay;
use crate::media::{Feed, Intake, MediaPipeline, Overflow, PipelineError};
use crate::plan::codec::AudioCodec;
use crate::plan::encoding::AudioEncoding;

/// Buffers of 10 ms that may wait for an encoder: ten seconds, 2 MB. A mix of tracks is handed on
/// in pieces of up to three.
const MAX_WAITING_BUFFERS: u64 = 1000;

/// Jitter of an audio server's timestamps that is smoothed over. A larger difference is a gap (the
/// audio server was restarted), and is filled with silence.
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
    let aac = (plan.codec == AudioCodec::Aac).then(AacEncoder::installed);
    let raw = gst::Caps::builder("audio/x-raw").field("rate", rate_hz).field("channels", 2i32);
    let raw = pipeline.add_caps(&raw.field_if_some("format", aac.map(AacEncoder::format)).build())?;
    let stage = match aac {
        Some(encoder) => encoder.add(&pipeline, plan, &raw)?,
        None if plan.codec == AudioCodec::Mp3 => lame(&pipeline, plan)?,
        None => opus(&pipeline, plan)?,
    };
    let (media_type, parser) = match plan.codec {
        AudioCodec::Aac => ("audio/mpeg", "aacparse"),
        AudioCodec::Opus => ("audio/x-opus", "opusparse"),
        AudioCodec::Mp3 => ("audio/mpeg", "mpegaudioparse"),
    };
    // LAME would else choose a lower rate, where it finds the bit rate low.
    let kept = pipeline.add_caps(&gst::Caps::builder(media_type).field("rate", rate_hz).build())?;
    // Declares that its packets are complete frames: the encoders do not, and some muxers require
    // it.
    let parser = pipeline.add(parser)?;
    let sink = pipeline.add_feed(&output, |sample| sample)?;
    pipeline.link(&[intake.element(), &rate, &convert, &resample, &raw, &stage.entry])?;
    pipeline.link(&[&stage.exit, &kept, &parser, &sink])?;
    if let Some((raw, encoded)) = rate.static_pad("src").zip(parser.static_pad("src")) {
        delay::take_away(stage.delay, plan.rate_hz, &raw, &encoded);
    }
    Ok(BuiltAudio { pipeline, output, intake })
}

/// An encoder in its pipeline: one element, or several that are linked.
#[derive(Debug)]
pub(super) struct Stage {
    /// Entry for raw audio.
    pub(super) entry: gst::Element,
    /// Exit for encoded audio.
    pub(super) exit: gst::Element,
    /// Samples, at the encoder's own rate, that are decoded before the first one that was encoded.
    /// Measured with each of the elements that we encode with; the test of it decodes a tone.
    pub(super) delay: u64,
}

impl Stage {
    fn of(encoder: gst::Element, delay: u64) -> Self {
        Self { entry: encoder.clone(), exit: encoder, delay }
    }
}

fn opus(pipeline: &MediaPipeline, plan: &AudioEncoding) -> Result<Stage, PipelineError> {
    let encoder = pipeline.add("opusenc")?;
    let bits = plan.bitrate_kbps.saturating_mul(1000);
    encoder.set_property("bitrate", i32::try_from(bits).unwrap_or(128_000));
    // Its stream says how much to skip (RFC 7845 §4.2), its encoder's times know it, and every
    // player goes by it.
    Ok(Stage::of(encoder, 0))
}

fn lame(pipeline: &MediaPipeline, plan: &AudioEncoding) -> Result<Stage, PipelineError> {
    let encoder = pipeline.add("lamemp3enc")?;
    encoder.set_property_from_str("target", "bitrate");
    encoder.set_property("cbr", true);
    encoder.set_property("bitrate", i32::try_from(plan.bitrate_kbps).unwrap_or(128));
    // LAME's 576, and 529 of every decoder (the header of LAME that tells of them is not what
    // `xingmux` writes).
    Ok(Stage::of(encoder, 576 + 529))
}
