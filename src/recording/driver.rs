//! Executes a recording's actions on its parts.

mod ending;
mod events;
mod opening;
mod phase;
mod uploading;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gstreamer as gst;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::ending::Flushed;
pub(super) use self::opening::{Opened, Opening};
use self::phase::{Active, Phase, Preparing};
use self::uploading::Manifests;
pub(super) use self::uploading::UploadTag;
use super::disk_usage::DiskMeter;
use super::failure::{StartFailure, of_service, of_sink};
use super::incidents::Incidents;
use super::lifecycle::{Action, Event, Lifecycle, State};
use super::outputs::Outputs;
use super::preflight::free_bytes;
use super::progress::{Progress, ProgressBoard};
use super::workdir::{self, Kept};
use super::{Reporter, Setup};
use crate::control::{Command, CommandError, Limit};
use crate::encode::{EncoderEvents, Encoders};
use crate::media::{Feed, PipelineEvent, Timeline, snapshot};
use crate::plan::output::{OutputId, OutputPlan};
use crate::report::{Failure, Fault, Report};
use crate::sink::{SinkContext, SinkEvent};
use crate::source::{CaptureCounters, Published, Source, SourceEvent};
use crate::upload::{QueueView, UploadEvent, Uploader};

/// Lower bound of a reduced frame rate.
const FEWEST_PICTURES: u32 = 5;
/// A static page has five frames per second.
const PICTURE_WITHIN: Duration = Duration::from_secs(1);

/// Whether the actions end the recording; they report its state themselves.
fn is_end(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Drain | Action::Finish))
}

/// An input of the recording's task.
pub(super) enum Input {
    Command(Option<Command>),
    SourceStarted(Result<Source, StartFailure>),
    Opened(Result<Box<Opened>, Failure>),
    Source(SourceEvent),
    Encoder(PipelineEvent),
    Sink(SinkEvent),
    Uploaded(UploadEvent<UploadTag>),
    EverythingStored,
    Drained(Flushed),
    DurationReached,
    SessionOver,
    Tick,
}

