use proptest::prelude::*;

use super::*;
use crate::plan::codec::Container;

fn naming() -> Naming {
    Naming::new(Subject::Web, &"2006-01-02T15:04:05.789[UTC]".parse().unwrap(), 0)
}

fn named(path: &str, container: Container) -> String {
    file("filepath", path, container.row(), &naming()).unwrap().as_str().to_owned()
}

/// The table of docs/reference/media.md, as far as a page can have its rows.
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

const ROOM: Room<'_> = Room { name: "testroom", id: "10719607-f7b0-4d82-afe1-06b77e91fe12" };
const DAVID: Subject<'_> = Subject::Publisher { room: ROOM, identity: "david" };
const MICROPHONE: Subject<'_> = Subject::Track {
    room: ROOM,
    identity: "david",
    track: Track { id: "TR_SKasdXCVgHsei", kind: "audio", source: "microphone" },
};

fn name_of(subject: Subject<'_>, path: &str, container: Container) -> String {
    let naming = Naming::new(subject, &"2022-10-04T01:13:06.012[UTC]".parse().unwrap(), 0);
    file("filepath", path, container.row(), &naming).unwrap().as_str().to_owned()
}

/// The examples of docs/reference/media.md, and which placeholder each kind of egress knows.
#[test]
fn every_kind_of_egress_fills_in_what_it_knows() {
    use Container::{Mp4, Ogg};
    let room = Subject::Room { room: ROOM };
    for (subject, path, container, expected) in [
        (room, "", Mp4, "testroom-2022-10-04T011306.mp4"),
        (room, "livekit-recordings/", Mp4, "livekit-recordings/testroom-2022-10-04T011306.mp4"),
        (room, "{room_name}/{time}", Mp4, "testroom/2022-10-04T011306.mp4"),
        (DAVID, "{room_id}-{publisher_identity}.mp4", Mp4, "10719607-f7b0-4d82-afe1-06b77e91fe12-david.mp4"),
        (MICROPHONE, "{track_type}-{track_source}-{track_id}", Ogg, "audio-microphone-TR_SKasdXCVgHsei.ogg"),
        (Subject::Web, "", Mp4, "web-2022-10-04T011306.mp4"),
        (DAVID, "", Mp4, "testroom-2022-10-04T011306.mp4"),
        (MICROPHONE, "", Ogg, "TR_SKasdXCVgHsei-2022-10-04T011306.ogg"),
        (MICROPHONE, "{room_name}/{publisher_identity}/{utc}", Ogg, "testroom/david/20221004011306012.ogg"),
        // What a kind does not know stays as it is.
        (room, "{publisher_identity}-{track_id}", Mp4, "{publisher_identity}-{track_id}.mp4"),
        (DAVID, "{track_source}{track_type}", Mp4, "{track_source}{track_type}.mp4"),
        (Subject::Web, "{room_name}-{room_id}", Mp4, "{room_name}-{room_id}.mp4"),
        (room, "{{room_name}}{time", Mp4, "{testroom}{time.mp4"),
    ] {
        assert_eq!(name_of(subject, path, container), expected, "{subject:?} {path:?}");
    }
}

fn of_room<'a>(name: &'a str, identity: &'a str) -> Subject<'a> {
    Subject::Publisher { room: Room { name, id: "RM_x" }, identity }
}

#[test]
fn a_name_stays_in_its_directory_whatever_a_room_or_identity_is_called() {
    let long = "ü".repeat(125);
    for (room, identity, path, expected) in [
        ("../../etc", "../passwd", "recs/{room_name}/{publisher_identity}", "recs/etc/passwd.mp4"),
        ("..", "..", "recs/{room_name}/{publisher_identity}/x", "recs/_/_/x.mp4"),
        ("/root", "x", "recs{room_name}/{publisher_identity}", "recsroot/x.mp4"),
        ("/root", "x", "{room_name}/{publisher_identity}", "root/x.mp4"),
        ("sales/2024", "x", "recs/{room_name}/", "recs/sales/2024/sales_2024-2022-10-04T011306.mp4"),
        (".", "a/./b/../c", "recs/.{room_name}/{publisher_identity}", "recs/._/a/b/c.mp4"),
        ("a\nb\0c", "x", "{room_name}", "a_b_c.mp4"),
        ("{publisher_identity}", "x", "{room_name}", "{publisher_identity}.mp4"),
        ("../..", "x", "", "_-2022-10-04T011306.mp4"),
        // A value that fits is unchanged.
        (&long, "x", "{room_name}", &format!("{long}.mp4")),
    ] {
        assert_eq!(name_of(of_room(room, identity), path, Container::Mp4), expected, "{room:?} {identity:?}");
    }
}

