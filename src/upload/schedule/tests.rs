use super::*;
use crate::plan::output::OutputId;
use crate::upload::IfTaken;
use crate::upload::store::{StoreError, StoreErrorKind};

struct Fixture {
    _dir: tempfile::TempDir,
    turns: Schedule<u32>,
}

impl Fixture {
    /// Segments `0..count` wait.
    fn new(count: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let turns = Schedule::new(dir.path());
        let mut fixture = Self { _dir: dir, turns };
        for subject in 0..count {
            fixture.push(&format!("{subject}.ts"), Versions::One, subject);
        }
        fixture
    }

    fn push(&mut self, name: &str, versions: Versions, subject: u32) {
        let local = format!("/work/{subject}").into();
        let (name, if_taken) = (name.to_owned(), IfTaken::Replace);
        let upload = Upload { output: OutputId(0), local, name, size: 10, versions, if_taken, subject };
        assert!(self.turns.push(upload).is_none());
    }

    /// Goes through a round: `verdict` says how each attempt fails, `None` that it succeeds. Gives
    /// who was tried, and who is kept.
    fn round(&mut self, verdict: impl Fn(u32) -> Option<Verdict>) -> (Vec<u32>, Vec<u32>) {
        let (mut tried, mut kept) = (Vec::new(), Vec::new());
        while let Some((at, upload)) = self.turns.next() {
            tried.push(upload.subject);
            match verdict(upload.subject) {
                None => drop(self.turns.mark_uploaded(at, &upload)),
                Some(verdict) => {
                    let failed = self.turns.on_failed(at, upload, error(), verdict);
                    kept.extend(failed.map(|(upload, _)| upload.subject));
                }
            }
            assert!(tried.len() < 10_000, "a round ends");
        }
        (tried, kept)
    }
}

fn error() -> Arc<UploadError> {
    let error = StoreError::new(StoreErrorKind::Refused, "no");
    Arc::new(UploadError::Failed { store: "S3", error })
}

#[test]
fn a_file_that_is_refused_for_its_own_sake_is_kept_and_the_others_stored() {
    let mut fixture = Fixture::new(4);
    let (tried, kept) = fixture.round(|subject| (subject == 1).then_some(Verdict::Permanent));
    assert_eq!((tried, kept), (vec![0, 1, 2, 3], vec![1]));
    assert_eq!((fixture.turns.len(), fixture.turns.bytes()), (0, 0));
    assert!(fixture.turns.works());
}

#[test]
fn a_refusal_is_the_files_when_others_are_taken() {
    let mut fixture = Fixture::new(4);
    let (tried, kept) = fixture.round(|subject| (subject == 0).then_some(Verdict::Unclear));
    assert_eq!(
        (tried, kept),
        (vec![0, 1, 0, 2, 3], vec![0]),
        "it has another turn after the first that is taken"
    );
    assert!(!fixture.turns.has_held());
}

#[test]
fn several_refused_files_in_a_row_hold_up_none() {
    let mut fixture = Fixture::new(30);
    let refused = |subject| (subject < 20).then_some(Verdict::Unclear);
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.extend(fixture.round(refused).1);
        fixture.turns.begin_round();
    }
    assert_eq!(kept, (0..20).collect::<Vec<_>>());
    assert_eq!((fixture.turns.len(), fixture.turns.bytes()), (0, 0));
}

#[test]
fn a_storage_that_refuses_everything_is_asked_little_and_loses_no_order() {
    let mut fixture = Fixture::new(100);
    let (tried, kept) = fixture.round(|_| Some(Verdict::Unclear));
    assert!(tried.len() <= 8 && kept.is_empty(), "{tried:?} {kept:?}");
    assert!(!fixture.turns.works());
    fixture.turns.begin_round();
    let (tried, kept) = fixture.round(|_| None);
    assert_eq!((tried, kept), ((0..100).collect(), Vec::new()));
}

#[test]
fn a_storage_that_is_away_costs_two_attempts_a_round() {
    let mut fixture = Fixture::new(100);
    for expected in [[0, 1], [0, 2], [1, 3]] {
        assert_eq!(fixture.round(|_| Some(Verdict::Passing)).0, expected);
        fixture.turns.begin_round();
    }
    assert!(fixture.turns.awaits_storage());
    assert_eq!(fixture.turns.len(), 100);
    assert_eq!(fixture.round(|_| None).0, (0..100).collect::<Vec<_>>());
}

