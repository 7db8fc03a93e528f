//! From finished files to stored ones: what the uploader is asked, and what it answers.

use gstreamer as gst;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Driver;
use super::ending::off_task;
use crate::files;
use crate::plan::output::{ManifestPolicy, OutputId, OutputPlan};
use crate::recording::lifecycle::{Action, Event, State};
use crate::recording::progress::OutputState;
use crate::recording::workdir::{Kept, RECORDING_MANIFEST};
use crate::report::{Failure, Fault};
use crate::sink::{Artifact, ArtifactKind, FileHead, GrowingFile};
use crate::upload::store::Head;
use crate::upload::{Growing, IfTaken, LaneSetup, Place, Upload, UploadEvent, Uploader, Versions};

/// Identifies an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::recording) enum UploadTag {
    Artifact(ArtifactKind),
    Manifest,
}

/// The manifests of a recording: stored last, when everything they name is.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// Whether their upload was requested, or is unnecessary.
    are_done: bool,
    backup_used: bool,
}

/// Files of which a report or a log names each.
const MOST_NAMED: usize = 20;

/// `not stored: hls/talk_00003.ts, hls/talk_00004.ts and 5 more`
pub(super) fn not_stored(kept: &[Kept]) -> String {
    let names: Vec<&str> = kept.iter().take(MOST_NAMED).map(|kept| kept.name.as_str()).collect();
    let more = match kept.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("not stored: {}{more}", names.join(", "))
}

type Events = mpsc::UnboundedReceiver<UploadEvent<UploadTag>>;

