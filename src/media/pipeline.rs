//! A GStreamer pipeline that is set up piece by piece, watched, finished and always brought down.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::element::{MissingElement, make};
use super::feed::Feed;
use super::graph;

/// Why a pipeline could not be built, or stopped working.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Missing(#[from] MissingElement),
    /// Two elements that do not fit together.
    #[error("pipeline {pipeline}: {from} can't be linked to {to}")]
    Link { pipeline: String, from: String, to: String },
    /// An element posted an error. `text` is the element's own message, `debug` its details.
    #[error("pipeline {pipeline}: {element}: {text}{}", .debug.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Element { pipeline: String, element: String, text: String, debug: Option<String>, kind: ErrorKind },
    /// The pipeline refused to start and said nothing on its bus.
    #[error("pipeline {pipeline} refused to start")]
    State { pipeline: String },
    /// The end did not come through in time.
    #[error("pipeline {pipeline} frozen: no end of stream within {} s", .within.as_secs_f32())]
    Frozen { pipeline: String, within: Duration },
}

/// Kinds of element errors that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    NoSpaceLeft,
    Other,
}

/// An event of a running pipeline.
#[derive(Debug, Clone)]
pub enum PipelineEvent {
    /// Everything that was put in has come out.
    Eos,
    Error(PipelineError),
    Warning {
        element: String,
        text: String,
    },
    /// An element's own message (`splitmuxsink-fragment-closed`, …).
    Element(gst::Structure),
}

/// Owns a `gst::Pipeline`; dropping it sets the pipeline to NULL.
///
/// Setting to NULL joins streaming threads: a network sink may take a moment. Use
/// [`MediaPipeline::close`] where the caller must not be held up.
#[derive(Debug)]
pub struct MediaPipeline {
    pipeline: gst::Pipeline,
}

impl MediaPipeline {
    #[must_use]
    pub fn new(name: &str) -> Self {
        let pipeline = gst::Pipeline::with_name(name);
        graph::note(&pipeline);
        Self { pipeline }
    }

