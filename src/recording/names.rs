//! The names that running recordings write to: no two recordings of a user on one machine write to
//! the same.
//!
//! A name that was given in a request and that another recording writes to is refused. One that was
//! generated gets the egress id. A name that stands for many files (`im_*.jpeg`) is that of each of
//! them (`im_00006.jpeg`), too. Names on the local disk are compared as paths without symbolic
//! links, those in a bucket with their server and bucket. Users do not see one another's
//! recordings, and containers only those that share their `/dev/shm`: there the last resort is that
//! a file never replaces one that was not there when its recording began, unless its name was given
//! to a service.

mod registry;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::registry::{Entry, Registry};
use crate::plan::RecordingPlan;
use crate::plan::output::{NameOrigin, OutputId, OutputPlan};
use crate::plan::storage::StorageTarget;
use crate::plan::written::{WrittenFiles, WrittenName};

/// Treatment of an existing local file with a given name that no running recording writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OlderFiles {
    /// It is replaced, as LiveKit Egress does.
    Replace,
    /// The recording is refused.
    Refuse,
}

/// Why a recording can't have its names.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error(
        "output {name}: the recording {other} writes to it; give another name or one with {{time}} in it, or wait until {other} \
         has ended"
    )]
    Taken { name: String, other: String },
    #[error(
        "output {name}: {path} exists already; give another name or one with {{time}} in it, or move the file away"
    )]
    Exists { name: String, path: PathBuf },
    #[error("output {name}: another output of this recording writes to it, too; give each its own name")]
    Twice { name: String },
    #[error("can't {action} {path}, where running recordings note their names: {source}")]
    Registry { action: &'static str, path: PathBuf, source: io::Error },
}

/// The names of one recording. Others can have them when this is dropped, or its process is gone,
/// however it ended.
#[derive(Debug)]
pub struct Names {
    registry: Registry,
    base: PathBuf,
    older: OlderFiles,
    entry: Option<Entry>,
}

impl Names {
    /// For a recording with relative local names relative to `base`.
    #[must_use]
    pub fn new(base: &Path, older: OlderFiles) -> Self {
        Self::in_registry(Registry::of_user(), base, older)
    }

    fn in_registry(registry: Registry, base: &Path, older: OlderFiles) -> Self {
        Self { registry, base: base.to_owned(), older, entry: None }
    }

