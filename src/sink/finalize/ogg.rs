//! OGG: a killed recording may end with a partial page. Everything before it is playable. The
//! intact pages of a damaged file (each has a checksum) become a file of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::beside::Content;
use super::damage::Damage;
use super::{FinalizeError, Finalized, Layout, io, nothing_readable, part_of};

/// An OGG page's header, up to and with the count of its segments (RFC 3533 §6).
const HEADER: usize = 27;
/// Position of its checksum.
const CHECKSUM: std::ops::Range<usize> = 22..26;
/// The largest page: 255 segments of 255 bytes.
const LARGEST: usize = HEADER + 255 + 255 * 255;
/// Set in the flags of a stream's first page.
const FIRST: u8 = 2;

pub(super) fn finalize(recorded: &Path, whole: &Path) -> Result<Finalized, FinalizeError> {
    let mut file =
        OpenOptions::new().read(true).write(true).open(recorded).map_err(io("opening", recorded))?;
    let len = file.metadata().map_err(io("reading", recorded))?.len();
    let pages = whole_pages(BufReader::new(&mut file), len).map_err(io("reading", recorded))?;
    // Two pages of headers, then sound.
    if pages.count < 3 || !pages.has_start {
        let is_empty = pages.count < 2 || pages.count == 2 && pages.end == len;
        return Err(match pages.damage.is_none() && is_empty {
            true => FinalizeError::Empty { path: recorded.to_owned() },
            false => nothing_readable(recorded, pages.damage),
        });
    }
    if !pages.damage.is_none() {
        let part = part_of(whole);
        let copied = copy(&mut file, &pages.whole, &part).and_then(|()| std::fs::rename(&part, whole));
        if copied.is_err() {
            // Of no use; what can't be removed is written over the next time.
            std::fs::remove_file(&part).ok();
        }
        copied.map_err(io("writing", &part))?;
    } else {
        if pages.end < len {
            file.set_len(pages.end).map_err(io("cutting", recorded))?;
        }
        file.sync_all().map_err(io("syncing", recorded))?;
        std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
    }
    let size = pages.whole.iter().map(|(start, end)| end - start).sum();
    let (was_cut, damage) = (pages.end < len, pages.damage.described());
    let layout = Layout::Ordinary;
    Ok(Finalized { size, duration: None, layout, was_cut, lacks_video: false, damage, kept: None })
}

/// The readable content of a file.
pub(super) fn content(path: &Path) -> Result<Content, FinalizeError> {
    let file = File::open(path).map_err(io("opening", path))?;
    let len = file.metadata().map_err(io("reading", path))?.len();
    let pages = whole_pages(BufReader::new(file), len).map_err(io("reading", path))?;
    let is_readable = pages.count >= 3 && pages.has_start;
    let size = pages.whole.iter().map(|(start, end)| end - start).sum();
    Ok(Content {
        amount: if is_readable { size } else { 0 },
        damage: pages.damage.described(),
        is_cut: pages.end < len,
    })
}

