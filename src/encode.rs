//! Encodes raw feeds: one H.264 feed, and one audio feed per codec, shared by all outputs.
//!
//! ```text
//! Feed(raw video) ─► Intake ─► x264enc ─► byte-stream caps ─► Feed(h264)
//! Feed(raw audio) ─► Intake ─► audiorate ─► convert, resample ─► AAC  ─► Feed(aac)
//!                └─► Intake ─► audiorate ─► convert, resample ─► Opus ─► Feed(opus)    …
//! ```
//!
//! Each encoder is a pipeline of its own. Raw queues hold frames, not seconds: three seconds of
//! 1080p frames would be a quarter of a gigabyte, and an encoder that far behind does not catch up.

mod aac;
mod audio;
mod delay;
mod thinning;
mod video;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{SelectAll, Stream};

use crate::media::{Attachment, Feed, KeyFrames, MediaPipeline, PipelineError, PipelineEvent, Watermark};
use crate::plan::codec::AudioCodec;
use crate::plan::graph::GraphPlan;
pub use thinning::Thinning;

/// The running encoders of a recording.
#[derive(Debug)]
pub struct Encoders {
    video: Option<Encoder>,
    audio: BTreeMap<AudioCodec, Encoder>,
    key_frames: KeyFrames,
    thinning: Thinning,
}

/// One encoder: its pipeline, its place at the raw feed, and the feed it fills.
#[derive(Debug)]
struct Encoder {
    pipeline: MediaPipeline,
    output: Feed,
    dropped: Arc<AtomicU64>,
    mark: Watermark,
    /// Before the pipeline in no way that matters: samples that come while it goes down are refused
    /// and dropped.
    _attachment: Attachment,
}

/// Events of the encoders' pipelines.
pub type EncoderEvents = SelectAll<Pin<Box<dyn Stream<Item = PipelineEvent> + Send>>>;

impl Encoders {
    /// Builds and starts the encoders of the plan, and attaches them to the raw feeds. The first
    /// frame at or after each multiple of `key_interval` is a key frame.
    ///
    /// # Errors
    ///
    /// When an element is missing, refuses its settings, or does not start.
    pub fn start(
        graph: &GraphPlan,
        key_interval: Duration,
        raw_video: Option<&Feed>,
        raw_audio: Option<&Feed>,
    ) -> Result<(Self, EncoderEvents), PipelineError> {
        let mut events = EncoderEvents::new();
        let mut key_frames = KeyFrames::none();
        let thinning = Thinning::default();
        let video = match (&graph.video, raw_video) {
            (Some(plan), Some(raw)) => {
                let built = video::build(plan, key_interval, thinning.clone())?;
                key_frames = built.key_frames;
                events.push(built.pipeline.events());
                built.pipeline.play()?;
                Some(Encoder {
                    dropped: built.dropped,
                    mark: Watermark::of(&built.output),
                    pipeline: built.pipeline,
                    output: built.output,
                    _attachment: raw.attach(built.taker),
                })
            }
            _ => None,
        };
        let mut audio = BTreeMap::new();
        if let Some(raw) = raw_audio {
            for plan in &graph.audio {
                let built = audio::build(plan)?;
                events.push(built.pipeline.events());
                built.pipeline.play()?;
                let encoder = Encoder {
                    dropped: built.intake.dropped(),
                    mark: Watermark::of(&built.output),
                    pipeline: built.pipeline,
                    output: built.output,
                    _attachment: raw.attach(Box::new(built.intake)),
                };
                audio.insert(plan.codec, encoder);
            }
        }
        Ok((Self { video, audio, key_frames, thinning }, events))
    }

    /// The H.264 feed: byte stream, one access unit a buffer, parameter sets before each key frame.
    #[must_use]
    pub fn video(&self) -> Option<Feed> {
        self.video.as_ref().map(|encoder| encoder.output.clone())
    }

    /// A feed for each audio codec.
    #[must_use]
    pub fn audio(&self) -> BTreeMap<AudioCodec, Feed> {
        self.audio.iter().map(|(codec, encoder)| (*codec, encoder.output.clone())).collect()
    }

    #[must_use]
    pub fn key_frames(&self) -> KeyFrames {
        self.key_frames.clone()
    }

    /// Limits the encoded frame rate; can be changed at any time.
    #[must_use]
    pub const fn thinning(&self) -> &Thinning {
        &self.thinning
    }

    /// Frames dropped because the video encoder was too slow.
    #[must_use]
    pub fn dropped_pictures(&self) -> u64 {
        self.video.as_ref().map_or(0, |encoder| encoder.dropped.load(Ordering::Relaxed))
    }

    /// How far encoded audio is ahead of encoded video, in seconds of media time; negative: behind.
    /// Muxers wait for the later one. It does not measure A/V sync: both may be late and in sync.
    /// `None` without audio or video.
    ///
    /// Audio is ahead by the video encoder's look-ahead: four frames, 0.13 s of a moving page at 30
    /// fps, and 0.8 s of a static one.
    #[must_use]
    pub fn audio_lead(&self) -> Option<f64> {
        let picture = self.video.as_ref()?.mark.newest()?;
        // Of several encoders the slowest counts.
        let sound = self.audio.values().map(|encoder| encoder.mark.newest()).min()??;
        let seconds = |at: gstreamer::ClockTime| Duration::from(at).as_secs_f64();
        Some(seconds(sound) - seconds(picture))
    }

    /// Waits until everything is encoded; call it when the raw feeds have ended. The encoded feeds
    /// have ended then.
    ///
    /// # Errors
    /// When an encoder failed, or did not finish `within` that time. The encoded feeds are ended
    /// all the same, so that whoever takes from them can close what it has.
    pub async fn finish(self, events: EncoderEvents, within: Duration) -> Result<(), PipelineError> {
        let waiting = self.video.iter().chain(self.audio.values()).count();
        let result = tokio::time::timeout(within, ends(events, waiting))
            .await
            .unwrap_or_else(|_| Err(PipelineError::Frozen { pipeline: "encoder".to_owned(), within }));
        for encoder in self.video.into_iter().chain(self.audio.into_values()) {
            encoder.output.end();
            encoder.pipeline.close().await;
        }
        result
    }
}

/// Waits for `count` ends of stream, or the first error.
async fn ends(mut events: EncoderEvents, count: usize) -> Result<(), PipelineError> {
    use futures::StreamExt;
    let mut left = count;
    while left > 0 {
        match events.next().await {
            Some(PipelineEvent::Eos) => left -= 1,
            Some(PipelineEvent::Error(error)) => return Err(error),
            Some(PipelineEvent::Warning { .. } | PipelineEvent::Element(_)) => {}
            None => return Err(PipelineError::State { pipeline: "encoder".to_owned() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
