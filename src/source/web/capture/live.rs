//! A small live pipeline whose end is a sink of ours: what `ximagesrc` and `pulsesrc` have in common.

use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::watch;

use crate::media::{MediaPipeline, PipelineError, Timeline};

/// A capture pipeline on the recording's clock, and its first error.
#[derive(Debug)]
pub(super) struct LivePipeline {
    /// Brought down when this is dropped.
    _pipeline: MediaPipeline,
    failure: watch::Receiver<Option<String>>,
}

impl LivePipeline {
    /// Sets a pipeline going.
    pub(super) fn start(pipeline: MediaPipeline, timeline: &Timeline) -> Result<Self, PipelineError> {
        timeline.drive(pipeline.gst());
        let (failed, failure) = watch::channel(None);
        if let Some(bus) = pipeline.gst().bus() {
            // Called on the thread that has the error. Everything passes on, so that a refusal to start can be read. The
            // first error alone is told: whoever looks at it holds a lock, and must not hold up those after it.
            let told = AtomicBool::new(false);
            bus.set_sync_handler(move |_, message| {
                let why = match message.view() {
                    gst::MessageView::Error(error) => Some(match error.debug() {
                        Some(debug) => format!("{} ({debug})", error.error()),
                        None => error.error().to_string(),
                    }),
                    gst::MessageView::Eos(_) => Some("it ended".to_owned()),
                    _ => None,
                };
                if why.is_some() && !told.swap(true, Ordering::Relaxed) {
                    failed.send_replace(why);
                }
                gst::BusSyncReply::Pass
            });
        }
        pipeline.play()?;
        Ok(Self { _pipeline: pipeline, failure })
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }
}
