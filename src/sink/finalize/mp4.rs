//! MP4: from fragments to one index in front of the media (faststart), by copying.
//!
//! ```text
//! recorded   ftyp moov │ moof mdat │ moof mdat │ moof mdat │ …     tables are gathered from each moof,
//!                               ╲          │          ╱            media is copied by the kernel, piece by piece
//! whole      ftyp moov │ mdat ────────────────────────
//! ```
//!
//! No sample is looked at, but the first one of AV1 (`av1`) and key frames of published H.264 and
//! H.265 (`parameter_sets`). Decode times, composition offsets and key frames are carried over
//! number for number.

mod av1;
mod boxes;
mod content;
mod fragment;
mod parameter_sets;
mod scan;
mod tables;
mod track;

use std::fs::File;
use std::io::{self as stdio, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use mp4_atom::{Edts, Elst, ElstEntry, Encode, Moov};
use tokio_util::sync::CancellationToken;

pub(super) use self::content::{finalized_content, recorded_content};
use self::scan::{Scan, ScanError};
use super::{FinalizeError, Finalized, Layout, io, part_of};

/// Units a second of the movie's own times (length, gaps before a track).
const MOVIE_TIMESCALE: u32 = 90_000;

pub(super) fn finalize(
    recorded: &Path,
    whole: &Path,
    length: Option<Duration>,
    stop: &CancellationToken,
) -> Result<Finalized, FinalizeError> {
    let source = File::open(recorded).map_err(io("opening", recorded))?;
    let len = source.metadata().map_err(io("reading", recorded))?.len();
    let scan = match scan::scan(&mut BufReader::new(&source), len) {
        Ok(scan) => scan,
        Err(ScanError::Io(error)) => return Err(io("reading", recorded)(error)),
        Err(ScanError::Empty) => return Err(FinalizeError::Empty { path: recorded.to_owned() }),
        Err(ScanError::Foreign(why)) => {
            return Err(FinalizeError::Foreign { path: recorded.to_owned(), why });
        }
    };
    let was_cut = scan.complete < len;
    let (complete, damage) = (scan.complete, scan.damage);
    let lacks_video = scan.lacks_video();
    let (movie, duration) = Movie::lay_out(scan, length).map_err(|error| FinalizeError::Foreign {
        path: recorded.to_owned(),
        why: format!("its index can't be written: {error}"),
    })?;
    let part = part_of(whole);
    match movie.write(&source, recorded, &part, stop) {
        Ok(()) => {
            std::fs::rename(&part, whole).map_err(io("renaming", &part))?;
            let (size, layout) = (movie.size(), Layout::Ordinary);
            Ok(Finalized {
                size,
                duration: Some(duration),
                layout,
                was_cut,
                lacks_video,
                damage: damage.described(),
                kept: None,
            })
        }
        Err(error) => {
            if let Err(error) = std::fs::remove_file(&part) {
                tracing::debug!(%error, part = %part.display(), "nothing to remove");
            }
            let is_full = matches!(error, FinalizeError::NoSpaceLeft { .. });
            // A damaged one stays as it is: what can't be read of it now may be readable for
            // somebody else.
            if !is_full || complete == 0 || !damage.is_none() {
                return Err(error);
            }
            tracing::warn!(file = %whole.display(), "no room for a copy with its index first: the fragments stay");
            keep_fragments(recorded, whole, complete)?;
            let layout = Layout::Fragmented;
            let (size, duration) = (complete, Some(duration));
            Ok(Finalized { size, duration, layout, was_cut, lacks_video, damage: None, kept: None })
        }
    }
}

/// The existing fragments become the result, without an incomplete one at the end.
fn keep_fragments(recorded: &Path, whole: &Path, complete: u64) -> Result<(), FinalizeError> {
    let file = File::options().write(true).open(recorded).map_err(io("opening", recorded))?;
    file.set_len(complete).and_then(|()| file.sync_all()).map_err(io("cutting", recorded))?;
    std::fs::rename(recorded, whole).map_err(io("renaming", recorded))
}

/// The new file: everything before the media, and where the media is copied from.
struct Movie {
    head: Vec<u8>,
    pieces: Vec<scan::Piece>,
}

impl Movie {
    fn lay_out(scan: Scan, length: Option<Duration>) -> mp4_atom::Result<(Self, Duration)> {
        let Scan { ftyp, mut moov, mut tracks, pieces, .. } = scan;
        // The last frame is shown until the end of the recording, or of the audio.
        let end = tracks
            .iter()
            .filter(|track| !track.is_empty())
            .map(|track| seconds(track.end(), track.timescale));
        let end = end.fold(length.map_or(0.0, |length| length.as_secs_f64()), f64::max);
        for (trak, track) in moov.trak.iter().zip(&mut tracks) {
            if trak.mdia.minf.vmhd.is_some() {
                track.stretch(units(end, track.timescale));
            }
        }
        moov.mvex = None;
        moov.mvhd.timescale = MOVIE_TIMESCALE;
        let mut longest = 0.0f64;
        for (trak, track) in moov.trak.iter_mut().zip(&tracks) {
            let (gap, media) =
                (seconds(track.start(), track.timescale), seconds(track.duration(), track.timescale));
            let shown = gap + media;
            longest = longest.max(shown);
            trak.mdia.mdhd.duration = track.duration();
            trak.tkhd.duration = units(shown, MOVIE_TIMESCALE);
            if track.start() > 0 && trak.edts.is_none() {
                trak.edts = Some(edit(units(gap, MOVIE_TIMESCALE), units(media, MOVIE_TIMESCALE)));
            }
        }
        moov.mvhd.duration = units(longest, MOVIE_TIMESCALE);

        let media: u64 = pieces.iter().map(|piece| piece.len).sum();
        let mdat = mdat_header(media);
        let mut tables: Vec<_> = tracks.into_iter().map(Some).collect();
        // Whether offsets take 32 or 64 bits decides the length of the index, which decides the
        // offsets: start from an index of 32-bit offsets, and take 64 where one of them would not
        // do.
        let mut offsets = vec![Vec::new(); tables.len()];
        let mut at = 0;
        for piece in &pieces {
            offsets[piece.track].push(at);
            at += piece.len;
        }
        for ((trak, table), offsets) in moov.trak.iter_mut().zip(&mut tables).zip(&offsets) {
            if let Some(table) = table.take() {
                table.fill(&mut trak.mdia.minf.stbl, offsets);
            }
        }
        // A track without a sample (the recording was killed before its first) would only confuse.
        let mut has_media = offsets.iter().map(|offsets| !offsets.is_empty());
        moov.trak.retain(|_| has_media.next().unwrap_or(false));
        offsets.retain(|offsets| !offsets.is_empty());
        let index = place(&mut moov, &offsets, ftyp.len() as u64, mdat.len() as u64)?;
        Ok((Self { head: [ftyp, index, mdat].concat(), pieces }, Duration::from_secs_f64(longest)))
    }

    fn size(&self) -> u64 {
        self.head.len() as u64 + self.pieces.iter().map(|piece| piece.len).sum::<u64>()
    }

    fn write(
        &self,
        source: &File,
        recorded: &Path,
        part: &Path,
        stop: &CancellationToken,
    ) -> Result<(), FinalizeError> {
        let mut target = File::create(part).map_err(io("creating", part))?;
        reserve(&target, self.size()).map_err(io("reserving", part))?;
        target.write_all(&self.head).map_err(io("writing", part))?;
        let mut source = source;
        for piece in &self.pieces {
            if stop.is_cancelled() {
                return Err(FinalizeError::Stopped { path: recorded.to_owned() });
            }
            source.seek(SeekFrom::Start(piece.offset)).map_err(io("reading", recorded))?;
            // From file to file `copy` stays in the kernel (copy_file_range).
            let copied =
                stdio::copy(&mut source.take(piece.len), &mut target).map_err(io("writing", part))?;
            if copied < piece.len {
                let short = stdio::Error::from(stdio::ErrorKind::UnexpectedEof);
                return Err(io("reading", recorded)(short));
            }
        }
        target.sync_all().map_err(io("syncing", part))
    }
}

/// Puts the chunks' offsets into the index and encodes it. `offsets` count from the first byte of
/// media.
fn place(moov: &mut Moov, offsets: &[Vec<u64>], before: u64, mdat: u64) -> mp4_atom::Result<Vec<u8>> {
    let mut index = encode(moov)?;
    // Twice at most: the second time every offset has 64 bits, so that the index can't grow again.
    loop {
        let media = before + index.len() as u64 + mdat;
        for (trak, offsets) in moov.trak.iter_mut().zip(offsets) {
            let stbl = &mut trak.mdia.minf.stbl;
            tables::set_offsets(stbl, offsets.iter().map(|offset| offset + media));
        }
        let placed = encode(moov)?;
        if placed.len() == index.len() {
            return Ok(placed);
        }
        index = placed;
    }
}

fn encode(moov: &Moov) -> mp4_atom::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    moov.encode(&mut bytes)?;
    Ok(bytes)
}

