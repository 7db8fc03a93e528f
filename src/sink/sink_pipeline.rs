//! A sink's pipeline while it runs: watched by a task of its own, brought down at its end, at an
//! error, or when dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SinkContext, SinkError, SinkEvent};
use crate::media::pipeline::ErrorKind;
use crate::media::{Attachment, Feed, FeedConsumer, MediaPipeline, PipelineError, PipelineEvent};
use crate::plan::output::OutputId;

/// Deadline of a pipeline's stop.
const CLOSE: Duration = Duration::from_secs(5);

/// How a sink's pipeline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything that was put in has come out.
    Complete,
    /// It could not go on, and that was reported.
    Failed,
    /// Stopped at once.
    Abandoned,
}

/// A running pipeline. Dropping it brings the pipeline down, without an end of the stream.
#[derive(Debug)]
pub(super) struct SinkPipeline {
    name: String,
    watch: JoinHandle<Ended>,
    stop: CancellationToken,
    _guard: DropGuard,
    failure: Failure,
}

impl SinkPipeline {
    /// Starts the pipeline, then attaches the consumers to their feeds. Reports failures to
    /// `failure`.
    pub(super) fn start(
        context: &SinkContext,
        pipeline: MediaPipeline,
        takers: Vec<(Feed, Box<dyn FeedConsumer>)>,
        failure: &Failure,
    ) -> Result<Self, PipelineError> {
        let mut events = pipeline.events();
        pipeline.play()?;
        let takers: Vec<Attachment> = takers.into_iter().map(|(feed, taker)| feed.attach(taker)).collect();
        let stop = context.abandon.child_token();
        let (name, stopped, reporter) = (pipeline.name(), stop.clone(), failure.clone());
        let watch = context.tasks.spawn(async move {
            let ended = loop {
                tokio::select! {
                    () = stopped.cancelled() => break Ended::Abandoned,
                    event = events.next() => match event {
                        Some(PipelineEvent::Eos) => break Ended::Complete,
                        Some(PipelineEvent::Error(error)) => {
                            reporter.report_pipeline(error);
                            break Ended::Failed;
                        }
                        Some(PipelineEvent::Warning { element, text }) => {
                            tracing::warn!(pipeline = %pipeline.name(), element, text, "a sink is in trouble");
                        }
                        Some(PipelineEvent::Element(_)) => {}
                        // A bus ends with its pipeline, and that is still ours.
                        None => break Ended::Abandoned,
                    },
                }
            };
            drop(takers);
            pipeline.close().await;
            ended
        });
        Ok(Self { name, watch, stop: stop.clone(), _guard: stop.drop_guard(), failure: failure.clone() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the end of a pipeline whose feeds have ended. At the deadline it is brought down
    /// all the same.
    ///
    /// # Errors
    /// [`PipelineError::Frozen`] at the deadline, when nothing else was reported before.
    pub(super) async fn ended(&mut self, within: Duration) -> Result<Ended, SinkError> {
        if let Ok(ended) = tokio::time::timeout(within, &mut self.watch).await {
            return Ok(self.unless_failed(ended.unwrap_or(Ended::Abandoned)));
        }
        self.watch_down().await;
        match self.failure.is_reported() {
            true => Ok(Ended::Failed),
            false => Err(PipelineError::Frozen { pipeline: self.name.clone(), within }.into()),
        }
    }

    async fn watch_down(&mut self) {
        let (name, stop) = (&self.name, CancellationToken::clone(&self.stop));
        stop.cancel();
        if tokio::time::timeout(CLOSE, &mut self.watch).await.is_err() {
            tracing::warn!(pipeline = name, "does not come down");
        }
    }

    /// The pipeline's output may have failed although the pipeline itself reached its end.
    fn unless_failed(&self, ended: Ended) -> Ended {
        if self.failure.is_reported() { Ended::Failed } else { ended }
    }
}

/// Output of a pipeline for a sink's writer.
#[derive(Debug)]
pub(super) enum Outcome {
    Sample(gst::Sample),
    /// Nothing more comes, and everything came. A pipeline that was brought down just closes the
    /// channel.
    End,
}

/// Callbacks of an `appsink` that hand everything to a writer on a thread of its own, which may
/// wait for the disk; the pipeline waits for it in turn.
pub(super) fn to_writer() -> (gst_app::AppSinkCallbacks, mpsc::Receiver<Outcome>) {
    let (sender, receiver) = mpsc::channel(64);
    let ends = sender.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            // A writer that is gone has said why.
            sender.blocking_send(Outcome::Sample(sample)).map_err(|_| gst::FlowError::Error)?;
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            if ends.blocking_send(Outcome::End).is_err() {
                tracing::debug!("a sink's writer was gone before the end");
            }
        })
        .build();
    (callbacks, receiver)
}

/// Waits for a writer after its pipeline has ended, and gives what it gives. One that panicked has
/// not written everything.
pub(super) async fn written<T>(writer: JoinHandle<T>, name: &str, within: Duration) -> Result<T, SinkError> {
    match tokio::time::timeout(within, writer).await {
        Ok(done) => done.map_err(|panic| SinkError::Io {
            action: "writing",
            path: name.into(),
            source: std::io::Error::other(panic),
        }),
        Err(_) => Err(PipelineError::Frozen { pipeline: name.to_owned(), within }.into()),
    }
}

/// Tells the recording, once, that a sink can't go on.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    output: OutputId,
    dir: PathBuf,
    events: mpsc::UnboundedSender<SinkEvent>,
    reported: Arc<AtomicBool>,
}

impl Failure {
    pub(super) fn new(output: OutputId, context: &SinkContext) -> Self {
        Self { output, dir: context.dir.clone(), events: context.events.clone(), reported: Arc::default() }
    }

    pub(super) fn report(&self, error: SinkError) {
        if self.reported.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "a failed sink failed again");
            return;
        }
        if self.events.send(SinkEvent::Failed { output: self.output, error }).is_err() {
            tracing::debug!("nobody listens to a sink any more");
        }
    }

    pub(super) fn report_pipeline(&self, error: PipelineError) {
        self.report(match error {
            PipelineError::Element { kind: ErrorKind::NoSpaceLeft, .. } => {
                SinkError::NoSpaceLeft { path: self.dir.clone() }
            }
            error => error.into(),
        });
    }

    pub(super) fn report_io(&self, action: &'static str, path: PathBuf, source: std::io::Error) {
        self.report(SinkError::of_io(action, path, source));
    }

    pub(super) fn is_reported(&self) -> bool {
        self.reported.load(Ordering::Relaxed)
    }
}
