//! A storage that refuses, fails and comes back, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::upload::store::{Object, Sent, Store, StoreError, StoreErrorKind};

/// Scripted outcome of an attempt.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Taken,
    Status(u16),
    /// `KeyTooLongError`
    TooLong,
    Unreachable,
    /// It is taken after this.
    Slow(Duration),
    /// The same, and each second something moves until then.
    Moving(Duration),
    /// Never.
    Silent,
}

/// The answer for a key at a time after the storage's creation.
type Answers = dyn Fn(&str, Duration) -> Answer + Send + Sync;

/// A storage whose answers go by key and time since it was made.
struct Fake {
    began: Instant,
    answer: Box<Answers>,
    attempts: Mutex<Vec<(String, Duration)>>,
    moved: AtomicU64,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl Store for Fake {
    fn location(&self, key: &str) -> String {
        format!("fake://{key}")
    }

    async fn signed_url(&self, key: &str, _: Duration) -> Result<String, StoreError> {
        Ok(self.location(key))
    }

    fn moved(&self) -> Option<u64> {
        Some(self.moved.load(Ordering::Relaxed))
    }

    async fn put(&self, object: &Object, _: &Path, _: &Sent) -> Result<(), StoreError> {
        let now = self.began.elapsed();
        self.attempts.lock().unwrap().push((object.key.clone(), now));
        let error = |code: &str, status| {
            let kind = StoreErrorKind::of_status(status);
            Err(StoreError::new(kind, format!("answered {status}")).answered(code, Some(status)))
        };
        match (self.answer)(&object.key, now) {
            Answer::Taken => Ok(()),
            Answer::Status(status) => error("", status),
            Answer::TooLong => error("KeyTooLongError", 400),
            Answer::Unreachable => Err(StoreError::new(StoreErrorKind::Unreachable, "connection refused")),
            Answer::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Answer::Moving(time) => {
                let until = Instant::now() + time;
                while Instant::now() < until {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    self.moved.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Answer::Silent => std::future::pending().await,
        }
    }
}

struct Faulty {
    fixture: Fixture,
    store: Arc<Fake>,
}

impl Faulty {
    fn new(patience: Duration, answer: impl Fn(&str, Duration) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (began, attempts, moved) = (Instant::now(), Mutex::default(), AtomicU64::new(0));
        let store = Arc::new(Fake { began, answer: Box::new(answer), attempts, moved });
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
        let storage = crate::plan::storage::Storage::local();
        let setup = LaneSetup { output: OutputId(0), storage, dir: work, patience };
        let stores = Stores::fake(Arc::clone(&store) as Arc<dyn Store>);
        let (uploader, events) = Uploader::start_with(vec![setup], &stores, &tasks, &abandon);
        let fixture = Fixture { dir, tasks, abandon, uploader: Some(uploader), events };
        Self { fixture, store }
    }

    /// Stores segments `from..to`.
    fn store(&self, from: u32, to: u32) {
        for at in from..to {
            self.fixture.store(&format!("{at}.ts"), Versions::One, at);
        }
    }

    /// Ends, and gives what was stored, what was kept, and the time it took.
    async fn end(&mut self) -> (Vec<u32>, Vec<u32>, Duration) {
        let since = Instant::now();
        self.fixture.close();
        let (mut stored, mut kept) = (Vec::new(), Vec::new());
        while let Some(event) = self.fixture.events.recv().await {
            match event {
                UploadEvent::Uploaded { upload, .. } => stored.push(upload.subject),
                UploadEvent::Kept { upload, .. } => {
                    assert!(upload.local.exists());
                    kept.push(upload.subject);
                }
                UploadEvent::Delayed { .. } | UploadEvent::Resumed { .. } => {}
                UploadEvent::LeftBehind { error, .. } => panic!("{error}"),
            }
        }
        (stored, kept, since.elapsed())
    }

    fn tries(&self, key: &str) -> usize {
        self.store.attempts.lock().unwrap().iter().filter(|(tried, _)| tried == key).count()
    }

    fn view(&self) -> Arc<QueueView> {
        let views = self.fixture.uploader.as_ref().unwrap().views();
        Arc::clone(&views[&OutputId(0)])
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn one_refused_file_is_kept_while_the_recording_goes_on_and_the_others_are_stored() {
    for answer in [Answer::TooLong, Answer::Status(403), Answer::Status(400), Answer::Status(404)] {
        let refused = move |key: &str, _: Duration| if key == "1.ts" { answer } else { Answer::Taken };
        let mut lane = Faulty::new(MINUTE, refused);
        lane.store(0, 20);
        let (mut stored, mut kept) = (Vec::new(), None);
        while stored.len() < 19 || kept.is_none() {
            match lane.fixture.next().await {
                Some(UploadEvent::Uploaded { upload, .. }) => stored.push(upload.subject),
                Some(UploadEvent::Kept { upload, error }) => {
                    let text = error.kept_at(&upload.local);
                    assert!(text.contains("work/1") && text.contains("weir recover"), "{text}");
                    assert!(kept.replace(upload.subject).is_none());
                }
                other => panic!("{answer:?}: {other:?}"),
            }
        }
        assert_eq!(kept, Some(1), "{answer:?}");
        assert_eq!(lane.end().await.2, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn one_file_that_always_fails_is_kept_at_the_end_and_holds_up_none() {
    for answer in [Answer::Status(500), Answer::Unreachable] {
        let fails = move |key: &str, _: Duration| if key == "0.ts" { answer } else { Answer::Taken };
        let mut lane = Faulty::new(MINUTE, fails);
        lane.store(0, 20);
        let (stored, kept, took) = lane.end().await;
        assert_eq!((stored, kept), ((1..20).collect(), vec![0]), "{answer:?}");
        assert!(took <= MINUTE + Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_can_not_be_read_holds_up_none() {
    // What a store says of a body that ends too early looks like a connection that broke.
    let broken = |key: &str, _: Duration| if key == "0.ts" { Answer::Unreachable } else { Answer::Taken };
    let mut lane = Faulty::new(MINUTE, broken);
    lane.store(0, 3);
    let local = lane.fixture.path("work/0");
    std::fs::remove_file(&local).unwrap();
    std::fs::create_dir(&local).unwrap();
    let (stored, kept, took) = lane.end().await;
    assert_eq!((stored, kept, took), (vec![1, 2], vec![0], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_everything_is_asked_for_each_file_at_the_end_and_not_waited_for() {
    let mut lane = Faulty::new(MINUTE, |_, _| Answer::Status(403));
    lane.store(0, 50);
    let (stored, kept, took) = lane.end().await;
    assert_eq!((stored, kept), (Vec::new(), (0..50).collect()));
    assert!(took.is_zero(), "{took:?}");
    assert!((0..50).all(|at| lane.tries(&format!("{at}.ts")) >= 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_storage_that_comes_back_in_time() {
    for away in [Answer::Status(500), Answer::Status(503), Answer::Unreachable] {
        for seconds in [2, 20, 55] {
            let back = Duration::from_secs(seconds);
            let mut lane = Faulty::new(MINUTE, move |_, now| if now < back { away } else { Answer::Taken });
            lane.store(0, 20);
            let (mut stored, kept, took) = lane.end().await;
            stored.sort_unstable();
            assert_eq!((stored, kept), ((0..20).collect(), Vec::new()), "{away:?}, back after {seconds} s");
            assert!(took <= back + Duration::from_secs(9), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_that_of_the_whole_end_and_each_file_has_an_attempt() {
    for patience in [Duration::ZERO, Duration::from_secs(10), MINUTE] {
        let mut lane = Faulty::new(patience, |_, _| Answer::Status(503));
        lane.store(0, 300);
        let (stored, kept, took) = lane.end().await;
        assert_eq!((stored, kept), (Vec::new(), (0..300).collect()));
        assert!(took >= patience && took <= patience + Duration::from_secs(1), "{patience:?}: {took:?}");
        assert!((0..300).all(|at| lane.tries(&format!("{at}.ts")) >= 1));
        let attempts = lane.store.attempts.lock().unwrap().len();
        assert!(attempts < 400, "{attempts} attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_playlist_that_is_refused_the_newest_version_is_kept() {
    let refused = |key: &str, _: Duration| if key == "a.m3u8" { Answer::Status(403) } else { Answer::Taken };
    let mut lane = Faulty::new(MINUTE, refused);
    for at in 0..4 {
        lane.store(at, at + 1);
        lane.fixture.store("a.m3u8", Versions::NewestCounts, 100 + at);
    }
    lane.fixture.close();
    let mut kept = Vec::new();
    while let Some(event) = lane.fixture.events.recv().await {
        if let UploadEvent::Kept { upload, .. } = event {
            kept.push(upload.subject);
        }
    }
    assert_eq!(kept, [100, 103]);
    let left = (100..104).filter(|at| lane.fixture.path(&format!("work/{at}")).exists());
    assert_eq!(left.collect::<Vec<_>>(), [103]);
}

/// One file fails permanently, and nothing waits for it: accepted files are not hurried.
#[tokio::test(start_paused = true)]
async fn a_storage_that_takes_other_files_has_its_time_for_those_that_are_left_at_the_end() {
    let answer = |key: &str, _: Duration| match key {
        "0.ts" => Answer::Status(500),
        _ => Answer::Slow(Duration::from_secs(15)),
    };
    let mut lane = Faulty::new(Duration::ZERO, answer);
    lane.store(0, 2);
    assert_eq!(stored(lane.fixture.next().await).0, 1);
    lane.store(2, 6);
    let (stored, kept, _) = lane.end().await;
    assert_eq!((stored, kept), ((2..6).collect(), vec![0]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_storage_is_asked_for_thousands_of_files_in_minutes() {
    let silent = Duration::from_secs(30);
    // The attempts before the last round end by their requests' own deadlines, which a fake has
    // none of: it is unreachable then.
    let answer =
        move |_: &str, now: Duration| if now < silent { Answer::Unreachable } else { Answer::Silent };
    let mut lane = Faulty::new(Duration::from_secs(30), answer);
    lane.store(0, 2000);
    let (stored, kept, took) = lane.end().await;
    assert_eq!((stored.len(), kept.len()), (0, 2000));
    assert!((0..2000).all(|at| lane.tries(&format!("{at}.ts")) >= 1));
    assert!(took < Duration::from_secs(30 + 20 + 110), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_shows_what_it_waits_for_and_an_impatient_person_ends_it_at_once() {
    let mut lane = Faulty::new(MINUTE, |_, _| Answer::Status(503));
    lane.store(0, 3);
    let view = lane.view();
    assert_eq!(view.progress().patience, None);
    lane.fixture.close();
    tokio::time::sleep(Duration::from_secs(19)).await;
    let PatienceLeft { trouble, left } = view.progress().patience.expect("it waits");
    assert_eq!((trouble, left.as_secs_f64().ceil()), (Trouble::Answers(503), 41.0));
    assert_eq!(trouble.to_string(), "storage answers 503");
    lane.fixture.abandon.cancel();
    let since = Instant::now();
    while lane.fixture.events.recv().await.is_some() {}
    assert!(since.elapsed().is_zero());
    assert!((0..3).all(|at| lane.fixture.path(&format!("work/{at}")).exists()));
}

/// A short attempt of a file of the fixture, and what looking at it costs.
const ATTEMPT: Duration = Duration::from_secs(6);

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_storage_that_says_nothing_no_longer_than_its_patience() {
    for patience in [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10), MINUTE] {
        let mut lane = Faulty::new(patience, |_, _| Answer::Silent);
        lane.store(0, 1);
        let (stored, kept, took) = lane.end().await;
        assert_eq!((stored, kept), (Vec::new(), vec![0]));
        assert!(took >= patience && took <= patience + 2 * ATTEMPT, "{patience:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_silent_already_when_the_end_comes_is_given_up_as_well() {
    let mut lane = Faulty::new(Duration::from_secs(10), |_, _| Answer::Silent);
    lane.store(0, 5);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(lane.tries("0.ts"), 1, "while it is recorded the store's own deadlines are enough");
    let (stored, kept, took) = lane.end().await;
    assert_eq!((stored, kept), (Vec::new(), (0..5).collect()));
    assert!(took >= Duration::from_secs(10) && took <= Duration::from_secs(10) + 3 * ATTEMPT, "{took:?}");
    assert!((0..5).all(|at| lane.tries(&format!("{at}.ts")) >= 1));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_goes_silent_after_it_took_files_is_waited_for_no_longer() {
    let answer = |key: &str, _: Duration| if key == "0.ts" { Answer::Taken } else { Answer::Silent };
    let mut lane = Faulty::new(Duration::from_secs(10), answer);
    lane.store(0, 4);
    assert_eq!(stored(lane.fixture.next().await).0, 0);
    let (stored, kept, took) = lane.end().await;
    assert_eq!((stored, kept), (Vec::new(), (1..4).collect()));
    assert!(took <= Duration::from_secs(10) + 3 * ATTEMPT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_that_moves_is_not_cut_at_the_end() {
    for patience in [Duration::ZERO, Duration::from_secs(2), MINUTE] {
        let mut lane = Faulty::new(patience, |_, _| Answer::Moving(10 * MINUTE));
        lane.store(0, 2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (stored, kept, _) = lane.end().await;
        assert_eq!((stored, kept), (vec![0, 1], Vec::new()), "{patience:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_shows_that_a_storage_says_nothing_and_an_impatient_person_ends_it_at_once() {
    let mut lane = Faulty::new(MINUTE, |_, _| Answer::Silent);
    lane.store(0, 3);
    let view = lane.view();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(view.progress().patience, None, "nobody waits yet");
    lane.fixture.close();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let PatienceLeft { trouble, left } = view.progress().patience.expect("it waits");
    assert_eq!((trouble, left.as_secs_f64().round()), (Trouble::Silent, 40.0));
    lane.fixture.abandon.cancel();
    let since = Instant::now();
    while lane.fixture.events.recv().await.is_some() {}
    assert!(since.elapsed().is_zero());
    assert!((0..3).all(|at| lane.fixture.path(&format!("work/{at}")).exists()));
}