fn mdat_header(media: u64) -> Vec<u8> {
    match u32::try_from(media + 8) {
        Ok(size) => [&size.to_be_bytes(), b"mdat".as_slice()].concat(),
        Err(_) => [&1u32.to_be_bytes(), b"mdat".as_slice(), &(media + 16).to_be_bytes()].concat(),
    }
}

/// A track that begins `gap` after the movie does (ISO/IEC 14496-12 §8.6.6); both in the movie's
/// timescale.
fn edit(gap: u64, media: u64) -> Edts {
    let empty = ElstEntry { segment_duration: gap, media_time: None, media_rate: 1.into() };
    let all = ElstEntry { segment_duration: media, media_time: Some(0), media_rate: 1.into() };
    Edts { elst: Some(Elst { entries: vec![empty, all] }) }
}

/// Reserves the space at once, so that a full disk is noticed before gigabytes are copied. A file
/// system without reservation is not an error.
fn reserve(file: &File, size: u64) -> stdio::Result<()> {
    use nix::errno::Errno;
    match nix::fcntl::fallocate(
        file,
        nix::fcntl::FallocateFlags::empty(),
        0,
        i64::try_from(size).unwrap_or(i64::MAX),
    ) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        _ => Ok(()),
    }
}

fn seconds(units: u64, timescale: u32) -> f64 {
    // Exact up to 2^53 units: three thousand years at 90 kHz.
    units as f64 / f64::from(timescale.max(1))
}

fn units(seconds: f64, timescale: u32) -> u64 {
    // A float to integer conversion saturates.
    (seconds * f64::from(timescale)).round() as u64
}

#[cfg(test)]
mod tests;
