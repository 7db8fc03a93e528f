//! Files of a recording on the local disk while it runs, and those that survive a crash.
//!
//! ```text
//! <directory of the first local output>/.weir/<egress id>/
//!     manifest.json      contents and their targets; read by `weir recover`
//!     storage.json       each output's storage with its credentials, for its owner only; likewise
//!     lock               held as long as the recorder runs
//!     0/ 1/ 2/ …         one directory per output: files that are not uploaded yet, and journals
//!                        (`sink::segment_journal`, `upload::upload_journal`)
//!     report/            screenshot, console and browser log of a failed start
//! <tmpfs>/weir-<user id>/run-<…>/   framebuffer, sockets, browser profile: worthless after a crash
//! ```

mod private_dir;
mod remains;
mod run_dir;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use self::private_dir::lock;
pub(super) use self::remains::RECORDING_MANIFEST;
pub use self::remains::{Remain, Remains, remains_in};
use self::remains::{is_work_dir, look_before_removing};
use self::run_dir::{MADE_WITHIN, RunDir, is_older_than};
use crate::plan::RecordingPlan;
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::storage::Storage;
use crate::{disk, files};

/// Name of the directory that work directories are in.
pub const WORK_ROOT: &str = ".weir";
const MANIFEST: &str = "manifest.json";
const STORAGE: &str = "storage.json";
const LOCK: &str = "lock";
const REPORT: &str = "report";
/// The largest manifest, and the largest list of storages, that is read. Real ones have some
/// kilobytes.
const LARGEST: u64 = 16 << 20;

/// Why a work directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkDirError {
    #[error("can't {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path}: not the work directory of a recording: {source}")]
    Manifest { path: PathBuf, source: serde_json::Error },
    #[error("{path}: missing or unreadable; say with --storage where the recording belongs")]
    Storage { path: PathBuf },
    #[error(
        "{root}: manifest.json is missing, which says where its files belong; look at them, then remove the directory"
    )]
    NoManifest { root: PathBuf },
    #[error("{path} belongs to a recording that is still running: stop it first")]
    Busy { path: PathBuf },
    #[error("{path} is there already, and not this recording's: `weir recover` it, or remove it")]
    Exists { path: PathBuf },
}

/// Manifest of a recording for `weir recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub egress_id: String,
    pub created_at: Timestamp,
    /// Relative names of outputs are relative to this.
    pub base: PathBuf,
    pub run_dir: PathBuf,
    pub outputs: Vec<OutputEntry>,
    /// Files that the recording could not upload before it ended. (A killed recording could not
    /// list them.)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

/// A finalized file that waits for `weir recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub output: usize,
    pub file: PathBuf,
    /// Its key in the output's storage.
    pub name: String,
}

/// One output: what its directory holds, and where that belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutputEntry {
    /// `container` as its name in the table of containers.
    File {
        container: String,
        name: String,
    },
    Segments {
        dir: String,
        playlist: String,
        live_playlist: Option<String>,
        /// How long a segment is meant to be.
        duration: Duration,
    },
    Images,
    /// Keeps nothing.
    Stream,
}

/// A recording's directories; both exist, and are this recording's alone.
#[derive(Debug)]
pub struct WorkDir {
    root: PathBuf,
    run: RunDir,
    /// The directories above `root` that were made for it, the innermost first.
    made: Vec<PathBuf>,
    /// Released by the kernel however the process ends.
    _lock: Flock<File>,
}

impl WorkDir {
    /// Makes the directories and writes the manifest. `location` is where work directories go;
    /// without one it is beside the first local output, or among the system's temporary files.
    /// `base` is what relative names are relative to.
    ///
    /// # Errors
    /// When a directory or file can't be made, or the recording's directory is there already;
    /// nothing is left behind then, and what others made is as it was.
    pub fn create(plan: &RecordingPlan, location: Option<&Path>, base: &Path) -> Result<Self, WorkDirError> {
        let is_given = location.is_some();
        let location = match location {
            Some(location) => location.to_owned(),
            None => default_location(plan, base)?,
        };
        let run = RunDir::create()?;
        let root = location.join(plan.egress_id.as_str());
        let (made, lock) = private_dir::make(&root, is_given)?;
        match fill(&root, plan, base, run.path()) {
            Ok(()) => Ok(Self { root, run, made, _lock: lock }),
            Err(error) => {
                remove(&root);
                disk::remove_empty(&made);
                Err(error)
            }
        }
    }

