//! What must outlive a killed process: one line of JSON for each entry, appended, and the kernel's when a call returns.

use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files;

/// The largest journal that is read, in bytes: a week of segments of a second each has a tenth of it.
const LARGEST: u64 = 1 << 30;

/// A file of entries.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    /// Made with the first entry.
    file: Option<File>,
    entries: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None, entries: PhantomData }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(&mut self, entry: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(files::open(&self.path, files::options().create(true).append(true))?),
        };
        file.write_all(&line)
    }

    /// Every entry, in order; none when there is no file. A line that was cut off is none.
    ///
    /// # Errors
    /// When the file is there and can't be read, is no regular file, or a whole line is no entry.
    pub fn read(&self) -> io::Result<Vec<T>> {
        let text = match files::read(&self.path, LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        whole.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
    }
}
