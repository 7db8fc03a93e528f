use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::ipc::Lines;

fn info(status: proto::EgressStatus, details: &str) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: "EG_1".to_owned(),
        status: status.into(),
        details: details.to_owned(),
        ..Default::default()
    }
}

use proto::EgressStatus::{EgressActive as Active, EgressComplete as Complete};

/// A recorder's mouth, its service's end, and its directory, which goes with the last.
fn mouth(room: usize) -> (Mouth, DuplexStream, Cell, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let cell = Cell::of(dir.path(), "EG_1").unwrap();
    cell.create(&info(Active, "")).unwrap();
    let (service, recorder) = duplex(room);
    (Mouth::open(Box::new(recorder), cell.clone()), service, cell, dir)
}

/// What is said until the end. A line of which a part was read before is none.
async fn words(from: DuplexStream) -> Vec<FromRecorder> {
    let mut lines = Lines::new(from);
    let mut words = Vec::new();
    while let Some(line) = lines.next().await {
        words.extend(ipc::parse::<FromRecorder>(&line.unwrap()));
    }
    words
}

#[tokio::test(start_paused = true)]
async fn the_last_report_is_in_the_directory_when_the_service_does_not_read() {
    let (mut mouth, service, cell, _dir) = mouth(64);
    for at in 0..1000 {
        mouth.changed(&info(Active, &at.to_string()));
        mouth.progress(&progress());
    }
    mouth.changed(&info(Complete, "the end"));
    mouth.say(FromRecorder::Ended { kept: None });
    let begun = Instant::now();
    mouth.close().await;
    assert!(begun.elapsed() >= LAST_WORDS_WITHIN, "it was waited for");
    assert_eq!(cell.info().unwrap(), info(Complete, "the end"));
    drop(service);
}

#[tokio::test]
async fn of_reports_that_wait_the_newest_is_said_and_the_last_always() {
    let (mut mouth, mut service, cell, _dir) = mouth(64);
    mouth.changed(&info(Active, "first"));
    // It is on its way, and the pipe is full.
    let mut first = [0; 1];
    service.read_exact(&mut first).await.unwrap();
    for at in 0..1000 {
        mouth.changed(&info(Active, &at.to_string()));
    }
    mouth.changed(&info(Complete, "the end"));
    mouth.say(FromRecorder::Ended { kept: None });
    let (heard, ()) = tokio::join!(words(service), mouth.close());
    assert_eq!(cell.info().unwrap(), info(Complete, "the end"));
    let last = FromRecorder::Info(Info::new(&info(Complete, "the end")));
    assert_eq!(heard, [last, FromRecorder::Ended { kept: None }]);
}

#[tokio::test]
async fn the_next_service_hears_how_the_recording_stands_and_all_that_follows() {
    let (mut mouth, service, _cell, _dir) = mouth(1 << 16);
    mouth.changed(&info(Active, "before"));
    drop(service);
    mouth.progress(&progress());
    let (next, recorder) = duplex(1 << 16);
    mouth.words().switch_to(Box::new(recorder));
    mouth.changed(&info(Complete, "the end"));
    mouth.say(FromRecorder::Ended { kept: None });
    let (heard, ()) = tokio::join!(words(next), mouth.close());
    let newest = heard.iter().rfind(|word| matches!(word, FromRecorder::Info(_)));
    assert_eq!(newest, Some(&FromRecorder::Info(Info::new(&info(Complete, "the end")))));
    assert!(matches!(heard[0], FromRecorder::Info(_)), "{heard:?}");
    assert!(heard.contains(&FromRecorder::Ended { kept: None }), "{heard:?}");
}

#[tokio::test]
async fn a_word_that_a_dead_service_left_half_read_is_said_to_the_next_one() {
    let (mut mouth, service, _cell, _dir) = mouth(16);
    mouth.changed(&info(Active, "before"));
    mouth.say(FromRecorder::Reply { id: 7, refusal: None });
    // The first word fills the pipe; nobody reads it.
    tokio::task::yield_now().await;
    let (next, recorder) = duplex(1 << 16);
    mouth.words().switch_to(Box::new(recorder));
    let (heard, ()) = tokio::join!(words(next), mouth.close());
    assert!(heard.contains(&FromRecorder::Reply { id: 7, refusal: None }), "{heard:?}");
    drop(service);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_written_late_gets_the_newest_report() {
    let dir = tempfile::tempdir().unwrap();
    let cell = Cell::of(dir.path(), "EG_1").unwrap();
    let (sender, infos) = watch::channel(None);
    let mut keeping = JoinSet::new();
    keeping.spawn(directory::keep(cell.clone(), infos));
    // Its directory is not there yet, so that it can't be written.
    sender.send_replace(Some(info(Active, "first")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cell.info(), None);
    cell.create(&info(Active, "")).unwrap();
    sender.send_replace(Some(info(Complete, "the end")));
    drop(sender);
    timeout(Duration::from_secs(20), keeping.join_next()).await.expect("it ends");
    assert_eq!(cell.info().unwrap(), info(Complete, "the end"));
}

fn progress() -> Progress {
    Progress {
        state: crate::recording::lifecycle::State::Active,
        elapsed: Duration::from_secs(1),
        pictures: 1,
        dropped: 0,
        audio_lead: None,
        size: 1,
        stored: 0,
        outputs: Vec::new(),
    }
}