    /// Takes the names of a plan, once; those that were generated and are taken get the egress id.
    /// Nothing is done as long as they are provisional: they are taken when the source has told
    /// what they say.
    ///
    /// # Errors
    /// [`NameError`]; nothing is taken then.
    pub fn claim(&mut self, plan: &mut RecordingPlan) -> Result<(), NameError> {
        if plan.deferred_names.is_some() || self.entry.is_some() {
            return Ok(());
        }
        // Whatever may wait for a disk comes before the registry is locked.
        let mut candidates = Vec::new();
        for output in (0..plan.outputs.len()).map(OutputId) {
            candidates.extend(self.candidate(plan, output)?);
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let registry = self.registry.lock()?;
        let others = registry.others()?;
        let mut keys: BTreeSet<String> = BTreeSet::new();
        let mut moved: Vec<WrittenName> = Vec::new();
        for Candidate { output, mut names, with_id } in candidates {
            let taken = |names: &[Keyed]| {
                let mut names = names.iter().filter(|name| !name.is_backup);
                names.find_map(|name| {
                    let other = name.rivals.iter().find_map(|key| others.get(key))?;
                    Some((name.name.clone(), other.clone()))
                })
            };
            if let Some((name, other)) = taken(&names) {
                names = with_id.ok_or(NameError::Taken { name, other })?;
                plan.add_id_to_names(output);
                if let Some((name, other)) = taken(&names) {
                    return Err(NameError::Taken { name, other });
                }
            }
            let is_used = |key: &String| others.contains_key(key) || keys.contains(key);
            if names.iter().any(|name| name.is_backup && name.rivals.iter().any(is_used)) {
                move_backup(plan, output, &mut moved);
                names.retain(|name| !name.is_backup);
            }
            for Keyed { name, noted, rivals, is_backup } in names {
                // A backup may be the primary storage once more.
                if !is_backup && rivals.iter().any(|key| keys.contains(key)) {
                    return Err(NameError::Twice { name });
                }
                keys.extend(noted);
            }
        }
        self.entry = Some(registry.enter(plan.egress_id.as_str(), keys)?);
        Ok(())
    }

    /// A value that can claim the names on a thread that may wait for a disk; `None` if they are
    /// claimed.
    pub(super) fn unclaimed(&self) -> Option<Self> {
        let Self { registry, base, older, entry } = self;
        entry.is_none().then(|| Self::in_registry(registry.clone(), base, *older))
    }

    /// Leaves the names to others.
    pub fn release(&mut self) {
        self.entry = None;
    }

    /// Alternative name for an output's finished file if its name is taken by then; `None`: the
    /// existing file is replaced.
    #[must_use]
    pub fn name_if_taken(&self, plan: &RecordingPlan, output: OutputId) -> Option<String> {
        let replaces = self.older == OlderFiles::Replace && plan.named(output) == NameOrigin::Given;
        match plan.outputs.get(output.0) {
            Some(OutputPlan::File(_)) if !replaces => plan.file_name_with_id(output),
            _ => None,
        }
    }

    /// An output's names, as far as the disk says that they may be had; `None`: it keeps nothing.
    fn candidate(&self, plan: &mut RecordingPlan, output: OutputId) -> Result<Option<Candidate>, NameError> {
        let mut written = plan.written(output);
        if written.is_empty() {
            return Ok(None);
        }
        let is_generated = plan.named(output) == NameOrigin::Generated;
        let mut has_id = false;
        if (is_generated || self.older == OlderFiles::Refuse)
            && let Some((name, path)) = self.older(&written)
        {
            if !is_generated {
                return Err(NameError::Exists { name, path });
            }
            plan.add_id_to_names(output);
            has_id = true;
            written = plan.written(output);
        }
        let with_id = (is_generated && !has_id).then(|| {
            let mut plan = plan.clone();
            plan.add_id_to_names(output);
            self.keyed(plan.written(output))
        });
        Ok(Some(Candidate { output, names: self.keyed(written), with_id }))
    }

    /// The first file that is there already of those that would be written to.
    fn older(&self, written: &[WrittenName]) -> Option<(String, PathBuf)> {
        let mut local = written.iter().filter(|written| written.is_local && !written.is_backup);
        local.find_map(|written| Some((written.name.clone(), existing(written, &self.base)?)))
    }

    fn keyed(&self, written: Vec<WrittenName>) -> Vec<Keyed> {
        written.into_iter().map(|written| Keyed::new(written, &self.base)).collect()
    }
}

/// Puts an output's backup below a directory of the egress id: one directory deeper for each that
/// has the same names there.
fn move_backup(plan: &mut RecordingPlan, output: OutputId, moved: &mut Vec<WrittenName>) {
    for _ in 0..plan.outputs.len() {
        plan.move_backup(output);
        let mut written = plan.written(output);
        written.retain(|written| written.is_backup);
        let is_used = |name: &WrittenName| moved.iter().any(|other| name.shares_files_with(other));
        if !written.iter().any(is_used) {
            moved.extend(written);
            return;
        }
    }
}

/// The running recording that writes to one of these files of a storage, if there is one. `base` is
/// what relative local names are relative to.
///
/// # Errors
/// When the registry can't be used.
pub fn writer(target: &StorageTarget, base: &Path, names: &[&str]) -> Result<Option<String>, NameError> {
    let written = names.iter().flat_map(|name| WrittenName::of_file(target, name));
    let keys: Vec<String> = written.map(|written| key(&written, base, Part::Name)).collect();
    let others = Registry::of_user().lock()?.others()?;
    Ok(keys.iter().find_map(|key| others.get(key).cloned()))
}

/// An output's names, and the ones that it may get instead.
struct Candidate {
    output: OutputId,
    names: Vec<Keyed>,
    with_id: Option<Vec<Keyed>>,
}

struct Keyed {
    name: String,
    /// Entries in the registry while it is written to.
    noted: Vec<String>,
    /// With one of these in the registry, somebody else writes to a file of this name.
    rivals: Vec<String>,
    is_backup: bool,
}

impl Keyed {
    fn new(written: WrittenName, base: &Path) -> Self {
        let own = key(&written, base, Part::Name);
        let (mut noted, mut rivals) = (vec![own.clone()], vec![own]);
        // A numbered series and a single file have different names, so two of them do not collide.
        if let Some(many) = written.of_many() {
            let (one, all) = (key(&many, base, Part::One), key(&many, base, Part::All));
            let (own, rival) = if written.files == WrittenFiles::One { (one, all) } else { (all, one) };
            noted.push(own);
            rivals.push(rival);
        }
        Self { name: written.name, noted, rivals, is_backup: written.is_backup }
    }
}

/// The part of a name that a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    /// A single file among the many that have the name.
    One,
    /// All of these.
    All,
}

/// Key of a name in the registry: a digest, as buckets and paths are private.
fn key(written: &WrittenName, base: &Path, part: Part) -> String {
    let mut digest = Sha256::new();
    digest.update(written.storage.as_bytes());
    digest.update(b"\0");
    if written.is_local {
        digest.update(without_links(&base.join(&written.key)).as_os_str().as_encoded_bytes());
    } else {
        digest.update(written.key.as_bytes());
    }
    // A numbered file and one with a time are never the same.
    let part: &[u8] = match (part, written.files) {
        (Part::Name, _) => b"",
        (Part::One, WrittenFiles::Timed) => b"\0one timed",
        (Part::One, WrittenFiles::One | WrittenFiles::Numbered) => b"\0one numbered",
        (Part::All, WrittenFiles::Timed) => b"\0all timed",
        (Part::All, WrittenFiles::One | WrittenFiles::Numbered) => b"\0all numbered",
    };
    digest.update(part);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path with symbolic links resolved in its directories, as far as they exist. The file itself
/// may be a link: it is replaced, not followed.
fn without_links(path: &Path) -> PathBuf {
    let Some((dir, name)) = path.parent().zip(path.file_name()) else { return path.to_owned() };
    let mut missing = vec![name];
    for dir in dir.ancestors() {
        if let Ok(found) = fs::canonicalize(dir) {
            return missing.iter().rev().fold(found, |path, name| path.join(name));
        }
        missing.extend(dir.file_name());
    }
    path.to_owned()
}

/// A file on the local disk that has a name already.
fn existing(written: &WrittenName, base: &Path) -> Option<PathBuf> {
    let path = base.join(&written.key);
    match written.files {
        WrittenFiles::One => fs::symlink_metadata(&path).is_ok().then_some(path),
        WrittenFiles::Numbered => {
            let (before, after) = path.file_name()?.to_str()?.rsplit_once('*')?;
            let is_one = |name: &str| {
                let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                number.is_some_and(|number| {
                    number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())
                })
            };
            let entries = fs::read_dir(path.parent()?).ok()?.flatten();
            entries
                .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
                .map(|entry| entry.path())
                .next()
        }
        // None of them comes a second time.
        WrittenFiles::Timed => None,
    }
}

#[cfg(test)]
mod tests;
