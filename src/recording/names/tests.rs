mod of_many;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::storage::{self, ServerStorage};
use crate::plan::defaults::Defaults;
use crate::plan::room::Rooms;
use crate::plan::track::{Discovered, ParticipantKind, PublishedTrack, TrackCodec, TrackOrigin};
use crate::plan::{EgressId, json};
use crate::secret::Secret;
use crate::token::Signer;

/// A machine with a registry, and a directory that relative names are relative to.
struct Machine {
    dir: tempfile::TempDir,
    storage: ServerStorage,
}

/// A recording that runs.
#[derive(Debug)]
struct Recording {
    plan: RecordingPlan,
    names: Names,
}

impl Recording {
    fn keys(&self) -> Vec<String> {
        let outputs = (0..self.plan.outputs.len()).map(OutputId);
        outputs.flat_map(|output| self.plan.written(output)).map(|written| written.key).collect()
    }
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), storage: ServerStorage::default() }
    }

    fn with_storage(text: &str) -> Self {
        Self { storage: storage::parse(text).unwrap(), ..Self::new() }
    }

    fn base(&self) -> PathBuf {
        let base = self.dir.path().join("base");
        fs::create_dir_all(&base).unwrap();
        base
    }

    fn registry(&self) -> Registry {
        Registry::at(self.dir.path().join("registry"))
    }

    fn plan(&self, id: &str, request: &str) -> RecordingPlan {
        let request = json::parse(request).unwrap();
        let signer = Signer { key: "devkey".to_owned(), secret: Secret::new("secret".to_owned()) };
        let rooms =
            Rooms { ws_url: "ws://localhost:7880".to_owned(), signer: Some(signer), ..Rooms::default() };
        let defaults = Defaults { storage: self.storage.clone(), rooms, ..Defaults::default() };
        let now = "2006-01-02T15:04:05Z[UTC]".parse().unwrap();
        RecordingPlan::new(&request, &defaults, EgressId::new(id), &now).unwrap()
    }

    fn start_as(&self, older: OlderFiles, id: &str, request: &str) -> Result<Recording, NameError> {
        let mut plan = self.plan(id, request);
        let mut names = Names::in_registry(self.registry(), &self.base(), older);
        names.claim(&mut plan)?;
        Ok(Recording { plan, names })
    }

    /// Starts a recording like a service; `outputs` of a request.
    fn start(&self, id: &str, outputs: &str) -> Result<Recording, NameError> {
        let request = format!(r#"{{"url":"https://example.com",{outputs}}}"#);
        self.start_as(OlderFiles::Replace, id, &request)
    }

    /// Starts a recording like a person.
    fn start_by_hand(&self, id: &str, outputs: &str) -> Result<Recording, NameError> {
        let request = format!(r#"{{"url":"https://example.com",{outputs}}}"#);
        self.start_as(OlderFiles::Refuse, id, &request)
    }
}

#[track_caller]
fn assert_taken(started: Result<Recording, NameError>, by: &str) {
    match started {
        Err(error @ NameError::Taken { .. }) => {
            let text = error.to_string();
            assert!(text.contains(by) && text.contains("give another name"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

const TALK: &str = r#""file_outputs":[{"filepath":"talk.mp4"}]"#;

#[test]
fn a_generated_name_that_is_taken_gets_the_egress_id() {
    for (outputs, first, second) in [
        (r#""file_outputs":[{}]"#, vec!["web-2006-01-02T150405.mp4"], vec!["web-2006-01-02T150405-EG_b.mp4"]),
        (
            r#""file_outputs":[{"filepath":"talks/{time}"}]"#,
            vec!["talks/2006-01-02T150405.mp4"],
            vec!["talks/2006-01-02T150405-EG_b.mp4"],
        ),
        (
            r#""segment_outputs":[{}]"#,
            vec!["web-2006-01-02T150405.m3u8", "web-2006-01-02T150405_*.ts"],
            vec!["web-2006-01-02T150405-EG_b.m3u8", "web-2006-01-02T150405-EG_b_*.ts"],
        ),
        (
            r#""image_outputs":[{}]"#,
            vec!["web-2006-01-02T150405_*.jpeg"],
            vec!["web-2006-01-02T150405-EG_b_*.jpeg"],
        ),
    ] {
        let machine = Machine::new();
        let (one, other) = (machine.start("EG_a", outputs).unwrap(), machine.start("EG_b", outputs).unwrap());
        assert_eq!(one.keys(), first);
        assert_eq!(other.keys(), second);
        assert_eq!(machine.start("EG_c", outputs).unwrap().keys().len(), first.len(), "and a third");
    }
}

#[test]
fn a_given_name_of_a_running_recording_is_refused_until_that_has_ended() {
    for outputs in [
        TALK,
        r#""segment_outputs":[{"playlist_name":"talk","filename_prefix":"talk"}]"#,
        r#""segment_outputs":[{"live_playlist_name":"live.m3u8"}]"#,
        r#""image_outputs":[{"filename_prefix":"thumb"}]"#,
        r#""image_outputs":[{"filename_prefix":"poster","filename_suffix":"IMAGE_SUFFIX_NONE_OVERWRITE"}]"#,
    ] {
        let machine = Machine::new();
        let mut first = machine.start("EG_a", outputs).unwrap();
        assert_taken(machine.start("EG_b", outputs), "EG_a");
        // A recording at a terminal beside the service behaves the same.
        assert_taken(machine.start_by_hand("EG_b", outputs), "EG_a");
        first.names.release();
        let second = machine.start("EG_c", outputs).unwrap();
        drop(second);
        machine.start_by_hand("EG_d", outputs).unwrap();
    }
}

#[test]
fn part_of_the_names_is_enough() {
    let machine = Machine::new();
    let hls = |playlist: &str, prefix: &str, live: &str| {
        format!(
            r#""segment_outputs":[{{"playlist_name":"{playlist}","filename_prefix":"{prefix}","live_playlist_name":"{live}"}}]"#
        )
    };
    let _first = machine.start("EG_a", &hls("d/p", "d/s", "d/l")).unwrap();
    for (playlist, prefix, live) in
        [("d/p", "d/x", ""), ("d/x", "d/s", ""), ("d/x", "d/y", "d/l"), ("d/l", "d/y", "")]
    {
        assert_taken(machine.start("EG_b", &hls(playlist, prefix, live)), "EG_a");
    }
    machine.start("EG_c", &hls("d/x", "d/y", "d/z")).unwrap();
    machine.start("EG_d", &hls("e/p", "e/s", "e/l")).unwrap();
}

#[test]
fn one_file_by_another_path_is_the_same_file() {
    let machine = Machine::new();
    let base = machine.base();
    fs::create_dir(base.join("real")).unwrap();
    symlink("real", base.join("link")).unwrap();
    let file = |path: &str| format!(r#""file_outputs":[{{"filepath":"{path}"}}]"#);
    let _first = machine.start("EG_a", &file("real/new/talk.mp4")).unwrap();
    let absolute = base.join("real/new/talk.mp4").display().to_string();
    for path in ["link/new/talk.mp4", "x/../real//new/talk", &absolute] {
        assert_taken(machine.start("EG_b", &file(path)), "EG_a");
    }
    // Made meanwhile, as the first recording does.
    fs::create_dir(base.join("real/new")).unwrap();
    assert_taken(machine.start("EG_b", &file("link/new/talk.mp4")), "EG_a");
    machine.start("EG_b", &file("link/talk.mp4")).unwrap();
}

#[test]
fn two_outputs_of_one_recording_do_not_write_to_one_file() {
    let machine = Machine::new();
    let absolute = machine.base().join("talk.mp4").display().to_string();
    let outputs = format!(r#""file_outputs":[{{"filepath":"talk.mp4"}},{{"filepath":"{absolute}"}}]"#);
    let refused = machine.start("EG_a", &outputs).unwrap_err();
    assert!(matches!(refused, NameError::Twice { .. }), "{refused}");
    machine.start("EG_b", TALK).unwrap();
}

fn numbered(prefix: &str) -> String {
    format!(r#"{{"filename_prefix":"{prefix}"}}"#)
}

fn timed(prefix: &str) -> String {
    format!(r#"{{"filename_prefix":"{prefix}","filename_suffix":"IMAGE_SUFFIX_TIMESTAMP"}}"#)
}

fn single(prefix: &str) -> String {
    format!(r#"{{"filename_prefix":"{prefix}","filename_suffix":"IMAGE_SUFFIX_NONE_OVERWRITE"}}"#)
}

fn images(outputs: &[&str]) -> String {
    format!(r#""image_outputs":[{}]"#, outputs.join(","))
}

#[test]
fn an_older_file_is_replaced_by_a_service_and_refused_at_a_terminal() {
    for (outputs, older) in [
        (TALK, "talk.mp4"),
        (r#""segment_outputs":[{"playlist_name":"p","filename_prefix":"s"}]"#, "p.m3u8"),
        (r#""segment_outputs":[{"playlist_name":"p","filename_prefix":"s"}]"#, "s_00007.ts"),
        (
            r#""segment_outputs":[{"playlist_name":"p","filename_prefix":"s","live_playlist_name":"l"}]"#,
            "l.m3u8",
        ),
        (r#""image_outputs":[{"filename_prefix":"thumb"}]"#, "thumb_00000.jpeg"),
        (
            r#""image_outputs":[{"filename_prefix":"poster","filename_suffix":"IMAGE_SUFFIX_NONE_OVERWRITE"}]"#,
            "poster.jpeg",
        ),
    ] {
        let machine = Machine::new();
        machine.start_by_hand("EG_a", outputs).unwrap();
        fs::write(machine.base().join(older), "older").unwrap();
        let refused = machine.start_by_hand("EG_b", outputs).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, NameError::Exists { .. }), "{outputs}: {text}");
        assert!(text.contains(older) && text.contains("give another name"), "{text}");
        machine.start("EG_c", outputs).unwrap();
        assert_eq!(fs::read_to_string(machine.base().join(older)).unwrap(), "older");
    }
}

#[test]
fn what_only_looks_alike_is_not_in_the_way() {
    let machine = Machine::new();
    for name in ["s_1.ts", "s_final.ts", "thumb_old.jpeg", "talk.mp3", "talk.mp4.part"] {
        fs::write(machine.base().join(name), "older").unwrap();
    }
    machine.start_by_hand("EG_a", TALK).unwrap();
    machine.start_by_hand("EG_b", r#""segment_outputs":[{"filename_prefix":"s"}]"#).unwrap();
    machine.start_by_hand("EG_c", r#""image_outputs":[{"filename_prefix":"thumb"}]"#).unwrap();
}

#[test]
fn a_generated_name_replaces_no_older_file() {
    for older in [OlderFiles::Replace, OlderFiles::Refuse] {
        let machine = Machine::new();
        fs::write(machine.base().join("web-2006-01-02T150405.mp4"), "older").unwrap();
        let request = r#"{"url":"https://example.com","file_outputs":[{}]}"#;
        let recording = machine.start_as(older, "EG_a", request).unwrap();
        assert_eq!(recording.keys(), ["web-2006-01-02T150405-EG_a.mp4"]);
    }
}

/// A file created after the start is not replaced either, unless a service was given the name.
#[test]
fn a_file_gets_another_name_where_its_own_is_taken_at_the_end() {
    let machine = Machine::new();
    let if_taken = |recording: &Recording| recording.names.name_if_taken(&recording.plan, OutputId(0));
    let generated = machine.start("EG_a", r#""file_outputs":[{}]"#).unwrap();
    assert_eq!(if_taken(&generated).as_deref(), Some("web-2006-01-02T150405-EG_a.mp4"));
    assert_eq!(if_taken(&machine.start("EG_b", TALK).unwrap()), None);
    let by_hand = machine.start_by_hand("EG_c", TALK).unwrap();
    assert_eq!(if_taken(&by_hand).as_deref(), Some("talk-EG_c.mp4"));
}

#[test]
fn a_bucket_is_one_place_for_all_recordings() {
    let machine = Machine::with_storage("storage: {prefix: p, s3: {bucket: b, access_key: k, secret: s}}");
    let _first = machine.start("EG_a", TALK).unwrap();
    assert_taken(machine.start("EG_b", TALK), "EG_a");
    let with = |bucket: &str, keys: &str| {
        format!(
            r#""file_outputs":[{{"filepath":"talk.mp4","s3":{{"bucket":"{bucket}","access_key":"{keys}","secret":"x"}}}}]"#
        )
    };
    assert_taken(machine.start("EG_b", &with("b", "others")), "EG_a");
    let other = machine.start("EG_b", &with("c", "k")).unwrap();
    assert_eq!(other.keys(), ["p/talk.mp4"]);
}

/// Two tenants with buckets of their own have one backup.
#[test]
fn backups_of_one_name_are_kept_apart() {
    let machine = Machine::with_storage("backup: {prefix: spare}");
    let with =
        |bucket: &str| format!(r#""file_outputs":[{{"filepath":"talk.mp4","s3":{{"bucket":"{bucket}"}}}}]"#);
    let (one, other) =
        (machine.start("EG_a", &with("one")).unwrap(), machine.start("EG_b", &with("other")).unwrap());
    assert_eq!(one.keys(), ["talk.mp4", "spare/talk.mp4"]);
    assert_eq!(other.keys(), ["talk.mp4", "spare/EG_b/talk.mp4"]);
    // And two outputs of one recording.
    let file = |bucket: &str| format!(r#"{{"filepath":"both.mp4","s3":{{"bucket":"{bucket}"}}}}"#);
    let outputs = format!(r#""file_outputs":[{},{}]"#, file("one"), file("other"));
    let both = machine.start("EG_c", &outputs).unwrap();
    assert_eq!(both.keys(), ["both.mp4", "spare/both.mp4", "both.mp4", "spare/EG_c/both.mp4"]);
    // Both of which another recording's is in the way of.
    let outputs = format!(r#""file_outputs":[{},{}]"#, file("three"), file("four"));
    let moved = machine.start("EG_d", &outputs).unwrap();
    assert_eq!(moved.keys(), ["both.mp4", "spare/EG_d/both.mp4", "both.mp4", "spare/EG_d/EG_d/both.mp4"]);
    // An image's backup, of which there are many in another recording.
    let image = |bucket: &str, output: &str| {
        format!(r#""image_outputs":[{{"s3":{{"bucket":"{bucket}"}},{}]"#, output.trim_start_matches('{'))
    };
    let _many = machine.start("EG_e", &image("one", &numbered("im"))).unwrap();
    let poster = machine.start("EG_f", &image("other", &single("im_00006"))).unwrap();
    assert_eq!(poster.keys(), ["im_00006.jpeg", "spare/EG_f/im_00006.jpeg"]);
}

#[test]
fn names_that_the_source_tells_are_taken_when_it_has() {
    let machine = Machine::new();
    let track =
        |name: &str| format!(r#"{{"room_name":"r","track_id":"TR_a","file":{{"filepath":"{name}"}}}}"#);
    let start = |id: &str, name: &str, publisher: &str| -> Result<Recording, NameError> {
        let mut recording = machine.start_as(OlderFiles::Replace, id, &track(name))?;
        let found = Discovered {
            track: PublishedTrack {
                sid: "TR_a".to_owned(),
                kind: TrackCodec::Opus.kind(),
                origin: TrackOrigin::Microphone,
                publisher: publisher.to_owned(),
                publisher_kind: ParticipantKind::Standard,
                is_muted: false,
            },
            codec: TrackCodec::Opus,
        };
        recording.plan = recording.plan.discovered(&[found]).unwrap();
        recording.names.claim(&mut recording.plan)?;
        Ok(recording)
    };
    let first = start("EG_a", "{publisher_identity}", "ann").unwrap();
    assert_eq!(first.keys(), ["ann.ogg"]);
    assert_taken(start("EG_b", "ann.ogg", "ann"), "EG_a");
    assert_eq!(start("EG_c", "{publisher_identity}", "bob").unwrap().keys(), ["bob.ogg"]);
    let _default = start("EG_d", "", "ann").unwrap();
    assert_eq!(start("EG_e", "", "ann").unwrap().keys(), ["TR_a-2006-01-02T150405-EG_e.ogg"]);
}

#[test]
fn what_is_streamed_alone_has_no_names() {
    let machine = Machine::new();
    let stream = r#""stream_outputs":[{"urls":["rtmp://example.com/live/key"]}]"#;
    let (_one, _other) = (machine.start("EG_a", stream).unwrap(), machine.start("EG_b", stream).unwrap());
    assert!(!machine.dir.path().join("registry").exists());
}

#[test]
fn what_a_killed_recording_noted_counts_no_more_and_is_removed() {
    let machine = Machine::new();
    let first = machine.start("EG_a", TALK).unwrap();
    let registry = machine.dir.path().join("registry");
    let entries = || {
        let names = fs::read_dir(&registry).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "lock").collect::<Vec<_>>()
    };
    let all = entries();
    let [noted] = &*all else { panic!("one recording runs") };
    let text = fs::read(registry.join(noted)).unwrap();
    assert!(!String::from_utf8_lossy(&text).contains("talk"), "what it records is nobody's business");
    drop(first);
    assert!(entries().is_empty());
    // The kernel lets go of a lock; nobody removes the file.
    fs::write(registry.join("00ff"), &text).unwrap();
    // And one that is cut off, as its recorder was killed when it wrote it.
    fs::write(registry.join("00fe"), &text[..text.len() / 2]).unwrap();
    let _second = machine.start("EG_b", TALK).unwrap();
    assert_eq!(entries().len(), 1);
}

#[test]
fn a_registry_that_others_can_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new();
    let registry = machine.dir.path().join("registry");
    fs::create_dir(&registry).unwrap();
    fs::set_permissions(&registry, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = machine.start("EG_a", TALK).unwrap_err();
    assert!(matches!(refused, NameError::Registry { .. }), "{refused}");
    fs::remove_dir(&registry).unwrap();
    symlink(machine.base(), &registry).unwrap();
    assert!(machine.start("EG_a", TALK).is_err());
}

/// A pipe is not waited for, a link not followed, and neither keeps anybody from recording.
#[test]
fn what_is_no_regular_file_in_the_registry_holds_up_nothing() {
    let machine = Machine::new();
    let registry = machine.dir.path().join("registry");
    drop(machine.start("EG_a", TALK).unwrap());
    let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let victim = machine.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fifo(&registry.join("00ff"));
    symlink(&victim, registry.join("00fe")).unwrap();
    drop(machine.start("EG_b", TALK).unwrap());
    fs::remove_file(registry.join("lock")).unwrap();
    fifo(&registry.join("lock"));
    assert!(machine.start("EG_c", TALK).is_err());
    fs::remove_file(registry.join("lock")).unwrap();
    symlink(&victim, registry.join("lock")).unwrap();
    assert!(machine.start("EG_d", TALK).is_err());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// Of many that start in one moment, one gets the name.
#[test]
fn of_many_that_want_a_name_at_once_one_gets_it() {
    let machine = Machine::new();
    machine.base();
    let machine = &machine;
    let ids: Vec<String> = (0..8).map(|index| format!("EG_{index}")).collect();
    let started: Vec<Result<Recording, NameError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = ids.iter().map(|id| scope.spawn(move || machine.start(id, TALK))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(started.iter().filter(|started| started.is_ok()).count(), 1, "{started:?}");
    let generated: Vec<Recording> = std::thread::scope(|scope| {
        let outputs = r#""file_outputs":[{}]"#;
        let threads: Vec<_> =
            ids.iter().map(|id| scope.spawn(move || machine.start(id, outputs).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let names: BTreeMap<String, String> = generated
        .iter()
        .map(|recording| (recording.keys().remove(0), recording.plan.egress_id.to_string()))
        .collect();
    assert_eq!(names.len(), ids.len(), "{names:?}");
}