    #[must_use]
    pub const fn gst(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    #[must_use]
    pub fn name(&self) -> String {
        self.pipeline.name().to_string()
    }

    /// Makes an element and adds it.
    ///
    /// # Errors
    /// When the element is missing.
    pub fn add(&self, element: &str) -> Result<gst::Element, PipelineError> {
        let element = make(element)?;
        self.adopt(&element)?;
        Ok(element)
    }

    /// Adds an element that exists already (an [`Intake`](super::Intake)'s `appsrc`).
    ///
    /// # Errors
    /// When the pipeline has one of that name.
    pub fn adopt(&self, element: &gst::Element) -> Result<(), PipelineError> {
        self.pipeline.add(element).map_err(|_| self.no_link(element.name().as_str(), "the pipeline"))
    }

    /// Adds a `capsfilter`.
    ///
    /// # Errors
    /// When GStreamer has none.
    pub fn add_caps(&self, caps: &gst::Caps) -> Result<gst::Element, PipelineError> {
        let filter = self.add("capsfilter")?;
        filter.set_property("caps", caps);
        Ok(filter)
    }

    /// Adds an `appsink` that hands every buffer to `feed`, and ends the feed at the end of the
    /// stream. `mend` sees each sample before.
    ///
    /// # Errors
    /// When GStreamer has no `appsink`.
    pub fn add_feed(
        &self,
        feed: &Feed,
        mend: impl Fn(gst::Sample) -> gst::Sample + Send + 'static,
    ) -> Result<gst::Element, PipelineError> {
        let (at_sample, at_end) = (feed.clone(), feed.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                at_sample.push(&mend(sample));
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| at_end.end())
            .build();
        self.add_sink(callbacks)
    }

    /// Adds an unsynchronised `appsink` with these callbacks.
    ///
    /// # Errors
    /// When GStreamer has no `appsink`.
    pub fn add_sink(&self, callbacks: gst_app::AppSinkCallbacks) -> Result<gst::Element, PipelineError> {
        let sink = self.add("appsink")?;
        sink.set_property("sync", false);
        sink.set_property("async", false);
        sink.set_property("enable-last-sample", false);
        sink.set_property("max-buffers", 8u32);
        if let Some(sink) = sink.downcast_ref::<gst_app::AppSink>() {
            sink.set_callbacks(callbacks);
        }
        Ok(sink)
    }

    /// Links elements one after the other.
    ///
    /// # Errors
    /// The first pair that does not fit.
    pub fn link(&self, chain: &[&gst::Element]) -> Result<(), PipelineError> {
        for pair in chain.windows(2) {
            let [from, to] = pair else { continue };
            from.link(*to).map_err(|_| self.no_link(from.name().as_str(), to.name().as_str()))?;
        }
        Ok(())
    }

    /// The pipeline's events from now on. Take them before [`MediaPipeline::play`]; there can be
    /// only one stream at a time.
    #[must_use]
    pub fn events(&self) -> Pin<Box<dyn Stream<Item = PipelineEvent> + Send>> {
        let name = self.name();
        let Some(bus) = self.pipeline.bus() else { return Box::pin(futures::stream::empty()) };
        Box::pin(bus.stream().filter_map(move |message| futures::future::ready(event_of(&name, &message))))
    }

    /// Sets the pipeline to PLAYING.
    ///
    /// # Errors
    /// When it refuses, with the element's own words where there are some.
    pub fn play(&self) -> Result<(), PipelineError> {
        match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.refusal()),
        }
    }

    /// Waits for the end of the stream in a stream of events.
    ///
    /// # Errors
    /// The pipeline's error, or [`PipelineError::Frozen`] at the deadline.
    pub async fn finished(
        &self,
        events: &mut (impl Stream<Item = PipelineEvent> + Unpin),
        within: Duration,
    ) -> Result<(), PipelineError> {
        let end = async {
            while let Some(event) = events.next().await {
                match event {
                    PipelineEvent::Eos => return Ok(()),
                    PipelineEvent::Error(error) => return Err(error),
                    PipelineEvent::Warning { .. } | PipelineEvent::Element(_) => {}
                }
            }
            Err(PipelineError::State { pipeline: self.name() })
        };
        tokio::time::timeout(within, end)
            .await
            .unwrap_or_else(|_| Err(PipelineError::Frozen { pipeline: self.name(), within }))
    }

    /// Brings the pipeline down on a thread that may wait for it.
    pub async fn close(self) {
        // The join fails only if the closure panics, and dropping a pipeline does not.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            tracing::warn!(%error, "a pipeline did not close cleanly");
        }
    }

    fn no_link(&self, from: &str, to: &str) -> PipelineError {
        PipelineError::Link { pipeline: self.name(), from: from.to_owned(), to: to.to_owned() }
    }

    fn refusal(&self) -> PipelineError {
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match message.and_then(|message| event_of(&self.name(), &message)) {
            Some(PipelineEvent::Error(error)) => error,
            _ => PipelineError::State { pipeline: self.name() },
        }
    }
}

impl Drop for MediaPipeline {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(pipeline = %self.pipeline.name(), "could not be brought down");
        }
    }
}

fn event_of(pipeline: &str, message: &gst::MessageRef) -> Option<PipelineEvent> {
    let element = || message.src().map_or_else(String::new, |src| src.name().to_string());
    match message.view() {
        gst::MessageView::Eos(_) => Some(PipelineEvent::Eos),
        gst::MessageView::Error(error) => {
            let kind = match error.error().kind::<gst::ResourceError>() {
                Some(gst::ResourceError::NoSpaceLeft) => ErrorKind::NoSpaceLeft,
                _ => ErrorKind::Other,
            };
            Some(PipelineEvent::Error(PipelineError::Element {
                pipeline: pipeline.to_owned(),
                element: element(),
                text: error.error().to_string(),
                debug: error.debug().map(|debug| debug.to_string()),
                kind,
            }))
        }
        gst::MessageView::Warning(warning) => {
            Some(PipelineEvent::Warning { element: element(), text: warning.error().to_string() })
        }
        gst::MessageView::Element(element) => {
            element.structure().map(|s| PipelineEvent::Element(s.to_owned()))
        }
        _ => None,
    }
}
