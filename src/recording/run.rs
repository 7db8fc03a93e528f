//! The driver: waits for whatever happens next, asks the lifecycle what to do about it, and does it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, OptionFuture};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lifecycle::{Action, Event, Lifecycle, Outcome, State};
use super::outputs::Outputs;
use super::preflight::{MIN_FREE_BYTES, free_bytes};
use super::progress::{OutputState, Progress, ProgressBoard};
use super::{Ended, Reporter, Setup};
use crate::control::{Command, CommandError, EndReason, Limit};
use crate::encode::{EncoderEvents, Encoders};
use crate::media::{Feed, PipelineEvent, Timeline};
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::source::SourcePlan;
use crate::plan::storage::StorageTarget;
use crate::report::{Ending, Fault, Report};
use crate::sink::{Artifact, ArtifactKind, SinkContext, SinkEvent, StreamEvent};
use crate::source::web::{WebError, WebSource};
use crate::source::{CaptureCounters, Pacing, SourceContext, SourceEvent};
use crate::upload::{Upload, UploadEvent, Uploader};

/// From the last picture to empty encoders. They hold less than a second; this is for a machine that is drowning.
const ENCODERS_WITHIN: Duration = Duration::from_secs(10);
/// From empty encoders to closed files, the rewrite of an MP4 not counted (media.md §9.3).
const SINKS_WITHIN: Duration = Duration::from_secs(30);
/// Stray tasks (a stream that says goodbye, a log that is read to its end) get this long at the end.
const TASKS_WITHIN: Duration = Duration::from_secs(2);
/// How often the reporter hears of progress, and limits and disk are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Something that happened, wherever.
enum Input {
    Command(Option<Command>),
    SourceStarted(Result<WebSource, StartFailure>),
    Source(SourceEvent),
    Encoder(PipelineEvent),
    Sink(SinkEvent),
    Uploaded(UploadEvent<Artifact>),
    EverythingStored,
    Drained(Emptied),
    DurationReached,
    Tick,
}

/// Records until it is over, and tells how it went. The work directory is removed when nothing in it is worth keeping.
///
/// Closing the command channel is no command: the recording goes on to its own end.
pub async fn run(
    setup: Setup,
    mut commands: mpsc::UnboundedReceiver<Command>,
    reporter: &mut dyn Reporter,
) -> Ended {
    let (sink_events, mut from_sinks) = mpsc::unbounded_channel();
    let (source_events, mut from_source) = mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    let (uploader, mut uploads) = Uploader::start(setup.base.clone(), &tasks);
    let mut driver = Driver::new(setup, reporter, tasks, sink_events, uploader);
    let mut starting = JoinSet::new();
    let mut encoder_events = EncoderEvents::new();
    let mut commands_open = true;
    let mut draining: Option<BoxFuture<'static, Emptied>> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    let mut actions = match driver.prepare(&mut starting, source_events) {
        Ok(events) => {
            encoder_events = events;
            Vec::new()
        }
        Err(error) => driver.lifecycle.handle(Event::EncoderFailed(error)),
    };
    loop {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Begin => actions.extend(driver.begin()),
                Action::Drain => draining = Some(driver.drain(std::mem::take(&mut encoder_events))),
                Action::Store => driver.close_uploader(),
                Action::Finish => {
                    starting.shutdown().await;
                    return driver.finish().await;
                }
            }
        }
        let input = tokio::select! {
            biased;
            command = commands.recv(), if commands_open => Input::Command(command),
            Some(event) = from_sinks.recv() => Input::Sink(event),
            Some(started) = starting.join_next() => Input::SourceStarted(flatten(started)),
            Some(event) = from_source.recv() => Input::Source(event),
            Some(event) = encoder_events.next() => Input::Encoder(event),
            Some(emptied) = OptionFuture::from(draining.as_mut()) => {
                draining = None;
                Input::Drained(emptied)
            }
            event = uploads.recv(), if driver.awaits_uploads => event.map_or(Input::EverythingStored, Input::Uploaded),
            () = driver.duration_reached() => Input::DurationReached,
            _ = ticks.tick() => Input::Tick,
        };
        actions = match input {
            Input::Command(None) => {
                commands_open = false;
                Vec::new()
            }
            Input::Command(Some(Command::Abandon)) => {
                starting.abort_all();
                return driver.abandon().await;
            }
            Input::Drained(emptied) => {
                // What the sinks said while they finished comes first: their last artifacts.
                while let Ok(event) = from_sinks.try_recv() {
                    driver.on_sink(event);
                }
                driver.take(Input::Drained(emptied))
            }
            input => driver.take(input),
        };
    }
}

