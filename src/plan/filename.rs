//! What outputs are called: placeholders, clean paths, extensions, default names (media.md §7).
//!
//! Names in a request may come from far away, so that they never leave the directory they are meant for: placeholders are
//! filled in first, then the path is cleaned.

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::codec::{CONTAINERS, ContainerRow};
use super::error::PlanError;
use super::storage::StoredName;

/// What placeholders stand for.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    time: String,
    utc: String,
    /// `None` the first time.
    retry: Option<u32>,
}

impl Naming {
    pub(super) fn new(now: &Zoned, retry_count: u32) -> Self {
        Self {
            time: now.strftime("%Y-%m-%dT%H%M%S").to_string(),
            utc: now.with_time_zone(TimeZone::UTC).strftime("%Y%m%d%H%M%S%3f").to_string(),
            retry: (retry_count > 0).then_some(retry_count),
        }
    }

    /// Fills in what a web recording knows; other placeholders stay as they are.
    fn fill(&self, name: &str) -> String {
        let name = name.replace("{time}", &self.time).replace("{utc}", &self.utc);
        match self.retry {
            Some(retry) => name.replace("{retry}", &retry.to_string()),
            None => name,
        }
    }

    /// For an output that was given no name.
    fn default_name(&self) -> String {
        match self.retry {
            Some(retry) => format!("web-{}-{retry}", self.time),
            None => format!("web-{}", self.time),
        }
    }

    fn path(&self, field: &str, name: &str) -> Result<String, PlanError> {
        if name.contains('\0') {
            return Err(PlanError::invalid(field, "a name can't have a NUL character"));
        }
        Ok(clean(&self.fill(name)))
    }
}

/// The shortest form of a path, without `.`, `..` and doubled slashes. `..` at its beginning is dropped, so that it never
/// leads out of where it stands; a `/` at its beginning or end stays.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("{root}{}{end}", parts.join("/"))
}

/// The name of a file of a container.
pub(super) fn file(
    field: &str,
    path: &str,
    container: &ContainerRow,
    naming: &Naming,
) -> Result<StoredName, PlanError> {
    let mut name = naming.path(field, path)?;
    if name.is_empty() || name.ends_with('/') {
        name.push_str(&naming.default_name());
    }
    if !name.ends_with(container.extension) {
        name.truncate(without_known_extension(&name).len());
        name.push_str(container.extension);
    }
    Ok(StoredName::new(name))
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
    let prefix = naming.path(&format!("{field}.filename_prefix"), prefix)?;
    let playlist = naming.path(&format!("{field}.playlist_name"), playlist)?;
    let live = naming.path(&live_field, live_playlist)?;
    let (prefix_dir, prefix_name) = split(&prefix);
    let (playlist_dir, playlist_name) = split(&playlist);
    let (live_dir, live_name) = split(&live);

    let dir = if playlist_dir.is_empty() { prefix_dir } else { playlist_dir };
    // Segments may lie below their playlist, which names them by their path from there.
    let below = prefix_dir.strip_prefix(dir).unwrap_or(prefix_dir);
    if below.starts_with('/') {
        return Err(PlanError::invalid(
            format!("{field}.filename_prefix"),
            format!("segments must lie in the directory of their playlist ({dir}) or below it"),
        ));
    }
    let playlist_name = match (without_known_extension(playlist_name), prefix_name) {
        ("", "") => naming.default_name(),
        ("", prefix) => prefix.to_owned(),
        (playlist, _) => playlist.to_owned(),
    };
    let prefix_name = if prefix_name.is_empty() { &playlist_name } else { prefix_name };
    let live_playlist = match (live_dir, without_known_extension(live_name)) {
        ("", "") => None,
        (_, "") => return Err(PlanError::invalid(live_field, "it names a directory; give it a file name")),
        (live_dir, _) if !live_dir.is_empty() && live_dir != dir => {
            return Err(PlanError::invalid(
                live_field,
                "live_playlist_name must be in same directory as playlist_name; a name without directory is put there",
            ));
        }
        (_, live) if live == playlist_name => {
            return Err(PlanError::invalid(
                live_field,
                "live_playlist_name cannot be identical to playlist_name; give it another name",
            ));
        }
        (_, live) => Some(format!("{live}.m3u8")),
    };
    Ok(SegmentNames {
        dir: dir.to_owned(),
        playlist: format!("{playlist_name}.m3u8"),
        live_playlist,
        prefix: format!("{below}{prefix_name}"),
    })
}

/// An image output's prefix, with its directory.
pub(super) fn image_prefix(field: &str, prefix: &str, naming: &Naming) -> Result<String, PlanError> {
    let mut prefix = naming.path(field, prefix)?;
    if prefix.is_empty() || prefix.ends_with('/') {
        prefix.push_str(&naming.default_name());
    }
    Ok(prefix)
}

/// The container that a name asks for by its extension.
pub(super) fn container_of(name: &str) -> Option<&'static ContainerRow> {
    CONTAINERS.iter().find(|row| name.ends_with(row.extension))
}

/// Extensions that are replaced rather than kept; all others belong to the name (`v1.2`).
const KNOWN_EXTENSIONS: [&str; 9] =
    [".raw", ".ogg", ".mp3", ".ivf", ".mp4", ".ts", ".webm", ".m3u8", ".jpeg"];

fn without_known_extension(name: &str) -> &str {
    KNOWN_EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

/// Directory with its `/`, and name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests;
