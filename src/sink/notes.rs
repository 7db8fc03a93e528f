//! What a sink notes down of what it is about to write, for `weir recover`: one line of JSON for each thing.
//!
//! A sink that was killed can't say any more where its files belong and which times they cover.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::output::OutputId;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Note {
    /// A segment begins at `start` (media time), where the one before it ends.
    Segment {
        /// Name in the sink's directory, when it is finished.
        local: String,
        /// Relative to the playlist.
        uri: String,
        start: Duration,
        date: Timestamp,
    },
    /// The last segment ends.
    End { at: Duration },
    /// An image is written.
    Image {
        /// Name in the sink's directory, when it is finished.
        local: String,
        /// Where it belongs.
        name: String,
    },
}

/// A sink's notes.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    /// Made with the first note.
    file: Option<File>,
}

impl Notes {
    pub(super) fn new(dir: &Path, output: OutputId) -> Self {
        Self { path: dir.join(format!("notes-{}.jsonl", output.0)), file: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes something down. It is the kernel's when this returns, and outlives a killed process.
    pub(super) fn add(&mut self, note: &Note) -> io::Result<()> {
        let mut line = serde_json::to_vec(note)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().create(true).append(true).open(&self.path)?),
        };
        file.write_all(&line)
    }

    /// Everything noted, in order; empty when nothing was. A line that was cut off is none.
    pub(super) fn read(&self) -> io::Result<Vec<Note>> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        whole.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_as_written_without_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Notes::new(dir.path(), OutputId(3));
        assert_eq!(notes.read().unwrap(), []);
        let image = Note::Image { local: "image-3-000000.jpeg".into(), name: "a/b\n_00000.jpeg".into() };
        let end = Note::End { at: Duration::from_nanos(4_000_000_001) };
        notes.add(&image).unwrap();
        notes.add(&end).unwrap();
        assert_eq!(notes.read().unwrap(), [image.clone(), end]);
        let text = std::fs::read(notes.path()).unwrap();
        std::fs::write(notes.path(), &text[..text.len() - 1]).unwrap();
        assert_eq!(notes.read().unwrap(), [image]);
    }
}
