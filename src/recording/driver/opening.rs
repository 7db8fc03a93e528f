//! What is started, and when: source, encoders and outputs, as far as the plan knows them before the source tells the rest.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Driver;
use crate::encode::{EncoderEvents, Encoders};
use crate::plan::codec::AudioCodec;
use crate::plan::output::OutputId;
use crate::plan::source::SourcePlan;
use crate::plan::track::{Discovered, Picture, Sound};
use crate::recording::Setup;
use crate::recording::disk_sync;
use crate::recording::failure::{of_names, of_service, of_sink};
use crate::recording::lifecycle::{Action, Event, State};
use crate::recording::outputs::Outputs;
use crate::recording::progress::ProgressBoard;
use crate::report::{Failure, LocalDirs};
use crate::sink::SinkContext;
use crate::source::{Pacing, Source, SourceContext, SourceError, SourceEvent};

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
        if !self.setup.plan.is_open() {
            self.open_outputs()?;
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

    /// What encoders have to say that were started since this was last asked.
    pub(in crate::recording) const fn take_encoder_events(&mut self) -> Option<EncoderEvents> {
        self.encoder_events.take()
    }

    fn open_outputs(&mut self) -> Result<(), Failure> {
        self.contexts =
            (0..self.setup.plan.outputs.len()).map(|at| self.sink_context(OutputId(at))).collect();
        self.outputs = Outputs::open(&self.setup.plan, &self.contexts).map_err(|error| of_sink(&error))?;
        Ok(())
    }

    /// A page's recording may begin. Its names may have waited for the id of the room; one that no page told is left out.
    pub(super) fn on_ready(&mut self) -> Vec<Action> {
        if matches!(self.lifecycle.state(), State::Preparing { .. })
            && self.setup.plan.is_open()
            && let Err(failure) = self.complete(&[])
        {
            return self.handle(Event::SourceFailed(failure));
        }
        self.handle(Event::SourceReady)
    }

    /// The first frames are here: what the plan left open is decided, and the recording begins with the first of them.
    pub(super) fn on_discovered(&mut self, found: &[Discovered], first_frame: gst::ClockTime) -> Vec<Action> {
        if !matches!(self.lifecycle.state(), State::Preparing { .. }) {
            return Vec::new();
        }
        for Discovered { track, codec } in found {
            tracing::info!(track = track.sid, %codec, "discovered");
        }
        self.first_frame = Some(first_frame);
        self.report.note_tracks(found);
        if let Some(handling) = self.setup.plan.handling(found) {
            tracing::info!(handling, "tracks");
            self.note(handling);
        }
        if self.setup.plan.is_open()
            && let Err(failure) = self.complete(found)
        {
            return self.handle(Event::SourceFailed(failure));
        }
        self.handle(Event::SourceReady)
    }

    /// Decides what the plan left open, and opens the outputs.
    fn complete(&mut self, found: &[Discovered]) -> Result<(), Failure> {
        let is_by_codec = self.setup.plan.is_by_codec();
        self.setup.plan = self.setup.plan.discovered(found).map_err(|error| of_service(&error))?;
        // Names that say who publishes are known only now.
        self.report.set_local_dirs(local_dirs(&self.setup));
        self.setup.names.claim(&mut self.setup.plan).map_err(|error| of_names(&error))?;
        if is_by_codec {
            self.setup.graph = self.setup.graph.reduced_to(&self.setup.plan);
            self.raw_video = self.raw_video.take().filter(|_| self.setup.plan.video.is_some());
            self.start_encoders()?;
        }
        self.setup.work.discovered(&self.setup.plan).map_err(|error| of_service(&error))?;
        self.open_outputs()?;
        self.report.discovered(&self.setup.plan);
        self.board = ProgressBoard::new(&self.setup.plan);
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
            if tracks.picture == Picture::AsPublished {
                video = Some(self.published.video.clone());
                key_frames = self.published.key_frames();
            }
            if tracks.sound == Sound::AsPublished {
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

/// Where a recording's files are on this machine while they are made, and where its outputs on the local disk go.
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
