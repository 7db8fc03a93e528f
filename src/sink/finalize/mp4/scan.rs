//! Reads a fragmented MP4, box by box, up to its end or to the cut. Unreadable parts are skipped up
//! to the next fragment, and counted: only the end of the file inside its last box counts as the
//! end.

use std::io::{self, Read, Seek};

use mp4_atom::{Decode, Moof, Moov};

use super::av1;
use super::boxes::{Header, begins_a_header, begins_with_mvhd, find_next, names_a_fragment};
use super::fragment::runs_of;
use super::parameter_sets;
use super::tables::Tables;
use super::track::Track;
use crate::sink::finalize::damage::Damage;

/// Replaces a damaged `ftyp` at the beginning of a file.
const FTYP: &[u8] = b"\0\0\0\x18ftypisom\0\0\0\0isommp42";

/// Content of a fragmented file.
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
    /// Bytes outside of all pieces, except for a partial fragment at the cut.
    pub(super) damage: Damage,
}

/// Samples of one track that lie together: one chunk of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Place in [`Scan::tracks`].
    pub(super) track: usize,
    /// Offset in the fragmented file, and length in bytes.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Scan {
    /// Whether there is a track of video, and none with a frame.
    pub(super) fn lacks_video(&self) -> bool {
        let tracks = self.moov.trak.iter().zip(&self.tracks);
        let mut video = tracks.filter(|(trak, _)| trak.mdia.minf.vmhd.is_some()).peekable();
        video.peek().is_some() && video.all(|(_, tables)| tables.is_empty())
    }
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

/// Reads all headers of `source`, which is `len` bytes long.
///
/// The media of a fragment counts only if its headers account for every byte of it. Of the last
/// fragment, at the cut, the complete samples count: an incomplete sample is dropped with all later
/// ones of its track.
pub(super) fn scan(source: &mut (impl Read + Seek), len: u64) -> Result<Scan, ScanError> {
    let mut walk =
        Walk { len, ftyp: Vec::new(), movie: None, complete: 0, has_media: false, damage: Damage::default() };
    let mut at = 0;
    while at < len {
        at = match walk.step(source, at)? {
            Step::To(next) => next,
            Step::Cut => break,
            Step::Damaged => {
                let next = find_next(source, at + 1, len)?.unwrap_or(len);
                walk.damage.add(at, next);
                next
            }
        };
    }
    walk.finish(source)
}

struct Walk {
    len: u64,
    ftyp: Vec<u8>,
    movie: Option<Movie>,
    complete: u64,
    /// Bytes of media were seen.
    has_media: bool,
    damage: Damage,
}

struct Movie {
    moov: Moov,
    tracks: Vec<Track>,
}

/// The content at some offset of the file.
enum Step {
    /// A box, or a fragment, that ends here.
    To(u64),
    /// The last box: the file was cut off in it.
    Cut,
    /// Nothing that can be understood.
    Damaged,
}

impl Walk {
    fn step(&mut self, source: &mut (impl Read + Seek), at: u64) -> Result<Step, ScanError> {
        if self.len - at < 8 {
            return Ok(if begins_a_header(source, at, self.len)? { Step::Cut } else { Step::Damaged });
        }
        if self.movie.is_none() && begins_with_mvhd(source, at, self.len)? {
            return Ok(self.begin(source, at)?);
        }
        let Some(header) = Header::read(source, at, self.len)? else { return Ok(Step::Damaged) };
        let (is_whole, has_movie) = (header.end <= self.len, self.movie.is_some());
        Ok(match &header.kind {
            b"ftyp" if at == 0 && is_whole => match header.load(source)? {
                Some(bytes) if self.is_followed(source, &header)? => {
                    self.ftyp = bytes;
                    self.complete = header.end;
                    Step::To(header.end)
                }
                _ => Step::Damaged,
            },
            b"moof" if has_movie && is_whole => self.fragment(source, &header)?,
            b"ftyp" if at == 0 => self.cut_in(source, &header)?,
            b"moov" if !has_movie && !is_whole => self.cut_in(source, &header)?,
            b"moof" if has_movie => self.cut_in(source, &header)?,
            // What is in it besides would be lost without a word.
            _ if !header.is_harmless(source, self.len)? => Step::Damaged,
            _ if !is_whole => self.cut_in(source, &header)?,
            _ if self.is_followed(source, &header)? => {
                self.complete = header.end;
                Step::To(header.end)
            }
            _ => Step::Damaged,
        })
    }

    /// The movie's own header: without it nothing can be understood, only it says what its samples
    /// are. It ends where it says, or in front of the first fragment, whatever its first eight
    /// bytes say.
    fn begin(&mut self, source: &mut (impl Read + Seek), at: u64) -> io::Result<Step> {
        let header = Header::read(source, at, self.len)?;
        let said = header.map(|header| header.end).filter(|end| *end <= self.len);
        let next = find_next(source, at + 16, self.len)?;
        for end in [said, next].into_iter().flatten() {
            let Some(moov) = read_moov(source, at, end)? else { continue };
            let is_sound = said == Some(end) && header.is_some_and(|header| header.kind == *b"moov");
            if !is_sound || moov.mvex.is_none() {
                // A fragmented file has an `mvex`; it may say how long samples are.
                self.damage.add(at, end);
            }
            let tracks = moov.trak.iter().enumerate();
            let tracks = tracks.map(|(at, trak)| Track::new(at, trak.mdia.mdhd.timescale));
            self.movie = Some(Movie { tracks: tracks.collect(), moov });
            self.complete = end;
            return Ok(Step::To(end));
        }
        let is_cut =
            next.is_none() && header.is_some_and(|header| header.kind == *b"moov" && header.end > self.len);
        Ok(if is_cut { Step::Cut } else { Step::Damaged })
    }

