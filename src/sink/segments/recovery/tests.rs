use super::*;

const OUTPUT: OutputId = OutputId(1);

/// Packets of a stream: tables, then frames of two packets each, one every 40 ms.
fn stream(pictures: u64) -> Vec<u8> {
    let packet = |head: &[u8]| {
        let mut packet = vec![0xff; PACKET];
        packet[..head.len()].copy_from_slice(head);
        packet
    };
    let mut bytes = packet(&[0x47, 0x40, 0x00, 0x10, 0]);
    for at in 0..pictures {
        let head =
            [&[0x47, 0x41, 0x00, 0x10, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5][..], &pes::pts_bytes(at * 3600)]
                .concat();
        bytes.extend(packet(&head));
        bytes.extend(packet(&[0x47, 0x01, 0x00, 0x10]));
    }
    bytes
}

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// Segments of two seconds that are noted, from the first.
    fn with_notes(count: u64) -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        let mut notes = segment_journal::of(scene.dir.path(), OUTPUT);
        for at in 0..count {
            let (local, uri) = (format!("segment-1-{at:06}.ts"), format!("a_{at:05}.ts"));
            let (start, date) = (Duration::from_secs(2 * at), Timestamp::UNIX_EPOCH);
            notes.add(&Note::Segment { local, uri, start, date }).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn recover(&self, may_be_stored: bool) -> RecoveredOutput {
        self.rescue_and_tell(may_be_stored).0
    }

    /// Also what it says of damaged segments.
    fn rescue_and_tell(&self, may_be_stored: bool) -> (RecoveredOutput, Vec<(String, String, PathBuf)>) {
        let stored = |name: &str| Some(self.path("stored").join(name)).filter(|path| path.exists());
        let places = Places {
            is_stored: &|name| stored(name).is_some(),
            may_be_stored,
            stored: &stored,
            dir: "",
            playlist: "a.m3u8",
            live_playlist: None,
            duration: Duration::from_secs(2),
        };
        let mut damaged = Vec::new();
        let mut tell = |name, damage, kept| damaged.push((name, damage, kept));
        let rescued = recover(self.dir.path(), OUTPUT, &places, &mut tell).unwrap();
        (rescued, damaged)
    }

    /// Stores what is left, as `weir recover` does.
    fn store(&self, rescued: &RecoveredOutput) {
        for Leftover { local, name } in &rescued.left {
            self.write(&format!("stored/{name}"), &fs::read(local).unwrap());
            fs::remove_file(local).unwrap();
        }
    }
}

fn names(rescued: &RecoveredOutput) -> Vec<&str> {
    rescued.left.iter().map(|left| left.name.as_str()).collect()
}

fn listed(rescued: &RecoveredOutput) -> Vec<String> {
    let playlist = fs::read_to_string(&rescued.left.last().unwrap().local).unwrap();
    playlist.lines().filter(|line| line.ends_with(".ts")).map(str::to_owned).collect()
}

#[test]
fn the_last_segment_is_cut_to_what_is_complete_and_old_playlists_are_obsolete() {
    let scene = Scene::with_notes(2);
    scene.write("segment-1-000000.ts", &stream(50));
    scene.write("segment-1-000001.ts.part", &stream(3)[..1300]);
    scene.write("playlist-1-000000.m3u8", b"#EXTM3U");
    let rescued = scene.recover(false);
    assert_eq!(names(&rescued), ["a_00000.ts", "a_00001.ts", "a.m3u8"]);
    assert_eq!(fs::read(&rescued.left[1].local).unwrap(), stream(2));
    assert_eq!(listed(&rescued), ["a_00000.ts", "a_00001.ts"]);
    assert_eq!(rescued.obsolete, [scene.path("playlist-1-000000.m3u8")]);
}

#[test]
fn a_segment_with_one_picture_is_one_and_one_with_tables_alone_is_none() {
    let scene = Scene::with_notes(1);
    scene.write("segment-1-000000.ts.part", &stream(1));
    let rescued = scene.recover(false);
    assert_eq!(
        (names(&rescued), fs::read(&rescued.left[0].local).unwrap()),
        (vec!["a_00000.ts", "a.m3u8"], stream(1))
    );

    for nothing in [&stream(0)[..], &[], &stream(0)[..100]] {
        let scene = Scene::with_notes(1);
        scene.write("segment-1-000000.ts.part", nothing);
        assert_eq!(names(&scene.recover(false)), ["a.m3u8"]);
        assert!(!scene.path("segment-1-000000.ts.part").exists());
    }
}

