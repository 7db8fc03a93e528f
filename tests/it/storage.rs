//! Recordings to real storage servers: every file arrives unchanged, and the result names it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Ended, Recorder, page, weir};
use crate::support::slots;
use crate::support::stores::azurite::Azurite;
use crate::support::stores::fake_gcs::FakeGcs;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::stores::{Store, config_yaml};

/// Deadline for everything that depends on the machine's load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Deadline for a recording and its uploads, which may be retried until they are given up.
pub(crate) const UPLOADED_WITHIN: Duration = Duration::from_secs(240);

/// Length of the recording in seconds.
const LENGTH: f64 = 4.0;

/// Options for a small recording, so that a server at a kilobyte per second can be awaited.
const SMALL: [&str; 8] =
    ["--size", "320x180", "--fps", "15", "--video-bitrate", "150", "--segment-duration", "1s"];

/// A storage configuration with short retries. The timeout of a request is unchanged: a busy
/// storage takes some seconds for one.
pub(crate) fn with_short_retries(mut storage: Value) -> Value {
    if let Some(s3) = storage.get_mut("s3") {
        s3["max_retries"] = json!(2);
        s3["max_retry_delay"] = json!("200ms");
    }
    storage
}

/// Writes the file for `--storage`.
pub(crate) fn write_storage(dir: &Path, storage: &Value, backup: Option<&Value>) {
    std::fs::write(dir.join("storage.yaml"), config_yaml(storage, backup)).unwrap();
}

/// Starts to record a file, segments and images to the storage in `storage.yaml`.
pub(crate) fn record(dir: &Path, more: &[&str]) -> Recorder {
    record_for(dir, "4s", more)
}

pub(crate) fn record_for(dir: &Path, time: &str, more: &[&str]) -> Recorder {
    let clock = page("clock.html");
    let outputs = [
        "web",
        &clock,
        "--storage",
        "storage.yaml",
        "--file",
        "talks/talk.mp4",
        "--segments",
        "hls/talk",
        "--live-playlist",
        "live",
        "--images",
        "thumbs/talk",
        "--every",
        "1s",
    ];
    Recorder::start(dir, &[&outputs[..], &SMALL, &["--duration", time], more].concat())
}

/// Downloads a whole bucket into a directory.
pub(crate) fn download(store: &impl Store, bucket: &str, dir: &Path) -> BTreeSet<String> {
    let keys = store.list(bucket);
    for key in &keys {
        let path = dir.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, store.get(bucket, key)).unwrap();
    }
    keys.into_iter().collect()
}

