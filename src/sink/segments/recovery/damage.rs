//! Segments that a power cut or a bad disk has damaged: found by packets that do not begin as a
//! packet does, and kept.

use std::fs;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::LARGEST;
use crate::sink::segments::pes::SYNC;
use crate::sink::segments::tables::PACKET;
use crate::{disk, files};

/// Describes the damage of a segment; `None` if it is intact. Reads it in chunks: there may be many
/// segments.
pub(super) fn of(segment: &Path) -> io::Result<Option<String>> {
    let file = files::open(segment, files::options().read(true))?;
    if file.metadata()?.len() == 0 {
        return Ok(Some("empty".to_owned()));
    }
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut packet = [0; PACKET];
    let (mut packets, mut lost, mut first) = (0_u64, 0_u64, None);
    loop {
        match file.read_exact(&mut packet) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        if packet[0] != SYNC {
            lost += 1;
            first = first.or(Some(packets * PACKET as u64));
        }
        packets += 1;
    }
    Ok(first
        .map(|first| format!("damaged from byte {first} on: {lost} of its {packets} packets can't be read")))
}

/// Name under which a damaged segment is kept.
pub(super) fn kept_as(segment: &Path) -> PathBuf {
    segment.with_extension("damaged.ts")
}

/// Keeps a damaged segment under a second name, which stays when the first one is stored. One that
/// an earlier recovery kept stays as it is.
pub(super) fn keep(segment: &Path) -> io::Result<PathBuf> {
    let kept = kept_as(segment);
    match fs::hard_link(segment, &kept) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // A file system without links.
        Err(_) => files::replace(&kept, &files::read(segment, LARGEST)?, 0o600)?,
        Ok(()) => disk::sync_parent(&kept),
    }
    Ok(kept)
}
