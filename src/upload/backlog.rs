//! What waits to be stored. Its memory is bounded, whatever happens at the store: beyond a number, entries wait in a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Subject, Upload, Versions};

/// Entries in memory, some hundreds of bytes each.
const IN_MEMORY: usize = 1024;

/// Uploads in the order in which they were asked for.
///
/// Of a thing that has versions at most two wait: the oldest, whose turn comes soonest, and the newest. One in between is
/// given back by [`Backlog::push`], superseded: an outage of hours must not be followed by thousands of playlists.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    next: u64,
    once: VecDeque<(u64, Upload<T>)>,
    spill: Spill<T>,
    versions: Vec<(u64, Upload<T>)>,
    bytes: u64,
}

impl<T: Subject> Backlog<T> {
    /// `dir`: where entries may wait in a file.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            next: 0,
            once: VecDeque::new(),
            spill: Spill::new(dir.join("waiting.jsonl")),
            versions: Vec::new(),
            bytes: 0,
        }
    }

    /// Files that wait.
    pub(super) fn len(&self) -> u64 {
        self.once.len() as u64 + self.spill.len + self.versions.len() as u64
    }

    /// Those of them that have versions.
    pub(super) fn versions(&self) -> u64 {
        self.versions.len() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an upload at the end. Gives back a version that it supersedes.
    pub(super) fn push(&mut self, upload: Upload<T>) -> Option<Upload<T>> {
        let at = self.next;
        self.next += 1;
        self.bytes += upload.size;
        match upload.versions {
            Versions::One => {
                self.push_once(at, upload);
                None
            }
            Versions::NewestCounts => {
                let waiting: Vec<usize> = (0..self.versions.len())
                    .filter(|index| self.versions[*index].1.name == upload.name)
                    .collect();
                // The first is the oldest; a second is older than this one.
                let superseded = waiting.get(1).map(|second| self.versions.remove(*second).1);
                if let Some(superseded) = &superseded {
                    self.bytes = self.bytes.saturating_sub(superseded.size);
                }
                self.versions.push((at, upload));
                superseded
            }
        }
    }

    /// Takes the next one.
    pub(super) fn pop(&mut self) -> Option<(u64, Upload<T>)> {
        if self.once.is_empty() {
            self.once = self.spill.take(IN_MEMORY);
        }
        let version_first = match (self.versions.first(), self.once.front()) {
            (Some((version, _)), Some((once, _))) => version < once,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let next = if version_first { Some(self.versions.remove(0)) } else { self.once.pop_front() }?;
        self.bytes = self.bytes.saturating_sub(next.1.size);
        Some(next)
    }

    /// Puts back one that was taken, to its place.
    pub(super) fn put_back(&mut self, at: u64, upload: Upload<T>) {
        self.bytes += upload.size;
        match upload.versions {
            Versions::One => self.once.push_front((at, upload)),
            Versions::NewestCounts => self.versions.insert(0, (at, upload)),
        }
    }

    fn push_once(&mut self, at: u64, upload: Upload<T>) {
        if self.spill.len == 0 && self.once.len() < IN_MEMORY {
            self.once.push_back((at, upload));
            return;
        }
        if let Err(error) = self.spill.add(at, &upload) {
            // Better too much memory than a lost file.
            tracing::warn!(%error, path = %self.spill.path.display(), "what waits is kept in memory");
            // Behind everything in the file: that comes first.
            let before = self.spill.take(usize::MAX);
            self.once.extend(before);
            self.once.push_back((at, upload));
        }
    }
}

/// Entries in a file, read in the order in which they were written.
#[derive(Debug)]
struct Spill<T> {
    path: PathBuf,
    len: u64,
    read: u64,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T: Subject> Spill<T> {
    const fn new(path: PathBuf) -> Self {
        Self { path, len: 0, read: 0, kind: std::marker::PhantomData }
    }

    fn add(&mut self, at: u64, upload: &Upload<T>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&(at, upload))?;
        line.push(b'\n');
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(&line) {
            // Half a line would be read as the beginning of the next.
            file.set_len(before)?;
            return Err(error);
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the first `most` of them. One that can't be read is on the disk all the same, and is `weir recover`'s.
    fn take(&mut self, most: usize) -> VecDeque<(u64, Upload<T>)> {
        if self.len == 0 {
            return VecDeque::new();
        }
        let taken = self.read_some(most).unwrap_or_else(|error| {
            tracing::error!(%error, path = %self.path.display(), files = self.len, "what waits can't be read");
            self.len = 0;
            VecDeque::new()
        });
        if self.len == 0 {
            self.read = 0;
            // Empty; what can't be removed goes with the directory.
            std::fs::remove_file(&self.path).ok();
        }
        taken
    }

    fn read_some(&mut self, most: usize) -> io::Result<VecDeque<(u64, Upload<T>)>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(file);
        let mut taken = VecDeque::new();
        let mut line = Vec::new();
        while taken.len() < most && self.len > 0 {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read += read as u64;
            self.len -= 1;
            taken.push_back(serde_json::from_slice(&line)?);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
