//! Lanes on the local disk, which can be made to fail and to heal; what servers do is measured
//! where they are.

use std::path::Path;
use std::time::Duration;

mod faults;

use super::*;
use crate::config::storage::{self, ServerStorage};
use crate::plan::planner::storage::of_server;

const SOON: Duration = Duration::from_secs(20);

struct Fixture {
    dir: tempfile::TempDir,
    tasks: TaskTracker,
    abandon: CancellationToken,
    uploader: Option<Uploader<u32>>,
    events: mpsc::UnboundedReceiver<UploadEvent<u32>>,
}

impl Fixture {
    /// Local storage under `primary`, with a backup under `backup`.
    fn new(has_backup: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        let backup = if has_backup { format!("backup: {{prefix: {shown}/backup}}") } else { String::new() };
        let server: ServerStorage =
            storage::parse(&format!("storage: {{prefix: {shown}/primary}}\n{backup}\n")).unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
        let storage = of_server(&server).unwrap();
        let setup = LaneSetup { output: OutputId(0), storage, dir: work, patience: Duration::from_secs(60) };
        let (uploader, events) = Uploader::start(vec![setup], dir.path(), &tasks, &abandon);
        Self { dir, tasks, abandon, uploader: Some(uploader), events }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self, name: &str, versions: Versions, subject: u32) {
        let local = self.path(&format!("work/{subject}"));
        std::fs::write(&local, format!("{name} {subject}")).unwrap();
        let (name, if_taken) = (name.to_owned(), IfTaken::Replace);
        let upload = Upload { output: OutputId(0), local, name, size: 3, versions, if_taken, subject };
        self.uploader.as_ref().unwrap().store(upload);
    }

    fn store_as(&self, name: &str, if_taken: IfTaken, subject: u32) {
        let local = self.path(&format!("work/{subject}"));
        std::fs::write(&local, format!("{name} {subject}")).unwrap();
        let (name, versions) = (name.to_owned(), Versions::One);
        let upload = Upload { output: OutputId(0), local, name, size: 3, versions, if_taken, subject };
        self.uploader.as_ref().unwrap().store(upload);
    }

    async fn next(&mut self) -> Option<UploadEvent<u32>> {
        tokio::time::timeout(SOON, self.events.recv()).await.expect("an event comes soon")
    }

    fn close(&mut self) {
        self.uploader = None;
    }

    /// Makes a place that takes nothing: a file where a directory must be.
    fn break_place(&self, place: &str) {
        std::fs::write(self.path(place), "in the way").unwrap();
    }

    fn heal_place(&self, place: &str) {
        std::fs::remove_file(self.path(place)).unwrap();
    }

    async fn ends(mut self) {
        self.close();
        assert!(self.next().await.is_none());
        self.tasks.close();
        tokio::time::timeout(SOON, self.tasks.wait()).await.expect("every lane ends");
    }
}

