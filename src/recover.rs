//! Finishes killed recordings, and recordings that could not upload everything: each file is
//! finalized and uploaded. Files that can't be finished stay: a work directory is removed only when
//! it holds no recorded data.

mod taken;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::storage::ServerStorage;
use crate::files;
use crate::plan::codec::{CONTAINERS, Container};
use crate::plan::error::PlanError;
use crate::plan::filename;
use crate::plan::output::OutputId;
use crate::plan::planner::storage::of_server;
use crate::plan::storage::Storage;
use crate::recording::workdir::{self, AbandonedWorkDir, OutputEntry, Remain, WorkDirError, remains_in};
use crate::sink::file::FilePaths;
use crate::sink::finalize::{Beside, FinalizeError, Finalized, finalize, settle};
use crate::sink::segments::Places;
use crate::sink::{Leftover, RecoveredOutput, RecoveryError, images, segments};
use crate::upload::IfTaken;
use crate::upload::recovery::{RecoveryUploadError, RecoveryUploader};
use crate::upload::upload_journal::{self, JournalState};
pub use taken::Rival;

/// Result for one work directory.
#[derive(Debug)]
pub struct Recovered {
    pub root: PathBuf,
    /// Files with something recorded that were there before.
    pub found: Vec<Remain>,
    /// Location of each finished file.
    pub files: Vec<String>,
    /// Names of finished files that have audio alone although video was recorded, too: not one
    /// complete frame of it is there.
    pub without_video: Vec<String>,
    /// Files that were not turned into finished ones: they stay, and the work directory with them.
    pub kept: Vec<Remain>,
    /// Problems. If this is empty and nothing is kept, the work directory is gone.
    pub problems: Vec<RecoverError>,
}

impl Recovered {
    /// Whether everything that was there is finished and where it belongs.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.kept.is_empty()
    }
}

/// Reasons for a failed recovery. The files stay.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Finalize(#[from] FinalizeError),
    #[error(transparent)]
    Rescue(#[from] RecoveryError),
    #[error("{name}: {error}")]
    Store { name: String, error: RecoveryUploadError },
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: std::io::Error },
    /// The readable part is finished all the same.
    #[error(
        "{name}: the recorded file is {damage}; the rest is finished, and the recorded file is kept as {kept}"
    )]
    Damaged { name: String, damage: String, kept: PathBuf },
    /// It had been finished already when its recorder was killed.
    #[error(
        "{name}: two files of it are left, and {why}; the fuller one is finished, and the other is kept as {kept}"
    )]
    Beside { name: String, why: String, kept: PathBuf },
    #[error("what is stored of it can't be read in {path}: {source}")]
    UploadJournal { path: PathBuf, source: std::io::Error },
    #[error("{name}: {rival}, then run `weir recover` again; what is left of the recording is kept in {dir}")]
    Taken { name: String, rival: Rival, dir: PathBuf },
    /// Error of the given storage.
    #[error(transparent)]
    Storage(#[from] PlanError),
    #[error(
        "{root}: it holds a {container} file, which this version does not know: recover it with the version that recorded it"
    )]
    UnknownContainer { root: PathBuf, container: String },
}

/// Recovers every recording in a directory: a work directory, one that contains some, or one with a
/// `.weir` in it. `server` replaces the recordings' own storage. Takes as long as copying and
/// uploading the files.
///
/// # Errors
///
/// When the directory can't be read. Problems of one recording are in its [`Recovered::problems`].
pub async fn recover(dir: &Path, server: Option<&ServerStorage>) -> Result<Vec<Recovered>, RecoverError> {
    let mut recovered = Vec::new();
    for root in workdir::find(dir)? {
        recovered.push(recover_one(&root, server).await);
    }
    Ok(recovered)
}

