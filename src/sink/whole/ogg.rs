//! OGG: a recording that was killed may end in half a page. Everything before it plays as it is.

use std::fs::OpenOptions;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use super::{FinalizeError, Layout, Whole, io};

/// An OGG page's header, up to and with the count of its segments (RFC 3533 §6).
const HEADER: usize = 27;

pub(super) fn make_whole(recorded: &Path, whole: &Path) -> Result<Whole, FinalizeError> {
    let mut file =
        OpenOptions::new().read(true).write(true).open(recorded).map_err(io("opening", recorded))?;
    let len = file.metadata().map_err(io("reading", recorded))?.len();
    let pages = whole_pages(BufReader::new(&mut file), len).map_err(io("reading", recorded))?;
    // Two pages of headers, then sound.
    if pages.count < 3 {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    if pages.end < len {
        file.set_len(pages.end).map_err(io("cutting", recorded))?;
    }
    file.sync_all().map_err(io("syncing", recorded))?;
    std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
    Ok(Whole { size: pages.end, duration: None, layout: Layout::Ordinary, was_cut: pages.end < len })
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Pages {
    count: u64,
    /// Where the last whole page ends.
    end: u64,
}

fn whole_pages(mut file: impl Read + Seek, len: u64) -> io::Result<Pages> {
    let mut pages = Pages::default();
    loop {
        let mut header = [0; HEADER];
        let mut lengths = [0; 255];
        let Some(after) = pages.end.checked_add(HEADER as u64).filter(|end| *end <= len) else { break };
        file.read_exact(&mut header)?;
        let segments = header[HEADER - 1];
        if &header[..4] != b"OggS" || after + u64::from(segments) > len {
            break;
        }
        let lengths = &mut lengths[..usize::from(segments)];
        file.read_exact(lengths)?;
        let body: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let end = after + u64::from(segments) + body;
        if end > len {
            break;
        }
        // At most 255 × 255 bytes.
        file.seek_relative(i64::try_from(body).unwrap_or(0))?;
        pages = Pages { count: pages.count + 1, end };
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn page(body: usize) -> Vec<u8> {
        let mut page = vec![0; HEADER];
        page[..4].copy_from_slice(b"OggS");
        page[HEADER - 1] = u8::try_from(body / 255 + 1).unwrap();
        page.extend(std::iter::repeat_n(255, body / 255));
        page.push(u8::try_from(body % 255).unwrap());
        page.extend(std::iter::repeat_n(7, body));
        page
    }

    #[test]
    fn counts_whole_pages_wherever_the_file_is_cut() {
        let pages = [page(19), page(300), page(0), page(1000)];
        let file = pages.concat();
        for cut in 0..=file.len() {
            let mut expected = Pages::default();
            for page in &pages {
                if expected.end + page.len() as u64 > cut as u64 {
                    break;
                }
                expected = Pages { count: expected.count + 1, end: expected.end + page.len() as u64 };
            }
            let found = whole_pages(Cursor::new(&file[..cut]), cut as u64).unwrap();
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
