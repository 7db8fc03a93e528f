//! Transcodes G.711 to Opus. G.711 is the only codec of a room that Weir's files can't hold.
//!
//! ```text
//! Feed(G.711) ─► appsrc ─► mulawdec ─► convert, resample ─► opusenc ─► Feed(track)
//! ```

use std::time::Duration;

use futures::StreamExt;
use gstreamer as gst;

use crate::media::{Attachment, Feed, Intake, MediaPipeline, Overflow, PipelineError, PipelineEvent};
use crate::plan::track::TrackCodec;

/// Audio that may wait: minutes. An encoder that is further behind does not catch up.
const WAITING: Overflow = Overflow::Hold { max_bytes: 4 << 20 };
/// Deadline for transcoding the rest, about a tenth of a second.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Transcoder {
    pipeline: MediaPipeline,
    source: Feed,
    target: Feed,
    _attachment: Attachment,
}

impl Transcoder {
    /// Fills `target` from [`Transcoder::source`].
    pub(super) fn start(codec: TrackCodec, target: &Feed) -> Result<Self, PipelineError> {
        let pipeline = MediaPipeline::new("g711");
        let intake = Intake::new("audio", WAITING, false)?;
        pipeline.adopt(intake.element())?;
        let decoder = pipeline.add(if codec == TrackCodec::Pcmu { "mulawdec" } else { "alawdec" })?;
        let (convert, resample) = (pipeline.add("audioconvert")?, pipeline.add("audioresample")?);
        let stereo =
            gst::Caps::builder("audio/x-raw").field("rate", 48_000i32).field("channels", 2i32).build();
        let stereo = pipeline.add_caps(&stereo)?;
        let encoder = pipeline.add("opusenc")?;
        let sink = pipeline.add_feed(target, |sample| sample)?;
        pipeline.link(&[intake.element(), &decoder, &convert, &resample, &stereo, &encoder, &sink])?;
        pipeline.play()?;
        let source = Feed::new("g711");
        let attachment = source.attach(Box::new(intake));
        Ok(Self { pipeline, source, target: target.clone(), _attachment: attachment })
    }

    pub(super) const fn source(&self) -> &Feed {
        &self.source
    }

    /// Transcodes the rest. To be called after the source feed has ended.
    pub(super) async fn close(self) {
        let mut events = self.pipeline.events();
        let end = async {
            while let Some(event) = events.next().await {
                match event {
                    PipelineEvent::Eos => return,
                    PipelineEvent::Error(error) => {
                        tracing::error!(%error, "audio transcoder failed");
                        return;
                    }
                    PipelineEvent::Warning { .. } | PipelineEvent::Element(_) => {}
                }
            }
        };
        if tokio::time::timeout(FLUSH_WITHIN, end).await.is_err() {
            tracing::warn!("audio transcoder not flushed in time");
        }
        drop(events);
        self.target.end();
        self.pipeline.close().await;
    }
}
