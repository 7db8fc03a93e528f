//! Storage failures: no fault loses anything, and the result is true.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::storage::{
    PATIENCE, UPLOADED_WITHIN, assert_nothing_here, assert_whole, long_segment, record, record_for,
    with_short_retries, write_storage,
};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::recorder::{Ended, Recorder, page, weir};
use crate::support::slots;
use crate::support::stores::Store;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::tool::with_clock_ahead;

/// A storage behind a proxy, and a directory whose `storage.yaml` points there. Bucket, proxy and
/// directory belong to one test.
struct Fixture {
    dir: tempfile::TempDir,
    store: &'static SeaweedFs,
    bucket: String,
    backup: String,
    proxy: FaultProxy,
}

impl Fixture {
    fn new() -> Self {
        let store = SeaweedFs::shared();
        let (bucket, backup) = (store.bucket("recordings"), store.bucket("backup"));
        let proxy = FaultProxy::to(store.addr());
        let dir = tempfile::tempdir().unwrap();
        write_storage(dir.path(), &with_short_retries(store.storage_at(proxy.addr(), &bucket)), None);
        Self { dir, store, bucket, backup, proxy }
    }

    /// The storage with its own bucket, reached directly.
    fn storage(&self) -> Value {
        self.store.storage(&self.bucket)
    }

    /// The keys of the uploaded segments.
    fn segments(&self) -> Vec<String> {
        let mut keys = self.store.list(&self.bucket);
        keys.retain(|key| key.ends_with(".ts"));
        keys
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asserts that a recording failed because of its storage, that this was reported, and that all
    /// its files are on the disk; then heals the storage and asserts that `weir recover` uploads
    /// everything.
    #[track_caller]
    fn assert_kept_and_recovered(&self, ended: &Ended, words: &[&str]) {
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        let info = &ended.info;
        assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
        assert_eq!(info["errorCode"], 400, "{info}");
        let error = info["error"].as_str().unwrap();
        assert!(error.starts_with("S3 upload failed: "), "{error}");
        let kept = ended.dir.join(".weir").join(info["egressId"].as_str().unwrap());
        assert!(kept.is_dir() && error.contains(kept.to_str().unwrap()), "{error}");
        assert!(info["details"].as_str().unwrap().contains("kept: "), "{info}");
        for word in words {
            assert!(error.contains(word), "no word of {word:?} in {error}");
        }
        assert!(info["fileResults"][0].get("location").is_none(), "{info}");
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(kept.join("manifest.json")).unwrap()).unwrap();
        let listed = manifest["kept"].as_array().unwrap();
        assert!(listed.iter().any(|file| file["name"] == "talks/talk.mp4"), "{manifest}");
        assert!(listed.iter().all(|file| Path::new(file["file"].as_str().unwrap()).exists()), "{manifest}");
        self.proxy.set(Fault::None);
        self.recover(&[]);
    }

    #[track_caller]
    fn recover(&self, more: &[&str]) {
        let recovered = weir(self.dir(), &[&["recover", "."][..], more].concat());
        assert!(recovered.status.success(), "{}", recovered.stderr);
        let told = String::from_utf8(recovered.stdout).unwrap();
        assert!(told.contains("talks/talk.mp4"), "{told}");
        assert_whole(self.store, &self.bucket, "");
        assert!(self.store.unfinished(&self.bucket).is_empty());
        assert_nothing_here(self.dir());
    }
}

/// The end of a recording does not wait for an unavailable storage.
const NO_PATIENCE: [&str; 2] = ["--upload-patience", "0"];

/// Records to a storage with a fault from beginning to end.
#[track_caller]
fn check_fault(fault: Fault, words: &[&str]) {
    let fixture = Fixture::new();
    // These leave requests without an answer, which time out.
    if matches!(fault, Fault::Stall { .. } | Fault::Slow { .. }) {
        let mut storage = with_short_retries(fixture.store.storage_at(fixture.proxy.addr(), &fixture.bucket));
        storage["request_timeout"] = json!("4s");
        write_storage(fixture.dir(), &storage, None);
    }
    fixture.proxy.set(fault);
    let ended = record(fixture.dir(), &NO_PATIENCE).finish(UPLOADED_WITHIN);
    fixture.assert_kept_and_recovered(&ended, words);
}

