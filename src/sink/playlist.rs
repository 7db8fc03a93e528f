//! HLS playlists as text (RFC 8216, docs/reference/media.md). Pure.

use std::fmt::Write;
use std::time::Duration;

/// Segments in a live playlist.
const LIVE_WINDOW: usize = 5;

/// A playlist that grows.
#[derive(Debug, Clone)]
pub(super) struct Playlist {
    kind: PlaylistKind,
    /// Seconds.
    target: u64,
    /// Each segment's lines, in order; of a live playlist only those in its window.
    entries: Vec<String>,
    /// Segments that have left the window.
    gone: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaylistKind {
    /// All segments from the beginning.
    Event,
    /// The last five.
    Live,
}

/// Whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Ended,
}

impl Playlist {
    /// `segment`: how long a segment is meant to be.
    pub(super) fn new(kind: PlaylistKind, segment: Duration) -> Self {
        let target = segment.as_millis().div_ceil(1000).max(1);
        Self { kind, target: u64::try_from(target).unwrap_or(u64::MAX), entries: Vec::new(), gone: 0 }
    }

    /// Adds a segment: its address relative to the playlist, its exact duration, and the date of
    /// its first sample.
    pub(super) fn push(&mut self, uri: &str, duration: Duration, date: jiff::Timestamp) {
        // A segment that came out longer than meant (a source that stood still) must not break the
        // promise of the header.
        let rounded = (duration.as_millis() + 500) / 1000;
        self.target = self.target.max(u64::try_from(rounded).unwrap_or(u64::MAX));
        let date = self::date(date);
        let seconds = duration.as_secs_f64();
        let uri = escape(uri);
        self.entries.push(format!("#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:{seconds:.3},\n{uri}\n"));
        if self.kind == PlaylistKind::Live && self.entries.len() > LIVE_WINDOW {
            self.entries.remove(0);
            self.gone += 1;
        }
    }

    pub(super) fn text(&self, state: State) -> String {
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:4\n");
        if self.kind == PlaylistKind::Event {
            text.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n");
        }
        let (target, gone) = (self.target, self.gone);
        write!(text, "#EXT-X-ALLOW-CACHE:NO\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{gone}\n")
            .expect("writing to a string does not fail");
        text.extend(self.entries.iter().map(String::as_str));
        if state == State::Ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }
}

/// A segment's date as a playlist has it.
pub(super) fn date(date: jiff::Timestamp) -> String {
    date.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A file's name as part of an address (RFC 3986 §3.3): everything that is not a plain character of
/// a path is escaped.
fn escape(name: &str) -> String {
    let mut uri = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'@' => {
                uri.push(char::from(byte));
            }
            _ => write!(uri, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use m3u8_rs::{MediaPlaylist, MediaPlaylistType, parse_media_playlist_res};

    fn parse(text: &str) -> MediaPlaylist {
        parse_media_playlist_res(text.as_bytes()).unwrap()
    }

    fn filled(kind: PlaylistKind, segments: u64) -> Playlist {
        let mut playlist = Playlist::new(kind, Duration::from_secs(4));
        let start: jiff::Timestamp = "2026-11-22T10:00:00.8Z".parse().unwrap();
        for index in 0..segments {
            let date = start + Duration::from_millis(4000 * index);
            playlist.push(&format!("talk_{index:05}.ts"), Duration::from_millis(4000), date);
        }
        playlist
    }

    #[test]
    fn an_event_playlist_reads_as_written() {
        let playlist = filled(PlaylistKind::Event, 2);
        assert_eq!(
            playlist.text(State::Ended),
            "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-ALLOW-CACHE:NO\n\
             #EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T10:00:00.800Z\n#EXTINF:4.000,\ntalk_00000.ts\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T10:00:04.800Z\n#EXTINF:4.000,\ntalk_00001.ts\n\
             #EXT-X-ENDLIST\n"
        );
        let parsed = parse(&playlist.text(State::Open));
        assert_eq!(parsed.playlist_type, Some(MediaPlaylistType::Event));
        assert_eq!((parsed.segments.len(), parsed.target_duration, parsed.end_list), (2, 4, false));
    }

    #[test]
    fn a_live_playlist_slides() {
        let parsed = parse(&filled(PlaylistKind::Live, 12).text(State::Open));
        assert_eq!((parsed.media_sequence, parsed.segments.len()), (7, 5));
        assert_eq!(parsed.segments[0].uri, "talk_00007.ts");
        assert_eq!(parsed.playlist_type, None);
    }

    #[test]
    fn the_target_is_no_shorter_than_any_segment_rounded() {
        let mut playlist = Playlist::new(PlaylistKind::Event, Duration::from_millis(2500));
        assert_eq!(parse(&playlist.text(State::Open)).target_duration, 3);
        playlist.push("a.ts", Duration::from_millis(6499), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(parse(&playlist.text(State::Open)).target_duration, 6);
        playlist.push("b.ts", Duration::from_millis(6500), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(parse(&playlist.text(State::Open)).target_duration, 7);
    }

    #[test]
    fn an_address_holds_no_character_that_ends_it() {
        assert_eq!(escape("e/day 1#50%?\n.ts"), "e/day%201%2350%25%3F%0A.ts");
        assert_eq!(escape("Grüße:1"), "Gr%C3%BC%C3%9Fe%3A1");
    }
}
