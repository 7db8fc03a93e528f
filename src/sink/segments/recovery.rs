//! Finishes what killed segments left: the segment that was being written becomes the last one, and
//! the playlists end.

mod damage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::pes::{self, Span};
use super::tables::PACKET;
use crate::files;
use crate::plan::output::OutputId;
use crate::sink::playlist::{self, Playlist, PlaylistKind, State};
use crate::sink::segment_journal::{self, Note, SegmentJournal};
use crate::sink::{Leftover, RecoveredOutput, RecoveryError};

/// The largest segment that is read, in bytes: ten minutes at 100 Mbit/s have 7.5 GB.
const LARGEST: u64 = 8 << 30;

/// Locations of segments and playlists.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Places<'a> {
    /// Whether something of this name is stored where it belongs.
    pub is_stored: &'a dyn Fn(&str) -> bool,
    /// The journal of uploads is damaged or missing: a segment that is not here may have been
    /// uploaded.
    pub may_be_stored: bool,
    /// Where the stored file of a name can be read, if it can.
    pub stored: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// Of everything below, with a `/` at its end or empty.
    pub dir: &'a str,
    pub playlist: &'a str,
    pub live_playlist: Option<&'a str>,
    /// How long a segment was meant to be.
    pub duration: Duration,
}

/// A segment, as far as its beginning was noted.
struct JournalEntry {
    local: PathBuf,
    uri: String,
    start: Duration,
    date: Timestamp,
}

/// Duration of a segment without a second frame: shorter than any frame.
const ONE_FRAME: Duration = Duration::from_millis(40);
/// Tables at the head of a segment have some packets.
const MOST_TABLES: usize = 8;

/// Finalizes the files in a sink's directory, and returns them in upload order with their
/// locations. It may be called again after an interruption.
///
/// If the journal does not know every segment here, an uploaded playlist stays: it may name more
/// segments than one made from the journal. After the ended playlists are uploaded, they are only
/// made again if a segment is left: their names may be taken by then.
///
/// `damaged` is called for each damaged segment with its location, the damage, and the name of the
/// kept copy. The segment is returned all the same.
///
/// # Errors
///
/// When a file can't be read or written; nothing is lost then.
pub fn recover(
    dir: &Path,
    output: OutputId,
    places: &Places<'_>,
    damaged: &mut dyn FnMut(String, String, PathBuf),
) -> Result<RecoveredOutput, RecoveryError> {
    let mut notes = segment_journal::of(dir, output);
    let (segments, mut end, unreadable) = read(dir, &notes)?;
    if end.is_none()
        && let Some(last) = segments.last()
    {
        let name = format!("{}{}", places.dir, last.uri);
        let length = match close(last, (places.stored)(&name).as_deref())? {
            // It is where nobody can look into it: it was closed as a whole one.
            Duration::ZERO if (places.is_stored)(&name) => places.duration,
            length => length,
        };
        let at = last.start + length;
        notes.add(&Note::End { at }).map_err(RecoveryError::io("writing", notes.path()))?;
        end = Some(at);
    }

    let is_there = |path: &Path| files::is_regular(path).map_err(RecoveryError::io("reading", path));
    let mut left = Vec::new();
    let mut event = Playlist::new(PlaylistKind::Event, places.duration);
    let mut live = Playlist::new(PlaylistKind::Live, places.duration);
    let mut listed = 0;
    let ends = segments.iter().skip(1).map(|next| next.start).chain(end);
    for (at, (segment, end)) in segments.iter().zip(ends).enumerate() {
        let name = format!("{}{}", places.dir, segment.uri);
        let part = super::part_of(&segment.local);
        if !is_there(&segment.local)? && is_there(&part)? {
            // Where it ends was noted: it was closed, but for its name.
            let bytes = files::read(&part, LARGEST).map_err(RecoveryError::io("reading", &part))?;
            if matches!(Left::of(&bytes), Left::Media { .. }) {
                fs::rename(&part, &segment.local).map_err(RecoveryError::io("renaming", &part))?;
            }
        }
        let is_last = at + 1 == segments.len();
        if is_there(&segment.local)? {
            // Before it is stored, and gone from here.
            let reading = RecoveryError::io("reading", &segment.local);
            if let Some(what) = damage::of(&segment.local).map_err(reading)? {
                let kept =
                    damage::keep(&segment.local).map_err(RecoveryError::io("keeping", &segment.local))?;
                damaged(name.clone(), what, kept);
            }
            left.push(Leftover { local: segment.local.clone(), name: name.clone() });
        } else if !(places.is_stored)(&name) && (is_last || !places.may_be_stored) {
            // Killed before its first frame, or removed by another program.
            continue;
        }
        let duration = end.saturating_sub(segment.start);
        event.push(&segment.uri, duration, segment.date);
        live.push(&segment.uri, duration, segment.date);
        listed += 1;
    }
    let Some(first) = segments.first() else { return Ok(RecoveredOutput { left, obsolete: Vec::new() }) };
    let (written, is_noted) = survey(dir, output, &segments)?;
    let stored = (places.stored)(&format!("{}{}", places.dir, places.playlist));
    let is_sure =
        unreadable == 0 && is_noted && !stored.is_some_and(|stored| names_more(&stored, first.date, listed));
    let obsolete = if is_sure { written } else { Vec::new() };
    // Made when all playlists were: one that is gone since is stored.
    let made = dir.join(format!("rescued-{}", output.0));
    let (has_segments, were_made) = (!left.is_empty(), is_there(&made)?);
    let playlists = [Some((places.playlist, event)), places.live_playlist.map(|name| (name, live))];
    for (at, (name, playlist)) in playlists.into_iter().flatten().enumerate() {
        let local = dir.join(format!("playlist-{}-rescued-{at}.m3u8", output.0));
        if were_made && !has_segments && !is_there(&local)? {
            continue;
        }
        let text = playlist.text(State::Ended);
        files::replace(&local, text.as_bytes(), 0o666).map_err(RecoveryError::io("writing", &local))?;
        let name = format!("{}{name}", places.dir);
        if is_sure || !(places.is_stored)(&name) || (places.stored)(&name).is_some_and(|path| is_empty(&path))
        {
            left.push(Leftover { local, name });
        } else {
            tracing::warn!(name, kept = %local.display(), "notes are damaged: the stored playlist stays as it is");
        }
    }
    // Empty: it holds nothing that was recorded, and keeps no work directory.
    files::open(&made, files::options().write(true).create(true).truncate(false))
        .map_err(RecoveryError::io("writing", &made))?;
    Ok(RecoveredOutput { left, obsolete })
}