#[test]
fn a_storage_that_refuses_from_beginning_to_end_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::Refused, &["127.0.0.1"]);
}

#[test]
fn a_storage_that_stalls_from_beginning_to_end_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::Stall { after_bytes: 5000 }, &["127.0.0.1"]);
}

#[test]
fn a_storage_that_answers_500_from_beginning_to_end_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::Status { code: 500, requests: u64::MAX }, &["InternalError", "tried 2 times"]);
}

#[test]
fn a_storage_that_answers_503_from_beginning_to_end_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::Status { code: 503, requests: u64::MAX }, &["tried 2 times"]);
}

#[test]
fn a_storage_that_is_slow_from_beginning_to_end_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::Slow { bytes_per_second: 1024 }, &["127.0.0.1"]);
}

#[test]
fn a_storage_that_cuts_every_upload_at_99_percent_loses_nothing() {
    let _slot = slots::encoder();
    check_fault(Fault::CutAt { fraction: 0.99 }, &["127.0.0.1"]);
}

#[test]
fn a_storage_that_fails_once_gets_everything() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    // Two requests in a row: the attempts of one upload.
    fixture.proxy.set(Fault::Status { code: 503, requests: 1 });
    let ended = record(fixture.dir(), &[]).finish(UPLOADED_WITHIN).complete();
    assert!(!ended.info["details"].as_str().unwrap().contains("storage away"), "{}", ended.info);
    assert_whole(fixture.store, &fixture.bucket, "");
}

#[test]
fn a_storage_that_fails_for_a_while_gets_everything_in_the_end() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    // Unavailable from the first segment on. A failed upload is retried after 5 s.
    fixture.proxy.set(Fault::Refused);
    let mut recorder = record_for(fixture.dir(), "600s", &[]);
    recorder.until_logged("can't be stored now");
    recorder.run_for(Duration::from_secs(3));
    fixture.proxy.set(Fault::None);
    recorder.until_logged("stored again");
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(UPLOADED_WITHIN).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("storage away at ") && details.contains("S3 upload failed"), "{details}");
    assert!(details.contains("storage back at "), "{details}");
    let segments = fixture.segments();
    let expected: Vec<String> = (0..segments.len()).map(|at| format!("hls/talk_{at:05}.ts")).collect();
    assert_eq!(segments, expected);
    assert!(segments.len() >= 2, "{segments:?}");
    assert_eq!(ended.info["segmentResults"][0]["segmentCount"], segments.len().to_string());
    assert_nothing_here(fixture.dir());
}

#[test]
fn a_storage_that_returns_soon_after_the_end_gets_everything() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    fixture.proxy.set(Fault::Status { code: 503, requests: u64::MAX });
    let mut recorder = record(fixture.dir(), &[]);
    recorder.until_logged("upload failed, trying again");
    fixture.proxy.set(Fault::None);
    let ended = recorder.finish(UPLOADED_WITHIN).complete();
    assert!(ended.info["details"].as_str().unwrap().contains("storage back at "), "{}", ended.info);
    assert_whole(fixture.store, &fixture.bucket, "");
    assert_nothing_here(fixture.dir());
}

#[test]
fn a_second_interrupt_ends_the_wait_for_a_storage_and_keeps_everything() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    fixture.proxy.set(Fault::Status { code: 503, requests: u64::MAX });
    let mut recorder = record(fixture.dir(), &["--upload-patience", "10m"]);
    recorder.until_logged("upload failed, trying again");
    // It has ended by itself: the first interrupt already requests that.
    recorder.signal(Signal::SIGINT);
    recorder.run_for(Duration::from_secs(1));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(PATIENCE);
    assert_eq!(ended.status.code(), Some(130), "{}", ended.log);
    fixture.proxy.set(Fault::None);
    fixture.recover(&[]);
}