#[test]
fn a_damaged_segment_is_not_cut() {
    let scene = Scene::with_notes(1);
    let mut bytes = stream(20);
    let half = bytes.len() / PACKET / 2 * PACKET;
    bytes[half..].fill(0);
    scene.write("segment-1-000000.ts.part", &bytes);
    let rescued = scene.recover(false);
    assert_eq!(fs::read(&rescued.left[0].local).unwrap(), bytes);

    // Files that are not streams keep their names.
    let scene = Scene::with_notes(1);
    scene.write("segment-1-000000.ts.part", &[0; 5000]);
    for _ in 0..2 {
        assert_eq!(names(&scene.recover(false)), ["a.m3u8"]);
        assert_eq!(fs::read(scene.path("segment-1-000000.ts.part")).unwrap(), [0; 5000]);
    }
}

#[test]
fn a_damaged_segment_is_named_and_kept_beside_the_stored_one() {
    let half = stream(50).len() / PACKET / 2 * PACKET;
    let whole = stream(50);
    for (local, from, to) in [
        ("segment-1-000000.ts.part", 0, 400),
        ("segment-1-000000.ts.part", half, half + 400),
        ("segment-1-000000.ts.part", whole.len() - 400, whole.len()),
        // One that was closed, too.
        ("segment-1-000000.ts", 0, whole.len()),
        ("segment-1-000000.ts", half, half + 400),
    ] {
        let scene = Scene::with_notes(1);
        let mut bytes = whole.clone();
        bytes[from..to].fill(0);
        scene.write(local, &bytes);
        let kept = scene.path("segment-1-000000.damaged.ts");
        // A recovery that could not store it changes nothing.
        for _ in 0..2 {
            let (rescued, damaged) = scene.rescue_and_tell(false);
            assert_eq!(names(&rescued), ["a_00000.ts", "a.m3u8"], "{local} {from}");
            assert_eq!(fs::read(&rescued.left[0].local).unwrap(), bytes, "{local} {from}");
            let [(name, damage, at)] = &damaged[..] else { panic!("{local} {from}: {damaged:?}") };
            assert_eq!((name.as_str(), at), ("a_00000.ts", &kept));
            assert!(damage.starts_with("damaged from byte "), "{damage}");
        }
        scene.store(&scene.recover(false));
        assert_eq!(fs::read(&kept).unwrap(), bytes, "{local} {from}");
        // A kept file does not count as an unknown segment.
        let (rescued, damaged) = scene.rescue_and_tell(false);
        assert_eq!((rescued.left, damaged), (Vec::new(), Vec::new()), "{local} {from}");
    }
    let scene = Scene::with_notes(2);
    scene.write("segment-1-000000.ts", &[]);
    scene.write("segment-1-000001.ts", &whole);
    let (_, damaged) = scene.rescue_and_tell(false);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!((damaged[0].0.as_str(), damaged[0].1.as_str()), ("a_00000.ts", "empty"));
}

#[test]
fn ended_playlists_that_are_stored_are_not_stored_again() {
    let scene = Scene::with_notes(2);
    scene.write("segment-1-000000.ts", &stream(50));
    scene.write("segment-1-000001.ts.part", &stream(3));
    let rescued = scene.recover(false);
    assert_eq!(names(&rescued), ["a_00000.ts", "a_00001.ts", "a.m3u8"]);
    // Killed before the playlist was stored, though one that had not ended is there: it comes
    // again.
    let (playlist, segments) = rescued.left.split_last().unwrap();
    scene.store(&RecoveredOutput { left: segments.to_vec(), obsolete: Vec::new() });
    scene.write("stored/a.m3u8", b"#EXTM3U");
    let again = scene.recover(false);
    assert_eq!(again.left, std::slice::from_ref(playlist));
    assert_eq!(listed(&again), ["a_00000.ts", "a_00001.ts"]);
    scene.store(&again);
    // Somebody else may have the name now.
    scene.write("stored/a.m3u8", b"since");
    for _ in 0..2 {
        assert_eq!(scene.recover(false).left, []);
    }
    fs::remove_file(scene.path("stored/a.m3u8")).unwrap();
    assert_eq!(scene.recover(false).left, [], "what was taken away does not come back");
    // A segment that is there again is listed again.
    scene.write("segment-1-000001.ts", &stream(3));
    assert_eq!(names(&scene.recover(false)), ["a_00001.ts", "a.m3u8"]);
}

