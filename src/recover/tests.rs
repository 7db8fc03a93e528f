use std::fs;
use std::sync::LazyLock;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::*;

/// Ten seconds of sound in a container, as the recorder writes it.
fn recorded(muxer: &str, encoder: &str) -> Vec<u8> {
    written(&format!(
        "audiotestsrc num-buffers=470 ! audio/x-raw,rate=48000,channels=2 ! {encoder} ! {muxer} ! filesink name=file"
    ))
}

/// The file that a pipeline writes to its element `file`.
fn written(pipeline: &str) -> Vec<u8> {
    crate::media::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recorded");
    let pipeline = gst::parse::launch(pipeline).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path.to_str().unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message =
        pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &types).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    fs::read(path).unwrap()
}

static MP4: LazyLock<Vec<u8>> = LazyLock::new(|| recorded("mp4mux fragment-duration=1000", "avenc_aac"));
static OGG: LazyLock<Vec<u8>> = LazyLock::new(|| recorded("oggmux", "opusenc"));
static WEBM: LazyLock<Vec<u8>> = LazyLock::new(|| recorded("webmmux", "opusenc"));
static MP3: LazyLock<Vec<u8>> = LazyLock::new(|| recorded("xingmux", "lamemp3enc ! mpegaudioparse"));

const FILE: &str = r#"{"kind":"file","container":"MP4","name":"talk.mp4"}"#;
const IMAGES: &str = r#"{"kind":"images"}"#;
const SEGMENTS: &str = r#"{"kind":"segments","dir":"","playlist":"a.m3u8","live_playlist":null,"duration":{"secs":4,"nanos":0}}"#;

/// A work directory of a recorder that was killed.
struct Scene {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Scene {
    fn new(outputs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(".weir/EG_1");
        fs::create_dir_all(root.join("report")).unwrap();
        for output in 0..outputs.len() {
            fs::create_dir(root.join(output.to_string())).unwrap();
        }
        let manifest = format!(
            r#"{{"egress_id":"EG_1","created_at":"2026-01-01T00:00:00Z","base":"{}","run_dir":"/dev/shm/none","outputs":[{}]}}"#,
            dir.path().display(),
            outputs.join(",")
        );
        fs::write(root.join("manifest.json"), manifest).unwrap();
        let local = serde_json::to_string(&vec![Some(Storage::local()); outputs.len()]).unwrap();
        fs::write(root.join("storage.json"), local).unwrap();
        fs::write(root.join("lock"), "").unwrap();
        Self { dir, root }
    }

    /// One with one file output.
    fn with_file(container: &str, extension: &str, bytes: &[u8]) -> Self {
        let output = FILE.replace("MP4", container).replace(".mp4", extension);
        let scene = Self::new(&[&output]);
        scene.write(&format!("0/file-0.recording{extension}"), bytes);
        scene
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.root.join(name), bytes).unwrap();
    }

    async fn recover(&self) -> Recovered {
        let mut recovered = recover(self.dir.path(), None).await.unwrap();
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        recovered.remove(0)
    }

    /// The names of what is kept, once it is known that it was said, that it is there, and that a
    /// second recovery changes nothing.
    async fn kept(&self) -> Vec<String> {
        let recovered = self.recover().await;
        assert!(!recovered.is_whole() && !recovered.kept.is_empty(), "{recovered:?}");
        let again = self.recover().await;
        assert!(!again.is_whole(), "{again:?}");
        assert_eq!(again.kept, recovered.kept);
        let name = |remain: &Remain| remain.path.strip_prefix(&self.root).unwrap().display().to_string();
        recovered.kept.iter().map(name).collect()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.root.join(name)).unwrap()
    }
}