#[track_caller]
fn stored(event: Option<UploadEvent<u32>>) -> (u32, String, Place) {
    match event {
        Some(UploadEvent::Uploaded { upload, location, place }) => (upload.subject, location, place),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stores_in_order_and_tells_where() {
    let mut lane = Fixture::new(false);
    for at in 0..50 {
        lane.store(&format!("a/{at}.ts"), Versions::One, at);
    }
    for at in 0..50 {
        let (subject, location, place) = stored(lane.next().await);
        assert_eq!((subject, place), (at, Place::Primary));
        assert_eq!(Path::new(&location), lane.path(&format!("primary/a/{at}.ts")));
        assert!(!lane.path(&format!("work/{at}")).exists());
    }
    let accounts = upload_journal::read(&lane.path("work")).unwrap();
    assert_eq!(accounts.stored.len(), 50);
    lane.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_loses_nothing_and_takes_all_when_it_is_back() {
    let mut lane = Fixture::new(false);
    lane.break_place("primary");
    lane.store("0.ts", Versions::One, 0);
    match lane.next().await {
        Some(UploadEvent::Delayed { error, .. }) => {
            assert!(error.to_string().starts_with("Local upload failed: "), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for at in 1..20 {
        lane.store("live.m3u8", Versions::NewestCounts, 100 + at);
        lane.store(&format!("{at}.ts"), Versions::One, at);
    }
    lane.store("live.m3u8", Versions::NewestCounts, 200);
    lane.heal_place("primary");
    assert!(matches!(lane.next().await, Some(UploadEvent::Resumed { .. })));
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        seen.push(stored(lane.next().await).0);
    }
    let mut expected = vec![0, 101];
    expected.extend(1..20);
    expected.push(200);
    assert_eq!(seen, expected);
    assert_eq!(std::fs::read_to_string(lane.path("primary/live.m3u8")).unwrap(), "live.m3u8 200");
    // Versions that were left out are gone, too.
    assert_eq!(std::fs::read_dir(lane.path("work")).unwrap().count(), 1, "the ledger alone");
    lane.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_backup_takes_over_and_keeps_the_place() {
    let mut lane = Fixture::new(true);
    lane.store("0.ts", Versions::One, 0);
    assert_eq!(stored(lane.next().await).2, Place::Primary);
    std::fs::remove_dir_all(lane.path("primary")).unwrap();
    lane.break_place("primary");
    lane.store("1.ts", Versions::One, 1);
    let (_, location, place) = stored(lane.next().await);
    assert_eq!((place, Path::new(&location)), (Place::Backup, lane.path("backup/1.ts").as_path()));
    lane.heal_place("primary");
    lane.store("2.ts", Versions::One, 2);
    assert_eq!(stored(lane.next().await).2, Place::Backup, "for the rest");
    lane.ends().await;
}

/// A name that was free at the start may be taken when the file is finished. Neither file is lost.
#[tokio::test]
async fn a_name_that_was_taken_meanwhile_keeps_its_file_and_the_new_one_gets_another() {
    let mut lane = Fixture::new(false);
    std::fs::create_dir(lane.path("primary")).unwrap();
    std::fs::write(lane.path("primary/talk.mp4"), "somebody else's").unwrap();
    lane.store_as("talk.mp4", IfTaken::Rename("talk-EG_a.mp4".to_owned()), 0);
    match lane.next().await {
        Some(UploadEvent::Uploaded { upload, location, .. }) => {
            assert_eq!(upload.name, "talk-EG_a.mp4");
            assert_eq!(Path::new(&location), lane.path("primary/talk-EG_a.mp4"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_to_string(lane.path("primary/talk.mp4")).unwrap(), "somebody else's");
    assert_eq!(std::fs::read_to_string(lane.path("primary/talk-EG_a.mp4")).unwrap(), "talk.mp4 0");
    lane.store_as("talk.mp4", IfTaken::Replace, 1);
    stored(lane.next().await);
    assert_eq!(std::fs::read_to_string(lane.path("primary/talk.mp4")).unwrap(), "talk.mp4 1");
    lane.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_place_takes_is_kept_and_told_with_both_reasons() {
    let mut lane = Fixture::new(true);
    lane.break_place("primary");
    lane.break_place("backup");
    for at in 0..3 {
        lane.store(&format!("{at}.ts"), Versions::One, at);
    }
    assert!(matches!(lane.next().await, Some(UploadEvent::Delayed { .. })));
    lane.close();
    for at in 0..3 {
        match lane.next().await {
            Some(UploadEvent::Kept { upload, error }) => {
                assert_eq!(upload.subject, at);
                assert!(upload.local.exists());
                let text = error.kept_at(&upload.local);
                assert!(text.starts_with("primary: Local upload failed: "), "{text}");
                assert!(
                    text.contains("\nbackup: Local upload failed: ") && text.contains("weir recover"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    lane.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_holds_nobody_up() {
    let mut lane = Fixture::new(false);
    lane.store("0.ts", Versions::One, 0);
    lane.store("1.ts", Versions::One, 1);
    std::fs::remove_file(lane.path("work/0")).unwrap();
    assert!(matches!(lane.next().await, Some(UploadEvent::Kept { upload, .. }) if upload.subject == 0));
    assert_eq!(stored(lane.next().await).0, 1);
    lane.ends().await;
}

#[tokio::test(start_paused = true)]
async fn abandoned_means_at_once() {
    let mut lane = Fixture::new(false);
    lane.break_place("primary");
    lane.store("0.ts", Versions::One, 0);
    assert!(matches!(lane.next().await, Some(UploadEvent::Delayed { .. })));
    lane.abandon.cancel();
    lane.close();
    assert!(lane.next().await.is_none());
    assert!(lane.path("work/0").exists());
    lane.ends().await;
}

impl Fixture {
    /// The attempts so far: file type, status, target.
    fn record_attempt(&self) -> Vec<(String, Status, Place)> {
        let views = self.uploader.as_ref().unwrap().views();
        let tried = views.values().flat_map(|view| view.take_attempts());
        tried.map(|tried| (tried.mime, tried.status, tried.place)).collect()
    }
}

#[tokio::test]
async fn every_try_is_told_once_with_what_the_store_said() {
    let mut lane = Fixture::new(true);
    lane.store("a/0.ts", Versions::One, 0);
    assert_eq!(stored(lane.next().await).2, Place::Primary);
    assert_eq!(lane.record_attempt(), [("video/mp2t".into(), Status::Success, Place::Primary)]);
    assert_eq!(lane.record_attempt(), []);
    std::fs::remove_dir_all(lane.path("primary")).unwrap();
    lane.break_place("primary");
    lane.store("a.m3u8", Versions::NewestCounts, 1);
    assert_eq!(stored(lane.next().await).2, Place::Backup);
    let playlist = || "application/x-mpegurl".to_owned();
    assert_eq!(
        lane.record_attempt(),
        [(playlist(), Status::Internal, Place::Primary), (playlist(), Status::Success, Place::Backup),]
    );
    lane.ends().await;
}

#[test]
fn tries_that_nobody_fetches_are_bounded() {
    let view = QueueView::default();
    for ms in 0..5000 {
        view.add_attempt(UploadAttempt {
            mime: "video/mp4".into(),
            status: Status::Success,
            custom_endpoint: false,
            ms,
            place: Place::Primary,
        });
    }
    let tried = view.take_attempts();
    assert_eq!((tried.len(), tried.last().map(|tried| tried.ms)), (1024, Some(4999)));
}

/// A recording that only streams has none, and is over when it says so.
#[tokio::test]
async fn without_lanes_the_end_comes_with_the_uploader() {
    let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
    let (uploader, mut events) = Uploader::<u32>::start(Vec::new(), Path::new("/"), &tasks, &abandon);
    assert!(matches!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty)));
    drop(uploader);
    assert!(events.recv().await.is_none());
}

/// A defective subject: it can't be serialized, which is needed when many others wait.
#[derive(Debug)]
struct Defect;

impl Serialize for Defect {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a defect");
    }
}

impl<'de> Deserialize<'de> for Defect {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_lane_that_panics_says_that_its_files_are_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let storage = of_server(&ServerStorage::default()).unwrap();
    let patience = Duration::from_secs(60);
    let setup = LaneSetup { output: OutputId(3), storage, dir: dir.path().to_owned(), patience };
    let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
    let (uploader, mut events) = Uploader::start(vec![setup], dir.path(), &tasks, &abandon);
    for at in 0..2000 {
        uploader.store(Upload {
            output: OutputId(3),
            local: dir.path().join(at.to_string()),
            name: format!("{at}.ts"),
            size: 1,
            versions: Versions::One,
            if_taken: IfTaken::Replace,
            subject: Defect,
        });
    }
    drop(uploader);
    let told = async {
        loop {
            match events.recv().await.expect("it is told before the end") {
                UploadEvent::LeftBehind { output, error } => break (output, error),
                _ => continue,
            }
        }
    };
    let (output, error) = tokio::time::timeout(SOON, told).await.unwrap();
    assert_eq!(output, OutputId(3));
    assert!(error.contains("panic"), "{error}");
    tasks.close();
    tokio::time::timeout(SOON, tasks.wait()).await.expect("nothing runs on");
}

#[tokio::test(start_paused = true)]
async fn uploads_whose_list_is_gone_are_told_as_left_behind() {
    let mut lane = Fixture::new(false);
    lane.break_place("primary");
    lane.store("0.ts", Versions::One, 0);
    assert!(matches!(lane.next().await, Some(UploadEvent::Delayed { .. })));
    for at in 1..1100 {
        lane.store(&format!("{at}.ts"), Versions::One, at);
    }
    // Until all of them are in the backlog.
    while lane.uploader.as_ref().unwrap().views()[&OutputId(0)].progress().waiting < 1100 {
        tokio::task::yield_now().await;
    }
    std::fs::write(lane.path("work/waiting.jsonl"), "rubbish\n").unwrap();
    lane.heal_place("primary");
    let mut seen = 0;
    let error = loop {
        match lane.next().await {
            Some(UploadEvent::Uploaded { .. }) => seen += 1,
            Some(UploadEvent::LeftBehind { error, .. }) => break error,
            Some(UploadEvent::Delayed { .. } | UploadEvent::Resumed { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(error.contains("files not uploaded: waiting.jsonl"), "{error}");
    assert!(seen >= 1024 && lane.path("work/1099").exists(), "{seen}");
    lane.ends().await;
}
