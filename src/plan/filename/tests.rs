use proptest::prelude::*;

use super::*;
use crate::plan::codec::Container;

fn naming() -> Naming {
    Naming::new(&"2006-01-02T15:04:05.789[UTC]".parse().unwrap(), 0)
}

fn named(path: &str, container: Container) -> String {
    file("filepath", path, container.row(), &naming()).unwrap().as_str().to_owned()
}

/// The table of media.md §7, as far as a page can have its rows.
#[test]
fn files() {
    use Container::{Mp3, Mp4, Ogg};
    for (path, container, expected) in [
        ("", Mp4, "web-2006-01-02T150405.mp4"),
        ("livekit-recordings/", Mp4, "livekit-recordings/web-2006-01-02T150405.mp4"),
        ("web/{time}", Mp4, "web/2006-01-02T150405.mp4"),
        ("{room_name}-{publisher_identity}.mp4", Mp4, "{room_name}-{publisher_identity}.mp4"),
        ("{retry}", Mp4, "{retry}.mp4"),
        ("a/../b", Mp4, "b.mp4"),
        ("../x", Mp4, "x.mp4"),
        ("../../x", Mp4, "x.mp4"),
        ("a/../../x", Mp4, "x.mp4"),
        ("..", Mp4, "web-2006-01-02T150405.mp4"),
        (".", Mp4, "web-2006-01-02T150405.mp4"),
        ("/", Mp4, "/web-2006-01-02T150405.mp4"),
        ("/out//./x", Mp4, "/out/x.mp4"),
        ("/../etc/x", Mp4, "/etc/x.mp4"),
        ("foo.mp4", Ogg, "foo.ogg"),
        ("foo.ogg", Mp3, "foo.mp3"),
        ("foo.mov", Mp4, "foo.mov.mp4"),
        ("foo.MP4", Mp4, "foo.MP4.mp4"),
        ("v1.2/rec", Mp4, "v1.2/rec.mp4"),
        ("v1.mp4/rec", Mp4, "v1.mp4/rec.mp4"),
        ("x-{utc}", Mp4, "x-20060102150405789.mp4"),
        ("{time}{time}", Mp3, "2006-01-02T1504052006-01-02T150405.mp3"),
    ] {
        assert_eq!(named(path, container), expected, "{path:?}");
    }
}

#[test]
fn a_second_try_has_its_number() {
    let naming = Naming::new(&"2006-01-02T15:04:05[UTC]".parse().unwrap(), 2);
    let mp4 = Container::Mp4.row();
    assert_eq!(file("f", "", mp4, &naming).unwrap().as_str(), "web-2006-01-02T150405-2.mp4");
    assert_eq!(file("f", "a-{retry}", mp4, &naming).unwrap().as_str(), "a-2.mp4");
}

/// `{time}` is the clock on the wall, `{utc}` is not.
#[test]
fn local_time_and_utc() {
    let naming = Naming::new(&"2006-01-02T15:04:05.789+02:00[+02:00]".parse().unwrap(), 0);
    assert_eq!(naming.fill("{time} {utc}"), "2006-01-02T150405 20060102130405789");
}