/// How emptying encoders and sinks went.
struct Emptied {
    error: Option<String>,
    /// Some sink could not finish: what it recorded is in the work directory.
    left_behind: bool,
}

/// Why there is no source, and whose fault that is.
struct StartFailure {
    error: String,
    fault: Fault,
}

impl From<WebError> for StartFailure {
    fn from(error: WebError) -> Self {
        let fault = match error {
            WebError::Page { .. } => Fault::User,
            _ => Fault::Service,
        };
        Self { error: describe(&error), fault }
    }
}

fn flatten(started: Result<Result<WebSource, WebError>, JoinError>) -> Result<WebSource, StartFailure> {
    match started {
        Ok(started) => started.map_err(StartFailure::from),
        Err(panic) => Err(StartFailure { error: panic.to_string(), fault: Fault::Service }),
    }
}

/// An error with its causes, which its own text leaves to them.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

struct Driver<'a> {
    setup: Setup,
    reporter: &'a mut dyn Reporter,
    lifecycle: Lifecycle,
    report: Report,
    board: ProgressBoard,
    timeline: Timeline,
    counters: Arc<CaptureCounters>,
    raw_video: Option<Feed>,
    raw_audio: Option<Feed>,
    encoders: Option<Encoders>,
    outputs: Outputs,
    /// One for each output, in order.
    contexts: Vec<SinkContext>,
    source: Option<WebSource>,
    tasks: TaskTracker,
    abandon: CancellationToken,
    sink_events: mpsc::UnboundedSender<SinkEvent>,
    uploader: Option<Uploader<Artifact>>,
    awaits_uploads: bool,
    /// When `Limits::duration` is over; known when the recording began.
    deadline: Option<Instant>,
    stored_bytes: u64,
    fault: Fault,
    /// Something is left in the work directory that belongs elsewhere.
    left_behind: bool,
}

impl<'a> Driver<'a> {
    fn new(
        setup: Setup,
        reporter: &'a mut dyn Reporter,
        tasks: TaskTracker,
        sink_events: mpsc::UnboundedSender<SinkEvent>,
        uploader: Uploader<Artifact>,
    ) -> Self {
        let report = Report::new(&setup.plan, setup.request.clone(), Timestamp::now());
        reporter.changed(report.info());
        Self {
            raw_video: setup.plan.video.as_ref().map(|_| Feed::new("raw video")),
            raw_audio: (!setup.plan.audio.is_empty()).then(|| Feed::new("raw audio")),
            board: ProgressBoard::new(&setup.plan),
            setup,
            reporter,
            lifecycle: Lifecycle::new(),
            report,
            timeline: Timeline::new(),
            counters: Arc::default(),
            encoders: None,
            outputs: Outputs::default(),
            contexts: Vec::new(),
            source: None,
            tasks,
            abandon: CancellationToken::new(),
            sink_events,
            uploader: Some(uploader),
            awaits_uploads: true,
            deadline: None,
            stored_bytes: 0,
            fault: Fault::Service,
            left_behind: false,
        }
    }