async fn recover_one(root: &Path, server: Option<&ServerStorage>) -> Recovered {
    let mut recovered = Recovered {
        root: root.to_owned(),
        found: Vec::new(),
        files: Vec::new(),
        without_video: Vec::new(),
        kept: Vec::new(),
        problems: Vec::new(),
    };
    let abandoned = match AbandonedWorkDir::open(root) {
        Ok(abandoned) => abandoned,
        Err(error) => {
            recovered.found = remains_in(root);
            // What is still being recorded is nothing that is left.
            if !matches!(error, WorkDirError::Busy { .. }) {
                recovered.kept.clone_from(&recovered.found);
            }
            recovered.problems.push(error.into());
            return recovered;
        }
    };
    recovered.found = remains_in(root);
    if abandoned.manifest.is_lost() && !recovered.found.is_empty() {
        recovered.problems.push(WorkDirError::NoManifest { root: root.to_owned() }.into());
    }
    let storage = match server {
        // Of what the recordings were given nothing is needed then.
        Some(server) => of_server(server)
            .map(|storage| vec![Some(storage); abandoned.manifest.outputs.len()])
            .map_err(RecoverError::from),
        None => abandoned.storage().map_err(RecoverError::from),
    };
    match storage {
        Ok(storage) => {
            for (index, entry) in abandoned.manifest.outputs.iter().enumerate() {
                let storage = storage.get(index).cloned().flatten().unwrap_or_else(Storage::local);
                // Files uploaded before a problem are reported all the same.
                let done = recover_output(&abandoned, OutputId(index), entry, storage, &mut recovered).await;
                recovered.problems.extend(done.err());
            }
        }
        // Where they belong is not known: they stay as they are.
        Err(error) => recovered.problems.push(error),
    }
    if recovered.problems.is_empty() {
        recovered.kept = abandoned.discard().map_or_else(|remains| remains.files, |()| Vec::new());
    } else {
        abandoned.remove_run_dir();
        recovered.kept = remains_in(root);
    }
    recovered
}

/// Uploads the remaining files of an output; adds failures to the problems.
///
/// # Errors
///
/// When the remaining files can't be determined or finalized.
async fn recover_output(
    abandoned: &AbandonedWorkDir,
    output: OutputId,
    entry: &OutputEntry,
    storage: Storage,
    recovered: &mut Recovered,
) -> Result<(), RecoverError> {
    let dir = abandoned.output(output);
    files::check_entries(&dir).map_err(|(path, source)| RecoverError::Directory { path, source })?;
    RecoveryUploader::remove_links(&dir);
    let accounts = upload_journal::read(&dir)
        .map_err(|source| RecoverError::UploadJournal { path: dir.clone(), source })?;
    let base = &abandoned.manifest.base;
    let mut rescuer = RecoveryUploader::new(&storage, base);
    for unfinished in &accounts.unfinished {
        // What can't be let go of is forgotten by its store in time.
        rescuer.discard(unfinished).await;
    }
    let RecoveredOutput { mut left, obsolete } =
        leftovers(abandoned, output, entry, &storage, &accounts, recovered)?;
    let running = taken::running(&storage, base, &left);
    if !matches!(entry, OutputEntry::File { .. }) {
        taken::forget_empty(&storage, &abandoned.manifest, running.as_ref(), &mut left);
        let rival = running.clone().or_else(|| taken::since(&storage, &abandoned.manifest, &left));
        if let Some((rival, first)) = rival.zip(left.first()) {
            return Err(RecoverError::Taken { name: first.name.clone(), rival, dir });
        }
    }
    let mut is_stored = true;
    for Leftover { local, name } in left {
        let if_taken = if_taken(entry, &name, &abandoned.manifest.egress_id);
        let name = match (&if_taken, &running) {
            // Who writes to it may replace what comes to stand there.
            (IfTaken::Rename(other), Some(_)) => other.clone(),
            _ => name,
        };
        // A file that is refused holds up none behind it.
        match rescuer.store(&dir, &name, if_taken, &local).await {
            Ok(location) => recovered.files.push(location),
            Err(error) => {
                recovered.problems.push(RecoverError::Store { name, error });
                is_stored = false;
            }
        }
    }
    for path in obsolete.iter().filter(|_| is_stored) {
        remove(path);
    }
    Ok(())
}

/// Removes a file of which everything is stored.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not be removed");
        }
        _ => {}
    }
}