/// Writes parts of a file into another one.
fn copy(file: &mut File, parts: &[(u64, u64)], to: &Path) -> io::Result<()> {
    let mut target = File::create(to)?;
    for (start, end) in parts {
        file.seek(SeekFrom::Start(*start))?;
        if io::copy(&mut file.by_ref().take(end - start), &mut target)? < end - start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    target.sync_all()
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Pages {
    count: u64,
    /// The first one begins a stream.
    has_start: bool,
    /// End of the last complete page.
    end: u64,
    /// Ranges of complete pages; adjacent ones are joined.
    whole: Vec<(u64, u64)>,
    /// Bytes that are not pages, except for a partial one at the cut.
    damage: Damage,
}

impl Pages {
    fn add(&mut self, start: u64, page: &[u8]) {
        let end = start + page.len() as u64;
        if self.count == 0 {
            self.has_start = page.get(5).is_some_and(|flags| flags & FIRST != 0);
        }
        (self.count, self.end) = (self.count + 1, end);
        match self.whole.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.whole.push((start, end)),
        }
    }
}

fn whole_pages(mut file: impl Read + Seek, len: u64) -> io::Result<Pages> {
    let mut pages = Pages::default();
    let (mut at, mut bytes) = (0, Vec::new());
    // Where what can't be read begins.
    let mut lost = None;
    file.seek(SeekFrom::Start(0))?;
    loop {
        // Always enough for the largest page, as far as the file goes.
        let missing = (2 * LARGEST).saturating_sub(bytes.len()) as u64;
        if bytes.len() < LARGEST {
            file.by_ref().take(missing).read_to_end(&mut bytes)?;
        }
        if bytes.is_empty() {
            break;
        }
        let taken = match Page::at(&bytes) {
            Page::Complete(size) => {
                if let Some(lost) = lost.take() {
                    pages.damage.add(lost, at);
                }
                pages.add(at, bytes.get(..size).unwrap_or_default());
                size
            }
            // The file was cut off in its last page, if none begins in what is left.
            Page::Cut if at + bytes.len() as u64 == len && !names_a_page(&bytes) && lost.is_none() => break,
            Page::Cut | Page::None => {
                lost = lost.or(Some(at));
                let next = bytes.windows(4).skip(1).position(|at| at == b"OggS");
                next.map_or(bytes.len().saturating_sub(3).max(1), |next| next + 1)
            }
        };
        bytes.drain(..taken);
        at += taken as u64;
    }
    if let Some(lost) = lost {
        pages.damage.add(lost, len);
    }
    Ok(pages)
}

/// Whether a page begins behind the first bytes.
fn names_a_page(bytes: &[u8]) -> bool {
    bytes.windows(4).skip(1).any(|at| at == b"OggS")
}

/// The page at the beginning of some bytes.
enum Page {
    /// A page of so many bytes.
    Complete(usize),
    /// The beginning of one.
    Cut,
    None,
}

impl Page {
    fn at(bytes: &[u8]) -> Self {
        let capture = b"OggS\0";
        if !bytes.starts_with(capture) {
            return if capture.starts_with(bytes) { Self::Cut } else { Self::None };
        }
        let Some(segments) = bytes.get(HEADER - 1).map(|count| usize::from(*count)) else { return Self::Cut };
        let Some(lengths) = bytes.get(HEADER..HEADER + segments) else { return Self::Cut };
        let body: usize = lengths.iter().map(|length| usize::from(*length)).sum();
        let Some(page) = bytes.get(..HEADER + segments + body) else { return Self::Cut };
        let said = page.get(CHECKSUM).map(<[u8]>::to_vec);
        if said.is_some_and(|said| said == checksum(page).to_le_bytes()) {
            Self::Complete(page.len())
        } else {
            Self::None
        }
    }
}

/// A page's checksum, which is over the page with zeros in its own place (RFC 3533 §6): CRC-32 of
/// polynomial 0x04c11db7, without reflection.
fn checksum(page: &[u8]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { 0 } else { *byte };
    page.iter()
        .enumerate()
        .map(byte)
        .fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = ((at as u32) << 24, 0);
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    use proptest::prelude::*;

    fn page(number: u8, body: usize) -> Vec<u8> {
        let mut page = vec![0; HEADER];
        page[..4].copy_from_slice(b"OggS");
        page[5] = if number == 0 { FIRST } else { 0 };
        page[18] = number;
        page[HEADER - 1] = u8::try_from(body / 255 + 1).unwrap();
        page.extend(std::iter::repeat_n(255, body / 255));
        page.push(u8::try_from(body % 255).unwrap());
        page.extend(std::iter::repeat_n(7, body));
        let sum = checksum(&page).to_le_bytes();
        page[CHECKSUM].copy_from_slice(&sum);
        page
    }

    fn pages() -> Vec<Vec<u8>> {
        vec![page(0, 19), page(1, 300), page(2, 0), page(3, 1000), page(4, 60_000), page(5, 30)]
    }

    fn read(bytes: &[u8]) -> Pages {
        whole_pages(Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn the_checksum_begins_with_zeros_and_is_not_reflected() {
        assert_eq!(checksum(&[0; 30]), 0);
        assert_eq!(checksum(&[1]), 0x04c1_1db7);
    }

    #[test]
    fn counts_whole_pages_wherever_the_file_is_cut() {
        let pages = pages();
        let file = pages.concat();
        for cut in (0..2000).chain([file.len() - 31, file.len() - 1, file.len()]) {
            let (mut count, mut end) = (0, 0);
            for page in &pages {
                if end + page.len() > cut {
                    break;
                }
                (count, end) = (count + 1, end + page.len());
            }
            let found = read(&file[..cut]);
            assert_eq!((found.count, found.end), (count, end as u64), "cut at {cut}");
            assert!(found.damage.is_none(), "cut at {cut}: {:?}", found.damage);
        }
    }

    #[test]
    fn a_file_without_its_beginning_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (recorded, whole) = (dir.path().join("recorded"), dir.path().join("whole"));
        let mut bytes = pages().concat();
        bytes[..40].fill(0);
        std::fs::write(&recorded, &bytes).unwrap();
        let error = finalize(&recorded, &whole).unwrap_err();
        assert!(matches!(error, FinalizeError::Foreign { .. }), "{error}");
        assert_eq!(std::fs::read(&recorded).unwrap(), bytes);
    }

    #[test]
    fn whole_pages_of_a_damaged_file_become_a_file_and_it_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (recorded, whole) = (dir.path().join("recorded"), dir.path().join("whole"));
        let pages = pages();
        let mut bytes = pages.concat();
        let third = pages[..3].iter().map(Vec::len).sum::<usize>();
        bytes[third + 500] ^= 1;
        // Zeros of a power cut behind the last page.
        bytes.extend([0; 500]);
        std::fs::write(&recorded, &bytes).unwrap();
        let made = finalize(&recorded, &whole).unwrap();
        assert!(made.damage.unwrap().contains("2 places"));
        assert_eq!(std::fs::read(&recorded).unwrap(), bytes);
        let expected = [&pages[..3], &pages[4..]].concat().concat();
        assert_eq!(std::fs::read(&whole).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn damage_costs_the_pages_that_it_touches(at in any::<prop::sample::Index>(), len in 1usize..3000, value: u8) {
            let pages = pages();
            let mut bytes = pages.concat();
            let before = bytes.clone();
            let start = at.index(bytes.len());
            let end = (start + len).min(bytes.len());
            bytes[start..end].fill(value);
            let found = read(&bytes);
            let mut page_at = 0;
            for page in &pages {
                let (from, to) = (page_at, page_at + page.len());
                page_at = to;
                if bytes[from..to] == before[from..to] {
                    let is_in = |(start, end): &(u64, u64)| *start <= from as u64 && to as u64 <= *end;
                    prop_assert!(found.whole.iter().any(is_in), "the page at {} is lost", from);
                }
            }
            // Every byte is in a page or counted, but for half a page at the end.
            let read: u64 = found.whole.iter().map(|(start, end)| end - start).sum();
            let cut = if found.damage.is_none() { bytes.len() as u64 - found.end } else { 0 };
            prop_assert_eq!(read + found.damage.bytes + cut, bytes.len() as u64);
        }
    }
}