/// With the default timeout and retries of requests, which are longer than the patience.
#[test]
fn a_silent_storage_is_given_up_after_the_upload_patience() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let storage = fixture.store.storage_at(fixture.proxy.addr(), &fixture.bucket);
    write_storage(fixture.dir(), &storage, None);
    fixture.proxy.set(Fault::Stall { after_bytes: 0 });
    let clock = page("clock.html");
    let outputs = ["web", &clock, "--storage", "storage.yaml", "--audio-only", "--file", "a.mp4"];
    let patience = ["--upload-patience", "2s"];
    let mut recorder = Recorder::start(fixture.dir(), &[&outputs[..], &patience].concat());
    recorder.until_written(20_000);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(UPLOADED_WITHIN);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED", "{}", ended.info);
    assert!(ended.took < Duration::from_secs(60), "{:?}\n{}", ended.took, ended.log);
    assert!(ended.info["details"].as_str().unwrap().contains("kept: "), "{}", ended.info);
    fixture.proxy.set(Fault::None);
    let recovered = weir(fixture.dir(), &["recover", "."]);
    assert!(recovered.status.success(), "{}", recovered.stderr);
    assert!(fixture.store.list(&fixture.bucket).contains(&"a.mp4".to_owned()));
    assert_nothing_here(fixture.dir());
}

/// Records to a storage that refuses one segment permanently: the report names it, the file is
/// kept, and everything else is uploaded.
#[track_caller]
fn check_refused(code: u16, word: &str) {
    let fixture = Fixture::new();
    fixture.proxy.set(Fault::StatusOf { code, part: "talk_00001.ts" });
    let ended = record(fixture.dir(), &NO_PATIENCE).finish(UPLOADED_WITHIN);
    let info = &ended.info;
    assert_eq!((&info["status"], &info["errorCode"]), (&json!("EGRESS_FAILED"), &json!(400)), "{info}");
    let (error, details) = (info["error"].as_str().unwrap(), info["details"].as_str().unwrap());
    assert!(error.starts_with("S3 upload failed: ") && error.contains(word), "{error}");
    assert!(error.contains("weir recover"), "{error}");
    assert!(details.contains("not stored: hls/talk_00001.ts"), "{details}");
    let segments = fixture.segments();
    assert!(segments.len() >= 3 && !segments.contains(&"hls/talk_00001.ts".to_owned()), "{segments:?}");
    let keys = fixture.store.list(&fixture.bucket);
    for key in ["talks/talk.mp4", "hls/talk.m3u8", "hls/live.m3u8"] {
        assert!(keys.contains(&key.to_owned()), "{key}: {keys:?}");
    }
    let length = Duration::from_nanos(info["fileResults"][0]["duration"].as_str().unwrap().parse().unwrap());
    assert!(length >= Duration::from_secs(3), "a refused segment ends no recording: {length:?}");
    fixture.proxy.set(Fault::None);
    let recovered = weir(fixture.dir(), &["recover", "."]);
    assert!(recovered.status.success(), "{}", recovered.stderr);
    assert_whole(fixture.store, &fixture.bucket, "");
    assert_nothing_here(fixture.dir());
}

#[test]
fn a_segment_whose_key_is_refused_holds_up_none() {
    let _slot = slots::encoder();
    check_refused(400, "KeyTooLongError");
}

#[test]
fn a_segment_that_is_forbidden_holds_up_none() {
    let _slot = slots::encoder();
    check_refused(403, "AccessDenied");
}

#[test]
fn a_segment_that_always_fails_holds_up_none() {
    let _slot = slots::encoder();
    check_refused(500, "InternalError");
}

#[test]
fn recover_stores_what_is_behind_a_file_that_is_refused() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    fixture.proxy.set(Fault::Refused);
    record(fixture.dir(), &NO_PATIENCE).finish(UPLOADED_WITHIN);
    fixture.proxy.set(Fault::StatusOf { code: 403, part: "talk_00000.ts" });
    let recovered = weir(fixture.dir(), &["recover", "."]);
    assert_eq!(recovered.status.code(), Some(1));
    assert!(
        recovered.stderr.contains("hls/talk_00000.ts") && recovered.stderr.contains("AccessDenied"),
        "{}",
        recovered.stderr
    );
    let segments = fixture.segments();
    assert!(segments.len() >= 3 && !segments.contains(&"hls/talk_00000.ts".to_owned()), "{segments:?}");
    fixture.proxy.set(Fault::None);
    let recovered = weir(fixture.dir(), &["recover", "."]);
    assert!(recovered.status.success(), "{}", recovered.stderr);
    assert_whole(fixture.store, &fixture.bucket, "");
    assert_nothing_here(fixture.dir());
}

