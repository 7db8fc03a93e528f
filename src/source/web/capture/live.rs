//! A small live pipeline whose end is a sink of ours: what `ximagesrc` and `pulsesrc` have in
//! common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::watch;

use crate::media::{MediaPipeline, PipelineError, Timeline};

/// How long it is waited for when a pipeline is brought down.
const DOWN_WITHIN: Duration = Duration::from_secs(1);

/// A capture pipeline on the recording's clock, and its first error.
#[derive(Debug)]
pub(super) struct LivePipeline {
    /// Brought down when this is dropped.
    pipeline: Option<MediaPipeline>,
    failure: watch::Receiver<Option<String>>,
}

impl LivePipeline {
    /// Sets a pipeline going.
    pub(super) fn start(pipeline: MediaPipeline, timeline: &Timeline) -> Result<Self, PipelineError> {
        timeline.drive(pipeline.gst());
        let (failed, failure) = watch::channel(None);
        if let Some(bus) = pipeline.gst().bus() {
            // Called on the thread that has the error. Every message passes on, so that a refused
            // start can be read. Only the first error is reported: its receiver holds a lock, and
            // must not block later ones.
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
        Ok(Self { pipeline: Some(pipeline), failure })
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }
}

impl Drop for LivePipeline {
    /// On another thread: to say goodbye, `pulsesrc` waits for an answer of its server, and one
    /// that is stopped gives none. That thread ends when the server is killed, which comes next.
    fn drop(&mut self) {
        let Some(pipeline) = self.pipeline.take() else { return };
        let name = pipeline.name();
        let (down, is_down) = mpsc::channel();
        let started = std::thread::Builder::new().name("capture-down".to_owned()).spawn(move || {
            drop(pipeline);
            // Nobody waits any more after a while.
            down.send(()).ok();
        });
        match started {
            Ok(_) => {
                if is_down.recv_timeout(DOWN_WITHIN).is_err() {
                    tracing::warn!(pipeline = name, "a capture does not close; it is left to itself");
                }
            }
            // What the thread was to do was done here: the pipeline is gone with it.
            Err(error) => tracing::warn!(pipeline = name, %error, "no thread to close a capture"),
        }
    }
}
