//! Finishes what a killed recording left: every file is made whole and put where it belongs.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::plan::codec::{CONTAINERS, Container};
use crate::plan::output::OutputId;
use crate::recording::workdir::{self, Abandoned, OutputEntry, WorkDirError};
use crate::sink::file::FilePaths;
use crate::sink::segments::Places;
use crate::sink::whole::{FinalizeError, make_whole};
use crate::sink::{Leftover, RescueError, images, segments};
use crate::upload::{UploadError, store_local};

/// What became of one work directory.
#[derive(Debug)]
pub struct Recovered {
    pub root: PathBuf,
    /// Where each recovered file is now.
    pub files: Vec<PathBuf>,
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
    #[error(transparent)]
    Store(#[from] UploadError),
    #[error(
        "{root}: it holds a {container} file, which this version does not know: recover it with the version that recorded it"
    )]
    UnknownContainer { root: PathBuf, container: String },
}

/// Recovers every recording in a directory: a work directory, one that holds some, or one with a `.weir` in it. Blocks for
/// as long as copying the files takes.
///
/// # Errors
/// When the directory can't be read. What goes wrong with one recording is among its [`Recovered::problems`].
pub fn recover(dir: &Path) -> Result<Vec<Recovered>, RecoverError> {
    Ok(workdir::find(dir)?.into_iter().map(|root| recover_one(&root)).collect())
}

fn recover_one(root: &Path) -> Recovered {
    let mut recovered = Recovered { root: root.to_owned(), files: Vec::new(), problems: Vec::new() };
    let abandoned = match Abandoned::open(root) {
        Ok(abandoned) => abandoned,
        Err(error) => {
            recovered.problems.push(error.into());
            return recovered;
        }
    };
    for (index, entry) in abandoned.manifest.outputs.iter().enumerate() {
        // What could be stored before something went wrong is told all the same.
        if let Err(error) = recover_output(&abandoned, OutputId(index), entry, &mut recovered.files) {
            recovered.problems.push(error);
        }
    }
    if recovered.problems.is_empty() {
        abandoned.discard();
    }
    recovered
}

fn recover_output(
    abandoned: &Abandoned,
    output: OutputId,
    entry: &OutputEntry,
    files: &mut Vec<PathBuf>,
) -> Result<(), RecoverError> {
    let dir = abandoned.output(output);
    let base = &abandoned.manifest.base;
    let left = match entry {
        OutputEntry::File { container, name } => {
            let Some(row) = CONTAINERS.iter().find(|row| row.name == container) else {
                let (root, container) = (abandoned.root.clone(), container.clone());
                return Err(RecoverError::UnknownContainer { root, container });
            };
            finish_file(&dir, output, row.container, name)?
        }
        OutputEntry::Segments { dir: name, playlist, live_playlist, duration } => {
            let live_playlist = live_playlist.as_deref();
            let places = Places { base, dir: name, playlist, live_playlist, duration: *duration };
            segments::rescue(&dir, output, &places)?
        }
        OutputEntry::Images => images::rescue(&dir, output)?,
        OutputEntry::Stream => Vec::new(),
    };
    for Leftover { local, name } in left {
        files.push(store_local(&local, &base.join(name))?);
    }
    Ok(())
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
