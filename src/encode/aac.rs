//! Audio to AAC: the choice of the encoder and of its settings.
//!
//! Two requirements: equal channels stay equal bit by bit, and different channels stay separate. No
//! setting of one encoder meets both:
//!
//! - `avenc_aac aac-ms=false` codes each channel by itself. The thresholds of the second channel
//!   depend on the bits that the first one took, and `aac-pns` fills bands with noise that a
//!   decoder makes anew for each channel. Equal channels differ for some frames.
//! - `avenc_aac aac-ms=true` codes sum and difference. Equal channels stay equal, and most of a
//!   difference is lost.
//! - `voaacenc` keeps different channels separate. Equal channels differ by its coding noise.
//!
//! So Weir runs `avenc_aac` twice and picks a frame of one of the two (see [`sides`]):
//!
//! ```text
//!       ┌─► left channel ─► avenc_aac, mono ──► frames ──┐ rewritten as two equal channels
//! raw ──┤                                                ▼
//!       └──────────────────► avenc_aac, stereo ─► replaced where both channels are equal ─► …
//! ```
//!
//! The mono encoder has the whole bit rate, which is twice what each of two channels has. `cargo
//! bench --bench recordings -- aac` compares the candidates.

mod bits;
mod mono_as_stereo;
mod sides;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use self::sides::Sides;
use super::audio::Stage;
use crate::media::{MediaPipeline, PipelineError};
use crate::plan::encoding::AudioEncoding;

/// The limit of `avenc_aac`: 6144 bits for each channel of a frame of 1024 samples.
const BITS_PER_SAMPLE: u32 = 6;

/// An AAC encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AacEncoder {
    /// FFmpeg's `avenc_aac`, twice: see above.
    Libav,
    /// VisualOn's `voaacenc`. Equal channels may differ by its coding noise.
    VisualOn,
}

/// The order of preference. `fdkaacenc` is missing: it is not in Debian's main archive, and its
/// delay was not measured.
const ENCODERS: [AacEncoder; 2] = [AacEncoder::Libav, AacEncoder::VisualOn];

impl AacEncoder {
    /// The first encoder that is installed. If none is, the first of all: adding it then fails and
    /// names its package.
    pub(super) fn installed() -> Self {
        let is_installed = |encoder: &Self| gst::ElementFactory::find(encoder.element()).is_some();
        ENCODERS.into_iter().find(is_installed).unwrap_or(ENCODERS[0])
    }

    const fn element(self) -> &'static str {
        match self {
            Self::Libav => "avenc_aac",
            Self::VisualOn => "voaacenc",
        }
    }

    /// Sample format of its input; interleaved.
    pub(super) const fn format(self) -> &'static str {
        match self {
            Self::Libav => "F32LE",
            Self::VisualOn => "S16LE",
        }
    }

    /// Adds the encoder to a pipeline. The source pad of `raw` carries the raw stereo audio; the
    /// caller links it to the stage's entry.
    ///
    /// # Errors
    /// When the encoder is not installed.
    pub(super) fn add(
        self,
        pipeline: &MediaPipeline,
        plan: &AudioEncoding,
        raw: &gst::Element,
    ) -> Result<Stage, PipelineError> {
        match self {
            Self::Libav => libav(pipeline, plan, raw),
            Self::VisualOn => visual_on(pipeline, plan),
        }
    }
}

fn libav(pipeline: &MediaPipeline, plan: &AudioEncoding, raw: &gst::Element) -> Result<Stage, PipelineError> {
    let bits = plan.bitrate_kbps.saturating_mul(1000);
    let sides = Sides::new(plan.rate_hz);

    // Mono first: a tee pushes to its branches in the order in which they were linked, on one
    // thread.
    let tee = pipeline.add("tee")?;
    let left = pipeline.add("audioconvert")?;
    left.set_property_from_str("mix-matrix", "<<(float)1.0,(float)0.0>>");
    let one = gst::Caps::builder("audio/x-raw").field("format", "F32LE").field("channels", 1i32).build();
    let one = pipeline.add_caps(&one)?;
    let mono = pipeline.add("avenc_aac")?;
    let most = plan.rate_hz.saturating_mul(BITS_PER_SAMPLE);
    mono.set_property("bitrate", i32::try_from(bits.min(most)).unwrap_or(128_000));
    // SNR is 2 dB lower than with `twoloop` and still 5 dB higher than that of two channels at the
    // same total bit rate.
    set(&mono, "aac-coder", "fast");
    // A decoder would make other noise for each channel, and apply noise shaping to one channel
    // only.
    set(&mono, "aac-pns", "false");
    set(&mono, "aac-tns", "false");
    let frames = pipeline.add_sink(mono_frames(&sides))?;
    pipeline.link(&[&tee, &left, &one, &mono, &frames])?;

    let stereo = pipeline.add("avenc_aac")?;
    stereo.set_property("bitrate", i32::try_from(bits).unwrap_or(128_000));
    // GStreamer can't set FFmpeg's automatic choice: `true` forces sum and difference in all bands.
    set(&stereo, "aac-ms", "false");
    set(&stereo, "aac-pns", "false");
    pipeline.link(&[&tee, &stereo])?;

    if let Some((raw, encoded)) = raw.static_pad("src").zip(stereo.static_pad("src")) {
        sides.watch(&raw);
        sides.replace(&encoded);
    }
    // The first frame overlaps with one frame of silence.
    Ok(Stage { entry: tee, exit: stereo, delay: 1024 })
}

/// Collects the mono frames.
fn mono_frames(sides: &Sides) -> gst_app::AppSinkCallbacks {
    let sides = sides.clone();
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer_owned() {
                sides.add_mono(buffer);
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

fn visual_on(pipeline: &MediaPipeline, plan: &AudioEncoding) -> Result<Stage, PipelineError> {
    const MOST: u32 = 320_000;
    let encoder = pipeline.add("voaacenc")?;
    let bits = plan.bitrate_kbps.saturating_mul(1000).min(MOST);
    encoder.set_property("bitrate", i32::try_from(bits).unwrap_or(128_000));
    // The default is ADTS, which `mp4mux` does not accept.
    let raw = gst::Caps::builder("audio/mpeg").field("stream-format", "raw").build();
    let exit = pipeline.add_caps(&raw)?;
    pipeline.link(&[&encoder, &exit])?;
    // Measured; it is that of the 3GPP reference encoder.
    Ok(Stage { entry: encoder, exit, delay: 1600 })
}

/// Sets a private option of FFmpeg's encoder, if the installed version has it.
fn set(encoder: &gst::Element, option: &str, value: &str) {
    if encoder.find_property(option).is_some() {
        encoder.set_property_from_str(option, value);
    }
}
