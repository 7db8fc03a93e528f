//! Room on the disk for the last playlists, kept free by being taken.

use std::path::{Path, PathBuf};

use crate::plan::output::OutputId;

/// Two playlists of some hundred segments and the notes.
const BYTES: usize = 96 * 1024;

/// A file that is removed when the disk is full, so that the playlists can be ended; gone when
/// dropped. Without it a recording goes on: it is `weir recover` then that ends them.
#[derive(Debug)]
pub(super) struct Reserve(Option<PathBuf>);

impl Reserve {
    pub(super) fn take(dir: &Path, output: OutputId) -> Self {
        let path = dir.join(format!(".reserve-{}", output.0));
        // Bytes and not a size alone: a hole takes no room.
        match std::fs::write(&path, vec![0xff; BYTES]) {
            Ok(()) => Self(Some(path)),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "no room is kept for the last playlists");
                Self(None)
            }
        }
    }

    pub(super) fn release(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(%error, path = %path.display(), "could not be removed");
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.release();
    }
}
