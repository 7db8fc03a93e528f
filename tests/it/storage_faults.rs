//! Storage that fails: after each fault nothing is lost, and the result tells the truth.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::storage::{
    assert_nothing_here, assert_whole, impatient, long_segment, record, record_for, write_storage,
};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::recorder::{Ended, Recorder, page, weir};
use crate::support::stores::Store;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::tool::with_clock_ahead;

const BUCKET: &str = "recordings";

/// A store behind a proxy, and a directory whose `storage.yaml` leads there.
struct Fixture {
    dir: tempfile::TempDir,
    store: SeaweedFs,
    proxy: FaultProxy,
}

impl Fixture {
    fn new() -> Self {
        let store = SeaweedFs::start(&[BUCKET, "backup"]);
        let proxy = FaultProxy::to(store.addr());
        let dir = tempfile::tempdir().unwrap();
        write_storage(dir.path(), &impatient(store.storage_at(proxy.addr(), BUCKET)), None);
        Self { dir, store, proxy }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asserts that a recording failed for its storage, that this was told, and that all of it is on the disk; then heals
    /// the store and asserts that `weir recover` brings everything there.
    #[track_caller]
    fn assert_kept_and_recovered(&self, name: &str, ended: &Ended, words: &[&str]) {
        assert_eq!(ended.status.code(), Some(1), "{name}: {}", ended.log);
        let info = &ended.info;
        assert_eq!(info["status"], "EGRESS_FAILED", "{name}: {info}");
        assert_eq!(info["errorCode"], 400, "{name}: {info}");
        let error = info["error"].as_str().unwrap();
        assert!(error.starts_with("S3 upload failed: "), "{name}: {error}");
        let kept = ended.dir.join(".weir").join(info["egressId"].as_str().unwrap());
        assert!(kept.is_dir() && error.contains(kept.to_str().unwrap()), "{name}: {error}");
        assert!(info["details"].as_str().unwrap().contains("kept: "), "{name}: {info}");
        for word in words {
            assert!(error.contains(word), "{name}: no word of {word:?} in {error}");
        }
        assert!(info["fileResults"][0].get("location").is_none(), "{name}: {info}");
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(kept.join("manifest.json")).unwrap()).unwrap();
        let listed = manifest["kept"].as_array().unwrap();
        assert!(listed.iter().any(|file| file["name"] == "talks/talk.mp4"), "{name}: {manifest}");
        assert!(
            listed.iter().all(|file| Path::new(file["file"].as_str().unwrap()).exists()),
            "{name}: {manifest}"
        );
        self.proxy.set(Fault::None);
        self.recover(name, &[]);
    }

    #[track_caller]
    fn recover(&self, name: &str, more: &[&str]) {
        let recovered = weir(self.dir(), &[&["recover", "."][..], more].concat());
        assert!(recovered.status.success(), "{name}: {}", recovered.stderr);
        let told = String::from_utf8(recovered.stdout).unwrap();
        assert!(told.contains("talks/talk.mp4"), "{name}: {told}");
        assert_whole(&self.store, BUCKET, "");
        assert!(self.store.unfinished(BUCKET).is_empty(), "{name}");
        assert_nothing_here(self.dir());
        self.empty(BUCKET);
    }

    fn empty(&self, bucket: &str) {
        let all = format!("s3://{bucket}");
        self.store.aws(&["s3", "rm", "--recursive", "--only-show-errors", &all]).succeeded();
    }
}

/// One server and one proxy for all: each recording begins with an empty bucket.
#[test]
fn a_store_that_fails_from_beginning_to_end_loses_nothing() {
    let fixture = Fixture::new();
    for (name, fault, words) in [
        ("refused", Fault::Refused, &["127.0.0.1"][..]),
        ("stalled", Fault::Stall { after_bytes: 5000 }, &["127.0.0.1"]),
        ("500", Fault::Status { code: 500, requests: u64::MAX }, &["InternalError", "tried 2 times"]),
        ("503", Fault::Status { code: 503, requests: u64::MAX }, &["tried 2 times"]),
        ("slow", Fault::Slow { bytes_per_second: 1024 }, &["127.0.0.1"]),
        ("cut at 99 %", Fault::CutAt { fraction: 0.99 }, &["127.0.0.1"]),
    ] {
        fixture.proxy.set(fault);
        let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(120));
        fixture.assert_kept_and_recovered(name, &ended, words);
    }
}

