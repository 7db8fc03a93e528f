//! One track, recorded as it is: what can be planned before it is there, and the rest when it is
//! (docs/reference/media.md).

use jiff::Zoned;

use super::super::codec::Container;
use super::super::defaults::Defaults;
use super::super::deferred_names::{DeferredNames, Owner};
use super::super::egress_id::EgressId;
use super::super::error::PlanError;
use super::super::filename::{self, Naming, Room, Subject};
use super::super::output::{FilePlan, OutputPlan, PassThrough};
use super::super::recording_plan::RecordingPlan;
use super::super::request::{EgressRequest, OutputKind, TrackRequest};
use super::super::source::SourcePlan;
use super::super::storage::StoragePath;
use super::super::track::{AudioHandling, TracksPlan, VideoHandling, Wanted};
use super::storage;

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
        let help = if request.outputs.is_empty() { "missing; give a file" } else { "a track has one file" };
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

/// A name before the track is known: placeholders that only the track can fill stay, and there is
/// no extension.
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
