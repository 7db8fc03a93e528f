//! Names that another recording has used since a recorder died: what was left does not take them
//! away from it.
//!
//! A file gets another name then (`IfTaken::Rename`). Segments and images belong to a playlist or
//! to a prefix, and stay in the work directory. In a bucket only recordings that run are seen.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files;
use crate::plan::storage::{Storage, StorageTarget};
use crate::recording::names;
use crate::recording::workdir::Manifest;
use crate::sink::Leftover;

/// Prefix of a segment's date in a playlist.
const DATE: &str = "#EXT-X-PROGRAM-DATE-TIME:";
/// The largest file that is compared, in bytes, as segments are read (`sink::segments`).
const LARGEST: u64 = 8 << 30;

/// The owner of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rival {
    /// A recording that runs, by its egress id.
    Running(String),
    /// The writer of this file.
    Since(PathBuf),
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(id) => write!(f, "the recording {id} writes to it; wait until that has ended"),
            Self::Since(path) => write!(f, "{} was recorded since; move it away", path.display()),
        }
    }
}

/// The running recording that writes to the name of something that is left. `base` is what relative
/// local names are relative to.
pub(super) fn running(storage: &Storage, base: &Path, left: &[Leftover]) -> Option<Rival> {
    let left: Vec<&str> = left.iter().map(|left| left.name.as_str()).collect();
    if left.is_empty() {
        return None;
    }
    let writer = names::writer(&storage.primary, base, &left);
    // Who can't look recovers all the same.
    let unknown =
        |error: &names::NameError| tracing::warn!(%error, "names of running recordings can't be read");
    writer.inspect_err(unknown).ok().flatten().map(Rival::Running)
}

/// The first file on the local disk that somebody else has written since the recording began, under
/// a name of what is left.
pub(super) fn since(storage: &Storage, manifest: &Manifest, left: &[Leftover]) -> Option<Rival> {
    let begin = SystemTime::from(manifest.created_at);
    left.iter().find_map(|left| others(&storage.primary, &manifest.base, begin, left)).map(Rival::Since)
}

/// Removes playlists that list nothing and whose names somebody else has by now: their recorder was
/// killed before there was anything to list.
pub(super) fn forget_empty(
    storage: &Storage,
    manifest: &Manifest,
    running: Option<&Rival>,
    left: &mut Vec<Leftover>,
) {
    let begin = SystemTime::from(manifest.created_at);
    let is_taken = |left: &Leftover| {
        running.is_some() || others(&storage.primary, &manifest.base, begin, left).is_some()
    };
    left.retain(|left| {
        let is_needless = is_playlist(&left.name) && dates(&left.local).is_empty() && is_taken(left);
        if is_needless {
            super::remove(&left.local);
        }
        !is_needless
    });
}

/// The file that has the name of one that is left, unless it is older than the recording, or the
/// recording's own.
fn others(target: &StorageTarget, base: &Path, begin: SystemTime, left: &Leftover) -> Option<PathBuf> {
    if !target.is_local() {
        return None;
    }
    let path = base.join(target.key(&left.name));
    let there = fs::symlink_metadata(&path).ok()?;
    let modified = there.modified().ok()?;
    // What a power cut has emptied is nobody's.
    if there.is_file() && there.len() == 0 || is_playlist(&left.name) && lists_nothing(&path) {
        return None;
    }
    let is_own = match is_playlist(&left.name) {
        // An earlier version of it.
        true => {
            let there = dates(&path);
            dates(&left.local).iter().any(|date| there.contains(date))
        }
        // Of an image without a number, too, there are earlier versions.
        false => is_one_of_many_versions(&left.name) || is_same(&left.local, &path),
    };
    (modified >= begin && !is_own).then_some(path)
}

fn is_playlist(name: &str) -> bool {
    name.ends_with(".m3u8")
}

/// Whether it is an image that has no number and no time in its name.
fn is_one_of_many_versions(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".jpeg") else { return false };
    let number = stem.rsplit_once('_').map_or("", |(_, number)| number);
    number.len() < 5 || !number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a playlist can be read and names no file: it is empty, of zeros, or has not more than a
/// head.
fn lists_nothing(playlist: &Path) -> bool {
    let is_nothing = |line: &[u8]| {
        let mut bytes = line.iter().filter(|byte| **byte != 0 && !byte.is_ascii_whitespace());
        bytes.next().is_none_or(|first| *first == b'#')
    };
    files::read(playlist, LARGEST).is_ok_and(|text| text.split(|byte| *byte == b'\n').all(is_nothing))
}

/// The dates of a playlist's segments.
fn dates(playlist: &Path) -> Vec<String> {
    let text = files::read(playlist, LARGEST).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.strip_prefix(DATE)).map(str::to_owned).collect()
}

/// Whether two files have the same content, as after a copy whose original was not removed yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let size =
        |path: &Path| fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino(), found.len()));
    match (size(one), size(other)) {
        (Some(one), Some(other)) if one == other => true,
        (Some((.., len)), Some((.., other_len))) if len == other_len => {
            let read = |path: &Path| files::read(path, LARGEST).ok();
            read(one).is_some_and(|bytes| read(other) == Some(bytes))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a file with this content, written since, has the name of what is left.
    fn is_taken(name: &str, there: &[u8]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let (local, path) = (dir.path().join("left"), dir.path().join(name));
        fs::write(&local, format!("#EXTM3U\n{DATE}2026-01-01T00:00:00.000Z\n#EXTINF:2,\na_00000.ts\n"))
            .unwrap();
        fs::write(&path, there).unwrap();
        let left = Leftover { local, name: name.to_owned() };
        others(&Storage::local().primary, dir.path(), SystemTime::UNIX_EPOCH, &left) == Some(path)
    }

    #[test]
    fn what_a_power_cut_emptied_is_nobodys() {
        for nothing in [&b""[..], &[0; 300], b"\n\n", b"#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-ENDLIST\n"] {
            assert!(!is_taken("a.m3u8", nothing), "{nothing:?}");
        }
        assert!(!is_taken("a_00000.ts", b"") && !is_taken("a_00000.jpeg", b""));
        for somebodys in [&b"since"[..], b"#EXTM3U\n#EXTINF:2,\nb.ts\n", b"\0\0since", &[0xff; 9]] {
            assert!(is_taken("a.m3u8", somebodys), "{somebodys:?}");
        }
        assert!(is_taken("a_00000.ts", b"since") && is_taken("a_00000.ts", b"#"));
    }

    #[test]
    fn a_playlist_that_cannot_be_read_is_somebodys() {
        let dir = tempfile::tempdir().unwrap();
        let (local, path) = (dir.path().join("left"), dir.path().join("a.m3u8"));
        fs::write(&local, "#EXTM3U\n").unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let left = Leftover { local, name: "a.m3u8".to_owned() };
        let found = others(&Storage::local().primary, dir.path(), SystemTime::UNIX_EPOCH, &left);
        assert_eq!(found, Some(path));
    }
}