    /// A `moof` with its `mdat`.
    fn fragment(&mut self, source: &mut (impl Read + Seek), header: &Header) -> io::Result<Step> {
        let Some(bytes) = header.load(source)? else { return Ok(Step::Damaged) };
        let Ok(moof) = Moof::decode(&mut bytes.as_slice()) else { return Ok(Step::Damaged) };
        if self.len - header.end < 8 {
            let is_cut = begins_a_header(source, header.end, self.len)?;
            return Ok(if is_cut { Step::Cut } else { Step::Damaged });
        }
        let mdat = Header::read(source, header.end, self.len)?.filter(|mdat| mdat.kind == *b"mdat");
        let (Some(mdat), Some(movie)) = (mdat, &self.movie) else { return Ok(Step::Damaged) };
        let Some(runs) = runs_of(&movie.moov, &moof, header.start, &mdat, self.len) else {
            return Ok(Step::Damaged);
        };
        if self.hides_a_fragment(source, &mdat)? {
            return Ok(Step::Damaged);
        }
        let Some(movie) = &mut self.movie else { return Ok(Step::Damaged) };
        self.has_media |= self.len.min(mdat.end) > mdat.content;
        for run in runs {
            if let Some(track) = movie.tracks.get_mut(run.track) {
                track.add(run, (header.start, mdat.end.min(self.len)));
            }
        }
        if mdat.end > self.len {
            return Ok(Step::Cut);
        }
        // A fragment is complete with its media, which follows its header.
        self.complete = mdat.end;
        Ok(Step::To(mdat.end))
    }

    /// Whether a box ends where the file does or another one begins: one whose size is damaged does
    /// not.
    fn is_followed(&self, source: &mut (impl Read + Seek), header: &Header) -> io::Result<bool> {
        match self.len - header.end {
            0 => Ok(true),
            1..8 => begins_a_header(source, header.end, self.len),
            _ => Ok(Header::read(source, header.end, self.len)?.is_some_and(|next| next.is_known())),
        }
    }

    /// Whether the next fragment begins before this one's media ends: some of it is missing then.
    fn hides_a_fragment(&self, source: &mut (impl Read + Seek), mdat: &Header) -> io::Result<bool> {
        if mdat.end <= self.len && self.is_followed(source, mdat)? {
            return Ok(false);
        }
        let within = self.len.min(mdat.end.saturating_add(16));
        Ok(find_next(source, mdat.content, within)?.is_some_and(|next| next < mdat.end))
    }

    /// A box that would end behind the file is the last one, if no fragment is in it: else its size
    /// is damaged.
    fn cut_in(&self, source: &mut (impl Read + Seek), header: &Header) -> io::Result<Step> {
        let is_damaged = names_a_fragment(source, header.start + 8, self.len)?;
        Ok(if is_damaged { Step::Damaged } else { Step::Cut })
    }

    fn finish(mut self, source: &mut (impl Read + Seek)) -> Result<Scan, ScanError> {
        let Some(Movie { mut moov, tracks }) = self.movie else {
            return Err(match self.damage.is_none() {
                true => ScanError::Empty,
                false => ScanError::Foreign(
                    "its moov is missing or damaged, without which nothing can be read".into(),
                ),
            });
        };
        if tracks.iter().all(Track::is_empty) {
            return Err(match self.damage.is_none() && !self.has_media {
                true => ScanError::Empty,
                false => ScanError::Foreign("no complete frame or sound can be found in it".into()),
            });
        }
        let mut pieces = Vec::new();
        let tracks: Vec<Tables> =
            tracks.into_iter().map(|track| track.finish(&mut pieces, &mut self.damage)).collect();
        if pieces.is_empty() {
            return Err(ScanError::Foreign("no fragment in it agrees with those around it".into()));
        }
        pieces.sort_unstable_by_key(|piece| piece.offset);
        av1::configure(&mut moov, &pieces, source)?;
        parameter_sets::configure(&mut moov, &tracks, &pieces, source)?;
        if self.ftyp.is_empty() {
            self.ftyp = FTYP.to_vec();
        }
        let Self { ftyp, complete, damage, .. } = self;
        Ok(Scan { ftyp, moov, tracks, pieces, complete, damage })
    }
}

/// The `moov` between two places, whatever its own header says; `None` where it can't be read.
fn read_moov(source: &mut (impl Read + Seek), start: u64, end: u64) -> io::Result<Option<Moov>> {
    let header = Header { kind: *b"moov", start, content: start + 8, end };
    let Some(mut bytes) = header.load(source)? else { return Ok(None) };
    let Ok(size) = u32::try_from(bytes.len()) else { return Ok(None) };
    let Some(head) = bytes.get_mut(..8) else { return Ok(None) };
    head.copy_from_slice(&[&size.to_be_bytes(), b"moov".as_slice()].concat());
    av1::make_readable(&mut bytes);
    Ok(Moov::decode(&mut bytes.as_slice()).ok())
}
