//! Starts source, encoders and outputs, as far as the plan knows them before the source discovers
//! the rest. Outputs are opened on another thread; the recording reports and takes commands
//! meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Driver;
use crate::encode::{EncoderEvents, Encoders};
use crate::plan::RecordingPlan;
use crate::plan::codec::AudioCodec;
use crate::plan::output::OutputId;
use crate::plan::source::SourcePlan;
use crate::plan::track::{AudioHandling, Discovered, VideoHandling};
use crate::recording::Setup;
use crate::recording::failure::{of_names, of_service, of_sink};
use crate::recording::lifecycle::{Action, Event, State};
use crate::recording::names::Names;
use crate::recording::outputs::Outputs;
use crate::recording::progress::ProgressBoard;
use crate::recording::{disk_sync, workdir};
use crate::report::{Failure, Fault, LocalDirs};
use crate::sink::SinkContext;
use crate::source::{Pacing, Source, SourceContext, SourceError, SourceEvent};

/// Opening outputs takes milliseconds. This is for a network file system whose server restarts.
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// A recording that ends meanwhile waits this long for the thread that opens its outputs.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// Outputs that are being opened, on a thread of their own: it may wait for a file system, which
/// the recording's task must not. When this is dropped, the thread stops at its next step and
/// closes what it has opened.
#[derive(Debug)]
pub(in crate::recording) struct Opening {
    job: JoinHandle<Result<Box<Opened>, Failure>>,
    deadline: Instant,
    /// The work directory, for whoever reads why it failed.
    root: PathBuf,
    stop: DropGuard,
}

/// Outputs that are open.
#[derive(Debug)]
pub(in crate::recording) struct Opened {
    /// With the names that were claimed.
    plan: RecordingPlan,
    /// `None`: the names had been claimed before.
    names: Option<Names>,
    contexts: Vec<SinkContext>,
    outputs: Outputs,
}

impl Opening {
    /// Waits for the outputs. Nothing is lost when the future is dropped.
    pub(in crate::recording) async fn opened(&mut self) -> Result<Box<Opened>, Failure> {
        match tokio::time::timeout_at(self.deadline, &mut self.job).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(panic)) => Err(of_service(&panic)),
            Err(_) => {
                let error = format!(
                    "the disk of {} did not answer for {} s; check its mount, or record to another disk",
                    self.root.display(),
                    OPEN_WITHIN.as_secs(),
                );
                Err(Failure::new(error, Fault::Destination))
            }
        }
    }

    /// Gives up, as the recording ends before it began. Opened outputs are closed, unless the disk
    /// hangs.
    pub(in crate::recording) async fn give_up(self) {
        let Self { job, stop, .. } = self;
        drop(stop);
        if tokio::time::timeout(STOPPED_WITHIN, job).await.is_err() {
            tracing::warn!("the outputs' disk does not answer; the thread that opens them is left to itself");
        }
    }
}

/// State of the thread that opens outputs.
struct OpeningJob {
    plan: RecordingPlan,
    /// Names that are still to be claimed.
    names: Option<Names>,
    /// The work directory, if its manifest does not say yet what outputs are.
    changed: Option<PathBuf>,
    contexts: Vec<SinkContext>,
}

impl OpeningJob {
    fn run(self, stop: &CancellationToken) -> Result<Box<Opened>, Failure> {
        let Self { mut plan, mut names, changed, contexts } = self;
        if let Some(names) = &mut names {
            // Names that say who publishes are known only now.
            names.claim(&mut plan).map_err(|error| of_names(&error))?;
        }
        go_on(stop)?;
        if let Some(root) = &changed {
            workdir::write_outputs(root, &plan).map_err(|error| of_service(&error))?;
        }
        go_on(stop)?;
        let outputs = Outputs::open(&plan, &contexts).map_err(|error| of_sink(&error))?;
        Ok(Box::new(Opened { plan, names, contexts, outputs }))
    }
}

/// Fails when the recording has ended. Nobody reads the error then.
fn go_on(stop: &CancellationToken) -> Result<(), Failure> {
    match stop.is_cancelled() {
        true => Err(Failure::new("stopped before its outputs were open", Fault::User)),
        false => Ok(()),
    }
}