#[test]
fn a_store_that_fails_for_a_while_gets_everything_in_the_end() {
    let fixture = Fixture::new();
    // Two requests in a row, which is what one upload is tried.
    fixture.proxy.set(Fault::Status { code: 503, requests: 1 });
    let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(40)).complete();
    assert!(!ended.info["details"].as_str().unwrap().contains("storage away"), "{}", ended.info);
    assert_whole(&fixture.store, BUCKET, "");
    fixture.empty(BUCKET);

    // Away from the first segment on until long after the fourth.
    fixture.proxy.set(Fault::Refused);
    let mut recorder = record_for(fixture.dir(), "14s", &[]);
    recorder.until_written(100_000);
    recorder.runs_for(Duration::from_secs(4));
    fixture.proxy.set(Fault::None);
    let ended = recorder.finish(Duration::from_secs(60)).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("storage away at ") && details.contains("S3 upload failed"), "{details}");
    let segments = fixture.store.list(BUCKET).iter().filter(|key| key.ends_with(".ts")).count();
    assert!((13..=15).contains(&segments), "{segments}");
    assert_eq!(ended.info["segmentResults"][0]["segmentCount"], segments.to_string());
    assert_nothing_here(fixture.dir());
}

#[test]
fn the_backup_takes_over_and_says_so() {
    let fixture = Fixture::new();
    let primary = impatient(fixture.store.storage_at(fixture.proxy.addr(), BUCKET));
    write_storage(fixture.dir(), &primary, Some(&fixture.store.storage("backup")));
    fixture.proxy.set(Fault::Status { code: 500, requests: u64::MAX });
    let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(60)).complete();
    assert_eq!(ended.info["backupStorageUsed"], true, "{}", ended.info);
    let keys = assert_whole(&fixture.store, "backup", "");
    let id = ended.info["egressId"].as_str().unwrap();
    assert!(keys.contains(&format!("talks/{id}.json")), "what was moved can be found: {keys:?}");
    assert!(fixture.store.list(BUCKET).is_empty());
    assert!(
        ended.info["fileResults"][0]["location"].as_str().unwrap().contains("/backup/"),
        "{}",
        ended.info
    );

    // Both: each has its line.
    let broken = impatient(fixture.store.storage_at(fixture.proxy.addr(), "backup"));
    write_storage(fixture.dir(), &primary, Some(&broken));
    let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(60));
    let error = ended.info["error"].as_str().unwrap();
    assert!(
        error.starts_with("primary: S3 upload failed: ") && error.contains("\nbackup: S3 upload failed: "),
        "{error}"
    );
    fixture.proxy.set(Fault::None);
    fixture.recover("both", &[]);
}

#[test]
fn wrong_keys_and_missing_buckets_are_named() {
    let fixture = Fixture::new();
    let right = fixture.store.storage(BUCKET);
    let mut wrong_secret = right.clone();
    wrong_secret["s3"]["secret"] = json!("not the secret");
    let mut unknown_key = right.clone();
    unknown_key["s3"]["access_key"] = json!("NOBODY");
    for (name, storage, words) in [
        ("wrong secret", &wrong_secret, &["SignatureDoesNotMatch"][..]),
        ("unknown key", &unknown_key, &["InvalidAccessKeyId"]),
        ("missing bucket", &fixture.store.storage("nowhere"), &["nowhere"]),
    ] {
        write_storage(fixture.dir(), storage, None);
        let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(40));
        assert!(!ended.stdout.contains("not the secret") && !ended.log.contains("not the secret"), "{name}");
        let error = ended.info["error"].as_str().unwrap_or_default();
        assert!(words.iter().all(|word| error.contains(word)), "{name}: {error}");
        assert_eq!(ended.info["status"], "EGRESS_FAILED", "{name}");
        // What it was given does not help; what is right is said now.
        write_storage(fixture.dir(), &right, None);
        let again = weir(fixture.dir(), &["recover", "."]);
        assert_eq!(again.status.code(), Some(1), "{name}");
        fixture.recover(name, &["--storage", "storage.yaml"]);
    }
}