/// Asserts that a bucket has a complete recording below a prefix; returns its keys without the
/// prefix.
pub(crate) fn assert_whole(store: &impl Store, bucket: &str, prefix: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let keys = download(store, bucket, dir.path());
    let root = dir.path().join(prefix);
    let file = root.join("talks/talk.mp4");
    assert!(file.exists(), "{keys:?}");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    assert!((length - LENGTH).abs() < 1.5, "{length} s in the file");

    let mut named: BTreeSet<String> = BTreeSet::new();
    for (name, ended) in [("hls/talk.m3u8", true), ("hls/live.m3u8", true)] {
        let text = std::fs::read(root.join(name)).unwrap();
        let playlist = m3u8_rs::parse_media_playlist_res(&text).unwrap();
        assert_eq!(playlist.end_list, ended, "{name}");
        if name == "hls/talk.m3u8" {
            let length: f32 = playlist.segments.iter().map(|segment| segment.duration).sum();
            assert!((f64::from(length) - LENGTH).abs() < 1.5, "{length} s in segments");
        }
        named.extend(playlist.segments.iter().map(|segment| format!("hls/{}", segment.uri)));
    }
    assert_decodable(&root.join("hls/talk.m3u8"));
    let keys: BTreeSet<String> = keys
        .iter()
        .map(|key| key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/').to_owned())
        .collect();
    let segments: BTreeSet<String> = keys.iter().filter(|key| key.ends_with(".ts")).cloned().collect();
    assert_eq!(segments, named, "every segment is named, and every named one is there");
    let images = keys.iter().filter(|key| key.ends_with(".jpeg")).count();
    assert!((1..=5).contains(&images), "{keys:?}");
    keys
}

/// Asserts that nothing is left on the disk but the test's own files.
#[track_caller]
pub(crate) fn assert_nothing_here(dir: &Path) {
    let left: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = left.into_iter().filter(|name| !name.to_string_lossy().ends_with(".yaml")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Asserts that no secret of a configuration was printed.
#[track_caller]
fn assert_discreet(ended: &Ended, storage: &Value) {
    let secrets = ["access_key", "secret", "account_key", "password"];
    let of = |provider: &Value| -> Vec<String> {
        let all = provider.as_object().into_iter().flatten();
        all.filter(|(key, _)| secrets.contains(&key.as_str()))
            .filter_map(|(_, value)| value.as_str().map(str::to_owned))
            .collect()
    };
    let found: Vec<String> = storage.as_object().unwrap().values().flat_map(of).collect();
    assert!(!found.is_empty() || storage.get("gcp").is_some());
    for secret in found {
        assert!(!ended.stdout.contains(&secret) && !ended.log.contains(&secret), "{secret} was told");
    }
}

#[test]
fn s3_gets_every_file_with_the_requested_settings() {
    let _slot = slots::encoder();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let bucket = store.bucket("recordings");
    let mut storage = store.storage(&bucket);
    storage["prefix"] = json!("weir");
    storage["s3"]["metadata"] = json!({ "team": "video" });
    storage["s3"]["tagging"] = json!("kind=talk&year=2026");
    storage["s3"]["content_disposition"] = json!("attachment");
    write_storage(dir.path(), &storage, None);
    let ended = record(dir.path(), &["--manifest"]).finish(UPLOADED_WITHIN).complete();
    let keys = assert_whole(store, &bucket, "weir");
    assert_nothing_here(dir.path());
    assert_discreet(&ended, &storage);

    for (key, mime) in [
        ("weir/talks/talk.mp4", "video/mp4"),
        ("weir/hls/talk.m3u8", "application/x-mpegurl"),
        ("weir/hls/talk_00000.ts", "video/mp2t"),
        ("weir/thumbs/talk_00000.jpeg", "image/jpeg"),
    ] {
        let stored = store.head(&bucket, key).unwrap();
        assert_eq!(
            (stored.content_type.as_str(), stored.disposition.as_str()),
            (mime, "attachment"),
            "{key}"
        );
        assert_eq!(stored.metadata, [("team".to_owned(), "video".to_owned())], "{key}");
    }
    let tags = store.tags(&bucket, "weir/talks/talk.mp4");
    let expected =
        [("kind", "talk"), ("year", "2026")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(tags, expected);
    assert!(store.unfinished(&bucket).is_empty());

    let info = &ended.info;
    let place = format!("http://{}/{bucket}/weir", store.addr());
    let file = &info["fileResults"][0];
    assert_eq!(file["filename"], "talks/talk.mp4");
    assert_eq!(file["location"], format!("{place}/talks/talk.mp4"));
    let size = store.head(&bucket, "weir/talks/talk.mp4").unwrap().length;
    assert_eq!(file["size"], size.to_string());
    let segments = &info["segmentResults"][0];
    assert_eq!(segments["playlistLocation"], format!("{place}/hls/talk.m3u8"));
    assert_eq!(segments["livePlaylistLocation"], format!("{place}/hls/live.m3u8"));
    let count = keys.iter().filter(|key| key.ends_with(".ts")).count();
    assert_eq!(segments["segmentCount"], count.to_string());
    assert!(info.get("backupStorageUsed").is_none());

    // One beside each output, with the same content.
    let id = info["egressId"].as_str().unwrap();
    assert_eq!(info["manifestLocation"], format!("{place}/talks/{id}.json"));
    let manifests: Vec<Vec<u8>> =
        ["talks", "hls", "thumbs"].map(|at| store.get(&bucket, &format!("weir/{at}/{id}.json"))).into();
    assert!(manifests.iter().all(|manifest| *manifest == manifests[0]));
    let manifest: Value = serde_json::from_slice(&manifests[0]).unwrap();
    assert_eq!(manifest["files"][0]["location"], file["location"]);
    let playlist = &manifest["playlists"][0];
    assert_eq!(playlist["segments"].as_array().unwrap().len(), count);
    assert_eq!(playlist["segments"][0]["location"], format!("{place}/hls/talk_00000.ts"));
    assert_eq!(manifest["images"][0]["filename"], "thumbs/talk_00000.jpeg");
}

#[test]
fn google_gets_everything_and_links_are_plain_where_nothing_can_sign() {
    let _slot = slots::encoder();
    let (dir, store) = (tempfile::tempdir().unwrap(), FakeGcs::start(&["recordings"]));
    write_storage(dir.path(), &store.storage("recordings"), None);
    let ended = record(dir.path(), &[]).finish(UPLOADED_WITHIN).complete();
    assert_whole(&store, "recordings", "");
    assert_nothing_here(dir.path());
    let stored = store.head("recordings", "talks/talk.mp4").unwrap();
    assert_eq!(stored.content_type, "video/mp4");
    assert!(
        ended.info["fileResults"][0]["location"].as_str().unwrap().ends_with("recordings/talks/talk.mp4")
    );
    assert!(ended.info.get("manifestLocation").is_none());
}

#[test]
fn azure_gets_everything() {
    let _slot = slots::encoder();
    let (dir, store) = (tempfile::tempdir().unwrap(), Azurite::shared());
    let container = store.container("recordings");
    let storage = store.storage(&container);
    write_storage(dir.path(), &storage, None);
    let ended = record(dir.path(), &[]).finish(UPLOADED_WITHIN).complete();
    assert_whole(store, &container, "");
    assert_nothing_here(dir.path());
    assert_discreet(&ended, &storage);
    assert_eq!(store.head(&container, "hls/talk_00000.ts").unwrap().content_type, "video/mp2t");
}

/// A signed link works without keys.
#[test]
fn signed_links_open_what_they_name() {
    let _slot = slots::encoder();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let bucket = store.bucket("recordings");
    let mut storage = store.storage(&bucket);
    storage["generate_presigned_url"] = json!(true);
    write_storage(dir.path(), &storage, None);
    let clock = page("clock.html");
    let arguments = ["web", &clock, "--storage", "storage.yaml", "--audio-only", "--file", "a b/ü.ogg"];
    let ended = Recorder::start(dir.path(), &[&arguments[..], &["--duration", "2s"]].concat());
    let ended = ended.finish(UPLOADED_WITHIN).complete();
    let link = ended.info["fileResults"][0]["location"].as_str().unwrap();
    assert!(link.contains("X-Amz-Signature=") && link.contains("X-Amz-Expires=604800"), "{link}");
    let target = link.strip_prefix(&format!("http://{}", store.addr())).expect("it leads to the store");
    let answer = crate::support::http1::ask(store.addr(), "GET", target, &[], b"").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, store.get(&bucket, "a b/ü.ogg"));
    assert!(answer.body.starts_with(b"OggS"));
}

/// Records one long segment until a part of it is at the storage.
pub(crate) fn long_segment(dir: &Path, store: &SeaweedFs, bucket: &str) -> Recorder {
    let noise = page("noise.html");
    let arguments = [
        "web",
        &noise,
        "--storage",
        "storage.yaml",
        "--segments",
        "long",
        "--segment-duration",
        "600s",
        "--size",
        "640x360",
        "--video-bitrate",
        "30000",
    ];
    let mut recorder = Recorder::start(dir, &arguments);
    recorder.until_written(20 << 20);
    until_begun(store, bucket);
    assert_eq!(store.unfinished(bucket), ["long_00000.ts"]);
    recorder
}

/// Waits until a multipart upload has begun.
#[track_caller]
fn until_begun(store: &SeaweedFs, bucket: &str) {
    let end = Instant::now() + PATIENCE;
    while !store.has_unfinished(bucket) {
        assert!(Instant::now() < end, "nothing is sent while it grows");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// An append-only file is uploaded while it grows.
#[test]
fn a_long_segment_is_sent_while_it_is_recorded() {
    let _slot = slots::browser();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let bucket = store.bucket("recordings");
    write_storage(dir.path(), &store.storage(&bucket), None);
    let recorder = long_segment(dir.path(), store, &bucket);
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(UPLOADED_WITHIN).complete();
    assert!(store.unfinished(&bucket).is_empty());
    assert_nothing_here(dir.path());
    let segment = store.get(&bucket, "long_00000.ts");
    assert!(segment.len() > 16 << 20, "{} bytes", segment.len());
    assert_eq!(ended.info["segmentResults"][0]["size"], segment.len().to_string());
    let path = dir.path().join("long.ts");
    std::fs::write(&path, segment).unwrap();
    assert_decodable(&path);
}

/// A request has its own storage, and a local manifest is beside a local file.
#[test]
fn the_storage_of_a_request_is_nearer_than_that_of_the_file() {
    let _slot = slots::encoder();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let (of_request, of_server) = (store.bucket("own"), store.bucket("servers"));
    write_storage(dir.path(), &store.storage(&of_server), None);
    let clock = crate::support::page_server::PageServer::start();
    let url = clock.url("/pages/clock.html");
    let own = store.storage(&of_request)["s3"].clone();
    let request = json!({
        "url": url, "audio_only": true,
        "file_outputs": [
            { "filepath": "one.ogg", "file_type": "OGG", "s3": own },
            { "filepath": "two.mp4", "file_type": "MP4", "disable_manifest": true },
        ],
    });
    std::fs::write(dir.path().join("request.yaml"), request.to_string()).unwrap();
    let arguments = ["request", "request.yaml", "--storage", "storage.yaml", "--duration", "2s"];
    let ended = Recorder::start(dir.path(), &arguments).finish(UPLOADED_WITHIN).complete();
    let id = ended.info["egressId"].as_str().unwrap();
    let mut expected = vec![format!("{id}.json"), "one.ogg".to_owned()];
    expected.sort();
    assert_eq!(store.list(&of_request), expected);
    assert_eq!(store.list(&of_server), ["two.mp4"]);
    let shown = ended.info["web"]["fileOutputs"][0]["s3"].clone();
    assert_eq!((&shown["accessKey"], &shown["secret"]), (&json!("{access_key}"), &json!("{secret}")));
    assert_discreet(&ended, &store.storage(&of_request));
}

#[test]
fn a_storage_file_that_is_wrong_is_refused_with_its_line() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    for (yaml, words) in [
        ("storage:\n  s3:\n    buckt: b\n", &["storage.yaml", "line 3", "buckt"][..]),
        ("storage:\n  s3: {access_key: SECRET, bucket: b}\n", &["access_key", "come together"]),
        ("storage:\n  gcp: {credentials_json: 'SECRET', bucket: b}\n", &["credentials", "JSON"]),
        ("storage:\n  azure: {account_name: a, account_key: 'SECRET!', container_name: c}\n", &["azure://c"]),
        ("disallow_local_storage: true\n", &["names no storage"]),
    ] {
        std::fs::write(dir.path().join("storage.yaml"), yaml).unwrap();
        let refused = weir(
            dir.path(),
            &["record", "web", "about:blank", "--file", "a.mp4", "--storage", "storage.yaml"],
        );
        assert_eq!(refused.status.code(), Some(2), "{yaml}\n{}", refused.stderr);
        for word in words {
            assert!(refused.stderr.contains(word), "no word of {word} in {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("SECRET"), "{}", refused.stderr);
        assert_nothing_here(dir.path());
    }
    let missing =
        weir(dir.path(), &["plan", "web", "about:blank", "--file", "a.mp4", "--storage", "none.yaml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", missing.stderr);
}

/// An MP3's first frame contains the number of frames, and is written last.
#[test]
fn a_head_that_is_written_last_arrives_as_it_is_in_the_end() {
    use std::os::unix::fs::FileExt;

    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;
    use weir::plan::output::OutputId;
    use weir::upload::store::Head;
    use weir::upload::{Growing, LaneSetup, Upload, UploadEvent, Uploader, Versions};

    let _slot = slots::light();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let bucket = store.bucket("recordings");
    let server = config_yaml(&store.storage(&bucket), None);
    let storage =
        weir::plan::planner::storage::of_server(&weir::config::storage::parse(&server).unwrap()).unwrap();
    let output = OutputId(0);
    let (local, whole) = (dir.path().join("file.recording.mp3"), dir.path().join("file.mp3"));
    let content: Vec<u8> = (0..40u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
        let lane = LaneSetup { output, storage, dir: dir.path().to_owned(), patience: Duration::ZERO };
        let (uploader, mut events) = Uploader::<()>::start(vec![lane], dir.path(), &tasks, &abandon);
        std::fs::write(&local, [&[0; 400], &content[400..30 << 20]].concat()).unwrap();
        uploader.grow(Growing {
            output,
            local: local.clone(),
            name: "file.mp3".into(),
            head: Head::Rewritten,
        });
        uploader.look();
        until_begun(store, &bucket);
        // As a muxer does: it appends, and overwrites the head last. A reader keeps what it is
        // reading.
        let file = std::fs::OpenOptions::new().write(true).open(&local).unwrap();
        file.write_all_at(&content[30 << 20..], 30 << 20).unwrap();
        file.write_all_at(&content[..400], 0).unwrap();
        std::fs::rename(&local, &whole).unwrap();
        let (name, size) = ("file.mp3".to_owned(), content.len() as u64);
        uploader.store(Upload {
            output,
            local: whole.clone(),
            name,
            size,
            versions: Versions::One,
            if_taken: weir::upload::IfTaken::Replace,
            subject: (),
        });
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap();
        assert!(matches!(event, Some(UploadEvent::Uploaded { .. })), "{event:?}");
        drop(uploader);
        assert!(events.recv().await.is_none());
    });
    assert!(store.get(&bucket, "file.mp3") == content, "what is stored is not what was written");
    assert!(store.unfinished(&bucket).is_empty());
    assert!(!whole.exists());
}