#[test]
fn the_backup_takes_over_and_is_reported() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let primary = with_short_retries(fixture.store.storage_at(fixture.proxy.addr(), &fixture.bucket));
    write_storage(fixture.dir(), &primary, Some(&fixture.store.storage(&fixture.backup)));
    fixture.proxy.set(Fault::Status { code: 500, requests: u64::MAX });
    let ended = record(fixture.dir(), &[]).finish(UPLOADED_WITHIN).complete();
    assert_eq!(ended.info["backupStorageUsed"], true, "{}", ended.info);
    let keys = assert_whole(fixture.store, &fixture.backup, "");
    let id = ended.info["egressId"].as_str().unwrap();
    assert!(keys.contains(&format!("talks/{id}.json")), "what was moved can be found: {keys:?}");
    assert!(fixture.store.list(&fixture.bucket).is_empty());
    let location = ended.info["fileResults"][0]["location"].as_str().unwrap();
    assert!(location.contains(&format!("/{}/", fixture.backup)), "{}", ended.info);
}

#[test]
fn storage_and_backup_failures_have_a_line_each() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let at_proxy = |bucket: &str| with_short_retries(fixture.store.storage_at(fixture.proxy.addr(), bucket));
    write_storage(fixture.dir(), &at_proxy(&fixture.bucket), Some(&at_proxy(&fixture.backup)));
    fixture.proxy.set(Fault::Status { code: 500, requests: u64::MAX });
    let ended = record(fixture.dir(), &NO_PATIENCE).finish(UPLOADED_WITHIN);
    let error = ended.info["error"].as_str().unwrap();
    assert!(
        error.starts_with("primary: S3 upload failed: ") && error.contains("\nbackup: S3 upload failed: "),
        "{error}"
    );
    fixture.proxy.set(Fault::None);
    fixture.recover(&[]);
}

/// Records to a wrongly configured storage; the recovery gets the right configuration.
#[track_caller]
fn check_wrong(wrong: impl FnOnce(&Fixture) -> Value, word: &str) {
    let fixture = Fixture::new();
    let right = fixture.storage();
    write_storage(fixture.dir(), &wrong(&fixture), None);
    let ended = record(fixture.dir(), &[]).finish(UPLOADED_WITHIN);
    assert!(!ended.stdout.contains("not the secret") && !ended.log.contains("not the secret"));
    let error = ended.info["error"].as_str().unwrap_or_default();
    assert!(error.contains(word), "{error}");
    assert_eq!(ended.info["status"], "EGRESS_FAILED");
    // The stored configuration does not work; the command line has the right one.
    write_storage(fixture.dir(), &right, None);
    let again = weir(fixture.dir(), &["recover", "."]);
    assert_eq!(again.status.code(), Some(1));
    fixture.recover(&["--storage", "storage.yaml"]);
}

#[test]
fn a_wrong_secret_is_named() {
    let _slot = slots::encoder();
    let wrong = |fixture: &Fixture| {
        let mut storage = fixture.storage();
        storage["s3"]["secret"] = json!("not the secret");
        storage
    };
    check_wrong(wrong, "SignatureDoesNotMatch");
}

#[test]
fn an_unknown_key_is_named() {
    let _slot = slots::encoder();
    let wrong = |fixture: &Fixture| {
        let mut storage = fixture.storage();
        storage["s3"]["access_key"] = json!("NOBODY");
        storage
    };
    check_wrong(wrong, "InvalidAccessKeyId");
}

#[test]
fn a_missing_bucket_is_named() {
    let _slot = slots::encoder();
    check_wrong(|fixture| fixture.store.storage("nowhere"), "nowhere");
}

/// Records on a machine with a wrong clock.
#[track_caller]
fn check_clock(seconds_ahead: i64) {
    let fixture = Fixture::new();
    let clock = page("clock.html");
    let arguments =
        ["web", &clock, "--storage", "storage.yaml", "--audio-only", "--file", "a.ogg", "--duration", "2s"];
    let skewed = |command: &mut std::process::Command| with_clock_ahead(command, seconds_ahead);
    let recorder = Recorder::start_with(fixture.dir(), &arguments, skewed);
    recorder.finish(UPLOADED_WITHIN).complete();
    assert_eq!(fixture.store.list(&fixture.bucket), ["a.ogg"]);
}

#[test]
fn a_clock_that_is_an_hour_fast_is_no_reason_to_fail() {
    let _slot = slots::encoder();
    check_clock(3600);
}