    /// The directory that outlives a crash.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory on tmpfs; its name is short enough for sockets in it.
    #[must_use]
    pub fn run(&self) -> &Path {
        self.run.path()
    }

    /// Directory for screenshot and logs of a failed start.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join(REPORT)
    }

    /// Directory of an output's files that are not uploaded yet.
    #[must_use]
    pub fn output(&self, id: OutputId) -> PathBuf {
        output_dir(&self.root, id)
    }

    /// Removes everything, if it looks as if all of it were stored: no file with something recorded
    /// may be left. It looks for itself, whatever the recording thinks has become of its files.
    ///
    /// # Errors
    /// [`Remains`]: files that were not stored. Nothing is removed then but the directory on tmpfs.
    pub fn discard(self) -> Result<(), Remains> {
        look_before_removing(&self.root)?;
        remove_made(&self.root, &self.made);
        Ok(())
    }

    /// Keeps what outlives a crash, and gives its place.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.root.clone()
    }

    /// Removes what says where it all belongs: that is another recording's place now. `weir
    /// recover` asks for one (`--storage`).
    pub fn forget_storage(&self) {
        let path = self.root.join(STORAGE);
        if let Err(error) = fs::remove_file(&path) {
            tracing::error!(%error, path = %path.display(), "an evicted recording still says where it belongs");
        }
    }

    /// Lists in the manifest what could not be stored.
    ///
    /// # Errors
    /// When it can't be written. `weir recover` finds the files without it.
    pub fn list_kept(&self, kept: Vec<Kept>) -> Result<(), WorkDirError> {
        let manifest = read_manifest(&self.root)?;
        write_manifest(&self.root, &Manifest { kept, ..manifest })
    }

    /// Whether a failed start left something to look at.
    #[must_use]
    pub fn has_report(&self) -> bool {
        fs::read_dir(self.report()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// The outputs' directories.
    #[must_use]
    pub fn outputs(&self, outputs: usize) -> Vec<PathBuf> {
        (0..outputs).map(|index| self.output(OutputId(index))).collect()
    }
}

/// A killed recording's work directory, held against another `recover`.
#[derive(Debug)]
pub struct AbandonedWorkDir {
    pub root: PathBuf,
    pub manifest: Manifest,
    _lock: Flock<File>,
}

impl AbandonedWorkDir {
    /// Takes over a work directory. One without a manifest has no outputs: what lies in it is kept.
    ///
    /// # Errors
    /// When its recorder still lives, or its manifest can't be read.
    pub fn open(root: &Path) -> Result<Self, WorkDirError> {
        if !is_work_dir(root) {
            return Err(WorkDirError::NoManifest { root: root.to_owned() });
        }
        let path = root.join(MANIFEST);
        files::check_owner(root).map_err(io_error("take over", root))?;
        let has_manifest = files::is_regular(&path).map_err(io_error("read", &path))?;
        if !has_manifest && !is_older_than(MADE_WITHIN, &root.join(REPORT)) {
            // Its recorder may be about to write it.
            look_before_removing(root)
                .map_or(Ok(()), |()| Err(WorkDirError::Busy { path: root.to_owned() }))?;
        }
        let lock = lock(root)?;
        let manifest = match read_manifest(root) {
            Err(WorkDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Manifest::lost(root)
            }
            read => read?,
        };
        Ok(Self { root: root.to_owned(), manifest, _lock: lock })
    }

    #[must_use]
    pub fn output(&self, id: OutputId) -> PathBuf {
        output_dir(&self.root, id)
    }

    /// Each output's storage, in order; `None` for one that keeps nothing.
    ///
    /// # Errors
    /// When it can't be read, or is not that of these outputs.
    pub fn storage(&self) -> Result<Vec<Option<Storage>>, WorkDirError> {
        let path = self.root.join(STORAGE);
        let outputs = &self.manifest.outputs;
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let text = match files::read(&path, LARGEST) {
            // Somebody has put something else there, and has to see to it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(io_error("read", &path)(error));
            }
            read => read.ok(),
        };
        // What the parser says may quote what it reads.
        let storage = text.and_then(|text| serde_json::from_slice(&text).ok());
        let storage: Vec<Option<Storage>> = storage.ok_or(WorkDirError::Storage { path: path.clone() })?;
        if storage.len() == outputs.len() { Ok(storage) } else { Err(WorkDirError::Storage { path }) }
    }

    /// Removes its directory on tmpfs, in which nothing is recorded.
    pub fn remove_run_dir(&self) {
        run_dir::discard(&self.manifest.run_dir);
    }

    /// Removes it, with its directory on tmpfs, if nothing recorded is left in it.
    ///
    /// # Errors
    /// [`Remains`]: files that were not stored. The directory stays then.
    pub fn discard(self) -> Result<(), Remains> {
        self.remove_run_dir();
        look_before_removing(&self.root)?;
        remove(&self.root);
        if let Some(parent) = self.root.parent() {
            remove_if_empty(parent);
        }
        Ok(())
    }
}

