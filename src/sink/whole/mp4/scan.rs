//! Reads through a fragmented MP4, box by box, up to where it ends or was cut off.

use std::io::{self, Read, Seek, SeekFrom};

use mp4_atom::{Decode, Moof, Moov, Traf, Trex};

use super::av1;
use super::tables::{Sample, Tables};

/// A `moov` or `moof` larger than this is not ours; a fragment of ours has some kilobytes.
const LARGEST_HEADER: u64 = 64 << 20;

/// What a fragmented file holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// The `ftyp` box as it is.
    pub(super) ftyp: Vec<u8>,
    pub(super) moov: Moov,
    /// In the order of the `moov`'s tracks.
    pub(super) tracks: Vec<Tables>,
    /// The media, in the order in which it lies in the file.
    pub(super) pieces: Vec<Piece>,
    /// Where the last complete fragment ends, with what follows it (an index of the fragments).
    pub(super) complete: u64,
}

/// Samples of one track that lie together: one chunk of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Place in [`Scan::tracks`].
    pub(super) track: usize,
    /// Where it begins in the fragmented file, and its length in bytes.
    pub(super) offset: u64,
    pub(super) len: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Foreign(String),
    /// Nothing but headers, or not even those.
    #[error("no media")]
    Empty,
}

/// Reads all headers of `source`, which is `len` bytes long. A tail that makes no sense is taken for where the file was
/// cut off; a sample that is not there to its last byte is left out with everything after it in its track.
pub(super) fn scan(source: &mut (impl Read + Seek), len: u64) -> Result<Scan, ScanError> {
    let mut ftyp = Vec::new();
    let mut movie: Option<Movie> = None;
    let mut at = 0;
    let mut complete = 0;
    while let Some(header) = Header::read(source, at, len)? {
        let is_whole = header.end <= len;
        match &header.kind {
            b"ftyp" if is_whole => ftyp = header.load(source)?,
            b"moov" if is_whole => {
                let mut bytes = header.load(source)?;
                av1::make_readable(&mut bytes);
                let moov = Moov::decode(&mut bytes.as_slice())
                    .map_err(|error| ScanError::Foreign(format!("its moov can't be read: {error}")))?;
                movie = Some(Movie::new(moov));
            }
            b"moof" if is_whole => {
                let Some(movie) = &mut movie else { break };
                match Moof::decode(&mut header.load(source)?.as_slice()) {
                    Ok(moof) => movie.add(&moof, header.start, len),
                    Err(_) => break,
                }
            }
            _ => {}
        }
        if !is_whole {
            break;
        }
        // A fragment is complete with its media, which follows its header.
        if header.kind != *b"moof" {
            complete = header.end;
        }
        at = header.end;
    }
    let Some(mut movie) = movie else { return Err(ScanError::Empty) };
    if movie.tracks.iter().all(Tables::is_empty) {
        return Err(ScanError::Empty);
    }
    av1::configure(&mut movie.moov, &movie.pieces, source)?;
    Ok(Scan { ftyp, moov: movie.moov, tracks: movie.tracks, pieces: movie.pieces, complete })
}

struct Header {
    kind: [u8; 4],
    start: u64,
    /// One past the box's last byte; may lie past the end of the file.
    end: u64,
}

impl Header {
    /// The header at `at`; `None` where there is no sensible one.
    fn read(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<Option<Self>> {
        if at.checked_add(8).is_none_or(|end| end > len) {
            return Ok(None);
        }
        source.seek(SeekFrom::Start(at))?;
        let mut bytes = [0; 8];
        source.read_exact(&mut bytes)?;
        let [a, b, c, d, kind @ ..] = bytes;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            0 => len - at,
            1 if at + 16 <= len => {
                let mut large = [0; 8];
                source.read_exact(&mut large)?;
                u64::from_be_bytes(large)
            }
            size => u64::from(size),
        };
        let Some(end) = at.checked_add(size).filter(|_| size >= 8) else { return Ok(None) };
        Ok(Some(Self { kind, start: at, end }))
    }

    /// The whole box; it must end within the file.
    fn load(&self, source: &mut (impl Read + Seek)) -> Result<Vec<u8>, ScanError> {
        let size = self.end - self.start;
        if size > LARGEST_HEADER {
            return Err(ScanError::Foreign(format!("a header of {size} bytes")));
        }
        source.seek(SeekFrom::Start(self.start))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        source.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

struct Movie {
    moov: Moov,
    tracks: Vec<Tables>,
    pieces: Vec<Piece>,
    /// Bytes of media so far: a file can't hold more than its size, whatever its headers say.
    bytes: u64,
}

impl Movie {
    fn new(moov: Moov) -> Self {
        let tracks = moov.trak.iter().map(|trak| Tables::new(trak.tkhd.track_id, trak.mdia.mdhd.timescale));
        Self { tracks: tracks.collect(), moov, pieces: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, moof: &Moof, moof_start: u64, len: u64) {
        // Data without an offset of its own follows that of the fragment before (ISO/IEC 14496-12 §8.8.7.1).
        let mut follows = moof_start;
        for traf in &moof.traf {
            let Some(track) = self.tracks.iter().position(|track| track.id == traf.tfhd.track_id) else {
                continue;
            };
            let base = match traf.tfhd.base_data_offset {
                Some(base) => base,
                None if traf.tfhd.default_base_is_moof => moof_start,
                None => follows,
            };
            follows = self.add_track(traf, track, base, len);
        }
    }

    /// Returns where the data of this track fragment ends.
    fn add_track(&mut self, traf: &Traf, track: usize, base: u64, len: u64) -> u64 {
        let trex = self.defaults(traf.tfhd.track_id);
        let mut at = base;
        let mut begun = false;
        for run in &traf.trun {
            if let Some(offset) = run.data_offset {
                at = base.saturating_add_signed(i64::from(offset));
            }
            let (start, mut samples) = (at, 0);
            for entry in run.samples.iter() {
                let sample = Sample {
                    duration: entry
                        .duration
                        .or(traf.tfhd.default_sample_duration)
                        .unwrap_or(trex.default_sample_duration),
                    size: entry.size.or(traf.tfhd.default_sample_size).unwrap_or(trex.default_sample_size),
                    flags: entry
                        .flags
                        .or(traf.tfhd.default_sample_flags)
                        .unwrap_or(trex.default_sample_flags),
                    composition: entry.cts.unwrap_or(0),
                };
                let end = at.saturating_add(u64::from(sample.size));
                let bytes = self.bytes + u64::from(sample.size);
                // An empty sample takes no byte, and a hostile header could ask for millions of them.
                if sample.size == 0 || end > len || bytes > len {
                    break;
                }
                if !begun {
                    self.tracks[track]
                        .begin_fragment(traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time));
                    begun = true;
                }
                self.tracks[track].push(sample);
                (self.bytes, at, samples) = (bytes, end, samples + 1);
            }
            if samples > 0 {
                self.tracks[track].end_chunk(samples);
                self.pieces.push(Piece { track, offset: start, len: at - start });
            }
        }
        at
    }

    fn defaults(&self, track: u32) -> Trex {
        let all = self.moov.mvex.iter().flat_map(|mvex| &mvex.trex);
        all.into_iter().find(|trex| trex.track_id == track).cloned().unwrap_or_default()
    }
}