#[tokio::test]
async fn a_recording_that_was_cut_is_finished_and_its_directory_goes() {
    for (container, extension, bytes) in
        [("MP4", ".mp4", &*MP4), ("OGG", ".ogg", &*OGG), ("WebM", ".webm", &*WEBM), ("MP3", ".mp3", &*MP3)]
    {
        let scene = Scene::with_file(container, extension, &bytes[..bytes.len() * 3 / 4]);
        let recovered = scene.recover().await;
        assert!(recovered.is_whole(), "{container}: {recovered:?}");
        let file = scene.dir.path().join(format!("talk{extension}"));
        assert_eq!(recovered.files, [file.display().to_string()]);
        assert!(fs::metadata(file).unwrap().len() as usize > bytes.len() / 2, "{container}");
        assert!(!scene.root.exists(), "{container}");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_before_its_first_frame_is_finished_and_said_to_have_no_video() {
    // Noise: its first frame does not fit into what is left of any fragment.
    let bytes = written(
        "mp4mux name=mux fragment-duration=1000 ! filesink name=file \
         videotestsrc pattern=snow num-buffers=50 ! video/x-raw,width=320,height=180,framerate=25/1 \
           ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=25 ! h264parse ! mux. \
         audiotestsrc num-buffers=94 ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! mux.",
    );
    // Each fragment is of one track, and either track's may be the first.
    let fragments: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, at)| *at == b"moof").map(|(at, _)| at - 4).collect();
    let mut finished = 0;
    for at in &fragments {
        let cut = [&bytes[..fragments[0]], &bytes[*at..bytes.len().min(at + 2000)]].concat();
        let scene = Scene::with_file("MP4", ".mp4", &cut);
        let recovered = scene.recover().await;
        let is_finished = scene.dir.path().join("talk.mp4").exists();
        assert_eq!(recovered.is_whole(), is_finished, "{recovered:?}");
        let expected: &[&str] = if is_finished { &["talk.mp4"] } else { &[] };
        assert_eq!(recovered.without_video, expected, "{recovered:?}");
        finished += usize::from(is_finished);
    }
    assert!(finished > 0 && finished < fragments.len(), "{finished} of {}", fragments.len());
    let scene = Scene::with_file("MP4", ".mp4", &bytes);
    let recovered = scene.recover().await;
    assert!(recovered.is_whole() && recovered.without_video.is_empty(), "{recovered:?}");
}

#[tokio::test]
async fn a_recording_without_media_is_tidied_up() {
    for (extension, header) in
        [(".mp4", &MP4[..60]), (".mp4", &MP4[..0]), (".ogg", &OGG[..40]), (".webm", &WEBM[..30])]
    {
        let container = extension.trim_start_matches('.').to_uppercase().replace("WEBM", "WebM");
        let scene = Scene::with_file(&container, extension, header);
        let recovered = scene.recover().await;
        assert!(recovered.is_whole() && recovered.files.is_empty(), "{extension}: {recovered:?}");
        assert!(!scene.root.exists());
    }
}

#[tokio::test]
async fn a_file_without_its_beginning_is_kept_as_it_is() {
    for (container, extension, bytes) in
        [("MP4", ".mp4", &*MP4), ("OGG", ".ogg", &*OGG), ("WebM", ".webm", &*WEBM)]
    {
        let mut bytes = bytes.clone();
        bytes[..4096].fill(0);
        let scene = Scene::with_file(container, extension, &bytes);
        let name = format!("0/file-0.recording{extension}");
        assert_eq!(scene.kept().await, [name.as_str()]);
        assert_eq!(scene.read(&name), bytes);
    }
    for (container, extension) in [("MP4", ".mp4"), ("OGG", ".ogg"), ("WebM", ".webm"), ("MP3", ".mp3")] {
        let scene = Scene::with_file(container, extension, &[0; 5000]);
        assert_eq!(scene.kept().await, [format!("0/file-0.recording{extension}")]);
    }
}

