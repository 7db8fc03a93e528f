//! Finds the images that a killed recording had not stored yet.

use std::fs;
use std::io;
use std::path::Path;

use crate::plan::output::OutputId;
use crate::sink::notes::{self, Note};
use crate::sink::{Leftover, RescueError, Rescued};

/// What a JPEG ends with (ITU-T T.81 §B.1.1.3).
const END: &[u8] = &[0xff, 0xd9];

/// The finished images in a sink's directory and where they belong, in the order in which to store them. An image that no note
/// tells of stays: nobody knows what it is called.
///
/// # Errors
/// When the sink's notes or an image can't be read.
pub fn rescue(dir: &Path, output: OutputId) -> Result<Rescued, RescueError> {
    let notes = notes::of(dir, output);
    let noted = notes.read().map_err(RescueError::io("reading", notes.path()))?;
    let mut left = Vec::new();
    for note in noted.entries {
        let Note::Image { local, name } = note else { continue };
        let (part, local) = (dir.join(format!("{local}.part")), dir.join(local));
        if !local.exists() {
            finish(&part, &local).map_err(RescueError::io("finishing", &part))?;
        }
        if local.exists() {
            left.push(Leftover { local, name });
        }
    }
    Ok(Rescued { left, obsolete: Vec::new() })
}

/// Gives an image its name that was written to its end.
fn finish(part: &Path, local: &Path) -> io::Result<()> {
    match fs::read(part) {
        Ok(jpeg) if jpeg.ends_with(END) => fs::rename(part, local),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // It stays as it is.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_were_written_to_their_end_are_finished_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = notes::of(dir.path(), OutputId(1));
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
        let rescued = rescue(dir.path(), OutputId(1)).unwrap();
        let names: Vec<_> = rescued.left.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(names, ["a_0.jpeg", "a_1.jpeg"]);
        assert!(rescued.left.iter().all(|left| left.local.exists()));
        assert!(dir.path().join("image-1-000002.jpeg.part").exists());
    }
}