    /// Starts the source, and beside it encoders and sinks.
    fn prepare(
        &mut self,
        starting: &mut JoinSet<Result<WebSource, WebError>>,
        events: mpsc::UnboundedSender<SourceEvent>,
    ) -> Result<EncoderEvents, String> {
        let SourcePlan::Web(web) = self.setup.plan.source.clone();
        let pacing = self.pacing();
        let context = SourceContext {
            timeline: self.timeline.clone(),
            video: self.raw_video.clone(),
            audio: self.raw_audio.clone(),
            pacing,
            counters: Arc::clone(&self.counters),
            run_dir: self.setup.work.run().to_owned(),
            report_dir: self.setup.work.report(),
            events,
        };
        starting.spawn(async move { WebSource::start(&web, context).await });
        let (encoders, events) = Encoders::start(
            &self.setup.graph,
            pacing.key_interval,
            self.raw_video.as_ref(),
            self.raw_audio.as_ref(),
        )
        .map_err(|error| error.to_string())?;
        self.encoders = Some(encoders);
        self.contexts =
            (0..self.setup.plan.outputs.len()).map(|at| self.sink_context(OutputId(at))).collect();
        self.outputs = Outputs::open(&self.setup.plan, &self.contexts).map_err(|error| {
            self.fault = Fault::Destination;
            error.to_string()
        })?;
        Ok(events)
    }

    fn pacing(&self) -> Pacing {
        self.setup.plan.video.as_ref().map_or(
            Pacing {
                cadence: crate::plan::encoding::Cadence::Grid,
                fps: 1,
                key_interval: Duration::from_secs(10),
            },
            |video| Pacing { cadence: video.cadence, fps: video.fps, key_interval: video.key_interval },
        )
    }

    fn sink_context(&self, id: OutputId) -> SinkContext {
        let encoders = self.encoders.as_ref();
        SinkContext {
            timeline: self.timeline.clone(),
            raw_video: self.raw_video.clone(),
            video: encoders.and_then(Encoders::video),
            audio: encoders.map(Encoders::audio).unwrap_or_default(),
            key_frames: encoders.map_or_else(crate::media::KeyFrames::none, Encoders::key_frames),
            dir: self.setup.work.output(id),
            events: self.sink_events.clone(),
            tasks: self.tasks.clone(),
            abandon: self.abandon.child_token(),
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let before = self.lifecycle.state();
        let actions = self.lifecycle.handle(event);
        let after = self.lifecycle.state();
        if before != after {
            tracing::info!(state = ?after, "recording");
        }
        actions
    }

    fn take(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Command(command) => command.map_or_else(Vec::new, |command| self.on_command(command)),
            Input::SourceStarted(Ok(source)) => {
                self.source = Some(source);
                Vec::new()
            }
            Input::SourceStarted(Err(failure)) => self.source_failed(failure),
            Input::Source(event) => self.on_source(event),
            Input::Encoder(PipelineEvent::Error(error)) => {
                self.handle(Event::EncoderFailed(describe(&error)))
            }
            Input::Encoder(PipelineEvent::Warning { element, text }) => {
                tracing::warn!(element, text, "encoder");
                Vec::new()
            }
            Input::Encoder(PipelineEvent::Eos | PipelineEvent::Element(_)) => Vec::new(),
            Input::Sink(event) => self.on_sink(event),
            Input::Uploaded(event) => self.on_upload(event),
            Input::EverythingStored => {
                self.awaits_uploads = false;
                self.handle(Event::Stored { error: None })
            }
            Input::Drained(emptied) => {
                self.left_behind |= emptied.left_behind;
                self.handle(Event::Drained { error: emptied.error })
            }
            Input::DurationReached => self.handle(Event::LimitReached(Limit::Duration)),
            Input::Tick => self.on_tick(),
        }
    }

