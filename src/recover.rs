//! Finishes what a recording left that was killed, or that could not store everything: every file is made whole and put
//! where it belongs.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::storage::ServerStorage;
use crate::files;
use crate::plan::codec::{CONTAINERS, Container};
use crate::plan::error::PlanError;
use crate::plan::output::OutputId;
use crate::plan::storage::{Storage, of_server};
use crate::recording::workdir::{self, Abandoned, OutputEntry, WorkDirError};
use crate::sink::file::FilePaths;
use crate::sink::segments::Places;
use crate::sink::whole::{FinalizeError, make_whole};
use crate::sink::{Leftover, RescueError, images, segments};
use crate::upload::ledger::{self, Accounts};
use crate::upload::rescue::{RescueStoreError, Rescuer};

/// What became of one work directory.
#[derive(Debug)]
pub struct Recovered {
    pub root: PathBuf,
    /// Where each recovered file is now.
    pub files: Vec<String>,
    /// What could not be recovered. Empty: the work directory is gone.
    pub problems: Vec<RecoverError>,
}

/// Why something could not be recovered. What is there stays there.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Finalize(#[from] FinalizeError),
    #[error(transparent)]
    Rescue(#[from] RescueError),
    #[error("{name}: {error}")]
    Store { name: String, error: RescueStoreError },
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("what is stored of it can't be read in {path}: {source}")]
    Ledger { path: PathBuf, source: std::io::Error },
    /// Of a storage that was given to it.
    #[error(transparent)]
    Storage(#[from] PlanError),
    #[error(
        "{root}: it holds a {container} file, which this version does not know: recover it with the version that recorded it"
    )]
    UnknownContainer { root: PathBuf, container: String },
}

/// Recovers every recording in a directory: a work directory, one that holds some, or one with a `.weir` in it. `server`
/// replaces what the recordings were given as their storage. Takes as long as copying and storing the files does.
///
/// # Errors
/// When the directory can't be read. What goes wrong with one recording is among its [`Recovered::problems`].
pub async fn recover(dir: &Path, server: Option<&ServerStorage>) -> Result<Vec<Recovered>, RecoverError> {
    let mut recovered = Vec::new();
    for root in workdir::find(dir)? {
        recovered.push(recover_one(&root, server).await);
    }
    Ok(recovered)
}

async fn recover_one(root: &Path, server: Option<&ServerStorage>) -> Recovered {
    let mut recovered = Recovered { root: root.to_owned(), files: Vec::new(), problems: Vec::new() };
    let abandoned = match Abandoned::open(root) {
        Ok(abandoned) => abandoned,
        Err(error) => {
            recovered.problems.push(error.into());
            return recovered;
        }
    };
    let storage = match server {
        // Of what the recordings were given nothing is needed then.
        Some(server) => of_server(server)
            .map(|storage| vec![Some(storage); abandoned.manifest.outputs.len()])
            .map_err(RecoverError::from),
        None => abandoned.storage().map_err(RecoverError::from),
    };
    let storage = match storage {
        Ok(storage) => storage,
        Err(error) => {
            recovered.problems.push(error);
            return recovered;
        }
    };
    for (index, entry) in abandoned.manifest.outputs.iter().enumerate() {
        let storage = storage.get(index).cloned().flatten().unwrap_or_else(Storage::local);
        let output = OutputId(index);
        if let Err(error) = recover_output(&abandoned, output, entry, storage, &mut recovered).await {
            recovered.problems.push(error);
        }
    }
    if recovered.problems.is_empty() {
        abandoned.discard();
    }
    recovered
}

/// Stores what is left of an output: what it can't, is among the problems.
///
/// # Errors
/// When what is left can't be found out, or not be made whole.
async fn recover_output(
    abandoned: &Abandoned,
    output: OutputId,
    entry: &OutputEntry,
    storage: Storage,
    recovered: &mut Recovered,
) -> Result<(), RecoverError> {
    let dir = abandoned.output(output);
    files::check_entries(&dir).map_err(|(path, source)| RecoverError::Directory { path, source })?;
    let accounts = ledger::read(&dir).map_err(|source| RecoverError::Ledger { path: dir.clone(), source })?;
    let base = &abandoned.manifest.base;
    let mut rescuer = Rescuer::new(&storage, base);
    for unfinished in &accounts.unfinished {
        // What can't be let go of is forgotten by its store in time.
        rescuer.discard(unfinished).await;
    }
    let left = leftovers(abandoned, output, entry, &storage, &accounts)?;
    for Leftover { local, name } in left {
        // A file that is refused holds up none behind it.
        match rescuer.store(&dir, &name, &local).await {
            Ok(location) => recovered.files.push(location),
            Err(error) => recovered.problems.push(RecoverError::Store { name, error }),
        }
    }
    Ok(())
}

/// What is there of an output, made whole, in the order in which to store it.
fn leftovers(
    abandoned: &Abandoned,
    output: OutputId,
    entry: &OutputEntry,
    storage: &Storage,
    accounts: &Accounts,
) -> Result<Vec<Leftover>, RecoverError> {
    let dir = abandoned.output(output);
    let base = &abandoned.manifest.base;
    Ok(match entry {
        OutputEntry::File { container, name } => {
            let Some(row) = CONTAINERS.iter().find(|row| row.name == container) else {
                let (root, container) = (abandoned.root.clone(), container.clone());
                return Err(RecoverError::UnknownContainer { root, container });
            };
            finish_file(&dir, output, row.container, name)?
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
                stored: &local,
                dir: name,
                playlist,
                live_playlist,
                duration: *duration,
            };
            segments::rescue(&dir, output, &places)?
        }
        OutputEntry::Images => images::rescue(&dir, output)?,
        OutputEntry::Stream => Vec::new(),
    })
}

/// Makes a file whole, if there is one.
fn finish_file(
    dir: &Path,
    output: OutputId,
    container: Container,
    name: &str,
) -> Result<Vec<Leftover>, FinalizeError> {
    let paths = FilePaths::new(dir, output, container);
    if !paths.whole.exists() {
        if !paths.recorded.exists() {
            // Stored before the recorder died, or never begun.
            return Ok(Vec::new());
        }
        match make_whole(container, &paths.recorded, &paths.whole, None, &CancellationToken::new()) {
            Ok(_) => {}
            // Killed in its first second: there is nothing to keep.
            Err(FinalizeError::Empty { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    Ok(vec![Leftover { local: paths.whole, name: name.to_owned() }])
}

#[cfg(test)]
mod foreign_files;