#[tokio::test]
async fn a_damaged_file_is_kept_beside_what_could_be_read_of_it() {
    for (container, extension, bytes) in
        [("MP4", ".mp4", &*MP4), ("OGG", ".ogg", &*OGG), ("MP3", ".mp3", &*MP3)]
    {
        let mut bytes = bytes.clone();
        // A recorder that was killed has not counted its frames.
        if container == "MP3" {
            let count = bytes.windows(4).position(|at| at == b"Xing" || at == b"Info").unwrap();
            bytes[count + 7] = 0;
        }
        // In an MP4, what is in the media itself is read by nobody.
        let half = bytes.len() / 2;
        let fragment = bytes[half..].windows(4).position(|at| at == b"moof").unwrap_or(0);
        bytes[half + fragment..][..6000].fill(0);
        let scene = Scene::with_file(container, extension, &bytes);
        let recovered = scene.recover().await;
        assert!(
            matches!(&recovered.problems[..], [RecoverError::Damaged { .. }]),
            "{container}: {recovered:?}"
        );
        let finished = scene.dir.path().join(format!("talk{extension}"));
        let (size, name) =
            (fs::metadata(&finished).unwrap().len() as usize, format!("0/file-0.damaged{extension}"));
        assert!(size > bytes.len() / 2, "{container}: {size} of {}", bytes.len());
        // What was stored may be taken away: it does not come back.
        fs::remove_file(&finished).unwrap();
        assert_eq!(scene.kept().await, [name.as_str()]);
        assert_eq!(scene.read(&name), bytes);
        assert!(!finished.exists(), "{container}");
    }
}

/// The finalized form of recorded data.
fn finished(container: Container, bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("recorded"), dir.path().join("whole"));
    fs::write(&recorded, bytes).unwrap();
    finalize(container, &recorded, &whole, None, &CancellationToken::new()).unwrap();
    fs::read(whole).unwrap()
}