    fn on_command(&mut self, command: Command) -> Vec<Action> {
        let active = self.lifecycle.state() == State::Active;
        match command {
            Command::Stop(cause) => return self.handle(Event::Stop(cause)),
            // Dealt with by the loop, which must return at once.
            Command::Abandon => {}
            Command::AddStream { url, reply } => {
                let answer =
                    if active { self.outputs.add_stream(url.clone()) } else { Err(CommandError::Ending) };
                if let Ok(output) = &answer {
                    self.report.stream_added(*output, &url);
                    self.board.add_stream(*output, &url);
                    self.reporter.changed(self.report.info());
                }
                // Who asked may have gone; the answer is in the report too.
                reply.send(answer.map(drop)).ok();
            }
            Command::RemoveStream { url, reply } => {
                let answer =
                    if active { self.outputs.remove_stream(&url) } else { Err(CommandError::Ending) };
                let removed = answer.is_ok();
                reply.send(answer).ok();
                if removed && !self.outputs.any_alive() {
                    return self.handle(Event::AllStreamsStopped);
                }
            }
        }
        Vec::new()
    }

    fn on_source(&mut self, event: SourceEvent) -> Vec<Action> {
        match event {
            SourceEvent::Loaded => self.handle(Event::SourceLoaded),
            SourceEvent::Ready => self.handle(Event::SourceReady),
            SourceEvent::Ended => self.handle(Event::SourceEnded),
            SourceEvent::Interrupted { why } => {
                let at = self.elapsed();
                tracing::warn!(at = at.as_secs_f64(), why, "interrupted");
                self.note(format!("interrupted at {:.1} s: {why}", at.as_secs_f64()));
                Vec::new()
            }
            SourceEvent::Resumed { gap } => {
                tracing::info!(gap = gap.as_secs_f64(), "resumed");
                self.note(format!("back after {:.1} s", gap.as_secs_f64()));
                Vec::new()
            }
            SourceEvent::Failed(error) => self.source_failed(error.into()),
        }
    }

    fn source_failed(&mut self, failure: StartFailure) -> Vec<Action> {
        self.fault = failure.fault;
        self.handle(Event::SourceFailed(failure.error))
    }

    fn on_sink(&mut self, event: SinkEvent) -> Vec<Action> {
        match event {
            SinkEvent::Artifact(artifact) => {
                let upload = Upload {
                    output: artifact.output,
                    local: artifact.local.clone(),
                    target: StorageTarget::Local,
                    name: artifact.name.clone(),
                    subject: artifact,
                };
                match &self.uploader {
                    Some(uploader) => uploader.store(upload),
                    None => self.left_behind = true,
                }
                Vec::new()
            }
            SinkEvent::Stream(output, event) => self.on_stream(output, &event),
            SinkEvent::Failed { output, error } => {
                tracing::error!(output = output.0, %error, "output failed");
                self.output_failed(output, describe(&error))
            }
        }
    }

    /// An output can't go on. What it has is still made whole and stored, if that can be.
    fn output_failed(&mut self, output: OutputId, error: String) -> Vec<Action> {
        self.board.set(output, OutputState::Failed);
        self.outputs.mark_failed(output);
        self.fault = Fault::Destination;
        let others_left = self.outputs.any_alive();
        self.handle(Event::OutputFailed { error, others_left })
    }

    fn on_stream(&mut self, output: OutputId, event: &StreamEvent) -> Vec<Action> {
        let now = Timestamp::now();
        self.board.stream(output, event);
        let mut actions = Vec::new();
        match event {
            StreamEvent::Connecting { url } => tracing::info!(%url, "connecting"),
            StreamEvent::Started { url } => {
                tracing::info!(%url, "streaming");
                self.report.stream_started(output, url, now);
            }
            StreamEvent::Retrying { url, retries, error } => {
                tracing::warn!(%url, retries, error, "stream lost, trying again");
                self.report.stream_retrying(output, url, *retries, now);
            }
            StreamEvent::Failed { url, error } => {
                tracing::warn!(%url, error, "stream given up");
                self.report.stream_ended(output, url, Some(error), now);
                if !self.outputs.any_alive() {
                    self.fault = Fault::Destination;
                    actions = self.handle(Event::OutputFailed { error: error.clone(), others_left: false });
                }
            }
            StreamEvent::Finished { url } => self.report.stream_ended(output, url, None, now),
        }
        self.reporter.changed(self.report.info());
        actions
    }