/// The second table of media.md §7, and what the defects it lists become here.
#[test]
fn playlists_and_segments() {
    let time = "web-2006-01-02T150405";
    let default = format!("{time}.m3u8");
    for (prefix, playlist, live, dir, expected_playlist, expected_live, expected_prefix) in [
        ("", "playlist", "", "", "playlist.m3u8", None, "playlist"),
        ("", "d/playlist", "d/live", "d/", "playlist.m3u8", Some("live.m3u8"), "playlist"),
        ("filename", "", "live2.m3u8", "", "filename.m3u8", Some("live2.m3u8"), "filename"),
        ("filename", "d/", "", "d/", "filename.m3u8", None, "filename"),
        ("d/", "playlist", "", "d/", "playlist.m3u8", None, "playlist"),
        ("d/filename", "playlist", "", "d/", "playlist.m3u8", None, "filename"),
        ("d/filename", "d/playlist", "", "d/", "playlist.m3u8", None, "filename"),
        ("e/filename", "d/playlist", "", "d/", "playlist.m3u8", None, "e/filename"),
        // Below the playlist's directory: not once more below it.
        ("d/e/filename", "d/playlist", "", "d/", "playlist.m3u8", None, "e/filename"),
        // Only an extension that we know is one.
        ("", "v1.0", "v1.0-live", "", "v1.0.m3u8", Some("v1.0-live.m3u8"), "v1.0"),
        ("", "playlist.m3u8", "live", "", "playlist.m3u8", Some("live.m3u8"), "playlist"),
        ("", "", "", "", &default, None, time),
        ("d/", "", "", "d/", &default, None, time),
        ("../seg", "../../list", "", "", "list.m3u8", None, "seg"),
        ("/out/seg", "", "", "/out/", "seg.m3u8", None, "seg"),
        ("d/filename", "", "d/live", "d/", "filename.m3u8", Some("live.m3u8"), "filename"),
        ("s-{utc}", "{time}", "", "", "2006-01-02T150405.m3u8", None, "s-20060102150405789"),
    ] {
        let names = segments("segment_outputs[0]", (prefix, playlist, live), &naming()).unwrap();
        let expected = SegmentNames {
            dir: dir.to_owned(),
            playlist: expected_playlist.to_owned(),
            live_playlist: expected_live.map(str::to_owned),
            prefix: expected_prefix.to_owned(),
        };
        assert_eq!(names, expected, "{prefix:?} {playlist:?} {live:?}");
    }
}

#[test]
fn bad_playlists() {
    for (prefix, playlist, live, field, text) in [
        ("", "d/playlist", "e/live", "s.live_playlist_name", "same directory"),
        ("", "playlist", "e/live", "s.live_playlist_name", "same directory"),
        ("", "playlist", "playlist.m3u8", "s.live_playlist_name", "identical"),
        ("same", "", "same", "s.live_playlist_name", "identical"),
        ("", "d/playlist", "d/", "s.live_playlist_name", "file name"),
        ("/else/seg", "d/playlist", "", "s.filename_prefix", "directory of their playlist"),
        ("a\0", "", "", "s.filename_prefix", "NUL"),
    ] {
        let error = segments("s", (prefix, playlist, live), &naming()).unwrap_err();
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn images() {
    for (prefix, expected) in [
        ("", "web-2006-01-02T150405"),
        ("thumbs/", "thumbs/web-2006-01-02T150405"),
        ("thumbs/t", "thumbs/t"),
        ("../t", "t"),
    ] {
        assert_eq!(image_prefix("f", prefix, &naming()).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn a_name_never_leaves_its_directory(path in "(/|\\.\\./|\\./|\\.\\.|a|\\{time\\}|\\.mp4|.){0,12}") {
        let mp4 = Container::Mp4.row();
        let names = [
            file("f", &path, mp4, &naming()).map(|name| name.as_str().to_owned()),
            image_prefix("f", &path, &naming()),
            segments("f", (&path, "", ""), &naming()).map(|names| names.dir + &names.prefix),
            segments("f", ("", &path, ""), &naming()).map(|names| names.dir + &names.playlist),
            segments("f", ("d/x", &path, ""), &naming()).map(|names| names.dir + &names.prefix),
            segments("f", (&path, "d/x", ""), &naming()).map(|names| names.dir + &names.prefix),
        ];
        for name in names.into_iter().flatten() {
            prop_assert!(!name.split('/').any(|part| part == ".." || part == "."), "{}", name);
            prop_assert!(!name.is_empty() && !name.ends_with('/') && !name.contains("//"), "{}", name);
            prop_assert!(name.starts_with('/') <= path.starts_with('/'), "{}", name);
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing(path in "(/|\\.\\./|\\./|\\.\\.|a|.){0,12}") {
        prop_assert_eq!(clean(&clean(&path)), clean(&path));
    }
}
