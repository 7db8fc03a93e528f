//! Journal of an output's uploads for `weir recover`: uploaded files, and multipart uploads that
//! are not completed. JSON lines in the output's directory, owned by the kernel when a call
//! returns.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Place;
use crate::journal::Journal;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Stored {
        name: String,
    },
    /// An object whose parts are being sent; `handle` is the store's word for it.
    Begun {
        key: String,
        handle: String,
        place: Place,
    },
    /// It was finished, or let go of.
    Settled {
        handle: String,
    },
}

/// An output's ledger while it is recorded. Writing never fails a recording: what a full disk does
/// not take is written when it has room again.
#[derive(Debug)]
pub(super) struct UploadJournal {
    journal: Journal<Entry>,
    /// Entries that could not be written yet, in order.
    waiting: VecDeque<Entry>,
}

/// State of an output's uploads when its recorder died.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalState {
    /// Names that are stored.
    pub stored: BTreeSet<String>,
    /// Multipart uploads that are not completed.
    pub unfinished: Vec<Unfinished>,
    /// Lines that can't be read: more may be stored than is said here.
    pub unreadable: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub key: String,
    pub handle: String,
    pub place: Place,
}

impl UploadJournal {
    pub(super) fn new(dir: &Path) -> Self {
        Self { journal: Journal::new(path(dir)), waiting: VecDeque::new() }
    }

    pub(super) fn mark_uploaded(&mut self, name: &str) {
        self.add(Entry::Stored { name: name.to_owned() });
    }

    pub(super) fn mark_begun(&mut self, key: &str, handle: &str, place: Place) {
        self.add(Entry::Begun { key: key.to_owned(), handle: handle.to_owned(), place });
    }

    pub(super) fn mark_settled(&mut self, handle: &str) {
        self.add(Entry::Settled { handle: handle.to_owned() });
    }

    /// Waits until what was noted would outlive a power cut.
    pub(super) async fn sync(&self) {
        let Some(sync) = self.journal.syncer() else { return };
        let synced =
            tokio::task::spawn_blocking(sync).await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let Err(error) = synced {
            tracing::warn!(path = %self.journal.path().display(), %error, "what is stored could not be synced");
        }
    }

    fn add(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
        self.write_waiting();
    }

    /// Writes what could not be written before.
    pub(super) fn write_waiting(&mut self) {
        while let Some(entry) = self.waiting.front() {
            if let Err(error) = self.journal.add(entry) {
                let (path, lines) = (self.journal.path().display(), self.waiting.len());
                tracing::warn!(%path, lines, %error, "what is stored could not be noted yet");
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// Reads an output's journal; empty without a file. A cut line is ignored, and other unreadable
/// ones are counted.
///
/// # Errors
///
/// When it exists and can't be read.
pub fn read(dir: &Path) -> io::Result<JournalState> {
    let mut accounts = JournalState::default();
    let read = Journal::new(path(dir)).read()?;
    accounts.unreadable = read.unreadable;
    for entry in read.entries {
        match entry {
            Entry::Stored { name } => {
                accounts.stored.insert(name);
            }
            Entry::Begun { key, handle, place } => {
                accounts.unfinished.push(Unfinished { key, handle, place });
            }
            Entry::Settled { handle } => accounts.unfinished.retain(|begun| begun.handle != handle),
        }
    }
    Ok(accounts)
}

/// Whether there is one. An output that has stored nothing has none, nor has one whose ledger is
/// lost.
#[must_use]
pub fn exists(dir: &Path) -> bool {
    path(dir).exists()
}

fn path(dir: &Path) -> PathBuf {
    dir.join("uploads.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_noted_is_noted_later() {
        let dir = tempfile::tempdir().unwrap();
        // Takes no line, as a full disk does.
        std::fs::create_dir(path(dir.path())).unwrap();
        let mut ledger = UploadJournal::new(dir.path());
        ledger.mark_uploaded("a.ts");
        ledger.mark_begun("k", "h", Place::Primary);
        std::fs::remove_dir(path(dir.path())).unwrap();
        ledger.mark_settled("h");
        let accounts = JournalState { stored: ["a.ts".to_owned()].into(), ..JournalState::default() };
        assert_eq!(read(dir.path()).unwrap(), accounts);
    }

    #[test]
    fn what_was_noted_is_read_without_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), JournalState::default());
        let mut ledger = UploadJournal::new(dir.path());
        ledger.mark_uploaded("a/b\n.ts");
        ledger.mark_begun("k1", "h1", Place::Primary);
        ledger.mark_begun("k2", "h2", Place::Backup);
        ledger.mark_settled("h1");
        ledger.mark_uploaded("c.ts");
        let whole = JournalState {
            stored: ["a/b\n.ts", "c.ts"].map(str::to_owned).into(),
            unfinished: vec![Unfinished { key: "k2".into(), handle: "h2".into(), place: Place::Backup }],
            unreadable: 0,
        };
        assert_eq!(read(dir.path()).unwrap(), whole);
        let text = std::fs::read(path(dir.path())).unwrap();
        std::fs::write(path(dir.path()), &text[..text.len() - 1]).unwrap();
        assert_eq!(read(dir.path()).unwrap().stored.len(), 1);
        std::fs::write(path(dir.path()), [b"{\"kind\":\"sto", text.as_slice()].concat()).unwrap();
        let accounts = read(dir.path()).unwrap();
        assert_eq!((accounts.stored.len(), accounts.unreadable), (1, 1), "the others are there");
    }
}
