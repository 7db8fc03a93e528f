//! Why the tracks of a room can't be rendered.

use crate::source::pacing::FormatError;

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("video playout: thread could not be started; raise the limit of processes")]
    Thread { source: std::io::Error },
}
