//! Finishes what killed segments left: the segment that was being written becomes the last one, and the playlists end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::pes::{self, Span};
use crate::files;
use crate::plan::output::OutputId;
use crate::sink::notes::{self, Note, Notes};
use crate::sink::playlist::{Playlist, PlaylistKind, State};
use crate::sink::{Leftover, RescueError};

/// The largest segment that is read, in bytes: ten minutes at 100 Mbit/s have 7.5 GB.
const LARGEST: u64 = 8 << 30;

/// Where segments and playlists belong.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Places<'a> {
    /// Whether something of this name is stored where it belongs.
    pub is_stored: &'a dyn Fn(&str) -> bool,
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
struct Noted {
    local: PathBuf,
    uri: String,
    start: Duration,
    date: Timestamp,
}

/// Makes whole what lies in a sink's directory, and tells where it belongs, in the order in which to store it. May be
/// called again after it was interrupted.
///
/// # Errors
/// When something can't be read or written; nothing is lost then.
pub fn rescue(dir: &Path, output: OutputId, places: &Places<'_>) -> Result<Vec<Leftover>, RescueError> {
    let mut notes = notes::of(dir, output);
    let (segments, mut end) = read(dir, &notes)?;
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
        notes.add(&Note::End { at }).map_err(RescueError::io("writing", notes.path()))?;
        end = Some(at);
    }

    let mut left = Vec::new();
    let mut event = Playlist::new(PlaylistKind::Event, places.duration);
    let mut live = Playlist::new(PlaylistKind::Live, places.duration);
    let ends = segments.iter().skip(1).map(|next| next.start).chain(end);
    for (segment, end) in segments.iter().zip(ends) {
        let name = format!("{}{}", places.dir, segment.uri);
        if files::is_regular(&segment.local).map_err(RescueError::io("reading", &segment.local))? {
            left.push(Leftover { local: segment.local.clone(), name: name.clone() });
        } else if !(places.is_stored)(&name) {
            // Killed before it had a picture, or removed by somebody.
            continue;
        }
        let duration = end.saturating_sub(segment.start);
        event.push(&segment.uri, duration, segment.date);
        live.push(&segment.uri, duration, segment.date);
    }
    if segments.is_empty() {
        return Ok(left);
    }
    let playlists = [Some((places.playlist, event)), places.live_playlist.map(|name| (name, live))];
    for (at, (name, playlist)) in playlists.into_iter().flatten().enumerate() {
        let local = dir.join(format!("playlist-{}-rescued-{at}.m3u8", output.0));
        let text = playlist.text(State::Ended);
        files::replace(&local, text.as_bytes(), 0o666).map_err(RescueError::io("writing", &local))?;
        left.push(Leftover { local, name: format!("{}{name}", places.dir) });
    }
    Ok(left)
}

fn read(dir: &Path, notes: &Notes) -> Result<(Vec<Noted>, Option<Duration>), RescueError> {
    let (mut segments, mut end) = (Vec::new(), None);
    for note in notes.read().map_err(RescueError::io("reading", notes.path()))? {
        match note {
            Note::Segment { local, uri, start, date } => {
                let local = files::in_dir(dir, &local).map_err(RescueError::io("reading", notes.path()))?;
                segments.push(Noted { local, uri, start, date });
            }
            Note::End { at } => end = Some(at),
            Note::Image { .. } => {}
        }
    }
    Ok((segments, end))
}

/// Finishes the last segment, if it isn't, and gives its length.
fn close(segment: &Noted, stored: Option<&Path>) -> Result<Duration, RescueError> {
    let part = super::part_of(&segment.local);
    let finished = [Some(segment.local.as_path()), stored].into_iter().flatten().find(|path| path.exists());
    let path = finished.unwrap_or(&part);
    let bytes = match files::read(path, LARGEST) {
        // Killed before it was made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Duration::ZERO),
        bytes => bytes.map_err(RescueError::io("reading", path))?,
    };
    let Some(span) = pes::span(&bytes) else { return Ok(Duration::ZERO) };
    if finished.is_none() {
        cut(&part, &span).map_err(RescueError::io("cutting", &part))?;
        fs::rename(&part, &segment.local).map_err(RescueError::io("renaming", &part))?;
    }
    Ok(span.duration)
}

/// Leaves of a segment what is complete, and gives what that is; `None` when it is nothing.
pub(super) fn cut_to_complete(part: &Path) -> io::Result<Option<Span>> {
    let span = pes::span(&files::read(part, LARGEST)?);
    span.map(|span| cut(part, &span).map(|()| span)).transpose()
}

fn cut(part: &Path, span: &Span) -> io::Result<()> {
    let file = files::open(part, files::options().write(true))?;
    file.set_len(span.complete as u64)?;
    file.sync_all()
}
