//! The boxes at the top of an MP4: their headers, and how the next fragment is found behind damage.

use std::io::{self, Read, Seek, SeekFrom};

/// A `moov` or `moof` larger than this is not ours; a fragment of ours has some kilobytes.
const LARGEST_HEADER: u64 = 64 << 20;
/// Kinds that say nothing of where media lies.
const HARMLESS: [[u8; 4]; 8] =
    [*b"mfra", *b"free", *b"skip", *b"styp", *b"sidx", *b"uuid", *b"udta", *b"meta"];
/// One of them that is larger, and neither free room nor an index, is not ours: media may be in it.
const LARGEST_HARMLESS: u64 = 16 << 10;
/// Read at once while a fragment is looked for.
const STRIDE: usize = 64 << 10;

/// A box's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    pub(super) start: u64,
    /// Offset of its content.
    pub(super) content: u64,
    /// One past the box's last byte; may lie past the end of the file.
    pub(super) end: u64,
}

impl Header {
    /// Reads the header at `at`; `None` if it is not plausible. A box without a size is not: none
    /// of our boxes extends to the end of the file, and zeros would look like one.
    pub(super) fn read(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<Option<Self>> {
        if at.checked_add(8).is_none_or(|end| end > len) {
            return Ok(None);
        }
        source.seek(SeekFrom::Start(at))?;
        let mut bytes = [0; 8];
        source.read_exact(&mut bytes)?;
        let [a, b, c, d, kind @ ..] = bytes;
        let (size, header) = match u32::from_be_bytes([a, b, c, d]) {
            1 if at + 16 <= len => {
                let mut large = [0; 8];
                source.read_exact(&mut large)?;
                (u64::from_be_bytes(large), 16)
            }
            size => (u64::from(size), 8),
        };
        let Some(end) = at.checked_add(size).filter(|_| size >= header) else { return Ok(None) };
        Ok(Some(Self { kind, start: at, content: at + header, end }))
    }

    /// The whole box, which must end within the file; `None` for one that is too large to be ours.
    pub(super) fn load(&self, source: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
        let size = self.end - self.start;
        if size > LARGEST_HEADER {
            return Ok(None);
        }
        source.seek(SeekFrom::Start(self.start))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        source.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Whether it may be passed over: it says nothing of where media lies, and has none in it, as
    /// far as the file goes. `len`: of the file.
    pub(super) fn is_harmless(&self, source: &mut (impl Read + Seek), len: u64) -> io::Result<bool> {
        let end = self.end.min(len);
        match &self.kind {
            b"mfra" => is_index(source, self.content, end),
            b"free" | b"skip" => is_zeros(source, self.content, end),
            kind => Ok(HARMLESS.contains(kind) && self.end - self.start <= LARGEST_HARMLESS),
        }
    }

    /// Whether it is of a kind that stands at the top of a file.
    pub(super) fn is_known(&self) -> bool {
        HARMLESS.contains(&self.kind) || [*b"ftyp", *b"moov", *b"moof", *b"mdat"].contains(&self.kind)
    }
}

/// Whether between two places there are the boxes of an index of fragments (ISO/IEC 14496-12
/// §8.8.9), the last one maybe cut.
fn is_index(source: &mut (impl Read + Seek), from: u64, end: u64) -> io::Result<bool> {
    let mut at = from;
    while at < end {
        // Fewer bytes than a header has are the beginning of one.
        let Some(header) = Header::read(source, at, end)? else { return Ok(end - at < 8) };
        if ![*b"tfra", *b"mfro"].contains(&header.kind) {
            return Ok(false);
        }
        at = header.end;
    }
    Ok(true)
}

/// Whether between two places there is nothing: room that was kept free.
fn is_zeros(source: &mut (impl Read + Seek), from: u64, end: u64) -> io::Result<bool> {
    find(source, from, end, 1, |byte| byte != b"\0").map(|found| found.is_none())
}

/// Whether the last bytes of a file, fewer than a header has, are the beginning of one.
pub(super) fn begins_a_header(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<bool> {
    source.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    source.take(len.saturating_sub(at)).read_to_end(&mut rest)?;
    let kind = rest.get(4..).unwrap_or_default();
    let mut kinds = [b"ftyp", b"moov", b"moof", b"mdat", b"mfra", b"uuid", b"free"].into_iter();
    // No box of ours has a quarter of a gigabyte.
    let has_size = rest.first().is_none_or(|byte| *byte < 0x10);
    Ok(rest.len() < 8 && has_size && kinds.any(|known| known.starts_with(kind)))
}

/// Whether a movie's header is at a place: a box whose first one is an `mvhd`.
pub(super) fn begins_with_mvhd(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<bool> {
    if at.checked_add(16).is_none_or(|end| end > len) {
        return Ok(false);
    }
    source.seek(SeekFrom::Start(at + 8))?;
    let mut bytes = [0; 8];
    source.read_exact(&mut bytes)?;
    Ok(is_mvhd(&bytes))
}

/// Size and kind of an `mvhd` (ISO/IEC 14496-12 §8.2.2), whose times have 32 or 64 bits.
fn is_mvhd(bytes: &[u8]) -> bool {
    bytes == b"\0\0\0\x6cmvhd" || bytes == b"\0\0\0\x78mvhd"
}

/// The next fragment, or movie header, at or behind `from`: a `moof` that begins with its `mfhd`, a
/// box that begins with an `mvhd`. So many bytes are not in media by chance.
pub(super) fn find_next(source: &mut (impl Read + Seek), from: u64, len: u64) -> io::Result<Option<u64>> {
    find(source, from, len, 16, |at| &at[4..16] == b"moof\0\0\0\x10mfhd" || is_mvhd(&at[8..16]))
}

/// Whether a fragment's boxes are named at or behind `from`: a box that is cut off by the end of
/// its file has none in it.
pub(super) fn names_a_fragment(source: &mut (impl Read + Seek), from: u64, len: u64) -> io::Result<bool> {
    find(source, from, len, 4, |at| at == b"moof" || at == b"mdat").map(|found| found.is_some())
}

/// The first place at or behind `from` where `size` bytes are as wanted.
fn find(
    source: &mut (impl Read + Seek),
    from: u64,
    len: u64,
    size: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Option<u64>> {
    let mut at = from;
    source.seek(SeekFrom::Start(at))?;
    // What could be the beginning of it stays for the next round.
    let mut bytes = Vec::with_capacity(STRIDE + size);
    while at + (bytes.len() as u64) < len {
        let most = (len - at - bytes.len() as u64).min(STRIDE as u64);
        if source.by_ref().take(most).read_to_end(&mut bytes)? == 0 {
            break;
        }
        if let Some(found) = bytes.windows(size).position(&is_wanted) {
            return Ok(Some(at + found as u64));
        }
        let done = bytes.len().saturating_sub(size - 1);
        bytes.drain(..done);
        at += done as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_next_fragment_is_found_also_across_what_is_read_at_once() {
        for at in [0, 1, STRIDE - 20, STRIDE - 15, STRIDE - 1, STRIDE, 3 * STRIDE + 7] {
            let mut bytes = vec![0; at];
            bytes.extend_from_slice(b"\0\0\0\x64moof\0\0\0\x10mfhd");
            let len = bytes.len() as u64;
            assert_eq!(find_next(&mut Cursor::new(&bytes), 0, len).unwrap(), Some(at as u64));
            assert_eq!(find_next(&mut Cursor::new(&bytes), at as u64 + 1, len).unwrap(), None);
            assert_eq!(find_next(&mut Cursor::new(&bytes), 0, len - 1).unwrap(), None, "cut at its end");
        }
    }

    #[test]
    fn a_box_without_a_size_is_none() {
        for bytes in [
            [0; 16].as_slice(),
            b"\0\0\0\0mdat\0\0\0\0\0\0\0\0",
            b"\0\0\0\x07mdat",
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f",
        ] {
            assert_eq!(
                Header::read(&mut Cursor::new(bytes), 0, bytes.len() as u64).unwrap(),
                None,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn some_bytes_at_the_end_may_begin_a_header() {
        let begins = |bytes: &[u8]| begins_a_header(&mut Cursor::new(bytes), 0, bytes.len() as u64).unwrap();
        for bytes in [b"".as_slice(), b"\0", b"\0\0\x12\x34mo", b"\0\0\0\x18fty", b"\0\x30\x12\x34mda"] {
            assert!(begins(bytes), "{bytes:?}");
        }
        for bytes in [b"\0\0\0\0\0".as_slice(), b"\x47", b"\0\0\0\x08moon", b"\0\0\0\x08moof"] {
            assert!(!begins(bytes), "{bytes:?}");
        }
    }
}
