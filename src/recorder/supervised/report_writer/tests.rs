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
fn writer(room: usize) -> (ReportWriter, DuplexStream, EgressDir, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    egress_dir.create(&info(Active, "")).unwrap();
    let (service, recorder) = duplex(room);
    (ReportWriter::open(Box::new(recorder), egress_dir.clone()), service, egress_dir, dir)
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
    let (mut writer, service, egress_dir, _dir) = writer(64);
    for at in 0..1000 {
        writer.changed(&info(Active, &at.to_string()));
        writer.progress(&progress());
    }
    writer.changed(&info(Complete, "the end"));
    writer.say(FromRecorder::Ended { kept: None });
    let begun = Instant::now();
    writer.close().await;
    assert!(begun.elapsed() >= LAST_WORDS_WITHIN, "it was waited for");
    assert_eq!(egress_dir.info().unwrap(), info(Complete, "the end"));
    drop(service);
}

#[tokio::test]
async fn of_reports_that_wait_the_newest_is_said_and_the_last_always() {
    let (mut writer, mut service, egress_dir, _dir) = writer(64);
    writer.changed(&info(Active, "first"));
    // It is on its way, and the pipe is full.
    let mut first = [0; 1];
    service.read_exact(&mut first).await.unwrap();
    for at in 0..1000 {
        writer.changed(&info(Active, &at.to_string()));
    }
    writer.changed(&info(Complete, "the end"));
    writer.say(FromRecorder::Ended { kept: None });
    let (heard, ()) = tokio::join!(words(service), writer.close());
    assert_eq!(egress_dir.info().unwrap(), info(Complete, "the end"));
    let last = FromRecorder::Info(Info::new(&info(Complete, "the end")));
    assert_eq!(heard, [last, FromRecorder::Ended { kept: None }]);
}

#[tokio::test]
async fn the_next_service_hears_how_the_recording_stands_and_all_that_follows() {
    let (mut writer, service, _cell, _dir) = writer(1 << 16);
    writer.changed(&info(Active, "before"));
    drop(service);
    writer.progress(&progress());
    let (next, recorder) = duplex(1 << 16);
    writer.words().switch_to(Box::new(recorder));
    writer.changed(&info(Complete, "the end"));
    writer.say(FromRecorder::Ended { kept: None });
    let (heard, ()) = tokio::join!(words(next), writer.close());
    let newest = heard.iter().rfind(|word| matches!(word, FromRecorder::Info(_)));
    assert_eq!(newest, Some(&FromRecorder::Info(Info::new(&info(Complete, "the end")))));
    assert!(matches!(heard[0], FromRecorder::Info(_)), "{heard:?}");
    assert!(heard.contains(&FromRecorder::Ended { kept: None }), "{heard:?}");
}

#[tokio::test]
async fn a_word_that_a_dead_service_left_half_read_is_said_to_the_next_one() {
    let (mut writer, service, _cell, _dir) = writer(16);
    writer.changed(&info(Active, "before"));
    writer.say(FromRecorder::Reply { id: 7, refusal: None });
    // The first word fills the pipe; nobody reads it.
    tokio::task::yield_now().await;
    let (next, recorder) = duplex(1 << 16);
    writer.words().switch_to(Box::new(recorder));
    let (heard, ()) = tokio::join!(words(next), writer.close());
    assert!(heard.contains(&FromRecorder::Reply { id: 7, refusal: None }), "{heard:?}");
    drop(service);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_written_late_gets_the_newest_report() {
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    let (sender, infos) = watch::channel(None);
    let mut keeping = JoinSet::new();
    keeping.spawn(directory::keep(egress_dir.clone(), infos));
    // Its directory is not there yet, so that it can't be written.
    sender.send_replace(Some(info(Active, "first")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(egress_dir.info(), None);
    egress_dir.create(&info(Active, "")).unwrap();
    sender.send_replace(Some(info(Complete, "the end")));
    drop(sender);
    timeout(Duration::from_secs(20), keeping.join_next()).await.expect("it ends");
    assert_eq!(egress_dir.info().unwrap(), info(Complete, "the end"));
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