/// Killed between the note of its end and its renaming.
#[test]
fn a_segment_whose_end_was_noted_is_given_its_name() {
    let scene = Scene::with_notes(1);
    segment_journal::of(scene.dir.path(), OUTPUT).add(&Note::End { at: Duration::from_secs(2) }).unwrap();
    scene.write("segment-1-000000.ts.part", &stream(50));
    let rescued = scene.recover(false);
    assert_eq!(fs::read(&rescued.left[0].local).unwrap(), stream(50));
}

#[test]
fn without_notes_segments_and_playlists_stay() {
    let scene = Scene::with_notes(0);
    scene.write("segment-1-000000.ts", &stream(50));
    scene.write("playlist-1-000000.m3u8", b"#EXTM3U");
    assert_eq!(scene.recover(false), RecoveredOutput::default());
    assert!(scene.path("segment-1-000000.ts").exists() && scene.path("playlist-1-000000.m3u8").exists());
}

#[test]
fn with_torn_notes_a_stored_playlist_stays_as_it_is() {
    for is_stored in [false, true] {
        let scene = Scene::with_notes(2);
        let notes = scene.path("notes-1.jsonl");
        let text = fs::read_to_string(&notes).unwrap();
        fs::write(&notes, text.replacen('\n', "", 1)).unwrap();
        let mut more = segment_journal::of(scene.dir.path(), OUTPUT);
        let (local, uri) = ("segment-1-000002.ts".to_owned(), "a_00002.ts".to_owned());
        let (start, date) = (Duration::from_secs(4), Timestamp::UNIX_EPOCH);
        more.add(&Note::Segment { local, uri, start, date }).unwrap();
        scene.write("segment-1-000001.ts", &stream(50));
        scene.write("segment-1-000002.ts", &stream(50));
        scene.write("playlist-1-000000.m3u8", b"#EXTM3U");
        if is_stored {
            scene.write("stored/a.m3u8", b"#EXTM3U");
        }
        let rescued = scene.recover(false);
        let expected = if is_stored { vec!["a_00002.ts"] } else { vec!["a_00002.ts", "a.m3u8"] };
        assert_eq!((names(&rescued), &rescued.obsolete), (expected, &Vec::new()));
        assert!(scene.path("segment-1-000001.ts").exists(), "nobody knows what it is called");
        // One that a power cut has emptied names no more than the new one.
        scene.write("stored/a.m3u8", b"");
        assert_eq!(names(&scene.recover(false)), ["a_00002.ts", "a.m3u8"]);
    }
}

#[test]
fn a_stored_playlist_that_names_more_segments_stays_as_it_is() {
    for (date, is_its_own) in [("1970-01-01T00:00:00.000Z", true), ("1969-01-01T00:00:00.000Z", false)] {
        let scene = Scene::with_notes(1);
        scene.write("segment-1-000000.ts", &stream(50));
        let text =
            format!("#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:2,\na_00000.ts\n#EXTINF:2,\na_00001.ts\n");
        scene.write("stored/a.m3u8", text.as_bytes());
        let expected = if is_its_own { vec!["a_00000.ts"] } else { vec!["a_00000.ts", "a.m3u8"] };
        assert_eq!(names(&scene.recover(false)), expected, "that of an earlier recording is replaced");
    }
}

#[test]
fn where_notes_of_what_is_stored_are_lost_a_missing_segment_is_taken_for_stored() {
    for (may_be_stored, expected) in [(false, vec!["a_00001.ts"]), (true, vec!["a_00000.ts", "a_00001.ts"])] {
        let scene = Scene::with_notes(2);
        scene.write("segment-1-000001.ts", &stream(50));
        assert_eq!(listed(&scene.recover(may_be_stored)), expected);
    }
}