/// The parts of a recording, and the actions on them. Its methods run on the recording's one task,
/// and wait for no file system: a service kills a recorder after 120 s of silence.
pub(super) struct Driver<'a> {
    setup: Setup,
    reporter: &'a mut dyn Reporter,
    lifecycle: Lifecycle,
    phase: Phase,
    report: Report,
    board: ProgressBoard,
    timeline: Timeline,
    counters: Arc<CaptureCounters>,
    raw_video: Option<Feed>,
    raw_audio: Option<Feed>,
    /// Tracks as published, for a source that passes them on.
    published: Published,
    encoders: Option<Encoders>,
    /// Events of encoders that nobody has taken yet.
    encoder_events: Option<EncoderEvents>,
    outputs: Outputs,
    /// Whether all audio is muted.
    is_muted: bool,
    /// One for each output, in order.
    contexts: Vec<SinkContext>,
    source: Option<Source>,
    tasks: TaskTracker,
    abandon: CancellationToken,
    sink_events: mpsc::UnboundedSender<SinkEvent>,
    uploader: Option<Uploader<UploadTag>>,
    views: BTreeMap<OutputId, Arc<QueueView>>,
    manifests: Manifests,
    pub(super) awaits_uploads: bool,
    disk: DiskMeter,
    /// The reduced frame rate.
    thinned_to: Option<u32>,
    incidents: Incidents,
    /// Whether the work directory has files that belong elsewhere.
    left_behind: bool,
    kept: Vec<Kept>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        setup: Setup,
        reporter: &'a mut dyn Reporter,
        tasks: TaskTracker,
        sink_events: mpsc::UnboundedSender<SinkEvent>,
        uploader: Uploader<UploadTag>,
        abandon: CancellationToken,
    ) -> Self {
        let mut report = Report::new(&setup.plan, setup.request.clone(), Timestamp::now());
        report.set_local_dirs(opening::local_dirs(&setup));
        reporter.changed(report.info());
        let (root, dirs) = (setup.work.root().to_owned(), setup.work.outputs(setup.plan.outputs.len()));
        let disk =
            DiskMeter::start(move || (workdir::size_of_all(&dirs), free_bytes(&root)), &tasks, &abandon);
        Self {
            raw_video: setup.plan.video.as_ref().map(|_| Feed::new("raw video")),
            raw_audio: setup.plan.has_audio().then(|| Feed::new("raw audio")),
            published: Published::default(),
            board: ProgressBoard::new(&setup.plan),
            setup,
            reporter,
            lifecycle: Lifecycle::new(),
            phase: Phase::Preparing(Preparing::default()),
            report,
            timeline: Timeline::new(),
            counters: Arc::default(),
            encoders: None,
            encoder_events: None,
            outputs: Outputs::default(),
            is_muted: false,
            contexts: Vec::new(),
            source: None,
            tasks,
            abandon,
            sink_events,
            views: uploader.views(),
            uploader: Some(uploader),
            manifests: Manifests::default(),
            awaits_uploads: true,
            disk,
            thinned_to: None,
            incidents: Incidents::default(),
            left_behind: false,
            kept: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        let has_failed = event.failure().inspect(|failure| self.report.fail(failure)).is_some();
        let before = self.lifecycle.state();
        let actions = self.lifecycle.handle(event);
        let after = self.lifecycle.state();
        // An ending recording is reported at its end; one that continues after a failure, here.
        if has_failed && !is_end(&actions) {
            self.reporter.changed(self.report.info());
        }
        if before != after {
            tracing::info!(state = ?after, "recording");
        }
        actions
    }

    pub(super) fn take(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Command(command) => command.map_or_else(Vec::new, |command| self.on_command(command)),
            Input::SourceStarted(Ok(source)) => {
                self.source = Some(source);
                Vec::new()
            }
            Input::SourceStarted(Err(failure)) => self.on_source_failed(failure),
            Input::Opened(opened) => self.on_opened(opened),
            Input::Source(event) => self.on_source(event),
            Input::Encoder(PipelineEvent::Error(error)) => {
                self.handle(Event::EncoderFailed(of_service(&error)))
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
                self.handle(Event::Stored)
            }
            Input::Drained(emptied) => {
                self.left_behind |= emptied.left_behind;
                emptied.failures.iter().for_each(|failure| self.report.fail(failure));
                self.handle(Event::Drained { failure: emptied.failures.into_iter().next() })
            }
            Input::DurationReached => self.handle(Event::DurationReached),
            Input::SessionOver => {
                self.phase.set_session_deadline(None);
                self.handle(Event::LimitReached(Limit::Duration))
            }
            Input::Tick => self.on_tick(),
        }
    }

    fn on_command(&mut self, command: Command) -> Vec<Action> {
        let active = self.lifecycle.state() == State::Active;
        match command {
            Command::Stop(cause) => return self.handle(Event::Stop(cause)),
            Command::Kill { error } => {
                return self.handle(Event::Kill(Failure::new(error, Fault::Killed)));
            }
            // The loop handles it, as it must return at once.
            Command::Abandon => {}
            Command::Degrade { why } => self.degrade(&why),
            Command::Picture { width, reply } => self.show(width, reply),
            Command::AddStream { url, reply } => {
                let answer =
                    if active { self.outputs.add_stream(url.clone()) } else { Err(CommandError::Ending) };
                if let Ok(output) = &answer {
                    self.report.stream_added(*output, &url, Timestamp::now());
                    self.board.add_stream(*output, &url);
                    self.reporter.changed(self.report.info());
                }
                // The caller may have gone; the answer is in the report, too.
                reply.send(answer.map(drop)).ok();
            }
            Command::RemoveStream { url, reply } => {
                let answer =
                    if active { self.outputs.remove_stream(&url) } else { Err(CommandError::Ending) };
                let removed = answer.is_ok();
                if let Ok(url) = &answer {
                    // Later events of its task do not change it.
                    self.report.stream_removed(url, Timestamp::now());
                    self.reporter.changed(self.report.info());
                }
                reply.send(answer.map(drop)).ok();
                if removed && !self.outputs.any_alive() {
                    return self.handle(Event::AllStreamsStopped);
                }
            }
        }
        Vec::new()
    }

    fn on_source(&mut self, event: SourceEvent) -> Vec<Action> {
        match event {
            SourceEvent::Loaded => {
                self.start_session();
                self.handle(Event::SourceLoaded)
            }
            SourceEvent::InRoom { room_id } => {
                if self.setup.plan.source.set_room_id(&room_id) {
                    self.report.set_room_id(&room_id);
                    self.reporter.changed(self.report.info());
                }
                Vec::new()
            }
            SourceEvent::Ready => self.on_ready(),
            SourceEvent::Discovered(found, first_frame) => self.on_discovered(&found, first_frame),
            SourceEvent::Ended => self.end_of_source(Event::SourceEnded),
            // The loop handles it, as it must return at once.
            SourceEvent::Evicted => Vec::new(),
            SourceEvent::Muted(is_muted) => {
                tracing::info!(is_muted, "all audio");
                self.is_muted = is_muted;
                self.outputs.set_muted(is_muted);
                Vec::new()
            }
            SourceEvent::Lacking { what, why } => {
                tracing::warn!(what, why, "left out");
                self.note(format!("without {what}: {why}"));
                Vec::new()
            }
            SourceEvent::Interrupted { why } => {
                let at = self.elapsed();
                self.note(format!("interrupted at {:.1} s: {why}", at.as_secs_f64()));
                Vec::new()
            }
            SourceEvent::Resumed { gap } => {
                self.note(format!("back after {:.1} s", gap.as_secs_f64()));
                Vec::new()
            }
            SourceEvent::Stalled { what, from, to } => {
                let note = self.incidents.stall(what, from, to);
                note.into_iter().for_each(|note| self.note(note));
                Vec::new()
            }
            SourceEvent::Died { what } => {
                let note = self.incidents.death(what, self.elapsed());
                note.into_iter().for_each(|note| self.note(note));
                Vec::new()
            }
            SourceEvent::Failed(error) => self.on_source_failed(error.into()),
        }
    }

    fn on_source_failed(&mut self, failed: StartFailure) -> Vec<Action> {
        let takes_audio = |output: &OutputPlan| matches!(output, OutputPlan::WebSocket(_));
        let mut failure = failed.failure;
        if failed.is_picture && self.setup.plan.outputs.iter().all(takes_audio) {
            // LiveKit's text for a request of one track (docs/reference/media.md).
            failure.text = format!("format websocket incompatible with codec video: {}", failure.text);
        }
        self.end_of_source(Event::SourceFailed(failure))
    }

    fn on_tick(&mut self) -> Vec<Action> {
        let size = self.disk.usage().size;
        let progress = Progress {
            state: self.lifecycle.state(),
            elapsed: self.elapsed(),
            pictures: self.counters.pictures.load(Ordering::Relaxed),
            dropped: self.dropped(),
            audio_lead: self.encoders.as_ref().and_then(Encoders::audio_lead),
            size,
            stored: self.disk.stored(),
            outputs: self.board.outputs(|output| self.views.get(&output).map(|view| view.progress())),
        };
        self.reporter.progress(&progress);
        self.report_attempts();
        if let Some(uploader) = &self.uploader {
            uploader.look();
        }
        if self.lifecycle.state() != State::Active {
            return Vec::new();
        }
        if self.setup.plan.limits.size.is_some_and(|limit| size >= limit) {
            return self.handle(Event::LimitReached(Limit::Size));
        }
        self.watch_disk()
    }

    /// Warns before the disk is full, and ends the recording while it can still be finalized.
    fn watch_disk(&mut self) -> Vec<Action> {
        let writes = self.setup.plan.outputs.iter().any(|output| output.storage().is_some());
        let root = self.setup.work.root();
        let Some(free) = self.disk.usage().free.filter(|_| writes) else { return Vec::new() };
        let floor = self.setup.keep_free;
        if free < floor {
            let error = format!(
                "no space left on the disk of {}: {} MB free, and {} MB are to stay so; free some, record to another disk, or \
                 lower --keep-free",
                root.display(),
                free / 1_000_000,
                floor / 1_000_000,
            );
            let failure = Failure::new(error, Fault::Destination);
            return self.handle(Event::OutputFailed { failure, others_left: false });
        }
        if free < floor.saturating_mul(2)
            && let Some(active) = self.phase.active()
            && !std::mem::replace(&mut active.has_warned_of_disk, true)
        {
            tracing::warn!(free_mb = free / 1_000_000, floor_mb = floor / 1_000_000, "the disk gets full");
            self.note(format!(
                "the disk had {} MB left at {:.0} s",
                free / 1_000_000,
                self.elapsed().as_secs_f64()
            ));
        }
        Vec::new()
    }

    fn start_session(&mut self) {
        if self.phase.session_deadline().is_none() {
            let deadline = self.setup.plan.limits.session.map(|limit| Instant::now() + limit);
            self.phase.set_session_deadline(deadline);
        }
    }

    /// Media time is zero now. The streams attach first, so that they get the recording's first
    /// frame, too.
    pub(super) fn begin(&mut self) -> Vec<Action> {
        let opened = self.outputs.open_streams(&self.setup.plan, &self.contexts);
        match self.phase.preparing().and_then(|preparing| preparing.first_frame) {
            Some(at) => self.timeline.begin_at(at),
            None => self.timeline.begin(),
        }
        if let Some(limit) = self.setup.plan.limits.duration {
            self.timeline.limit(gst::ClockTime::try_from(limit).unwrap_or(gst::ClockTime::MAX));
        }
        // It may have begun a while ago, with the first frame.
        let passed = self.elapsed();
        let deadline =
            self.setup.plan.limits.duration.map(|limit| Instant::now() + limit.saturating_sub(passed));
        let session_deadline = self.phase.session_deadline();
        self.phase = Phase::Active(Active { deadline, session_deadline, has_warned_of_disk: false });
        self.start_session();
        self.board.begin();
        let now = Timestamp::now();
        self.report.active(self.timeline.wall(gst::ClockTime::ZERO).unwrap_or(now), now);
        self.reporter.changed(self.report.info());
        match opened {
            Ok(()) => Vec::new(),
            Err(error) => {
                let others_left = self.outputs.any_alive();
                self.handle(Event::OutputFailed { failure: of_sink(&error), others_left })
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.timeline.elapsed().map_or(Duration::ZERO, Duration::from)
    }

    fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
            + self.encoders.as_ref().map_or(0, Encoders::dropped_pictures)
    }

    /// Sends the next frame to a viewer. It runs beside the recording.
    fn show(&self, width: u32, reply: oneshot::Sender<Option<Vec<u8>>>) {
        // Without an answer nobody waits: the other end is dropped.
        let Some(feed) = self.raw_video.clone() else { return };
        let abandon = self.abandon.clone();
        self.tasks.spawn(async move {
            let jpeg = snapshot::jpeg(&feed, width, PICTURE_WITHIN);
            let Some(shown) = abandon.run_until_cancelled(jpeg).await else { return };
            let shown = shown.inspect_err(|error| tracing::warn!(%error, "preview failed"));
            // The viewer may have gone.
            reply.send(shown.ok().flatten()).ok();
        });
    }

    /// Halves the frame rate; below [`FEWEST_PICTURES`] the saving is too small.
    fn degrade(&mut self, why: &str) {
        let (Some(encoders), Some(video)) = (&self.encoders, &self.setup.plan.video) else { return };
        let fps = self.thinned_to.unwrap_or(video.fps) / 2;
        if fps < FEWEST_PICTURES {
            return;
        }
        encoders.thinning().limit(fps);
        self.thinned_to = Some(fps);
        tracing::warn!(fps, why, "frame rate reduced");
        let at = self.elapsed().as_secs_f64();
        self.note(format!("{fps} fps from {at:.0} s on: {why}"));
    }

    fn note(&mut self, note: String) {
        self.report.note(note);
        self.reporter.changed(self.report.info());
    }
}

#[cfg(test)]
mod tests;