    fn on_upload(&mut self, event: UploadEvent<Artifact>) -> Vec<Action> {
        match event {
            UploadEvent::Stored { upload, location } => {
                let artifact = upload.subject;
                match &artifact.kind {
                    ArtifactKind::File => {
                        self.board.set(artifact.output, OutputState::Done);
                        self.report.file_stored(artifact.output, &location, artifact.size);
                        self.stored_bytes += artifact.size;
                    }
                    ArtifactKind::Segment { .. } => {
                        self.report.segment_stored(artifact.output, artifact.size);
                        self.stored_bytes += artifact.size;
                    }
                    ArtifactKind::Playlist => {
                        self.report.playlist_stored(artifact.output, &artifact.name, &location);
                    }
                    ArtifactKind::Image { .. } => {
                        self.report.image_stored(artifact.output);
                        self.stored_bytes += artifact.size;
                    }
                }
                tracing::debug!(location, "stored");
                Vec::new()
            }
            UploadEvent::Failed { upload, error } => {
                tracing::error!(name = upload.name, %error, "not stored");
                self.left_behind = true;
                self.output_failed(upload.output, describe(&error))
            }
        }
    }

    fn on_tick(&mut self) -> Vec<Action> {
        let size = self.stored_bytes + self.setup.work.size(self.setup.plan.outputs.len());
        let progress = Progress {
            state: self.lifecycle.state(),
            elapsed: self.elapsed(),
            pictures: self.counters.pictures.load(Ordering::Relaxed),
            dropped: self.dropped(),
            size,
            outputs: self.board.outputs(),
        };
        self.reporter.progress(&progress);
        if self.lifecycle.state() != State::Active {
            return Vec::new();
        }
        if self.setup.plan.limits.size.is_some_and(|limit| size >= limit) {
            return self.handle(Event::LimitReached(Limit::Size));
        }
        let writes = self.setup.plan.outputs.iter().any(|output| !matches!(output, OutputPlan::Stream(_)));
        if writes && free_bytes(self.setup.work.root()).is_some_and(|free| free < MIN_FREE_BYTES / 2) {
            self.fault = Fault::Destination;
            let error = format!("no space left on the disk of {}", self.setup.work.root().display());
            return self.handle(Event::OutputFailed { error, others_left: false });
        }
        Vec::new()
    }

    /// Media time is zero now. The streams attach first, so that the recording's first picture is theirs too.
    fn begin(&mut self) -> Vec<Action> {
        let opened = self.outputs.open_streams(&self.setup.plan, &self.contexts);
        self.timeline.begin();
        self.deadline = self.setup.plan.limits.duration.map(|limit| Instant::now() + limit);
        self.board.begin();
        self.report.active(Timestamp::now());
        self.reporter.changed(self.report.info());
        match opened {
            Ok(()) => Vec::new(),
            Err(error) => {
                self.fault = Fault::Destination;
                let others_left = self.outputs.any_alive();
                self.handle(Event::OutputFailed { error: error.to_string(), others_left })
            }
        }
    }

