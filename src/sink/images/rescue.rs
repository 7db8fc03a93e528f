//! Finds the images that a killed recording had not stored yet.

use std::path::Path;

use crate::files;
use crate::plan::output::OutputId;
use crate::sink::notes::{self, Note};
use crate::sink::{Leftover, RescueError};

/// The finished images in a sink's directory and where they belong, in the order in which to store them.
///
/// # Errors
/// When the sink's notes can't be read, or name anything but a file in its directory.
pub fn rescue(dir: &Path, output: OutputId) -> Result<Vec<Leftover>, RescueError> {
    let notes = notes::of(dir, output);
    let noted = notes.read().map_err(RescueError::io("reading", notes.path()))?;
    let mut left = Vec::new();
    for note in noted {
        let Note::Image { local, name } = note else { continue };
        let local = files::in_dir(dir, &local).map_err(RescueError::io("reading", notes.path()))?;
        if files::is_regular(&local).map_err(RescueError::io("reading", &local))? {
            left.push(Leftover { local, name });
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: OutputId = OutputId(0);

    fn noted(dir: &Path, local: &str) -> Result<Vec<Leftover>, RescueError> {
        let image = Note::Image { local: local.to_owned(), name: "a/x.jpeg".to_owned() };
        notes::of(dir, OUTPUT).add(&image).unwrap();
        rescue(dir, OUTPUT)
    }

    #[test]
    fn notes_name_only_regular_files_of_their_own_directory() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("victim"), "precious").unwrap();
        let absolute = base.path().join("victim").display().to_string();
        for (number, local) in
            [absolute.as_str(), "../victim", "x/../../victim", ".."].into_iter().enumerate()
        {
            let dir = base.path().join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            let error = noted(&dir, local).unwrap_err();
            assert!(error.to_string().contains("not the plain name"), "{local}: {error}");
        }
        let dir = base.path().join("link");
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&absolute, dir.join("image.jpeg")).unwrap();
        let error = noted(&dir, "image.jpeg").unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        std::fs::remove_file(dir.join("image.jpeg")).unwrap();
        std::fs::write(dir.join("image.jpeg"), "image").unwrap();
        assert_eq!(rescue(&dir, OUTPUT).unwrap().len(), 1);
    }
}