/// The work directories in a directory, which may be one itself, hold them, or have them in its
/// `.weir`.
///
/// # Errors
/// When the directory can't be read.
pub fn find(dir: &Path) -> Result<Vec<PathBuf>, WorkDirError> {
    if is_work_dir(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let mut found = Vec::new();
    for place in [dir.to_owned(), dir.join(WORK_ROOT)] {
        if place != dir && !place.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&place).map_err(io_error("read", &place))? {
            let path = entry.map_err(io_error("read", &place))?.path();
            if is_work_dir(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn default_location(plan: &RecordingPlan, base: &Path) -> Result<PathBuf, WorkDirError> {
    let local_dir = |output: &OutputPlan| {
        let target = &output.storage()?.primary;
        let dir = output.dir()?;
        target
            .is_local()
            .then(|| base.join(target.key(&format!("{dir}x"))).parent().map(Path::to_owned))
            .flatten()
    };
    let keeps_something = plan.outputs.iter().any(|output| output.storage().is_some());
    match plan.outputs.iter().find_map(local_dir) {
        Some(dir) => Ok(dir.join(WORK_ROOT)),
        // What goes elsewhere must outlive a restart of the machine, too.
        None if keeps_something => Ok(base.join(WORK_ROOT)),
        None => private_dir::temporary(),
    }
}

fn fill(root: &Path, plan: &RecordingPlan, base: &Path, run: &Path) -> Result<(), WorkDirError> {
    let report = root.join(REPORT);
    fs::create_dir(&report).map_err(io_error("make", &report))?;
    for index in 0..plan.outputs.len() {
        let dir = output_dir(root, OutputId(index));
        fs::create_dir(&dir).map_err(io_error("make", &dir))?;
    }
    let manifest = Manifest {
        egress_id: plan.egress_id.to_string(),
        created_at: Timestamp::now(),
        base: base.to_owned(),
        run_dir: run.to_owned(),
        outputs: plan.outputs.iter().map(entry_of).collect(),
        kept: Vec::new(),
    };
    write_manifest(root, &manifest)?;
    write_storage(root, plan)
}

/// Writes down in a recording's work directory what outputs are, now that the source told: `weir
/// recover` goes by it.
///
/// # Errors
/// When it can't be written.
pub(super) fn write_outputs(root: &Path, plan: &RecordingPlan) -> Result<(), WorkDirError> {
    let manifest = read_manifest(root)?;
    let outputs = plan.outputs.iter().map(entry_of).collect();
    write_manifest(root, &Manifest { outputs, ..manifest })
}

fn read_manifest(root: &Path) -> Result<Manifest, WorkDirError> {
    let path = root.join(MANIFEST);
    let text = files::read(&path, LARGEST).map_err(io_error("read", &path))?;
    serde_json::from_slice(&text).map_err(|source| WorkDirError::Manifest { path, source })
}

/// Replaces the manifest in one step.
fn write_manifest(root: &Path, manifest: &Manifest) -> Result<(), WorkDirError> {
    let path = root.join(MANIFEST);
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|source| WorkDirError::Manifest { path: path.clone(), source })?;
    files::replace(&path, &text, 0o600).map_err(io_error("write", &path))
}

/// Where everything belongs, with the keys that open it. It is there as long as the work directory
/// is.
fn write_storage(root: &Path, plan: &RecordingPlan) -> Result<(), WorkDirError> {
    let path = root.join(STORAGE);
    let storage: Vec<Option<&Storage>> = plan.outputs.iter().map(OutputPlan::storage).collect();
    let written = serde_json::to_vec(&storage).map_err(io::Error::from);
    written.and_then(|text| files::replace(&path, &text, 0o600)).map_err(io_error("write", &path))
}

fn entry_of(output: &OutputPlan) -> OutputEntry {
    match output {
        OutputPlan::File(file) => {
            OutputEntry::File { container: file.container.row().name.to_owned(), name: file.name.to_string() }
        }
        OutputPlan::Segments(segments) => OutputEntry::Segments {
            dir: segments.dir.clone(),
            playlist: segments.playlist.clone(),
            live_playlist: segments.live_playlist.clone(),
            duration: segments.duration,
        },
        OutputPlan::Images(_) => OutputEntry::Images,
        OutputPlan::Stream(_) | OutputPlan::WebSocket(_) => OutputEntry::Stream,
    }
}

fn output_dir(root: &Path, OutputId(index): OutputId) -> PathBuf {
    root.join(index.to_string())
}

/// Bytes in directories.
#[must_use]
pub(super) fn size_of_all(dirs: &[PathBuf]) -> u64 {
    dirs.iter().map(|dir| size_of(dir)).sum()
}

fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        // A hidden file is room that is kept, not something recorded.
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            // Renamed to its final place while we looked.
            Err(_) => 0,
        })
        .sum()
}