    /// Ends the recording's media, and gives the work of emptying everything: source, encoders, sinks, in this order.
    fn drain(&mut self, events: EncoderEvents) -> BoxFuture<'static, Emptied> {
        let length = Duration::from(self.timeline.end());
        self.deadline = None;
        let reason = self.lifecycle.reason().unwrap_or(EndReason::Failure);
        self.report.ending(reason, length, Timestamp::now());
        let dropped = self.dropped();
        if dropped > 0 {
            self.report.note(format!("{dropped} pictures dropped"));
        }
        self.reporter.changed(self.report.info());
        let (source, encoders) = (self.source.take(), self.encoders.take());
        let outputs = std::mem::take(&mut self.outputs);
        let feeds: Vec<Feed> = self.raw_video.iter().chain(&self.raw_audio).cloned().collect();
        Box::pin(async move {
            let mut closing = None;
            match source {
                // It ends the feeds after their last sample; its processes take longer to go.
                Some(source) => closing = Some(source.close()),
                None => feeds.iter().for_each(Feed::end),
            }
            let emptied = async {
                let mut errors = Vec::new();
                if let Some(encoders) = encoders {
                    errors.extend(encoders.finish(events, ENCODERS_WITHIN).await.err().map(|e| describe(&e)));
                }
                let unfinished = outputs.finish(SINKS_WITHIN).await;
                let left_behind = !unfinished.is_empty();
                errors.extend(unfinished.iter().map(|(_, error)| describe(error)));
                Emptied { error: (!errors.is_empty()).then(|| errors.join("; ")), left_behind }
            };
            let (emptied, _) = futures::join!(emptied, OptionFuture::from(closing));
            emptied
        })
    }

    /// Nothing more will be stored than what is asked for already.
    fn close_uploader(&mut self) {
        self.uploader = None;
    }

    /// The moment at which `Limits::duration` is over; never, if there is none.
    fn duration_reached(&self) -> impl Future<Output = ()> + 'static {
        let deadline = self.deadline;
        async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Closes what is left, and tells how it went.
    async fn finish(mut self) -> Ended {
        // A recording that never began has a source and encoders still.
        if let Some(source) = self.source.take() {
            source.close().await;
        }
        self.abandon.cancel();
        drop((self.encoders.take(), std::mem::take(&mut self.outputs), self.uploader.take()));
        self.tasks.close();
        if tokio::time::timeout(TASKS_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some task of the recording did not end in time");
        }
        let outcome = self
            .lifecycle
            .outcome()
            .unwrap_or(Outcome::Failed { error: "the recording was given up".into() });
        let reason = self.lifecycle.reason().unwrap_or(EndReason::Failure);
        let ending = match &outcome {
            Outcome::Complete => Ending::Complete,
            Outcome::LimitReached => Ending::LimitReached,
            Outcome::Aborted { error } => Ending::Aborted { error: (*error).to_owned() },
            Outcome::Failed { error } => Ending::Failed { error: error.clone(), fault: self.fault },
        };
        let work = self.setup.work;
        let kept = if self.left_behind || (matches!(outcome, Outcome::Failed { .. }) && work.has_report()) {
            Some(work.keep())
        } else {
            work.discard();
            None
        };
        if let Some(kept) = &kept {
            self.report.note(format!("kept: {}", kept.display()));
        }
        self.report.end(&ending, reason, Timestamp::now());
        self.reporter.changed(self.report.info());
        Ended { outcome, info: self.report.info().clone(), kept }
    }

    /// Lets everything go at once: what is on the disk stays there for `weir recover`.
    async fn abandon(mut self) -> Ended {
        let _ = self.lifecycle.handle(Event::EncoderFailed("abandoned".to_owned()));
        self.left_behind = true;
        self.abandon.cancel();
        let began = self.timeline.elapsed().is_some();
        self.left_behind = began;
        drop((
            self.source.take(),
            self.encoders.take(),
            std::mem::take(&mut self.outputs),
            self.uploader.take(),
        ));
        let outcome = Outcome::Failed { error: "abandoned before it was finished".to_owned() };
        let work = self.setup.work;
        let kept = if began {
            Some(work.keep())
        } else {
            work.discard();
            None
        };
        if let Some(kept) = &kept {
            self.report.note(format!("kept for `weir recover`: {}", kept.display()));
        }
        let ending =
            Ending::Failed { error: "abandoned before it was finished".to_owned(), fault: Fault::User };
        self.report.end(&ending, EndReason::Killed, Timestamp::now());
        self.reporter.changed(self.report.info());
        Ended { outcome, info: self.report.info().clone(), kept }
    }

    fn elapsed(&self) -> Duration {
        self.timeline.elapsed().map_or(Duration::ZERO, Duration::from)
    }

    fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
            + self.encoders.as_ref().map_or(0, Encoders::dropped_pictures)
    }

    fn note(&mut self, note: String) {
        self.report.note(note);
        self.reporter.changed(self.report.info());
    }
}
