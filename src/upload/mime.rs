//! Media type of a file by its name (docs/reference/media.md).

/// All of them; what has none of its own is the last.
const ALL: [&str; 9] = [
    "video/mp4",
    "video/webm",
    "audio/ogg",
    "audio/mpeg",
    "video/mp2t",
    "application/x-mpegurl",
    "image/jpeg",
    "application/json",
    "application/octet-stream",
];

/// A media type that was read somewhere, if it is one of ours.
#[must_use]
pub fn known(mime: &str) -> Option<&'static str> {
    ALL.into_iter().find(|known| *known == mime)
}

/// The media type of a name's extension. Playlists have the type that LiveKit gives them.
#[must_use]
pub fn of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("ogg") => "audio/ogg",
        Some("mp3") => "audio/mpeg",
        Some("ts") => "video/mp2t",
        Some("m3u8") => "application/x-mpegurl",
        Some("jpeg") => "image/jpeg",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
