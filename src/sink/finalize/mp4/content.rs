//! How much media is in an MP4: in one that was recorded, in fragments, and in a finished one.

use std::fs::File;
use std::io::{self as stdio, BufReader, Read, Seek};
use std::path::Path;

use super::boxes::{Header, begins_with_mvhd};
use super::scan::{self, ScanError};
use crate::sink::finalize::beside::Content;
use crate::sink::finalize::{FinalizeError, io};

/// The readable content of a recorded file.
pub(in crate::sink::finalize) fn recorded_content(recorded: &Path) -> Result<Content, FinalizeError> {
    let (file, len) = open(recorded)?;
    match scan::scan(&mut BufReader::new(file), len) {
        Ok(scan) => Ok(Content {
            amount: scan.pieces.iter().map(|piece| piece.len).sum(),
            damage: scan.damage.described(),
            is_cut: scan.complete < len,
        }),
        Err(ScanError::Io(error)) => Err(io("reading", recorded)(error)),
        Err(ScanError::Empty) => Ok(Content::default()),
        Err(ScanError::Foreign(why)) => {
            Ok(Content { damage: Some(format!("damaged: {why}")), ..Content::default() })
        }
    }
}

/// The content of a finalized file. Its index is only checked for presence.
pub(in crate::sink::finalize) fn finalized_content(whole: &Path) -> Result<Content, FinalizeError> {
    let (file, len) = open(whole)?;
    content_of(&mut BufReader::new(file), len).map_err(io("reading", whole))
}

fn open(path: &Path) -> Result<(File, u64), FinalizeError> {
    let file = File::open(path).map_err(io("opening", path))?;
    let len = file.metadata().map_err(io("reading", path))?.len();
    Ok((file, len))
}

fn content_of(source: &mut (impl Read + Seek), len: u64) -> stdio::Result<Content> {
    let (mut content, mut has_index, mut at) = (Content::default(), false, 0);
    while at < len {
        let Some(header) = Header::read(source, at, len)?.filter(Header::is_known) else {
            content.is_cut = true;
            break;
        };
        match &header.kind {
            b"moov" => has_index |= header.end <= len && begins_with_mvhd(source, at, len)?,
            b"mdat" => content.amount += header.end.min(len).saturating_sub(header.content),
            _ => {}
        }
        content.is_cut = header.end > len;
        at = header.end;
    }
    // Without an index nothing can be read of it.
    if !has_index {
        content.amount = 0;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(bytes: &[u8]) -> Content {
        content_of(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    fn a_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap().to_be_bytes();
        [size.as_slice(), kind, content].concat()
    }

    #[test]
    fn the_media_of_a_finished_file_counts_as_far_as_it_is_there() {
        let movie = a_box(b"moov", &a_box(b"mvhd", &[0; 100]));
        let file = [a_box(b"ftyp", b"isom"), movie, a_box(b"mdat", &[1; 500])].concat();
        assert_eq!(read(&file), Content { amount: 500, ..Content::default() });
        let cut = read(&file[..file.len() - 200]);
        assert_eq!(cut, Content { amount: 300, is_cut: true, ..Content::default() });
        assert_eq!(read(&file[..60]).amount, 0, "half an index");
        assert_eq!(read(&[0; 600]), Content { is_cut: true, ..Content::default() });
        assert_eq!(read(&[]), Content::default());
        assert_eq!(read(&file[12..]).amount, 500);
    }

    #[test]
    fn media_without_an_index_does_not_count() {
        assert_eq!(read(&a_box(b"mdat", &[1; 500])).amount, 0);
    }
}