#[test]
fn a_clock_that_is_an_hour_slow_is_no_reason_to_fail() {
    let _slot = slots::encoder();
    check_clock(-3600);
}

/// A storage behind a proxy that requires `p:a ss`, reached with a password.
fn behind_a_proxy(fixture: &Fixture, password: &str) -> (ForwardProxy, Value) {
    let proxy = ForwardProxy::start("user", "p:a ss");
    let mut storage = fixture.storage();
    storage["s3"]["proxy_config"] = json!({ "url": proxy.url(), "username": "user", "password": password });
    (proxy, storage)
}

#[test]
fn proxy_credentials_go_to_the_proxy_alone() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let (proxy, storage) = behind_a_proxy(&fixture, "p:a ss");
    write_storage(fixture.dir(), &storage, None);
    let ended = record(fixture.dir(), &[]).finish(UPLOADED_WITHIN).complete();
    assert_whole(fixture.store, &fixture.bucket, "");
    assert!(!proxy.passed().is_empty());
    assert!(!ended.stdout.contains("p:a ss") && !ended.log.contains("p:a ss"));
}

#[test]
fn a_proxy_that_refuses_its_user_is_named() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let (proxy, storage) = behind_a_proxy(&fixture, "wrong");
    write_storage(fixture.dir(), &with_short_retries(storage), None);
    let ended = record(fixture.dir(), &[]).finish(UPLOADED_WITHIN);
    assert!(proxy.refused() > 0);
    assert!(ended.info["error"].as_str().unwrap().contains("407"), "{}", ended.info);
    write_storage(fixture.dir(), &fixture.storage(), None);
    fixture.recover(&["--storage", "storage.yaml"]);
}

#[test]
fn a_recorder_that_is_killed_leaves_what_recover_stores() {
    let _slot = slots::encoder();
    let fixture = Fixture::new();
    let mut recorder = record_for(fixture.dir(), "600s", &[]);
    // Segments are uploaded as they close.
    let end = Instant::now() + PATIENCE;
    while fixture.segments().len() < 2 {
        assert!(Instant::now() < end, "{:?}", fixture.segments());
        recorder.run_for(Duration::from_millis(50));
    }
    // From here on nothing arrives: media recorded now is left on the disk when it is killed.
    fixture.proxy.set(Fault::Offline);
    recorder.until_grown(60_000);
    recorder.signal(Signal::SIGKILL);
    let before = std::cell::Cell::new(0);
    let ended = recorder.finish_and(PATIENCE, || {
        before.set(fixture.segments().len());
        fixture.proxy.set(Fault::None);
        let recovered = weir(fixture.dir(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    assert!(!ended.status.success());
    let keys = fixture.store.list(&fixture.bucket);
    assert!(keys.iter().filter(|key| key.ends_with(".ts")).count() > before.get(), "{keys:?}");
    assert!(
        ["talks/talk.mp4", "hls/talk.m3u8", "hls/live.m3u8"]
            .iter()
            .all(|key| keys.contains(&(*key).to_owned()))
    );
    let playlist = fixture.store.get(&fixture.bucket, "hls/talk.m3u8");
    let playlist = m3u8_rs::parse_media_playlist_res(&playlist).unwrap();
    assert!(playlist.end_list);
    let named: Vec<String> = playlist.segments.iter().map(|segment| format!("hls/{}", segment.uri)).collect();
    assert_eq!(named, fixture.segments());
    assert_nothing_here(fixture.dir());
}

#[test]
fn parts_that_a_killed_recorder_sent_are_let_go_of() {
    let _slot = slots::browser();
    let (dir, store) = (tempfile::tempdir().unwrap(), SeaweedFs::shared());
    let bucket = store.bucket("recordings");
    write_storage(dir.path(), &store.storage(&bucket), None);
    let recorder = long_segment(dir.path(), store, &bucket);
    recorder.signal(Signal::SIGKILL);
    recorder.finish_and(PATIENCE, || {
        let recovered = weir(dir.path(), &["recover", "."]);
        assert!(recovered.status.success(), "{}", recovered.stderr);
    });
    assert_eq!(store.list(&bucket), ["long.m3u8", "long_00000.ts"]);
    assert!(store.unfinished(&bucket).is_empty());
    assert!(store.get(&bucket, "long_00000.ts").len() > 16 << 20);
    assert_nothing_here(dir.path());
}
