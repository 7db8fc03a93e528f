//! Journal of the files that a sink is about to write, for `weir recover`: one JSON line each.
//!
//! A killed sink can't tell where its files belong and which times they cover.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::Journal;
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
        /// Key in the output's storage.
        name: String,
    },
}

/// A sink's notes.
pub(super) type SegmentJournal = Journal<Note>;

/// Those of an output, in its directory.
pub(super) fn of(dir: &Path, output: OutputId) -> SegmentJournal {
    Journal::new(dir.join(format!("notes-{}.jsonl", output.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Entries;

    #[test]
    fn notes_read_as_written_without_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = of(dir.path(), OutputId(3));
        assert_eq!(notes.read().unwrap().entries, []);
        let image = Note::Image { local: "image-3-000000.jpeg".into(), name: "a/b\n_00000.jpeg".into() };
        let end = Note::End { at: Duration::from_nanos(4_000_000_001) };
        notes.add(&image).unwrap();
        notes.add(&end).unwrap();
        assert_eq!(notes.read().unwrap().entries, [image.clone(), end]);
        let text = std::fs::read(notes.path()).unwrap();
        std::fs::write(notes.path(), &text[..text.len() - 1]).unwrap();
        assert_eq!(notes.read().unwrap(), Entries { entries: vec![image], unreadable: 0 });
    }
}
