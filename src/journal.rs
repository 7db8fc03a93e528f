//! Crash-safe line files: one JSON line per entry, appended, and owned by the kernel when a call
//! returns.
//!
//! A partly written line never damages another one: it is cut off again, or terminated before the
//! next one.

use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files;

/// The largest journal that is read, in bytes: a week of segments of a second each has a tenth of
/// it.
const LARGEST: u64 = 1 << 30;

/// A file of entries.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    /// Made with the first entry.
    file: Option<File>,
    /// The file may end in half a line that could not be cut off.
    is_torn: bool,
    entries: PhantomData<fn(&T)>,
}

/// The content of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<T> {
    /// Those that can be read, in order.
    pub entries: Vec<T>,
    /// Lines that can't be read: what they said is not known. A last line without its end is not
    /// counted, its entry was never added.
    pub unreadable: usize,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None, is_torn: false, entries: PhantomData }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When it can't be written; the journal is as it was then, and others can be added.
    pub fn add(&mut self, entry: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let added = append(&mut file, &line, &mut self.is_torn);
        self.file = Some(file);
        added
    }

    /// Opens the file, without half a line at its end that an earlier process left.
    fn open(&mut self) -> io::Result<File> {
        let file = files::open(&self.path, files::options().create(true).read(true).append(true))?;
        let (len, complete) = (file.metadata()?.len(), end_of_lines(&file)?);
        if complete < len {
            self.is_torn = file.set_len(complete).is_err();
        }
        Ok(file)
    }

    /// Returns a function that syncs the added entries to the disk, which takes a while; afterwards
    /// they survive a power cut. `None` without new entries, or without a file.
    pub fn syncer(&self) -> Option<impl FnOnce() -> io::Result<()> + Send + use<T>> {
        let file = self.file.as_ref()?.try_clone().ok()?;
        Some(move || file.sync_data())
    }

    /// Reads every entry; empty without a file. Unreadable lines are counted, and a warning is
    /// logged.
    ///
    /// # Errors
    ///
    /// When the file exists and can't be read, or is not a regular file.
    pub fn read(&self) -> io::Result<Entries<T>> {
        let text = match files::read(&self.path, LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut read = Entries { entries: Vec::new(), unreadable: 0 };
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            // A blank line ends half a line that was cut off.
            let Some(line) = line.strip_suffix(b"\n").filter(|line| !line.is_empty()) else { continue };
            match serde_json::from_slice(line) {
                Ok(entry) => read.entries.push(entry),
                Err(_) => read.unreadable += 1,
            }
        }
        if read.unreadable > 0 {
            let (path, lines) = (self.path.display(), read.unreadable);
            tracing::warn!(%path, lines, "journal has lines that can't be read");
        }
        Ok(read)
    }
}

/// Where the last line that has its end ends, looked for from the end of the file.
fn end_of_lines(file: &File) -> io::Result<u64> {
    let mut chunk = [0; 4096];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..usize::try_from(end - start).map_err(io::Error::other)?];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends a line. One that could not be written in full is cut off again; where that fails, too,
/// `is_torn` says that the next line has to begin with the end of this one.
fn append(file: &mut File, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = match *is_torn {
        true => file.write_all(&[b"\n", line].concat()),
        false => file.write_all(line),
    };
    match written {
        Ok(()) => *is_torn = false,
        Err(_) => *is_torn |= file.set_len(before).is_err(),
    }
    written
}

#[cfg(test)]
mod tests;