/// Each container's file as it is before it is finished.
fn unfinished() -> [(Container, &'static str, Vec<u8>); 4] {
    let (mut mp3, mut webm) = (MP3.clone(), WEBM.clone());
    // Frames that are not counted, and a length that is not known.
    let count = mp3.windows(4).position(|at| at == b"Xing" || at == b"Info").unwrap();
    mp3[count + 7] = 0;
    let segment = webm.windows(4).position(|at| at == [0x18, 0x53, 0x80, 0x67]).unwrap();
    webm[segment + 4] = 1;
    webm[segment + 5..segment + 12].fill(0xff);
    [
        (Container::Mp4, ".mp4", MP4.clone()),
        (Container::Ogg, ".ogg", OGG.clone()),
        (Container::Mp3, ".mp3", mp3),
        (Container::WebM, ".webm", webm),
    ]
}

#[tokio::test]
async fn a_finished_file_is_not_made_once_more_of_what_is_left_of_the_recorded_one() {
    for (container, extension, bytes) in unfinished() {
        let whole = finished(container, &bytes);
        for len in [bytes.len(), bytes.len() / 3, 0] {
            let scene = Scene::with_file(container.row().name, extension, &bytes[..len]);
            scene.write(&format!("0/file-0{extension}"), &whole);
            // Of an attempt that was killed, too.
            scene.write(&format!("0/file-0{extension}.part"), b"half");
            let recovered = scene.recover().await;
            assert!(recovered.is_whole(), "{container}, {len}: {recovered:?}");
            let stored = fs::read(scene.dir.path().join(format!("talk{extension}"))).unwrap();
            assert!(stored == whole, "{container}, {len}: {} of {}", stored.len(), whole.len());
        }
        let (half, mut damaged) = (bytes.len() / 2, bytes.clone());
        let fragment = bytes[half..].windows(4).position(|at| at == b"moof").unwrap_or(0);
        damaged[half + fragment..][..6000].fill(0);
        for damaged in [damaged, vec![0; 5000]] {
            let scene = Scene::with_file(container.row().name, extension, &damaged);
            scene.write(&format!("0/file-0{extension}"), &whole);
            let recovered = scene.recover().await;
            let is_told = matches!(&recovered.problems[..], [RecoverError::Beside { .. }]);
            assert!(is_told, "{container}: {recovered:?}");
            let stored = fs::read(scene.dir.path().join(format!("talk{extension}"))).unwrap();
            assert!(stored == whole, "{container}: {} of {}", stored.len(), whole.len());
            let kept = format!("0/file-0.damaged{extension}");
            assert_eq!(scene.kept().await, [kept.as_str()]);
            assert!(scene.read(&kept) == damaged, "{container}");
        }
    }
}

#[tokio::test]
async fn a_finished_file_that_lost_its_end_gives_way_to_the_recorded_one() {
    let whole = finished(Container::Mp4, &MP4);
    for len in [whole.len() / 2, 0] {
        let scene = Scene::with_file("MP4", ".mp4", &MP4);
        scene.write("0/file-0.mp4", &whole[..len]);
        let recovered = scene.recover().await;
        assert!(fs::read(scene.dir.path().join("talk.mp4")).unwrap() == whole, "{len}: {recovered:?}");
        assert_eq!(recovered.is_whole(), len == 0, "{recovered:?}");
        if len > 0 {
            assert!(recovered.problems[0].to_string().contains("holds less"), "{recovered:?}");
            assert!(scene.read("0/file-0.damaged.mp4") == whole[..len]);
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_told_as_found_also_where_the_manifest_can_not_be_read() {
    for text in ["", "{", "\0\0\0\0"] {
        let scene = Scene::with_file("MP4", ".mp4", &MP4);
        scene.write("manifest.json", text.as_bytes());
        let recovered = scene.recover().await;
        assert_eq!(recovered.found.len(), 1, "{recovered:?}");
        assert_eq!(recovered.found, recovered.kept);
    }
}

#[tokio::test]
async fn flipped_bits_of_a_header_lose_nothing() {
    // Every byte is tried where the file is read (`sink::finalize`).
    for at in (0..1200).step_by(37) {
        let mut bytes = MP4.clone();
        bytes[at] ^= 1 << (at % 8);
        let scene = Scene::with_file("MP4", ".mp4", &bytes);
        let recovered = scene.recover().await;
        let finished = scene.dir.path().join("talk.mp4");
        let size = fs::metadata(&finished).map_or(0, |meta| meta.len() as usize);
        if recovered.is_whole() {
            assert!(size > bytes.len() * 3 / 4, "byte {at}: {size} of {}", bytes.len());
        } else {
            let kept = &recovered.kept[0].path;
            assert_eq!(fs::read(kept).unwrap(), bytes, "byte {at}");
        }
    }
}

#[tokio::test]
async fn files_that_nobody_knows_are_kept_and_the_others_finished() {
    let scene = Scene::with_file("MP4", ".mp4", &MP4);
    scene.write("0/file-0.recording.ogg", b"of another container");
    scene.write("0/copy.mp4", b"somebody's");
    scene.write("stray", b"at the top");
    assert_eq!(scene.kept().await, ["0/copy.mp4", "0/file-0.recording.ogg", "stray"]);
    assert!(scene.dir.path().join("talk.mp4").exists());
}

#[tokio::test]
async fn outputs_that_the_manifest_does_not_know_are_kept() {
    let scene = Scene::new(&[]);
    fs::create_dir(scene.root.join("0")).unwrap();
    scene.write("0/file-0.recording.mp4", &MP4);
    assert_eq!(scene.kept().await, ["0/file-0.recording.mp4"]);

    let scene = Scene::with_file("MP4", ".mp4", &MP4);
    fs::create_dir(scene.root.join("1")).unwrap();
    scene.write("1/segment-1-000000.ts", b"segment");
    assert_eq!(scene.kept().await, ["1/segment-1-000000.ts"]);
    assert!(scene.dir.path().join("talk.mp4").exists());
}

#[tokio::test]
async fn without_manifest_or_storage_everything_is_kept() {
    for (name, text) in [
        ("manifest.json", None),
        ("manifest.json", Some("")),
        ("storage.json", None),
        ("storage.json", Some("{")),
        ("storage.json", Some("[]")),
    ] {
        let scene = Scene::with_file("MP4", ".mp4", &MP4);
        match text {
            Some(text) => scene.write(name, text.as_bytes()),
            None => fs::remove_file(scene.root.join(name)).unwrap(),
        }
        assert_eq!(scene.kept().await, ["0/file-0.recording.mp4"], "{name}: {text:?}");
        assert_eq!(scene.read("0/file-0.recording.mp4"), *MP4);
    }
}

#[tokio::test]
async fn segments_and_images_without_their_notes_are_kept() {
    let scene = Scene::new(&[SEGMENTS, IMAGES]);
    scene.write("0/segment-0-000004.ts", b"segment");
    scene.write("0/segment-0-000005.ts.part", b"segment");
    scene.write("0/playlist-0-000003.m3u8", b"#EXTM3U");
    scene.write("1/image-1-000000.jpeg", b"image");
    let expected = [
        "0/playlist-0-000003.m3u8",
        "0/segment-0-000004.ts",
        "0/segment-0-000005.ts.part",
        "1/image-1-000000.jpeg",
    ];
    assert_eq!(scene.kept().await, expected);
}

#[tokio::test]
async fn a_torn_ledger_or_notes_cost_their_lines_alone() {
    let scene = Scene::new(&[IMAGES]);
    let note = |at: usize| format!(r#"{{"kind":"image","local":"image-0-{at}.jpeg","name":"a_{at}.jpeg"}}"#);
    scene.write(
        "0/notes-0.jsonl",
        format!("{}\n{{\"kind\":\"im{}\n{}\n", note(0), note(1), note(2)).as_bytes(),
    );
    scene.write("0/uploads.jsonl", b"{\"kind\":\"stor\n\0\0\0\n");
    for at in 0..3 {
        scene.write(&format!("0/image-0-{at}.jpeg"), b"image");
    }
    assert_eq!(scene.kept().await, ["0/image-0-1.jpeg"]);
    assert!(["a_0.jpeg", "a_2.jpeg"].iter().all(|name| scene.dir.path().join(name).exists()));
}

#[tokio::test]
async fn a_second_name_of_a_growing_file_holds_nothing_up() {
    let scene = Scene::with_file("OGG", ".ogg", &OGG);
    let link = scene.root.join("0/.growing-file-0.recording.ogg");
    fs::hard_link(scene.root.join("0/file-0.recording.ogg"), &link).unwrap();
    assert!(scene.recover().await.is_whole());
    let scene = Scene::new(&[&FILE.replace("MP4", "OGG")]);
    scene.write("0/.growing-file-0.recording.ogg", &OGG);
    assert_eq!(scene.kept().await, ["0/.growing-file-0.recording.ogg"], "its first name is gone");
}

const SEGMENT: &str = concat!(
    r#"{"kind":"segment","local":"segment-0-000000.ts","uri":"a_00000.ts","start":{"secs":0,"nanos":0},"date":"2026-01-01T00:00:00Z"}"#,
    "\n",
    r#"{"kind":"end","at":{"secs":4,"nanos":0}}"#,
    "\n"
);

/// One that was killed in its first segment, or between it and the playlist.
fn with_segment() -> Scene {
    let scene = Scene::new(&[SEGMENTS]);
    scene.write("0/notes-0.jsonl", SEGMENT.as_bytes());
    scene.write("0/segment-0-000000.ts", b"segment");
    scene
}

#[tokio::test]
async fn recovered_segments_replace_nothing_that_was_recorded_since() {
    let scene = with_segment();
    let (segment, playlist) = (scene.dir.path().join("a_00000.ts"), scene.dir.path().join("a.m3u8"));
    fs::write(&segment, "since").unwrap();
    fs::write(&playlist, "since").unwrap();
    for taken in [&segment, &playlist] {
        let kept = scene.kept().await;
        assert!(kept.contains(&"0/segment-0-000000.ts".to_owned()), "{kept:?}");
        assert_eq!(fs::read_to_string(&playlist).unwrap(), "since");
        assert_eq!(fs::read_to_string(taken).unwrap(), "since");
        // Then the playlist alone is in the way, and then nothing.
        fs::remove_file(taken).unwrap();
    }
    let recovered = scene.recover().await;
    assert!(recovered.is_whole(), "{recovered:?}");
    assert_eq!(fs::read(&segment).unwrap(), b"segment");
    assert!(fs::read_to_string(&playlist).unwrap().contains("a_00000.ts"));
}

#[tokio::test]
async fn recovered_segments_replace_what_is_older_and_their_own_last_version() {
    let scene = with_segment();
    let (segment, playlist) = (scene.dir.path().join("a_00000.ts"), scene.dir.path().join("a.m3u8"));
    fs::write(&segment, "older").unwrap();
    fs::File::options().write(true).open(&segment).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::write(&playlist, "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n").unwrap();
    let recovered = scene.recover().await;
    assert!(recovered.is_whole(), "{recovered:?}");
    assert_eq!(fs::read(&segment).unwrap(), b"segment");
    assert!(fs::read_to_string(&playlist).unwrap().contains("a_00000.ts"));
}

#[tokio::test]
async fn a_damaged_segment_is_told_and_kept_beside_the_stored_one() {
    let scene = with_segment();
    scene.write("0/segment-0-000000.ts", &[0; 4096]);
    let recovered = scene.recover().await;
    let [RecoverError::Damaged { name, kept, .. }] = &recovered.problems[..] else { panic!("{recovered:?}") };
    assert_eq!((name.as_str(), kept), ("a_00000.ts", &scene.root.join("0/segment-0-000000.damaged.ts")));
    let remains: Vec<&PathBuf> = recovered.kept.iter().map(|remain| &remain.path).collect();
    assert_eq!(remains, [kept]);
    assert!(!recovered.is_whole());
    assert_eq!(fs::read(scene.dir.path().join("a_00000.ts")).unwrap(), [0; 4096]);
    assert_eq!(scene.kept().await, ["0/segment-0-000000.damaged.ts"]);
    assert_eq!(scene.read("0/segment-0-000000.damaged.ts"), [0; 4096]);
}

#[tokio::test]
async fn a_playlist_that_a_power_cut_emptied_is_written_again() {
    // Also where its notes are torn, and a stored playlist may name more segments.
    for torn in ["", "\0\0\0\0\n"] {
        let scene = with_segment();
        scene.write("0/notes-0.jsonl", format!("{SEGMENT}{torn}").as_bytes());
        let playlist = scene.dir.path().join("a.m3u8");
        fs::write(&playlist, "").unwrap();
        let recovered = scene.recover().await;
        assert!(recovered.is_whole(), "{torn:?}: {recovered:?}");
        assert!(fs::read_to_string(&playlist).unwrap().contains("a_00000.ts"), "{torn:?}");
    }
}

#[tokio::test]
async fn nothing_that_was_recorded_keeps_no_directory_and_replaces_no_playlist() {
    let scene = with_segment();
    fs::remove_file(scene.root.join("0/segment-0-000000.ts")).unwrap();
    let playlist = scene.dir.path().join("a.m3u8");
    fs::write(&playlist, "since").unwrap();
    let recovered = scene.recover().await;
    assert!(recovered.is_whole() && recovered.files.is_empty(), "{recovered:?}");
    assert_eq!(fs::read_to_string(&playlist).unwrap(), "since");
    assert!(!scene.root.exists());
}

#[tokio::test]
async fn a_recovered_image_replaces_none_that_was_recorded_since() {
    let scene = Scene::new(&[IMAGES]);
    let note =
        |at: usize, name: &str| format!(r#"{{"kind":"image","local":"image-0-{at}.jpeg","name":"{name}"}}"#);
    scene
        .write("0/notes-0.jsonl", format!("{}\n{}\n", note(0, "a_00000.jpeg"), note(1, "b.jpeg")).as_bytes());
    for at in 0..2 {
        scene.write(&format!("0/image-0-{at}.jpeg"), b"image");
    }
    let image = |name: &str| scene.dir.path().join(name);
    fs::write(image("a_00000.jpeg"), "since").unwrap();
    fs::write(image("b.jpeg"), "an earlier version").unwrap();
    assert_eq!(scene.kept().await, ["0/image-0-0.jpeg", "0/image-0-1.jpeg"]);
    assert_eq!(fs::read_to_string(image("a_00000.jpeg")).unwrap(), "since");
    fs::remove_file(image("a_00000.jpeg")).unwrap();
    assert!(scene.recover().await.is_whole());
    assert_eq!(fs::read(image("b.jpeg")).unwrap(), b"image");
}

#[tokio::test]
async fn a_playlist_that_is_in_a_bucket_is_not_stored_again() {
    use std::sync::{Arc, Mutex};

    use axum::body::Bytes;
    use axum::http::{Method, Uri};
    use tokio_util::task::TaskTracker;

    use crate::config::storage::S3Config;
    use crate::plan::storage::{Backend, StorageTarget};
    use crate::secret::Secret;

    // A store that takes everything, and notes what it is sent.
    let puts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&puts);
    let take = move |method: Method, uri: Uri, _: Bytes| {
        if method == Method::PUT {
            noted.lock().unwrap().push(uri.path().to_owned());
        }
        std::future::ready(())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = TaskTracker::new();
    server.spawn(axum::serve(listener, axum::Router::new().fallback(take)).into_future());

    let s3 = S3Config {
        access_key: Secret::new("key".to_owned()),
        secret: Secret::new("secret".to_owned()),
        endpoint,
        bucket: "rec".to_owned(),
        force_path_style: true,
        ..S3Config::default()
    };
    let primary = StorageTarget { backend: Backend::S3(s3), ..StorageTarget::local() };
    let storage = [Some(Storage { primary, backup: None })];
    let scene = with_segment();
    scene.write("storage.json", &serde_json::to_vec(&storage).unwrap());
    // What is damaged is kept, and its directory with it.
    scene.write("0/segment-0-000000.ts", &[0; 4096]);
    let recovered = scene.recover().await;
    assert!(matches!(&recovered.problems[..], [RecoverError::Damaged { .. }]), "{recovered:?}");
    assert_eq!(*puts.lock().unwrap(), ["/rec/a_00000.ts", "/rec/a.m3u8"]);
    let again = scene.recover().await;
    assert!(again.problems.is_empty() && again.files.is_empty(), "{again:?}");
    assert_eq!(again.kept, recovered.kept);
    assert_eq!(puts.lock().unwrap().len(), 2);
}

/// A repeated request gets the names of the killed recording, and would replace a file recovered
/// meanwhile.
#[tokio::test]
async fn names_of_a_running_recording_are_left_to_it() {
    use crate::plan::defaults::Defaults;
    use crate::plan::{EgressId, RecordingPlan, json};
    use crate::recording::names::{Names, OlderFiles};

    let (file, segments) = (Scene::with_file("MP4", ".mp4", &MP4), with_segment());
    let run = |scene: &Scene, outputs: &str| {
        let request = json::parse(&format!(r#"{{"url":"https://example.com",{outputs}}}"#)).unwrap();
        let (id, now) = (EgressId::new("EG_other"), "2006-01-02T15:04:05Z[UTC]".parse().unwrap());
        let mut plan = RecordingPlan::new(&request, &Defaults::default(), id, &now).unwrap();
        let mut names = Names::new(scene.dir.path(), OlderFiles::Replace);
        names.claim(&mut plan).unwrap();
        names
    };
    let _running = run(&file, r#""file_outputs":[{"filepath":"talk.mp4"}]"#);
    let recovered = file.recover().await;
    assert!(recovered.is_whole(), "{recovered:?}");
    assert_eq!(recovered.files, [file.dir.path().join("talk-EG_1.mp4").display().to_string()]);

    let running = run(&segments, r#""segment_outputs":[{"playlist_name":"a","filename_prefix":"a"}]"#);
    let recovered = segments.recover().await;
    assert!(matches!(&recovered.problems[..], [RecoverError::Taken { .. }]), "{recovered:?}");
    assert!(recovered.problems[0].to_string().contains("EG_other"), "{recovered:?}");
    assert!(!segments.dir.path().join("a.m3u8").exists());
    drop(running);
    assert!(segments.recover().await.is_whole());
}

#[test]
fn a_recovered_file_does_not_replace_one_that_was_recorded_since() {
    let file = OutputEntry::File { container: "MP4".to_owned(), name: "a/v1.2.mp4".to_owned() };
    assert_eq!(if_taken(&file, "a/v1.2.mp4", "EG_a"), IfTaken::Rename("a/v1.2-EG_a.mp4".to_owned()));
    assert_eq!(if_taken(&file, "a.b/talk", "EG_a"), IfTaken::Rename("a.b/talk-EG_a".to_owned()));
    assert_eq!(if_taken(&OutputEntry::Images, "poster.jpeg", "EG_a"), IfTaken::Replace);
}
