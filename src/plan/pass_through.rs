//! One track, recorded as it is: what can be planned before it is there, and the rest when it is (docs/reference/media.md).

use jiff::Zoned;

use super::codec::{AudioCodec, Container};
use super::defaults::Defaults;
use super::deferred_names::{DeferredNames, Owner};
use super::error::PlanError;
use super::filename::{self, Naming, Room, Subject, Track};
use super::output::{FilePlan, OutputPlan, PassThrough};
use super::planner;
use super::request::{EgressRequest, OutputKind, TrackRequest};
use super::source::SourcePlan;
use super::storage::{StoragePath, resolve as storage};
use super::track::{AudioHandling, Discovered, TrackKind, TracksPlan, VideoHandling, Wanted};
use super::{EgressId, RecordingPlan};

pub(super) fn plan(
    request: &EgressRequest,
    track: &TrackRequest,
    defaults: &Defaults,
    egress_id: EgressId,
    now: &Zoned,
) -> Result<RecordingPlan, PlanError> {
    if track.track_id.is_empty() {
        return Err(PlanError::invalid("track_id", "it is empty; name the track to record, TR_…"));
    }
    let room = defaults.rooms.access(&track.room)?;
    let [output] = request.outputs.as_slice() else {
        let help =
            if request.outputs.is_empty() { "there is none; give a file" } else { "a track has one file" };
        return Err(PlanError::invalid("output", help));
    };
    let OutputKind::File(file) = &output.kind else {
        return Err(PlanError::invalid(
            &output.field,
            "a track is recorded as it is, which only a file can be",
        ));
    };
    let path_field = format!("{}.filepath", output.field);
    let is_named = !file.path.is_empty() && !file.path.ends_with('/');
    if request.retry_count > 0 && is_named && !file.path.contains("{retry}") {
        return Err(PlanError::NoRetry { field: path_field });
    }
    let file = FilePlan {
        // Until the track says otherwise.
        container: Container::Ogg,
        has_video: false,
        audio: None,
        name: provisional(track, &file.path, request.retry_count, now)?,
        named: filename::origin(&file.path),
        pass_through: Some(PassThrough::Awaited),
        storage: storage::resolve(&output.field, output.storage.as_ref(), &defaults.storage)?,
        manifest: output.manifest,
    };
    let tracks = TracksPlan {
        room,
        identity: egress_id.to_string(),
        wanted: Wanted::track(&track.track_id),
        video: VideoHandling::AsPublished,
        audio: AudioHandling::AsPublished,
    };
    if request.limits.duration == Some(std::time::Duration::ZERO) {
        return Err(PlanError::invalid("duration", "0 s records nothing; give a longer time, or none"));
    }
    Ok(RecordingPlan {
        egress_id,
        source: SourcePlan::Tracks(tracks),
        video: None,
        audio: Vec::new(),
        outputs: vec![OutputPlan::File(file)],
        deferred_names: Some(DeferredNames::new(
            &request.outputs,
            Owner::Publisher,
            now,
            request.retry_count,
        )),
        limits: request.limits,
        retry_count: request.retry_count,
        adjustments: Vec::new(),
    })
}

impl RecordingPlan {
    /// Whether outputs can be opened only when the source has told what it found.
    #[must_use]
    pub fn awaits_tracks(&self) -> bool {
        let awaits_tracks = matches!(&self.source, SourcePlan::Tracks(tracks) if tracks.awaits_tracks());
        awaits_tracks || self.deferred_names.is_some()
    }

    /// Whether it depends on what the source finds which media are encoded.
    #[must_use]
    pub fn is_by_codec(&self) -> bool {
        matches!(&self.source, SourcePlan::Tracks(tracks) if tracks.is_by_codec())
    }

    /// The plan with what the source told: what is encoded, and names of outputs; of a track that is recorded as it is, its file's container and
    /// media, too.
    ///
    /// # Errors
    /// When a name can't be made, or two outputs come to have one name.
    pub fn discovered(&self, found: &[Discovered]) -> Result<Self, PlanError> {
        let mut plan = self.clone();
        plan.decide(found);
        // Where there are two, whose picture it is gives the name.
        let pictures = found.iter().find(|found| found.codec.kind() == TrackKind::Video);
        let (Some(room), Some(deferred_names)) = (self.source.room(), plan.deferred_names.take()) else {
            return Ok(plan);
        };
        let room = Room { name: &room.name, id: &room.id };
        let found = pictures.or(found.first());
        let mut subject = match (deferred_names.owner(), found) {
            (Owner::Participant(identity), _) => Subject::Publisher { room, identity },
            (Owner::Publisher, Some(found)) => Subject::Publisher { room, identity: &found.track.publisher },
            (Owner::Publisher, None) | (Owner::Room, _) => Subject::Room { room },
        };
        for (at, output) in plan.outputs.iter_mut().enumerate() {
            let (OutputPlan::File(file), Some(found)) = (output, found) else { continue };
            if file.pass_through != Some(PassThrough::Awaited) {
                continue;
            }
            let Discovered { track, codec } = found;
            file.container = codec.container(deferred_names.file_path(at));
            file.has_video = codec.kind() == TrackKind::Video;
            file.audio = (!file.has_video).then_some(AudioCodec::Opus);
            file.pass_through = Some(PassThrough::Of(*codec));
            let track = Track { id: &track.sid, kind: codec.kind().as_str(), source: track.origin.as_str() };
            subject = Subject::Track { room, identity: &found.track.publisher, track };
        }
        deferred_names.name(subject, &mut plan.outputs)?;
        planner::nothing_is_written_twice(&deferred_names.fields(), &plan.outputs)?;
        Ok(plan)
    }
}

/// What can be said of a name before the track is there; placeholders that only it can fill stay, and there is no extension.
fn provisional(
    track: &TrackRequest,
    path: &str,
    retry_count: u32,
    now: &Zoned,
) -> Result<StoragePath, PlanError> {
    let room = Room { name: &track.room.name, id: &track.room.id };
    let naming = Naming::new(Subject::Room { room }, now, retry_count);
    filename::stem("file.filepath", path, &track.track_id, &naming)
}