#[test]
fn a_clock_that_is_an_hour_off_is_no_reason_to_fail() {
    let fixture = Fixture::new();
    let clock = page("clock.html");
    let arguments =
        ["web", &clock, "--storage", "storage.yaml", "--audio-only", "--file", "a.ogg", "--duration", "2s"];
    for seconds in [3600, -3600] {
        let skewed = |command: &mut std::process::Command| with_clock_ahead(command, seconds);
        let recorder = Recorder::start_with(fixture.dir(), &arguments, skewed);
        recorder.finish(Duration::from_secs(30)).complete();
        assert_eq!(fixture.store.list(BUCKET), ["a.ogg"]);
        fixture.empty(BUCKET);
    }
}

#[test]
fn a_proxy_gets_its_user_and_the_store_does_not() {
    let fixture = Fixture::new();
    let proxy = ForwardProxy::start("user", "p:a ss");
    let mut storage = fixture.store.storage(BUCKET);
    storage["s3"]["proxy_config"] = json!({ "url": proxy.url(), "username": "user", "password": "p:a ss" });
    write_storage(fixture.dir(), &storage, None);
    let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(40)).complete();
    assert_whole(&fixture.store, BUCKET, "");
    assert!(!proxy.passed().is_empty());
    assert!(!ended.stdout.contains("p:a ss") && !ended.log.contains("p:a ss"));
    fixture.empty(BUCKET);

    storage["s3"]["proxy_config"]["password"] = json!("wrong");
    write_storage(fixture.dir(), &impatient(storage), None);
    let ended = record(fixture.dir(), &[]).finish(Duration::from_secs(60));
    assert!(proxy.refused() > 0);
    assert!(ended.info["error"].as_str().unwrap().contains("407"), "{}", ended.info);
    write_storage(fixture.dir(), &fixture.store.storage(BUCKET), None);
    fixture.recover("proxy", &["--storage", "storage.yaml"]);
}

#[test]
fn a_recorder_that_is_killed_leaves_what_recover_stores() {
    let fixture = Fixture::new();
    let mut recorder = record_for(fixture.dir(), "60s", &[]);
    recorder.until_written(150_000);
    recorder.runs_for(Duration::from_secs(3));
    recorder.signal(Signal::SIGKILL);
    let before = std::cell::Cell::new(0);
    let ended = recorder.finish_and(Duration::from_secs(10), || {
        before.set(fixture.store.list(BUCKET).iter().filter(|key| key.ends_with(".ts")).count());
        let recovered = weir(fixture.dir(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    assert!(!ended.status.success());
    assert!(before.get() >= 2, "segments are stored as they close");
    let keys = fixture.store.list(BUCKET);
    assert!(keys.iter().filter(|key| key.ends_with(".ts")).count() > before.get(), "{keys:?}");
    assert!(
        ["talks/talk.mp4", "hls/talk.m3u8", "hls/live.m3u8"]
            .iter()
            .all(|key| keys.contains(&(*key).to_owned()))
    );
    let playlist = fixture.store.get(BUCKET, "hls/talk.m3u8");
    let playlist = m3u8_rs::parse_media_playlist_res(&playlist).unwrap();
    assert!(playlist.end_list);
    let named: Vec<String> = playlist.segments.iter().map(|segment| format!("hls/{}", segment.uri)).collect();
    let stored: Vec<String> = keys.into_iter().filter(|key| key.ends_with(".ts")).collect();
    assert_eq!(named, stored);
    assert_nothing_here(fixture.dir());
}

#[test]
fn parts_that_a_killed_recorder_sent_are_let_go_of() {
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::start(&[BUCKET]));
    write_storage(dir.path(), &store.storage(BUCKET), None);
    let recorder = long_segment(dir.path(), &store);
    recorder.signal(Signal::SIGKILL);
    recorder.finish_and(Duration::from_secs(10), || {
        let recovered = weir(dir.path(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    assert_eq!(store.list(BUCKET), ["long.m3u8", "long_00000.ts"]);
    assert!(store.unfinished(BUCKET).is_empty());
    assert!(store.get(BUCKET, "long_00000.ts").len() > 20 << 20);
    assert_nothing_here(dir.path());
}