/// A recording with the same name since the recorder's death keeps its file, and the recovered one
/// gets the egress id. Playlists replace their own last version.
fn if_taken(entry: &OutputEntry, name: &str, egress_id: &str) -> IfTaken {
    match (entry, Path::new(name).extension().and_then(|extension| extension.to_str())) {
        (OutputEntry::File { .. }, extension) => {
            let extension = extension.map_or_else(String::new, |extension| format!(".{extension}"));
            IfTaken::Rename(filename::with_id(name, egress_id, &extension, 0))
        }
        (OutputEntry::Segments { .. } | OutputEntry::Images | OutputEntry::Stream, _) => IfTaken::Replace,
    }
}

/// The remaining files of an output, finalized, in upload order.
fn leftovers(
    abandoned: &AbandonedWorkDir,
    output: OutputId,
    entry: &OutputEntry,
    storage: &Storage,
    accounts: &JournalState,
    recovered: &mut Recovered,
) -> Result<RecoveredOutput, RecoverError> {
    let dir = abandoned.output(output);
    let base = &abandoned.manifest.base;
    Ok(match entry {
        OutputEntry::File { container, name } => {
            let Some(row) = CONTAINERS.iter().find(|row| row.name == container) else {
                let (root, container) = (abandoned.root.clone(), container.clone());
                return Err(RecoverError::UnknownContainer { root, container });
            };
            let left =
                finish_file(&FilePaths::new(&dir, output, row.container), row.container, name, recovered);
            RecoveredOutput { left, obsolete: Vec::new() }
        }
        OutputEntry::Segments { dir: name, playlist, live_playlist, duration } => {
            let live_playlist = live_playlist.as_deref();
            // The local disk itself says what is there: somebody may have removed it.
            let local = |name: &str| {
                storage
                    .primary
                    .is_local()
                    .then(|| base.join(storage.primary.key(name)))
                    .filter(|path| path.exists())
            };
            let is_stored = |name: &str| match storage.primary.is_local() {
                true => local(name).is_some(),
                false => accounts.stored.contains(name),
            };
            let places = Places {
                is_stored: &is_stored,
                may_be_stored: !storage.primary.is_local()
                    && (accounts.unreadable > 0 || !upload_journal::exists(&dir)),
                stored: &local,
                dir: name,
                playlist,
                live_playlist,
                duration: *duration,
            };
            let mut damaged =
                |name, damage, kept| recovered.problems.push(RecoverError::Damaged { name, damage, kept });
            segments::recover(&dir, output, &places, &mut damaged)?
        }
        OutputEntry::Images => images::recover(&dir, output)?,
        OutputEntry::Stream => RecoveredOutput::default(),
    })
}

/// Finalizes a file, if there is one. Adds its damage to the problems, and records missing video.
fn finish_file(
    paths: &FilePaths,
    container: Container,
    name: &str,
    recovered: &mut Recovered,
) -> Vec<Leftover> {
    let Recovered { problems, without_video, .. } = recovered;
    let FilePaths { recorded, whole } = paths;
    // Its recorder was killed before it removed the first.
    if recorded.exists() && whole.exists() {
        match settle(container, recorded, whole) {
            Ok(None) => {}
            Ok(Some(Beside { why, kept })) => {
                problems.push(RecoverError::Beside { name: name.to_owned(), why, kept });
            }
            Err(error) => {
                problems.push(error.into());
                return Vec::new();
            }
        }
    }
    // What is finished is never made once more.
    if recorded.exists() && !whole.exists() {
        match finalize(container, recorded, whole, None, &CancellationToken::new()) {
            Ok(Finalized { damage, kept, lacks_video, .. }) => {
                if lacks_video {
                    without_video.push(name.to_owned());
                }
                if let Some(damage) = damage {
                    let (name, kept) = (name.to_owned(), kept.unwrap_or_else(|| recorded.clone()));
                    problems.push(RecoverError::Damaged { name, damage, kept });
                }
            }
            // Killed before its first second was written: there is nothing but a header.
            Err(FinalizeError::Empty { .. }) => remove(recorded),
            Err(error) => problems.push(error.into()),
        }
    }
    // Without one it was stored before its recorder died, or never begun.
    if whole.exists() { vec![Leftover { local: whole.clone(), name: name.to_owned() }] } else { Vec::new() }
}

#[cfg(test)]
mod foreign_files;
#[cfg(test)]
mod tests;
