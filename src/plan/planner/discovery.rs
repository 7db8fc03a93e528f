//! Completes a plan with what the source found: tracks, their codecs and publishers.

use super::super::codec::AudioCodec;
use super::super::deferred_names::Owner;
use super::super::error::PlanError;
use super::super::filename::{Room, Subject, Track};
use super::super::output::{OutputPlan, PassThrough};
use super::super::recording_plan::RecordingPlan;
use super::super::source::SourcePlan;
use super::super::track::{Discovered, TrackKind};
use super::collisions;

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

    /// The plan with what the source told: what is encoded, and names of outputs; of a track that
    /// is recorded as it is, its file's container and media, too.
    ///
    /// # Errors
    /// When a name can't be made, or two outputs come to have one name.
    pub fn discovered(&self, found: &[Discovered]) -> Result<Self, PlanError> {
        let mut plan = self.clone();
        plan.decide(found);
        // Of two publishers, that of the video gives the name.
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
        collisions::check(&deferred_names.fields(), &plan.outputs)?;
        Ok(plan)
    }
}
