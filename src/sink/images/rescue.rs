//! Finds the images that a killed recording had not stored yet.

use std::path::Path;

use crate::plan::output::OutputId;
use crate::sink::notes::{self, Note};
use crate::sink::{Leftover, RescueError};

/// The finished images in a sink's directory and where they belong, in the order in which to store them.
///
/// # Errors
/// When the sink's notes can't be read.
pub fn rescue(dir: &Path, output: OutputId) -> Result<Vec<Leftover>, RescueError> {
    let notes = notes::of(dir, output);
    let noted = notes.read().map_err(RescueError::io("reading", notes.path()))?;
    let images = noted.into_iter().filter_map(|note| match note {
        Note::Image { local, name } => Some(Leftover { local: dir.join(local), name }),
        Note::Segment { .. } | Note::End { .. } => None,
    });
    Ok(images.filter(|image| image.local.exists()).collect())
}