impl Driver<'_> {
    /// Starts the source, and beside it encoders and sinks.
    pub(in crate::recording) fn prepare(
        &mut self,
        starting: &mut JoinSet<Result<Source, SourceError>>,
        events: mpsc::UnboundedSender<SourceEvent>,
    ) -> Result<(), Failure> {
        let source = self.setup.plan.source.clone();
        let pacing = self.pacing();
        let context = SourceContext {
            timeline: self.timeline.clone(),
            video: self.raw_video.clone(),
            audio: self.raw_audio.clone(),
            published: self.published.clone(),
            pacing,
            counters: Arc::clone(&self.counters),
            run_dir: self.setup.work.run().to_owned(),
            report_dir: self.setup.work.report(),
            events,
        };
        starting.spawn(async move { Source::start(&source, context).await });
        let outputs = self.setup.plan.outputs.iter().enumerate();
        let kept = outputs.filter(|(_, output)| output.storage().is_some());
        let dirs: Vec<_> = kept.map(|(at, _)| self.setup.work.output(OutputId(at))).collect();
        if !dirs.is_empty() {
            disk_sync::start(dirs, &self.tasks, &self.abandon);
        }
        // What is encoded of a track, and what its file is, its frames tell.
        if !self.setup.plan.is_by_codec() {
            self.start_encoders()?;
        }
        if !self.setup.plan.awaits_tracks() {
            // Its names were claimed before.
            self.open_outputs(None, None);
        }
        Ok(())
    }

    fn start_encoders(&mut self) -> Result<(), Failure> {
        let (raw_video, raw_audio) = (self.raw_video.as_ref(), self.raw_audio.as_ref());
        let started = Encoders::start(&self.setup.graph, self.pacing().key_interval, raw_video, raw_audio);
        let (encoders, events) = started.map_err(|error| of_service(&error))?;
        self.encoders = Some(encoders);
        self.encoder_events = Some(events);
        Ok(())
    }

    /// Events of encoders started since the last call.
    pub(in crate::recording) const fn take_encoder_events(&mut self) -> Option<EncoderEvents> {
        self.encoder_events.take()
    }

    /// Has the outputs opened: [`Driver::take_opening`] gives what to wait for.
    pub(super) fn open_outputs(&mut self, names: Option<Names>, changed: Option<PathBuf>) {
        let contexts = (0..self.setup.plan.outputs.len()).map(|at| self.sink_context(OutputId(at))).collect();
        let job = OpeningJob { plan: self.setup.plan.clone(), names, changed, contexts };
        let stop = self.abandon.child_token();
        let stopped = stop.clone();
        let Some(preparing) = self.phase.preparing() else { return };
        preparing.is_opening = true;
        preparing.opening = Some(Opening {
            job: self.tasks.spawn_blocking(move || job.run(&stopped)),
            deadline: Instant::now() + OPEN_WITHIN,
            root: self.setup.work.root().to_owned(),
            stop: stop.drop_guard(),
        });
    }

    /// Outputs that are being opened since the last call. The result arrives as `Input::Opened`.
    pub(in crate::recording) const fn take_opening(&mut self) -> Option<Opening> {
        match self.phase.preparing() {
            Some(preparing) => preparing.opening.take(),
            None => None,
        }
    }

    /// The outputs are open, or can't be. A recording that waited for them begins.
    pub(super) fn on_opened(&mut self, opened: Result<Box<Opened>, Failure>) -> Vec<Action> {
        let Some(preparing) = self.phase.preparing() else { return Vec::new() };
        preparing.is_opening = false;
        let is_ready = preparing.is_ready;
        let mut held = std::mem::take(&mut preparing.held_events);
        let mut actions = Vec::new();
        match opened {
            Ok(opened) => {
                let Opened { mut plan, names, contexts, outputs } = *opened;
                // The room may have said its id meanwhile.
                std::mem::swap(&mut plan.source, &mut self.setup.plan.source);
                self.setup.plan = plan;
                if let Some(names) = names {
                    self.setup.names = names;
                }
                (self.contexts, self.outputs) = (contexts, outputs);
                if self.is_muted {
                    self.outputs.set_muted(true);
                }
                self.report.discovered(&self.setup.plan);
                self.board = ProgressBoard::new(&self.setup.plan);
                if is_ready {
                    actions.extend(self.handle(Event::SourceReady));
                }
            }
            Err(failure) => {
                // Where the source failed before, that comes first. One that ended has not been
                // recorded.
                held.retain(|event| event.failure().is_some());
                held.push(Event::OutputFailed { failure, others_left: false });
            }
        }
        for event in held {
            actions.extend(self.handle(event));
        }
        actions
    }

    /// The source may be recorded from now on: as soon as the outputs are open.
    fn begin_when_open(&mut self) -> Vec<Action> {
        if let Some(preparing) = self.phase.preparing() {
            preparing.is_ready = true;
            if preparing.is_opening {
                return Vec::new();
            }
        }
        self.handle(Event::SourceReady)
    }

    /// The source ended, or failed. Where the recording is only waiting for its outputs, it begins
    /// first: what came of the source is recorded.
    pub(super) fn end_of_source(&mut self, event: Event) -> Vec<Action> {
        if let Some(preparing) = self.phase.preparing()
            && preparing.is_opening
            && preparing.is_ready
        {
            preparing.held_events.push(event);
            return Vec::new();
        }
        self.handle(event)
    }

    /// A page's recording may begin. Its names may have waited for the id of the room; one that no
    /// page told is left out.
    pub(super) fn on_ready(&mut self) -> Vec<Action> {
        if matches!(self.lifecycle.state(), State::Preparing { .. })
            && self.phase.preparing().is_some_and(|preparing| !preparing.is_ready)
            && self.setup.plan.awaits_tracks()
            && let Err(failure) = self.complete(&[])
        {
            return self.handle(Event::SourceFailed(failure));
        }
        self.begin_when_open()
    }

    /// The first frames are here: what the plan left open is decided, and the recording begins with
    /// the first of them.
    pub(super) fn on_discovered(&mut self, found: &[Discovered], first_frame: gst::ClockTime) -> Vec<Action> {
        if !matches!(self.lifecycle.state(), State::Preparing { .. }) {
            return Vec::new();
        }
        for Discovered { track, codec } in found {
            tracing::info!(track = track.sid, %codec, "discovered");
        }
        if let Some(preparing) = self.phase.preparing() {
            preparing.first_frame = Some(first_frame);
        }
        self.report.note_tracks(found);
        if let Some(handling) = self.setup.plan.handling(found) {
            tracing::info!(handling, "tracks");
            self.note(handling);
        }
        if self.setup.plan.awaits_tracks()
            && let Err(failure) = self.complete(found)
        {
            return self.handle(Event::SourceFailed(failure));
        }
        self.begin_when_open()
    }

    /// Decides what the plan left open, and has the outputs opened.
    fn complete(&mut self, found: &[Discovered]) -> Result<(), Failure> {
        let is_by_codec = self.setup.plan.is_by_codec();
        self.setup.plan = self.setup.plan.discovered(found).map_err(|error| of_service(&error))?;
        // Names that say who publishes are known only now.
        self.report.set_local_dirs(local_dirs(&self.setup));
        if is_by_codec {
            self.setup.graph = self.setup.graph.reduced_to(&self.setup.plan);
            self.raw_video = self.raw_video.take().filter(|_| self.setup.plan.video.is_some());
            self.start_encoders()?;
        }
        let (names, root) = (self.setup.names.unclaimed(), self.setup.work.root().to_owned());
        self.open_outputs(names, Some(root));
        Ok(())
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
        let mut video = encoders.and_then(Encoders::video);
        let mut audio = encoders.map(Encoders::audio).unwrap_or_default();
        let mut key_frames = encoders.map_or_else(crate::media::KeyFrames::none, Encoders::key_frames);
        if let SourcePlan::Tracks(tracks) = &self.setup.plan.source {
            if tracks.video == VideoHandling::AsPublished {
                video = Some(self.published.video.clone());
                key_frames = self.published.key_frames();
            }
            if tracks.audio == AudioHandling::AsPublished {
                audio.insert(AudioCodec::Opus, self.published.audio.clone());
            }
        }
        SinkContext {
            timeline: self.timeline.clone(),
            raw_video: self.raw_video.clone(),
            raw_audio: self.raw_audio.clone(),
            video,
            audio,
            key_frames,
            dir: self.setup.work.output(id),
            events: self.sink_events.clone(),
            tasks: self.tasks.clone(),
            abandon: self.abandon.child_token(),
        }
    }
}

/// Local directories of a recording: those of its work files and of its local outputs.
pub(super) fn local_dirs(setup: &Setup) -> LocalDirs {
    let Setup { plan, work, base, .. } = setup;
    let places = plan.outputs.iter().filter_map(|output| output.storage().zip(output.dir())).flat_map(
        |(storage, dir)| {
            let targets = [Some(&storage.primary), storage.backup.as_ref()].into_iter().flatten();
            targets.filter(|target| target.is_local()).map(move |target| base.join(target.key(dir)))
        },
    );
    let made = [work.root(), work.run()].map(Path::to_owned).into_iter();
    LocalDirs::new(made.chain(work.outputs(plan.outputs.len())).chain(places))
}
