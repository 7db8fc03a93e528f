//! Names of outputs: placeholders, cleaned paths, extensions, default names
//! (docs/reference/media.md).
//!
//! Names in a request may come from anywhere, so they never leave their directory: placeholders are
//! filled in first, then the path is cleaned; values never lead upwards. Names that are too long
//! for a file system are shortened in their values (`length`).

mod length;

use jiff::Zoned;
use jiff::tz::TimeZone;

pub(super) use self::length::NUMBER_AND_EXTENSION;
pub use self::length::with_id;
use self::length::{fitted, shortened, split};
use super::codec::{CONTAINERS, ContainerRow};
use super::error::PlanError;
use super::output::NameOrigin;
use super::storage::{StoragePath, clean};

/// The kind of recording, which determines its placeholders (docs/reference/media.md). Other
/// placeholders stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A page: `{time}`, `{utc}` and `{retry}` alone, which all others have too.
    Web,
    /// `{room_name}`, `{room_id}`
    Room { room: Room<'a> },
    /// Participant and track composite: the room's, and `{publisher_identity}`.
    Publisher { room: Room<'a>, identity: &'a str },
    /// One track as it is: the publisher's, and `{track_id}`, `{track_type}`, `{track_source}`.
    Track { room: Room<'a>, identity: &'a str, track: Track<'a> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room<'a> {
    pub name: &'a str,
    pub id: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track<'a> {
    pub id: &'a str,
    /// `audio` or `video`
    pub kind: &'a str,
    /// `camera`, `microphone`, `screen_share`, `screen_share_audio` or `unknown`
    pub source: &'a str,
}

/// Values of placeholders.
#[derive(Debug, Clone)]
pub struct Naming {
    placeholders: Vec<(&'static str, String)>,
    /// For an output that was given no name: whose recording it is, and what is added to that.
    default: (String, String),
}

impl Naming {
    /// `retry_count`: how often the recording was tried before; `{retry}` is known from the first
    /// time on.
    #[must_use]
    pub fn new(subject: Subject<'_>, now: &Zoned, retry_count: u32) -> Self {
        let time = now.strftime("%Y-%m-%dT%H%M%S").to_string();
        let utc = now.with_time_zone(TimeZone::UTC).strftime("%Y%m%d%H%M%S%3f").to_string();
        let room = |room: Room<'_>| [("{room_name}", value(room.name)), ("{room_id}", value(room.id))];
        let mut placeholders = Vec::new();
        let identifier = match subject {
            Subject::Web => "web".to_owned(),
            Subject::Room { room: of } => {
                placeholders.extend(room(of));
                value(of.name)
            }
            Subject::Publisher { room: of, identity } => {
                placeholders.extend(room(of));
                placeholders.push(("{publisher_identity}", value(identity)));
                value(of.name)
            }
            Subject::Track { room: of, identity, track } => {
                placeholders.extend(room(of));
                placeholders.extend([
                    ("{publisher_identity}", value(identity)),
                    ("{track_id}", value(track.id)),
                    ("{track_type}", value(track.kind)),
                    ("{track_source}", value(track.source)),
                ]);
                value(track.id)
            }
        };
        // A default name is one name, and no directory.
        let identifier = identifier.replace('/', "_");
        let mut added = format!("-{time}");
        placeholders.extend([("{time}", time), ("{utc}", utc)]);
        if retry_count > 0 {
            added = format!("{added}-{retry_count}");
            placeholders.push(("{retry}", retry_count.to_string()));
        }
        Self { placeholders, default: (identifier, added) }
    }

    /// Fills in the known values in one pass: a value's own braces are not placeholders. Each
    /// component of a value has at most `longest` bytes.
    fn fill(&self, name: &str, longest: usize) -> String {
        let mut filled = String::with_capacity(name.len());
        let mut rest = name;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            match self.placeholders.iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
                Some((placeholder, value)) => {
                    let parts: Vec<_> = value.split('/').map(|part| shortened(part, longest)).collect();
                    filled.push_str(&parts.join("/"));
                    rest = &rest[placeholder.len()..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled + rest
    }

    /// The default name; see [`Naming::fill`].
    fn default_name(&self, longest: usize) -> String {
        let (identifier, added) = &self.default;
        format!("{}{added}", shortened(identifier, longest))
    }

    /// A path from its template. `ending`: bytes that are still added to it.
    fn path(&self, field: &str, name: &str, ending: usize) -> Result<String, PlanError> {
        no_nul(field, name)?;
        fitted(field, ending, |longest| clean(&self.fill(name, longest)))
    }

    /// The same, and a default name where the template has none.
    fn path_or_default(&self, field: &str, name: &str, ending: usize) -> Result<String, PlanError> {
        no_nul(field, name)?;
        fitted(field, ending, |longest| {
            let mut path = clean(&self.fill(name, longest));
            if path.is_empty() || path.ends_with('/') {
                path.push_str(&self.default_name(longest));
            }
            path
        })
    }
}

fn no_nul(field: &str, name: &str) -> Result<(), PlanError> {
    match name.contains('\0') {
        true => Err(PlanError::invalid(field, "a name can't have a NUL character")),
        false => Ok(()),
    }
}

/// The value of a placeholder as part of a path. The person who names a room or a participant may
/// differ from the one who chose the path: a value may add directories below (a room called
/// `sales/2024`, as in LiveKit) and never leads out of its directory, or back to it. It is never
/// empty: `.{room_name}.` must not become `..`.
fn value(text: &str) -> String {
    let part =
        |part: &str| -> String { part.chars().map(|c| if c.is_control() { '_' } else { c }).collect() };
    let parts: Vec<String> =
        text.split('/').filter(|part| !matches!(*part, "" | "." | "..")).map(part).collect();
    if parts.is_empty() { "_".to_owned() } else { parts.join("/") }
}

/// The name of a file of a container.
///
/// # Errors
/// When it has a NUL character, or is too long.
pub fn file(
    field: &str,
    path: &str,
    container: &ContainerRow,
    naming: &Naming,
) -> Result<StoragePath, PlanError> {
    let mut name = naming.path_or_default(field, path, added(path, container.extension))?;
    if !name.ends_with(container.extension) {
        name.truncate(without_known_extension(&name).len());
        name.push_str(container.extension);
    }
    Ok(StoragePath::new(name))
}

/// A file's name without an extension, for one whose container is not known yet; `default` where
/// none was given.
pub(super) fn stem(
    field: &str,
    path: &str,
    default: &str,
    naming: &Naming,
) -> Result<StoragePath, PlanError> {
    let mut name = naming.path(field, path, added(path, LONGEST_EXTENSION))?;
    if name.is_empty() || name.ends_with('/') {
        name.push_str(&value(default).replace('/', "_"));
    }
    Ok(StoragePath::new(without_known_extension(&name)))
}

/// Bytes by which a name gets longer when it gets an extension. One that it has is replaced.
fn added(name: &str, extension: &str) -> usize {
    match name.ends_with(extension) {
        true => 0,
        false => extension.len().saturating_sub(name.len() - without_known_extension(name).len()),
    }
}

/// Origin of a file's name, or of the prefix of images.
pub(super) fn origin(path: &str) -> NameOrigin {
    let path = clean(path);
    match path.is_empty() || path.ends_with('/') || has_time(&path) {
        true => NameOrigin::Generated,
        false => NameOrigin::Given,
    }
}

/// Origin of the names of segments and playlists. One given name makes all of them given: the
/// others derive from it.
pub(super) fn segments_origin((prefix, playlist, live_playlist): (&str, &str, &str)) -> NameOrigin {
    let [prefix, playlist, live_playlist] = [prefix, playlist, live_playlist].map(clean);
    let [(prefix_dir, prefix), (playlist_dir, playlist), (_, live)] =
        [&prefix, &playlist, &live_playlist].map(|path| split(path));
    let dir = if playlist_dir.is_empty() { prefix_dir } else { playlist_dir };
    let is_ours = |name: &str| name.is_empty() || has_time(name);
    let names = [without_known_extension(prefix), without_extension(playlist), without_extension(live)];
    match has_time(dir) || names.into_iter().all(is_ours) {
        true => NameOrigin::Generated,
        false => NameOrigin::Given,
    }
}

/// Whether a template has a time in it: who wrote it wants a name for each recording.
fn has_time(template: &str) -> bool {
    ["{time}", "{utc}"].iter().any(|placeholder| template.contains(placeholder))
}

/// The names of a segment output; see [`SegmentsPlan`](super::output::SegmentsPlan).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentNames {
    pub dir: String,
    pub playlist: String,
    pub live_playlist: Option<String>,
    pub prefix: String,
}

pub(super) fn segments(
    field: &str,
    (prefix, playlist, live_playlist): (&str, &str, &str),
    naming: &Naming,
) -> Result<SegmentNames, PlanError> {
    let live_field = format!("{field}.live_playlist_name");
    let playlist_field = format!("{field}.playlist_name");
    // A playlist without a prefix beside it is the prefix of its segments, too.
    let playlist_ending = if split(prefix).1.is_empty() { NUMBER_AND_EXTENSION } else { PLAYLIST.len() };
    let prefix = naming.path(&format!("{field}.filename_prefix"), prefix, NUMBER_AND_EXTENSION)?;
    // Before placeholders are filled in: a dot in the name of a room begins no extension.
    let playlist = naming.path(&playlist_field, without_extension(playlist), playlist_ending)?;
    let live = naming.path(&live_field, without_extension(live_playlist), PLAYLIST.len())?;
    let (prefix_dir, prefix_name) = split(&prefix);
    let (playlist_dir, playlist_name) = split(&playlist);
    let (live_dir, live_name) = split(&live);

    let dir = if playlist_dir.is_empty() { prefix_dir } else { playlist_dir };
    // Segments lie in the directory of their playlist or below it, which names them by their path
    // from there. Another directory is made below it, as LiveKit does.
    let below = prefix_dir.strip_prefix(dir).unwrap_or(prefix_dir).trim_start_matches('/');
    let playlist_name = match (playlist_name, prefix_name) {
        ("", "") => fitted(&playlist_field, NUMBER_AND_EXTENSION, |longest| naming.default_name(longest))?,
        ("", prefix) => prefix.to_owned(),
        (playlist, _) => playlist.to_owned(),
    };
    let prefix_name = if prefix_name.is_empty() { &playlist_name } else { prefix_name };
    let live_playlist = match (live_dir, live_name) {
        ("", "") => None,
        (_, "") => return Err(PlanError::invalid(live_field, "it names a directory; give it a file name")),
        (live_dir, _) if !live_dir.is_empty() && live_dir != dir => {
            return Err(PlanError::worded(
                "live_playlist_name must be in same directory as playlist_name",
                live_field,
                "a name without directory is put there",
            ));
        }
        (_, live) if live == playlist_name => {
            return Err(PlanError::worded(
                "live_playlist_name cannot be identical to playlist_name",
                live_field,
                "give it another name; what stands behind the last dot of either is its extension",
            ));
        }
        (_, live) => Some(format!("{live}{PLAYLIST}")),
    };
    Ok(SegmentNames {
        dir: dir.to_owned(),
        playlist: format!("{playlist_name}{PLAYLIST}"),
        live_playlist,
        prefix: format!("{below}{prefix_name}"),
    })
}

/// An image output's prefix, with its directory.
pub(super) fn image_prefix(field: &str, prefix: &str, naming: &Naming) -> Result<String, PlanError> {
    naming.path_or_default(field, prefix, NUMBER_AND_EXTENSION)
}

/// The container that a name asks for by its extension.
pub(super) fn container_of(name: &str) -> Option<&'static ContainerRow> {
    CONTAINERS.iter().find(|row| name.ends_with(row.extension))
}

const PLAYLIST: &str = ".m3u8";
/// Longest extension of a file whose container is not known yet.
const LONGEST_EXTENSION: &str = ".webm";

/// Extensions that are replaced rather than kept; all others belong to the name (`v1.2`).
const KNOWN_EXTENSIONS: [&str; 9] =
    [".raw", ".ogg", ".mp3", ".ivf", ".mp4", ".ts", ".webm", ".m3u8", ".jpeg"];

fn without_known_extension(name: &str) -> &str {
    KNOWN_EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

/// The path of a playlist without what stands behind the last dot of its name, whatever that is, as
/// LiveKit has it.
fn without_extension(path: &str) -> &str {
    let (dir, name) = split(path);
    match name.rfind('.').map(|dot| &name[..dot]) {
        // `.` and `..` are directories, before and after.
        Some(stem) if !matches!(name, "." | "..") && !matches!(stem, "." | "..") => {
            &path[..dir.len() + stem.len()]
        }
        Some(_) | None => path,
    }
}

#[cfg(test)]
mod tests;