#[test]
fn one_file_that_always_fails_holds_up_none() {
    let mut fixture = Fixture::new(10);
    let fails = |subject| (subject == 0).then_some(Verdict::Passing);
    let (tried, kept) = fixture.round(fails);
    assert_eq!(tried, [0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(kept.is_empty() && fixture.turns.works() && fixture.turns.awaits_storage());
    // While it waits, new ones are stored.
    fixture.push("10.ts", Versions::One, 10);
    assert_eq!(fixture.round(fails).0, [10]);
    fixture.turns.begin_round();
    fixture.push("11.ts", Versions::One, 11);
    assert_eq!(fixture.round(fails).0, [0, 11]);
    fixture.turns.begin_round();
    assert_eq!(fixture.round(|_| None).0, [0]);
    assert_eq!(fixture.turns.len(), 0);
}

#[test]
fn in_the_last_round_everything_that_is_left_has_an_attempt() {
    for verdict in [Verdict::Passing, Verdict::Unclear] {
        let mut fixture = Fixture::new(100);
        fixture.round(|_| Some(verdict));
        fixture.turns.end();
        let (at_end, _) = fixture.round(|_| Some(verdict));
        assert!(at_end.len() <= 8, "{at_end:?}");
        fixture.turns.begin_last_round(false);
        let (last, kept) = fixture.round(|_| Some(verdict));
        assert!(kept.is_empty());
        let mut all: Vec<u32> = at_end.into_iter().chain(last).collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>(), "each once since the end");
        let left: Vec<u32> =
            fixture.turns.take_failed().into_iter().map(|(upload, _)| upload.subject).collect();
        assert_eq!(left, (0..100).collect::<Vec<_>>());
        assert_eq!((fixture.turns.len(), fixture.turns.bytes()), (0, 0));
    }
}

#[test]
fn what_failed_has_another_turn_when_the_storage_is_back_in_the_last_round() {
    let mut fixture = Fixture::new(6);
    fixture.turns.end();
    fixture.round(|_| Some(Verdict::Passing));
    fixture.turns.begin_last_round(false);
    let is_back = std::cell::Cell::new(false);
    let (tried, kept) = fixture.round(|subject| {
        is_back.set(is_back.get() || subject == 3);
        (!is_back.get()).then_some(Verdict::Passing)
    });
    assert_eq!((tried, kept), (vec![2, 3, 0, 1, 2, 4, 5], Vec::new()));
    assert_eq!(fixture.turns.len(), 0);
}

#[test]
fn an_old_playlist_that_failed_never_replaces_a_newer_one() {
    let mut fixture = Fixture::new(0);
    fixture.push("a.m3u8", Versions::NewestCounts, 0);
    fixture.push("b.m3u8", Versions::NewestCounts, 1);
    fixture.push("a.m3u8", Versions::NewestCounts, 2);
    let (at, first) = fixture.turns.next().unwrap();
    assert!(fixture.turns.on_failed(at, first, error(), Verdict::Unclear).is_none());
    let (at, other) = fixture.turns.next().unwrap();
    assert!(fixture.turns.on_failed(at, other, error(), Verdict::Unclear).is_none());
    assert_eq!(fixture.turns.versions(), 3);
    let (at, newer) = fixture.turns.next().unwrap();
    let superseded: Vec<u32> =
        fixture.turns.mark_uploaded(at, &newer).into_iter().map(|upload| upload.subject).collect();
    assert_eq!((newer.subject, superseded), (2, vec![0]));
    assert_eq!(fixture.round(|_| None).0, [1]);
    assert_eq!((fixture.turns.len(), fixture.turns.bytes()), (0, 0));
}

#[test]
fn an_attempt_in_a_hurry_replaces_no_error_that_says_more() {
    let mut fixture = Fixture::new(1);
    let failing = |text: &str| {
        let error = StoreError::new(StoreErrorKind::Busy, text);
        Arc::new(UploadError::Failed { store: "S3", error })
    };
    fixture.turns.end();
    let mut fail = |text: &str| {
        let (at, upload) = fixture.turns.next().unwrap();
        assert!(fixture.turns.on_failed(at, upload, failing(text), Verdict::Passing).is_none());
        fixture.turns.begin_last_round(true);
    };
    fail("answered 503; tried 5 times");
    fail("answered 503");
    let (_, error) = fixture.turns.take_failed().remove(0);
    assert!(error.to_string().ends_with("tried 5 times"), "{error}");
}

#[test]
fn of_what_has_versions_one_is_kept() {
    let mut fixture = Fixture::new(0);
    let mut version = |name: &str, subject| {
        fixture.push(name, Versions::NewestCounts, subject);
        fixture.turns.next().unwrap().1
    };
    let (first, other, second) = (version("a.m3u8", 1), version("b.m3u8", 2), version("a.m3u8", 3));
    let segment = Upload { versions: Versions::One, ..version("a.m3u8", 4) };
    let turns = &mut fixture.turns;
    assert_eq!([&first, &other, &segment].map(|upload| turns.keep(upload)), [None, None, None]);
    assert_eq!(turns.keep(&second), Some(first.local));
    assert_eq!(turns.take_kept(&second), Some(second.local.clone()));
    assert_eq!(turns.take_kept(&second), None);
}
