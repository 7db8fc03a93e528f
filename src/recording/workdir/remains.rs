//! Remaining files of a work directory: the check that decides whether it may be removed.
//!
//! Every file with content counts, wherever it is and whatever its name, except for files known to
//! hold no recorded data. Unknown files are kept, too.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{LOCK, MANIFEST, Manifest, REPORT, STORAGE};
use crate::files;

/// A file with bytes in it that was not turned into a stored one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remain {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Files that are left; never without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    pub root: PathBuf,
    pub files: Vec<Remain>,
}

impl std::error::Error for Remains {}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.files.len() == 1 { "was" } else { "were" };
        write!(f, "{} is kept: {} that {verb} not stored", self.root.display(), described(&self.files))
    }
}

fn described(files: &[Remain]) -> String {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let count = match files {
        [_] => "1 file".to_owned(),
        files => format!("{} files", files.len()),
    };
    format!("{count} with {bytes} bytes")
}

impl Manifest {
    /// Stands for one that is lost: nothing is known to belong anywhere.
    pub(super) fn lost(root: &Path) -> Self {
        Self {
            egress_id: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            base: root.to_owned(),
            run_dir: PathBuf::new(),
            outputs: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Whether this one stands for one that is lost.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.egress_id.is_empty()
    }
}

/// Whether a directory was made as a work directory. Its manifest may be lost; a recording's
/// directory in a service has a lock, too, but no reports.
pub(super) fn is_work_dir(path: &Path) -> bool {
    let is_file = |name: &str| files::is_regular(&path.join(name)).unwrap_or_default();
    is_file(MANIFEST) || is_file(STORAGE) || is_file(LOCK) && path.join(REPORT).is_dir()
}

/// Refuses where something recorded is left, and warns of it. A directory that can't be read may
/// hold something.
pub(super) fn look_before_removing(root: &Path) -> Result<(), Remains> {
    let files = remains(root).unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::NotFound && !root.exists() {
            return Vec::new();
        }
        tracing::warn!(dir = %root.display(), %error, "work directory can't be read");
        vec![Remain { path: root.to_owned(), bytes: 0 }]
    });
    if files.is_empty() {
        return Ok(());
    }
    let remains = Remains { root: root.to_owned(), files };
    tracing::warn!("{remains}");
    Err(remains)
}

/// Remaining files of a work directory that can't be taken over.
#[must_use]
pub fn remains_in(root: &Path) -> Vec<Remain> {
    remains(root).unwrap_or_default()
}

/// Every file in a work directory that may hold something recorded, in order of their paths.
///
/// # Errors
/// When a directory can't be read: what is in it is not known.
pub(super) fn remains(root: &Path) -> io::Result<Vec<Remain>> {
    let mut found = Vec::new();
    // Manifest and storages have other names while they are replaced.
    let is_own = |name: &str| name.starts_with("manifest.") || name.starts_with("storage.");
    let own = |name: &str| [LOCK, REPORT].contains(&name) || is_own(name);
    collect(root, &own, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn collect(dir: &Path, passes_over: &dyn Fn(&str) -> bool, found: &mut Vec<Remain>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_str().is_some_and(passes_over) {
            continue;
        }
        // Not followed: what a link leads to is not in here.
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // Renamed to its final place while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if meta.is_dir() {
            collect(&path, &|_| false, found)?;
        } else if meta.is_file() && meta.len() > 0 && !name.to_str().is_some_and(is_bookkeeping) {
            found.push(Remain { path, bytes: meta.len() });
        }
    }
    Ok(())
}

/// Whether a file in an output's directory tells of recorded files and holds nothing of them: a
/// sink's notes, an output's ledger and backlog, room that is kept free.
fn is_bookkeeping(name: &str) -> bool {
    let is_numbered = |prefix: &str, suffix: &str| {
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    ["uploads.jsonl", "waiting.jsonl", RECORDING_MANIFEST].contains(&name)
        || is_numbered("notes-", ".jsonl")
        || is_numbered(".reserve-", "")
}

/// Name of an output's copy of the recording's manifest (docs/reference/media.md) until it is
/// uploaded: its content is in the report, too.
pub(in crate::recording) const RECORDING_MANIFEST: &str = "recording-manifest.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(root: &Path) -> Vec<String> {
        let shown = |remain: Remain| remain.path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        remains(root).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn a_work_directory_without_media_has_no_remains() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "manifest.json",
            "manifest.part",
            "manifest.json.new",
            "storage.json",
            "storage.json.new",
            "lock",
            "report/screenshot.png",
            "0/notes-0.jsonl",
            "0/uploads.jsonl",
            "1/waiting.jsonl",
            "1/.reserve-1",
            "1/recording-manifest.json",
        ] {
            file(dir.path(), name, "text");
        }
        file(dir.path(), "0/file-0.recording.mp4", "");
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn every_other_file_with_bytes_counts_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let expected = [
            "0/.growing-file-0.recording.ogg",
            "0/.reserve-0.mp4",
            "0/file-0.recording.mp4",
            "0/notes-.jsonl",
            "0/notes-0.jsonl.old",
            "12/segment-12-000000.ts.part",
            "7/a/b/c",
            "else/report",
            "stray.mp4",
        ];
        for name in expected {
            file(dir.path(), name, "bytes");
        }
        // Bookkeeping has its place; what has its name elsewhere is in an output's directory all
        // the same.
        file(dir.path(), "else/lock", "bytes");
        let mut all: Vec<&str> = expected.to_vec();
        all.push("else/lock");
        all.sort_unstable();
        assert_eq!(names(dir.path()), all);
    }

    #[test]
    fn a_link_is_not_followed_and_a_directory_that_can_not_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        file(elsewhere.path(), "a.mp4", "bytes");
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("0")).unwrap();
        assert_eq!(names(dir.path()), Vec::<String>::new());
        remains(&dir.path().join("nowhere")).unwrap_err();
    }

    #[test]
    fn it_is_told_in_a_sentence() {
        let files = |bytes: &[u64]| Remains {
            root: "/w/EG_1".into(),
            files: bytes.iter().map(|bytes| Remain { path: "/w/EG_1/0/a".into(), bytes: *bytes }).collect(),
        };
        assert_eq!(files(&[7]).to_string(), "/w/EG_1 is kept: 1 file with 7 bytes that was not stored");
        assert_eq!(files(&[7, 8]).to_string(), "/w/EG_1 is kept: 2 files with 15 bytes that were not stored");
    }
}
