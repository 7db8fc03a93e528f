//! Uploads that wait. Memory is bounded whatever the storage does: beyond a number, entries wait in
//! a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Subject, Upload, Versions};

/// Entries in memory, some hundreds of bytes each.
const IN_MEMORY: usize = 1024;

/// Uploads in the order of their requests.
///
/// At most two versions of a file wait: the oldest, whose turn is next, and the newest. One in
/// between is superseded and returned by [`Backlog::push`]: an outage of hours must not be followed
/// by thousands of playlists.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    next: u64,
    once: VecDeque<(u64, Upload<T>)>,
    spill: Spill<T>,
    versions: Vec<(u64, Upload<T>)>,
    bytes: u64,
    /// Those that waited in the file and can't be read from it any more, since it was last asked
    /// for.
    lost: u64,
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
            lost: 0,
        }
    }

    /// Uploads that were forgotten since this was last called: their files are where they were, and
    /// nobody will store them.
    pub(super) const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
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
            self.once = self.take_spilled(IN_MEMORY);
        }
        let version_first = match (self.versions.first(), self.once.front()) {
            (Some((version, _)), Some((once, _))) => version < once,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let next = if version_first { Some(self.versions.remove(0)) } else { self.once.pop_front() };
        match &next {
            Some((_, upload)) => self.bytes = self.bytes.saturating_sub(upload.size),
            // Also of those that were lost.
            None => self.bytes = 0,
        }
        next
    }

    fn take_spilled(&mut self, most: usize) -> VecDeque<(u64, Upload<T>)> {
        let (taken, lost) = self.spill.take(most);
        self.lost += lost;
        taken
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
            let before = self.take_spilled(usize::MAX);
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
    /// Bytes of a partial line that could not be cut off.
    torn: u64,
    /// Some entry could not be read: the file is left for somebody to look at.
    is_damaged: bool,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T: Subject> Spill<T> {
    const fn new(path: PathBuf) -> Self {
        Self { path, len: 0, read: 0, torn: 0, is_damaged: false, kind: std::marker::PhantomData }
    }

    fn add(&mut self, at: u64, upload: &Upload<T>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&(at, upload))?;
        line.push(b'\n');
        let mut file = File::options().create(true).read(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if before > 0 && !ends_a_line(&mut file)? {
            // What is in front of it could not be cut off, and takes nothing with it.
            line.insert(0, b'\n');
            self.torn += 1;
        }
        if let Err(error) = file.write_all(&line) {
            // Half a line would be read as the beginning of the next; where it stays, the next one
            // ends it.
            if let Err(error) = file.set_len(before) {
                tracing::warn!(%error, path = %self.path.display(), "half a line stays");
            }
            return Err(error);
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the first `most` of them, and says how many can't be read: their files are on the disk
    /// all the same, and are `weir recover`'s.
    fn take(&mut self, most: usize) -> (VecDeque<(u64, Upload<T>)>, u64) {
        let (mut taken, mut lost) = (VecDeque::new(), 0);
        if self.len == 0 {
            return (taken, lost);
        }
        if let Err(error) = self.read_some(most, &mut taken, &mut lost) {
            tracing::error!(%error, path = %self.path.display(), files = self.len, "what waits can't be read");
            lost += std::mem::replace(&mut self.len, 0);
        }
        self.is_damaged |= lost > 0;
        if self.len == 0 && !self.is_damaged {
            (self.read, self.torn) = (0, 0);
            // Empty; what can't be removed goes with the directory.
            std::fs::remove_file(&self.path).ok();
        } else if self.len == 0 {
            // Others are added behind what is there.
            self.read = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        }
        (taken, lost)
    }

    fn read_some(
        &mut self,
        most: usize,
        taken: &mut VecDeque<(u64, Upload<T>)>,
        lost: &mut u64,
    ) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while taken.len() < most && self.len > 0 {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read += read as u64;
            match serde_json::from_slice(&line) {
                Ok(entry) => {
                    self.len -= 1;
                    taken.push_back(entry);
                }
                Err(_) if self.torn > 0 => self.torn -= 1,
                Err(error) => {
                    tracing::error!(%error, path = %self.path.display(), "an upload that waits can't be read");
                    self.len -= 1;
                    *lost += 1;
                }
            }
        }
        Ok(())
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

#[cfg(test)]
mod tests;
