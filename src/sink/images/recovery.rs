//! Finds the images that a killed recording had not stored yet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::plan::output::OutputId;
use crate::sink::segment_journal::{self, Note};
use crate::sink::{Leftover, RecoveredOutput, RecoveryError};

/// End marker of a JPEG (ITU-T T.81 §B.1.1.3).
const END: &[u8] = &[0xff, 0xd9];
/// The largest image that is read, in bytes: one of 8192×8192 pixels has some tens of megabytes at
/// most.
const LARGEST: u64 = 1 << 28;

/// The finished images in a sink's directory and where they belong, in the order in which to store
/// them. An image that no note tells of stays: nobody knows what it is called.
///
/// # Errors
/// When the sink's notes or an image can't be read, or the notes name anything but a file in its
/// directory.
pub fn recover(dir: &Path, output: OutputId) -> Result<RecoveredOutput, RecoveryError> {
    let notes = segment_journal::of(dir, output);
    let noted = notes.read().map_err(RecoveryError::io("reading", notes.path()))?;
    let is_there = |path: &Path| files::is_regular(path).map_err(RecoveryError::io("reading", path));
    let mut left = Vec::new();
    for note in noted.entries {
        let Note::Image { local, name } = note else { continue };
        let local = files::in_dir(dir, &local).map_err(RecoveryError::io("reading", notes.path()))?;
        if !is_there(&local)? {
            let part = part_of(&local);
            finish(&part, &local).map_err(RecoveryError::io("finishing", &part))?;
        }
        if is_there(&local)? {
            left.push(Leftover { local, name });
        }
    }
    Ok(RecoveredOutput { left, obsolete: Vec::new() })
}

/// Temporary name of an image while it is written.
fn part_of(local: &Path) -> PathBuf {
    let mut name = local.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Gives an image its name that was written to its end.
fn finish(part: &Path, local: &Path) -> io::Result<()> {
    match files::read(part, LARGEST) {
        Ok(jpeg) if jpeg.ends_with(END) => fs::rename(part, local),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // It stays as it is.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: OutputId = OutputId(0);

    fn noted(dir: &Path, local: &str) -> Result<RecoveredOutput, RecoveryError> {
        let image = Note::Image { local: local.to_owned(), name: "a/x.jpeg".to_owned() };
        segment_journal::of(dir, OUTPUT).add(&image).unwrap();
        recover(dir, OUTPUT)
    }

    #[test]
    fn notes_name_only_regular_files_of_their_own_directory() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("victim"), "precious").unwrap();
        let absolute = base.path().join("victim").display().to_string();
        for (number, local) in
            [absolute.as_str(), "../victim", "x/../../victim", ".."].into_iter().enumerate()
        {
            let dir = base.path().join(number.to_string());
            fs::create_dir(&dir).unwrap();
            let error = noted(&dir, local).unwrap_err();
            assert!(error.to_string().contains("not the plain name"), "{local}: {error}");
        }
        let dir = base.path().join("link");
        fs::create_dir(&dir).unwrap();
        for name in ["image.jpeg", "image.jpeg.part"] {
            std::os::unix::fs::symlink(&absolute, dir.join(name)).unwrap();
            let error = noted(&dir, "image.jpeg").unwrap_err();
            assert!(error.to_string().contains("regular file"), "{name}: {error}");
            fs::remove_file(dir.join(name)).unwrap();
        }
        fs::remove_file(segment_journal::of(&dir, OUTPUT).path()).unwrap();
        fs::write(dir.join("image.jpeg"), "image").unwrap();
        assert_eq!(noted(&dir, "image.jpeg").unwrap().left.len(), 1);
    }

    #[test]
    fn images_that_were_written_to_their_end_are_finished_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = segment_journal::of(dir.path(), OutputId(1));
        for at in 0..4 {
            let note = Note::Image { local: format!("image-1-{at:06}.jpeg"), name: format!("a_{at}.jpeg") };
            notes.add(&note).unwrap();
        }
        let files: [(&str, &[u8]); 4] = [
            ("image-1-000000.jpeg", b"\xff\xd8 0 \xff\xd9"),
            ("image-1-000001.jpeg.part", b"\xff\xd8 1 \xff\xd9"),
            ("image-1-000002.jpeg.part", b"\xff\xd8 2"),
            ("image-1-000009.jpeg", b"\xff\xd8 9 \xff\xd9"),
        ];
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let rescued = recover(dir.path(), OutputId(1)).unwrap();
        let names: Vec<_> = rescued.left.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(names, ["a_0.jpeg", "a_1.jpeg"]);
        assert!(rescued.left.iter().all(|left| left.local.exists()));
        assert!(dir.path().join("image-1-000002.jpeg.part").exists());
    }
}
