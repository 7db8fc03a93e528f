use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::plan::codec::Container;
use crate::plan::output::{FilePlan, NameOrigin, StreamPlan};
use crate::plan::page::Page;
use crate::plan::request::CaptureKind;
use crate::plan::source::{BrowserSettings, SourcePlan, StartRule, WebPlan};
use crate::plan::storage::{Storage, StoragePath};
use crate::plan::stream_url::{StreamUrl, Transport};
use crate::plan::{EgressId, Limits};

fn plan(name: &Path) -> RecordingPlan {
    RecordingPlan {
        egress_id: EgressId::new("EG_test"),
        source: SourcePlan::Web(WebPlan {
            page: Page::Address(url::Url::parse("https://example.com").unwrap()),
            room: None,
            start: StartRule::OnLoad,
            capture: CaptureKind::Framebuffer,
            width: 16,
            height: 16,
            fps: 30,
            has_video: false,
            has_audio: true,
            browser: BrowserSettings::default(),
        }),
        video: None,
        audio: Vec::new(),
        deferred_names: None,
        outputs: vec![OutputPlan::File(FilePlan {
            container: Container::Mp4,
            has_video: false,
            audio: None,
            pass_through: None,
            name: StoragePath::new(name.display().to_string()),
            named: NameOrigin::Given,
            storage: Storage::local(),
            manifest: crate::plan::output::ManifestPolicy::OnlyWithBackup,
        })],
        limits: Limits::default(),
        retry_count: 0,
        adjustments: Vec::new(),
    }
}

#[test]
fn it_is_beside_the_output_and_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let work = WorkDir::create(&plan(&dir.path().join("out/a.mp4")), None, dir.path()).unwrap();
    let (root, run) = (work.root().to_owned(), work.run().to_owned());
    assert_eq!(root, dir.path().join("out/.weir/EG_test"));
    assert!(work.output(OutputId(0)).is_dir() && run.is_dir());
    assert!(run.as_os_str().len() < 40, "sockets in it need short names: {}", run.display());
    work.discard().unwrap();
    assert!(!run.exists() && !dir.path().join("out").exists());
}

#[test]
fn that_of_a_stream_alone_is_its_users_own_among_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let stream = StreamPlan {
        transport: Transport::Rtmp,
        has_video: false,
        has_audio: true,
        urls: vec![StreamUrl::parse("rtmp://host/app/key", None).unwrap()],
    };
    let plan = RecordingPlan {
        // Other runs of the tests have the same directory.
        egress_id: EgressId::new(format!("EG_stream{}", std::process::id())),
        outputs: vec![OutputPlan::Stream(stream)],
        ..plan(Path::new("a.mp4"))
    };
    let work = WorkDir::create(&plan, None, dir.path()).unwrap();
    let of_user = std::env::temp_dir().join(format!("weir-{}", nix::unistd::geteuid()));
    let root = work.root().to_owned();
    assert_eq!(root, of_user.join(".weir").join(plan.egress_id.as_str()));
    assert_eq!(fs::metadata(&of_user).unwrap().permissions().mode() & 0o777, 0o700);
    work.discard().unwrap();
    assert!(!root.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_kept_can_be_found_and_taken_over_but_not_while_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let root = dir.path().join(".weir/EG_test");
    for place in [dir.path(), &dir.path().join(".weir"), &root] {
        assert_eq!(find(place).unwrap(), std::slice::from_ref(&root));
    }
    assert!(matches!(AbandonedWorkDir::open(&root), Err(WorkDirError::Busy { .. })));
    assert_eq!(work.keep(), root);
    let abandoned = AbandonedWorkDir::open(&root).unwrap();
    assert_eq!(
        abandoned.manifest.outputs,
        [OutputEntry::File { container: "MP4".into(), name: "a.mp4".into() }]
    );
    abandoned.discard().unwrap();
    assert_eq!(find(dir.path()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_place_that_can_not_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(WORK_ROOT), "a file").unwrap();
    assert!(WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Two recordings of one egress id: the second must not take the first one's recorded files with
/// it.
#[test]
fn a_directory_of_another_recording_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let recorded = first.output(OutputId(0)).join("file-0.recording.mp4");
    fs::write(&recorded, "recorded").unwrap();
    let refused = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap_err();
    assert!(matches!(refused, WorkDirError::Exists { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&recorded).unwrap(), "recorded");
    // Also when its recorder is gone.
    let root = first.keep();
    assert!(WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).is_err());
    assert_eq!(fs::read_to_string(&recorded).unwrap(), "recorded");
    // Also for a directory that is not a recording's.
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("notes"), "somebody's").unwrap();
    assert!(WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).is_err());
    assert!(root.join("notes").exists());
}

#[test]
fn a_failure_removes_no_directory_that_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("out/.weir");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("EG_test"), "in the way").unwrap();
    assert!(WorkDir::create(&plan(Path::new("out/a.mp4")), None, dir.path()).is_err());
    assert_eq!(fs::read_to_string(root.join("EG_test")).unwrap(), "in the way");
    fs::remove_file(root.join("EG_test")).unwrap();
    // Empty now, and somebody else's all the same.
    let long = "x".repeat(300);
    let refused = WorkDir::create(
        &RecordingPlan { egress_id: EgressId::new(long), ..plan(Path::new("out/a.mp4")) },
        None,
        dir.path(),
    );
    assert!(refused.is_err() && root.is_dir());
}