impl Driver<'_> {
    /// Something is final on the local disk.
    pub(super) fn store(&mut self, artifact: Artifact) {
        let Artifact { output, kind, local, name, size } = artifact;
        let versions = match kind {
            ArtifactKind::Playlist => Versions::NewestCounts,
            ArtifactKind::File | ArtifactKind::Segment { .. } | ArtifactKind::Image { .. } => Versions::One,
        };
        let other_name = match kind {
            ArtifactKind::File => self.setup.names.name_if_taken(&self.setup.plan, output),
            // Segments and images belong to a playlist or a prefix, which is this recording's.
            ArtifactKind::Segment { .. } | ArtifactKind::Playlist | ArtifactKind::Image { .. } => None,
        };
        match &self.uploader {
            Some(uploader) => {
                uploader.store(Upload {
                    output,
                    local,
                    name,
                    size,
                    versions,
                    if_taken: other_name.map_or(IfTaken::Replace, IfTaken::Rename),
                    subject: UploadTag::Artifact(kind),
                });
            }
            None => self.left_behind = true,
        }
    }

    /// Something has begun to grow.
    pub(super) fn grow(&self, file: GrowingFile) {
        let GrowingFile { output, local, name, head } = file;
        let head = match head {
            FileHead::Final => Head::Final,
            FileHead::Rewritten => Head::Rewritten,
        };
        if let Some(uploader) = &self.uploader {
            uploader.grow(Growing { output, local, name, head });
        }
    }

    /// Tells what was offered to stores since the last time.
    pub(super) fn report_attempts(&mut self) {
        for tried in self.views.values().flat_map(|view| view.take_attempts()) {
            self.reporter.tried(tried);
        }
    }

    pub(super) fn on_upload(&mut self, event: UploadEvent<UploadTag>) -> Vec<Action> {
        match event {
            UploadEvent::Uploaded { upload, location, place } => {
                self.on_uploaded(&upload, &location, place);
                Vec::new()
            }
            UploadEvent::Delayed { output, error } => {
                tracing::warn!(output = output.0, %error, "can't be stored now; it waits on the disk");
                self.board.set(output, OutputState::Retrying);
                let at = self.elapsed().as_secs_f64();
                self.note(format!("storage away at {at:.1} s: {error}"));
                Vec::new()
            }
            UploadEvent::Resumed { output } => {
                tracing::info!(output = output.0, "stored again");
                self.board.set(output, OutputState::Running);
                let at = self.elapsed().as_secs_f64();
                self.note(format!("storage back at {at:.1} s"));
                Vec::new()
            }
            UploadEvent::LeftBehind { output, error } => {
                self.left_behind = true;
                tracing::error!(output = output.0, error, "uploads ended early; files are kept");
                let error =
                    format!("{error} (kept at {}: run `weir recover`)", self.setup.work.root().display());
                self.on_upload_failed(output, Failure::new(error, Fault::Storage))
            }
            UploadEvent::Kept { upload, error } => {
                let error = error.kept_at(&upload.local);
                match upload.subject {
                    // It says nothing that is not known otherwise.
                    UploadTag::Manifest => {
                        tracing::warn!(name = upload.name, error, "the manifest is not stored");
                        Vec::new()
                    }
                    UploadTag::Artifact(_) => {
                        self.left_behind = true;
                        let (output, name) = (upload.output.0, &upload.name);
                        let mut kept = self.kept.iter_mut();
                        if upload.versions == Versions::NewestCounts
                            && let Some(older) = kept.find(|kept| (kept.output, &kept.name) == (output, name))
                        {
                            older.file = upload.local;
                            return Vec::new();
                        }
                        // A storage that is away would fill the log; the report names the others in
                        // the end, too.
                        let before = self.kept.iter().filter(|kept| kept.output == upload.output.0).count();
                        if before < MOST_NAMED {
                            tracing::error!(name = upload.name, error, "not stored");
                        }
                        let file = upload.local;
                        self.kept.push(Kept { output: upload.output.0, file, name: upload.name });
                        // The first of each output is its failure.
                        if before > 0 {
                            return Vec::new();
                        }
                        self.on_upload_failed(upload.output, Failure::new(error, Fault::Storage))
                    }
                }
            }
        }
    }

    /// Something of an output will not be stored. The output itself goes on as long as it is
    /// recorded: its storage may take other files, and what it does not take is kept.
    fn on_upload_failed(&mut self, output: OutputId, failure: Failure) -> Vec<Action> {
        if self.lifecycle.state() == State::Active {
            return self.handle(Event::OutputFailed { failure, others_left: true });
        }
        self.on_output_failed(output, failure)
    }

    fn on_uploaded(&mut self, upload: &Upload<UploadTag>, location: &str, place: Place) {
        let Upload { output, name, size, subject, .. } = upload;
        if place == Place::Backup {
            self.manifests.backup_used = true;
            self.report.backup_used();
        }
        match subject {
            UploadTag::Artifact(ArtifactKind::File) => {
                self.board.set(*output, OutputState::Done);
                self.report.file_stored(*output, name, location, *size);
                self.disk.add_stored(*size);
            }
            UploadTag::Artifact(ArtifactKind::Segment { .. }) => {
                self.report.segment_stored(*output, name, location, *size);
                self.disk.add_stored(*size);
            }
            UploadTag::Artifact(ArtifactKind::Playlist) => {
                // Of an older version nothing is left.
                self.kept.retain(|kept| (kept.output, &kept.name) != (output.0, name));
                self.report.playlist_stored(*output, name, location);
            }
            UploadTag::Artifact(ArtifactKind::Image { at, .. }) => {
                let at = gst::ClockTime::try_from(*at).ok().and_then(|at| self.timeline.wall(at));
                self.report.image_stored(*output, name, location, at);
                self.disk.add_stored(*size);
            }
            UploadTag::Manifest => self.report.manifest_stored(*output, location),
        }
        tracing::debug!(location, "stored");
    }

    /// Uploads the manifests, once, after everything else; `None` without manifests, or if it is
    /// done.
    pub(in crate::recording) async fn upload_manifests(&mut self) -> Option<Events> {
        if std::mem::replace(&mut self.manifests.are_done, true) || !self.lifecycle.is_sound() {
            return None;
        }
        let text = self.report.manifest(Timestamp::now())?;
        let wanted: Vec<(OutputId, &OutputPlan)> = self.wanted_manifests();
        let name = format!("{}.json", self.setup.plan.egress_id);
        let (mut lanes, mut uploads) = (Vec::new(), Vec::new());
        for (output, plan) in wanted {
            let (Some(storage), Some(dir)) = (plan.storage(), plan.dir()) else { continue };
            let local = self.setup.work.output(output).join(RECORDING_MANIFEST);
            let (path, bytes) = (local.clone(), text.clone());
            match off_task(move || files::replace_unsynced(&path, bytes.as_bytes(), 0o666)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, path = %local.display(), "the manifest can't be written");
                    continue;
                }
                // Those that follow would hang, too.
                None => break,
            }
            let lane_dir = self.setup.work.output(output);
            let unused = self.views.get(&output).and_then(|view| view.unused_patience());
            let patience = unused.unwrap_or(self.setup.upload_patience);
            lanes.push(LaneSetup { output, storage: storage.clone(), dir: lane_dir, patience });
            uploads.push(Upload {
                output,
                local,
                name: format!("{dir}{name}"),
                size: text.len() as u64,
                versions: Versions::One,
                if_taken: IfTaken::Replace,
                subject: UploadTag::Manifest,
            });
        }
        let (uploader, events) = Uploader::start(lanes, &self.setup.base, &self.tasks, &self.abandon);
        // The lanes of before have come to their end.
        self.report_attempts();
        self.views.extend(uploader.views());
        uploads.into_iter().for_each(|upload| uploader.store(upload));
        Some(events)
    }

    /// The outputs beside which a manifest belongs: one for each directory of a storage.
    fn wanted_manifests(&self) -> Vec<(OutputId, &OutputPlan)> {
        let mut wanted: Vec<(OutputId, &OutputPlan)> = Vec::new();
        for (at, output) in self.setup.plan.outputs.iter().enumerate() {
            let is_wanted = match output.manifest() {
                Some(ManifestPolicy::Always) => true,
                Some(ManifestPolicy::OnlyWithBackup) => self.manifests.backup_used,
                None => false,
            };
            let is_there = |(_, other): &(OutputId, &OutputPlan)| {
                (other.storage(), other.dir()) == (output.storage(), output.dir())
            };
            if is_wanted && !wanted.iter().any(is_there) {
                wanted.push((OutputId(at), output));
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_stored_are_named_and_many_counted() {
        let kept = |count: usize| -> Vec<Kept> {
            let one = |at| Kept { output: 0, file: format!("/w/{at}").into(), name: format!("a/{at}.ts") };
            (0..count).map(one).collect()
        };
        assert_eq!(not_stored(&kept(2)), "not stored: a/0.ts, a/1.ts");
        let many = not_stored(&kept(1000));
        assert!(many.ends_with("a/18.ts, a/19.ts and 980 more"), "{many}");
    }
}
