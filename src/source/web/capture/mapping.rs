//! The display's framebuffer file, mapped into memory. The only module that may use `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};

/// A file that another process goes on writing to, mapped for reading.
///
/// No reference into the mapping is ever made: bytes come out as copies.
#[derive(Debug)]
pub(super) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the whole file, as long as it is now.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { raw: MmapOptions::new().map_raw_read_only(&File::open(path)?)? })
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Copies `into.len()` bytes from `offset`; `false`, and nothing copied, when they don't all
    /// lie in the file.
    #[must_use]
    pub(super) fn copy(&self, offset: usize, into: &mut [u8]) -> bool {
        if offset.checked_add(into.len()).is_none_or(|end| end > self.raw.len()) {
            return false;
        }
        // SAFETY:
        // 1. The range lies inside of the mapping: checked above, and `MmapRaw::len` never changes.
        // 2. The mapping lives as long as `self`. The display server removes the file when it ends,
        //    which leaves the mapping whole; it never truncates it (that would make reading a bus
        //    error), and nobody else may: the file lies in the recording's private directory.
        // 3. `into` is borrowed exclusively and is memory of our own, so the two don't overlap.
        // 4. The server may write while we copy. Any bytes are valid `u8`s, the copy is made by an
        //    opaque library call, and no reference to the mapping exists from which the compiler
        //    could conclude that they stand still. What a write in the middle gives is a torn
        //    frame, which `framebuffer` notices and throws away.
        unsafe {
            std::ptr::copy_nonoverlapping(self.raw.as_ptr().add(offset), into.as_mut_ptr(), into.len());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_what_lies_in_the_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let mapping = Mapping::open(&path).unwrap();
        let mut four = [0; 4];
        assert!(mapping.copy(6, &mut four));
        assert_eq!(&four, b"6789");
        assert!(!mapping.copy(7, &mut four));
        assert!(!mapping.copy(usize::MAX, &mut four));
        assert_eq!((&four, mapping.len()), (b"6789", 10));

        // A server that ends removes its file: what is mapped stays.
        std::fs::remove_file(&path).unwrap();
        assert!(mapping.copy(0, &mut four));
        assert_eq!(&four, b"0123");
    }
}