#[test]
fn recordings_that_begin_and_end_together_do_not_remove_each_others_directories() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                for round in 0..20 {
                    let egress_id = EgressId::new(format!("EG_{thread}_{round}"));
                    let plan = RecordingPlan { egress_id, ..plan(Path::new("out/a.mp4")) };
                    let work = WorkDir::create(&plan, None, dir).unwrap();
                    assert!(work.output(OutputId(0)).is_dir());
                    work.discard().unwrap();
                }
            });
        }
    });
    assert!(!dir.path().join("out/.weir").exists());
}

#[test]
fn a_manifest_of_somebody_else_removes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("precious");
    fs::create_dir(&precious).unwrap();
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let path = work.root().join(MANIFEST);
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest.run_dir.clone_from(&precious);
    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let root = work.keep();
    AbandonedWorkDir::open(&root).unwrap().discard().unwrap();
    assert!(precious.exists());
}

/// A work directory of a recorder that is gone, with a file of an output in it.
fn left_with(dir: &Path, file: &str, text: &str) -> PathBuf {
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir).unwrap();
    fs::write(work.root().join(file), text).unwrap();
    work.keep()
}

#[test]
fn what_is_not_stored_is_not_discarded_whatever_the_recording_thinks() {
    let dir = tempfile::tempdir().unwrap();
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let (root, run) = (work.root().to_owned(), work.run().to_owned());
    fs::write(work.output(OutputId(0)).join("waiting.jsonl"), "rubbish").unwrap();
    fs::write(work.output(OutputId(0)).join("file-0.mp4"), "media").unwrap();
    let remains = work.discard().unwrap_err();
    assert_eq!(remains.root, root);
    assert_eq!(remains.files, [Remain { path: root.join("0/file-0.mp4"), bytes: 5 }]);
    assert!(root.join("manifest.json").exists() && !run.exists());
    AbandonedWorkDir::open(&root).unwrap().discard().unwrap_err();
    assert!(root.join("manifest.json").exists(), "`weir recover` can still look at it");
}

#[test]
fn bookkeeping_and_empty_files_hold_no_work_directory_up() {
    let dir = tempfile::tempdir().unwrap();
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let output = work.output(OutputId(0));
    for name in ["notes-0.jsonl", "uploads.jsonl", "waiting.jsonl", ".reserve-0", RECORDING_MANIFEST] {
        fs::write(output.join(name), "text").unwrap();
    }
    fs::write(output.join("file-0.recording.mp4"), "").unwrap();
    work.discard().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_work_directory_without_its_manifest_is_found_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = left_with(dir.path(), "0/file-0.recording.mp4", "media");
    fs::remove_file(root.join(MANIFEST)).unwrap();
    assert_eq!(find(dir.path()).unwrap(), std::slice::from_ref(&root));
    let abandoned = AbandonedWorkDir::open(&root).unwrap();
    assert!(abandoned.manifest.is_lost() && abandoned.storage().unwrap().is_empty());
    abandoned.discard().unwrap_err();
    fs::remove_file(root.join(STORAGE)).unwrap();
    assert_eq!(find(dir.path()).unwrap(), std::slice::from_ref(&root));
}

/// Like a service's recordings: a lock, and no work directory.
#[test]
fn a_lock_alone_makes_no_work_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("EG_cell")).unwrap();
    fs::write(dir.path().join("EG_cell/lock"), "").unwrap();
    assert_eq!(find(dir.path()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn one_that_is_being_made_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = left_with(dir.path(), "0/file-0.recording.mp4", "");
    fs::remove_file(root.join(MANIFEST)).unwrap();
    assert!(matches!(AbandonedWorkDir::open(&root), Err(WorkDirError::Busy { .. })));
    let long_ago = std::time::SystemTime::now() - 2 * MADE_WITHIN;
    File::open(root.join(REPORT)).unwrap().set_modified(long_ago).unwrap();
    AbandonedWorkDir::open(&root).unwrap().discard().unwrap();
    assert!(!root.exists());
}

#[test]
fn storages_of_other_outputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = left_with(dir.path(), "0/file-0.mp4", "media");
    for text in ["", "[", "[]", "[null,null]", "{}"] {
        fs::write(root.join(STORAGE), text).unwrap();
        let error = AbandonedWorkDir::open(&root).unwrap().storage().unwrap_err();
        assert!(error.to_string().contains("--storage"), "{text}: {error}");
    }
}

#[test]
fn an_evicted_recording_is_kept_without_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let work = WorkDir::create(&plan(Path::new("a.mp4")), None, dir.path()).unwrap();
    let recorded = work.output(OutputId(0)).join("file-0.mp4");
    fs::write(&recorded, "frames").unwrap();
    work.forget_storage();
    let root = work.discard().unwrap_err().root;
    let abandoned = AbandonedWorkDir::open(&root).unwrap();
    let error = abandoned.storage().unwrap_err().to_string();
    assert!(error.contains("--storage"), "{error}");
    assert!(recorded.exists() && abandoned.manifest.outputs.len() == 1);
}