proptest! {
    #[test]
    fn no_value_leads_out(
        room in "[./a-c\\x00 {}]{0,12}|\\PC{0,20}", identity in "[./ü]{0,8}", name in "[./a{}]{0,6}"
    ) {
        let path = format!("recs/x/{{room_name}}/{{publisher_identity}}/.{{room_name}}{{room_name}}.{name}");
        // The template's own `..` may lead up; values may not.
        prop_assume!(!path.split('/').any(|part| part == ".."));
        let name = name_of(of_room(&room, &identity), &path, Container::Mp4);
        prop_assert!(name.starts_with("recs/x/"), "{}", name);
        prop_assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() < 255));
        prop_assert!(!name.contains('\0'));
    }
}

#[test]
fn a_second_try_has_its_number() {
    let naming = Naming::new(Subject::Web, &"2006-01-02T15:04:05[UTC]".parse().unwrap(), 2);
    let mp4 = Container::Mp4.row();
    assert_eq!(file("f", "", mp4, &naming).unwrap().as_str(), "web-2006-01-02T150405-2.mp4");
    assert_eq!(file("f", "a-{retry}", mp4, &naming).unwrap().as_str(), "a-2.mp4");
}

/// `{time}` is the clock on the wall, `{utc}` is not.
#[test]
fn local_time_and_utc() {
    let naming = Naming::new(Subject::Web, &"2006-01-02T15:04:05.789+02:00[+02:00]".parse().unwrap(), 0);
    assert_eq!(naming.fill("{time} {utc}", usize::MAX), "2006-01-02T150405 20060102130405789");
}

/// The second table of docs/reference/media.md, and what the defects it lists become here.
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
        // Whatever stands behind the last dot of a playlist's name is its extension; a prefix has
        // none.
        ("", "a.b.c", "live.b", "", "a.b.m3u8", Some("live.m3u8"), "a.b"),
        ("seg.v2", "v1.0-live", "", "", "v1.m3u8", None, "seg.v2"),
        ("seg.v2", "", "", "", "seg.v2.m3u8", None, "seg.v2"),
        ("", "d.x/list", "", "d.x/", "list.m3u8", None, "list"),
        ("", "d/..b", "", "d/", "..b.m3u8", None, "..b"),
        ("d/seg", ".m3u8", ".m3u8", "d/", "seg.m3u8", None, "seg"),
        // Another directory than the playlist's is made below it.
        ("/elsewhere/q", "/out/p", "", "/out/", "p.m3u8", None, "elsewhere/q"),
        ("/elsewhere/", "/out/p", "", "/out/", "p.m3u8", None, "elsewhere/p"),
        ("/q", "out/p", "", "out/", "p.m3u8", None, "q"),
        ("../../q", "/out/p", "", "/out/", "p.m3u8", None, "q"),
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
        ("", "v1.0", "v1.0-live", "s.live_playlist_name", "identical"),
        ("same", "", "same", "s.live_playlist_name", "identical"),
        ("", "d/playlist", "d/", "s.live_playlist_name", "file name"),
        ("a\0", "", "", "s.filename_prefix", "NUL"),
    ] {
        let error = segments("s", (prefix, playlist, live), &naming()).unwrap_err();
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// A dot in what is filled in begins no extension: the rooms `team.a` and `team.b` have a playlist
/// each.
#[test]
fn a_playlist_of_a_room_keeps_the_rooms_whole_name() {
    let subject = Subject::Room { room: Room { name: "team.a", id: "RM_x" } };
    let naming = Naming::new(subject, &"2022-10-04T01:13:06[UTC]".parse().unwrap(), 0);
    for (playlist, expected) in [("{room_name}", "team.a.m3u8"), ("{room_name}.m3u8", "team.a.m3u8")] {
        assert_eq!(segments("s", ("", playlist, ""), &naming).unwrap().playlist, expected);
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