/// Whether a file has lost its content to a power cut.
fn is_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == 0)
}

/// The playlists that the sink wrote, and whether every segment that is here was noted.
fn survey(
    dir: &Path,
    output: OutputId,
    noted: &[JournalEntry],
) -> Result<(Vec<PathBuf>, bool), RecoveryError> {
    let (segment, playlist) = (format!("segment-{}-", output.0), format!("playlist-{}-", output.0));
    let (mut playlists, mut is_noted) = (Vec::new(), true);
    for entry in fs::read_dir(dir).map_err(RecoveryError::io("reading", dir))? {
        let path = entry.map_err(RecoveryError::io("reading", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(&playlist) {
            playlists.push(path);
        } else if name.starts_with(&segment) {
            is_noted &= noted.iter().map(|noted| &noted.local).any(|local| {
                *local == path || super::part_of(local) == path || damage::kept_as(local) == path
            });
        }
    }
    Ok((playlists, is_noted))
}

/// Whether a playlist is of the recording that began with a segment of this date, and has more
/// segments than so many.
fn names_more(stored: &Path, first: Timestamp, listed: usize) -> bool {
    let text = files::read(stored, LARGEST).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.contains(&playlist::date(first))
        && text.lines().filter(|line| line.starts_with("#EXTINF:")).count() > listed
}

/// Segments in their order, where the last one ends, and how many lines of the notes can't be read.
fn read(
    dir: &Path,
    notes: &SegmentJournal,
) -> Result<(Vec<JournalEntry>, Option<Duration>, usize), RecoveryError> {
    let (mut segments, mut end) = (Vec::new(), None);
    let read = notes.read().map_err(RecoveryError::io("reading", notes.path()))?;
    for note in read.entries {
        match note {
            Note::Segment { local, uri, start, date } => {
                let local = files::in_dir(dir, &local).map_err(RecoveryError::io("reading", notes.path()))?;
                segments.push(JournalEntry { local, uri, start, date });
            }
            Note::End { at } => end = Some(at),
            Note::Image { .. } => {}
        }
    }
    Ok((segments, end, read.unreadable))
}

/// Finishes the last segment, if it isn't, and gives its length.
fn close(segment: &JournalEntry, stored: Option<&Path>) -> Result<Duration, RecoveryError> {
    let part = super::part_of(&segment.local);
    let finished = [Some(segment.local.as_path()), stored].into_iter().flatten().find(|path| path.exists());
    let path = finished.unwrap_or(&part);
    let bytes = match files::read(path, LARGEST) {
        // Killed before it was made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Duration::ZERO),
        bytes => bytes.map_err(RecoveryError::io("reading", path))?,
    };
    let left = Left::of(&bytes);
    if finished.is_none() {
        match left {
            Left::Nothing => fs::remove_file(&part).map_err(RecoveryError::io("removing", &part))?,
            Left::Unknown => {}
            Left::Media { len, .. } => {
                if len < bytes.len() {
                    cut(&part, len).map_err(RecoveryError::io("cutting", &part))?;
                }
                fs::rename(&part, &segment.local).map_err(RecoveryError::io("renaming", &part))?;
            }
        }
    }
    Ok(match left {
        Left::Media { duration, .. } => duration,
        Left::Nothing | Left::Unknown => Duration::ZERO,
    })
}

/// The content of a cut or damaged segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Only tables: killed before its first frame.
    Nothing,
    /// The bytes to keep: those before its last frame (audio or video), which may be incomplete, if
    /// there are others; all of them in a damaged segment.
    Media { len: usize, duration: Duration },
    /// No transport stream.
    Unknown,
}

impl Left {
    fn of(bytes: &[u8]) -> Self {
        let packets = bytes.chunks_exact(PACKET);
        let count = packets.len();
        let is_stream = |bytes: &[u8]| bytes.chunks_exact(PACKET).all(|packet| packet[0] == pes::SYNC);
        match pes::span(bytes) {
            Some(Span { complete, duration }) => {
                Self::Media { len: if is_stream(bytes) { complete } else { bytes.len() }, duration }
            }
            None if !is_stream(bytes) || count == 0 && !bytes.is_empty() && bytes[0] != pes::SYNC => {
                Self::Unknown
            }
            None if count <= MOST_TABLES && !pes::has_media(bytes) => Self::Nothing,
            // Its first frame: it is written at once.
            None => Self::Media { len: count * PACKET, duration: ONE_FRAME },
        }
    }
}

/// Leaves of a segment what is complete, and gives what that is; `None` when it is nothing.
pub(super) fn cut_to_complete(part: &Path) -> io::Result<Option<Span>> {
    let span = pes::span(&files::read(part, LARGEST)?);
    span.map(|span| cut(part, span.complete).map(|()| span)).transpose()
}

fn cut(part: &Path, len: usize) -> io::Result<()> {
    let file = files::open(part, files::options().write(true))?;
    file.set_len(len as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