/// Removes a directory of ours. A failure is logged and ignored. Children of a killed recorder die
/// with it, but not in the same moment: their last writes are awaited.
fn remove(dir: &Path) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let begin = Instant::now();
    while let Err(error) = fs::remove_dir_all(dir) {
        match error.kind() {
            io::ErrorKind::NotFound => return,
            io::ErrorKind::DirectoryNotEmpty if begin.elapsed() < PATIENCE => std::thread::yield_now(),
            _ => {
                tracing::warn!(dir = %dir.display(), %error, "could not be removed");
                return;
            }
        }
    }
}

/// The same for a directory of a killed recorder's: a browser's helpers end a little later than the
/// browser, and make what they write into anew, with all that it lies in.
#[expect(
    clippy::disallowed_methods,
    reason = "they are nobody's children any more: nothing tells when the last one is gone"
)]
fn remove_for_good(dir: &Path) {
    const CALM: Duration = Duration::from_millis(400);
    const PATIENCE: Duration = Duration::from_secs(3);
    let begin = Instant::now();
    loop {
        remove(dir);
        std::thread::sleep(CALM);
        if !dir.exists() {
            return;
        }
        if begin.elapsed() > PATIENCE {
            tracing::warn!(dir = %dir.display(), "somebody makes it again and again");
            return;
        }
    }
}

/// Removes a work directory, and what was made for it as far as it is empty.
fn remove_made(root: &Path, made: &[PathBuf]) {
    remove(root);
    if let Some(parent) = root.parent() {
        remove_if_empty(parent);
    }
    disk::remove_empty(made);
}

/// Removes the directory of work directories with the last of them.
fn remove_if_empty(dir: &Path) {
    if dir.file_name().is_some_and(|name| name == WORK_ROOT) {
        // It fails when another recording's directory is in it, which is as it should be.
        fs::remove_dir(dir).ok();
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkDirError {
    let path = path.to_owned();
    move |source| WorkDirError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
