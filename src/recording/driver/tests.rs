//! Tests of a driver without source, encoders and sinks: events are injected, and reports
//! inspected.

use std::path::Path;

use livekit_protocol as proto;
use proto::stream_info::Status;

use super::*;
use crate::control::StopCause;
use crate::plan::defaults::Defaults;
use crate::plan::graph::{GraphPlan, Machine};
use crate::plan::stream_url::StreamUrl;
use crate::plan::{EgressId, RecordingPlan, json};
use crate::recording::names::{Names, OlderFiles};
use crate::recording::workdir::WorkDir;
use crate::recording::{Ended, Setup};
use crate::report::Outcome;
use crate::sink::{ArtifactKind, StreamEvent};
use crate::source::SourceError;
use crate::source::web::WebError;
use crate::upload::store::{StoreError, StoreErrorKind};
use crate::upload::{IfTaken, Upload, UploadError, Versions};

const FILE: &str = r#""fileOutputs": [{"filepath": "a.mp4"}]"#;
const STREAM: &str = r#""streamOutputs": [{"protocol": "RTMP", "urls": ["rtmp://host/app/secretkey"]}]"#;
const TWO_STREAMS: &str = r#""streamOutputs": [{"protocol": "RTMP",
    "urls": ["rtmp://host/app/secretkey", "rtmp://other/app/secretkey"]}]"#;

/// Keeps every report.
#[derive(Default)]
struct Reports(Vec<proto::EgressInfo>);

impl Reporter for Reports {
    fn changed(&mut self, info: &proto::EgressInfo) {
        self.0.push(info.clone());
    }
    fn progress(&mut self, _: &Progress) {}
}

/// Lets a recording with these outputs begin, has `happen` tell what happens until it ends, and
/// ends it.
async fn ended(outputs: &str, happen: impl FnOnce(&mut Driver<'_>)) -> Ended {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), outputs, &mut reports);
    assert_eq!(driver.handle(Event::SourceReady), [Action::Begin]);
    happen(&mut driver);
    let emptied = Flushed { failures: Vec::new(), left_behind: false };
    assert_eq!(driver.take(Input::Drained(emptied)), [Action::Store]);
    assert_eq!(driver.take(Input::EverythingStored), [Action::Finish]);
    driver.finish().await
}

/// The driver of a recording that has not begun.
fn driver<'a>(dir: &Path, outputs: &str, reports: &'a mut Reports) -> Driver<'a> {
    crate::media::init().unwrap();
    let request = json::parse(&format!(r#"{{"url": "https://example.com", {outputs}}}"#)).unwrap();
    let id = EgressId::new("EG_driver");
    let plan = RecordingPlan::new(&request, &Defaults::default(), id, &jiff::Zoned::now()).unwrap();
    let graph = GraphPlan::new(&plan, Machine { cores: 2.0, encoder_threads: 0 });
    let work = WorkDir::create(&plan, Some(&dir.join(".weir")), dir).unwrap();
    let base = dir.to_owned();
    let setup = Setup {
        plan,
        graph,
        request: None,
        work,
        names: Names::new(&base, OlderFiles::Replace),
        base: base.clone(),
        keep_free: 0,
        upload_patience: Duration::ZERO,
    };
    let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
    let (sink_events, _from_sinks) = mpsc::unbounded_channel();
    let (uploader, _uploads) = Uploader::start(Vec::new(), &base, &tasks, &abandon);
    Driver::new(setup, reports, tasks, sink_events, uploader, abandon)
}

fn browser_fails(driver: &mut Driver<'_>) {
    let error = WebError::GaveUp { attempts: 3, why: "the browser ended".to_owned() };
    driver.take(Input::Source(SourceEvent::Failed(SourceError::Web(error))));
}

/// A store takes none of an output's files.
fn store_fails(driver: &mut Driver<'_>) {
    for number in 0..40 {
        let upload = Upload {
            output: OutputId(0),
            local: Path::new("/work").join(number.to_string()),
            name: number.to_string(),
            size: 1,
            versions: Versions::One,
            if_taken: IfTaken::Replace,
            subject: UploadTag::Artifact(ArtifactKind::File),
        };
        let error = StoreError::new(StoreErrorKind::Refused, "no such bucket");
        let error = Arc::new(UploadError::Failed { store: "S3", error });
        driver.take(Input::Uploaded(UploadEvent::Kept { upload, error }));
    }
}

fn stop(driver: &mut Driver<'_>) {
    assert_eq!(driver.handle(Event::Stop(StopCause::Request)), [Action::Drain]);
}

fn url(host: &str) -> StreamUrl {
    StreamUrl::parse(&format!("rtmp://{host}/app/secretkey"), None).unwrap()
}

fn tell(driver: &mut Driver<'_>, event: StreamEvent) {
    driver.take(Input::Sink(SinkEvent::Stream(OutputId(0), event)));
}

#[tokio::test]
async fn the_first_failure_is_the_error_with_its_own_code_and_the_others_are_named() {
    const BROWSER: &str = "given up after 3 attempts to bring the page back: the browser ended";
    const STORE: &str = "S3 upload failed: no such bucket";
    let browser_first = ended(FILE, |driver| {
        browser_fails(driver);
        store_fails(driver);
    });
    let info = browser_first.await.info;
    assert_eq!((info.error.as_str(), info.error_code), (BROWSER, 500));
    assert_eq!(info.details.matches(STORE).count(), 1, "once for each output: {}", info.details);
    assert!(!info.details.contains(BROWSER), "{}", info.details);

    let store_first = ended(FILE, |driver| {
        store_fails(driver);
        browser_fails(driver);
        driver.take(Input::Command(Some(Command::Kill { error: "OOM: 4.26 GB used".to_owned() })));
    });
    let info = store_first.await.info;
    assert!(info.error.starts_with(STORE), "{}", info.error);
    assert_eq!(info.error_code, 400);
    assert!(info.details.contains(BROWSER) && info.details.contains("OOM: 4.26 GB used"), "{}", info.details);
}

#[tokio::test]
async fn what_is_not_stored_ends_no_recording() {
    let ended = ended(FILE, |driver| {
        store_fails(driver);
        let (output, error) = (OutputId(0), "1 file not uploaded: waiting.jsonl can't be read".to_owned());
        let actions = driver.take(Input::Uploaded(UploadEvent::LeftBehind { output, error }));
        assert_eq!(actions, []);
        stop(driver);
    });
    let ended = ended.await;
    assert!(ended.info.details.contains("waiting.jsonl"), "{}", ended.info.details);
    assert!(ended.kept.is_some() && matches!(ended.outcome, Outcome::Failed(_)));
}

#[tokio::test]
async fn a_recording_fails_that_went_to_nothing_but_streams_that_never_started() {
    let failed = |host: &str| StreamEvent::Failed { url: url(host), error: "no connection".to_owned() };
    let told = ended(STREAM, |driver| {
        stop(driver);
        tell(driver, failed("host"));
    });
    // It had no time left for a word.
    let untold = ended(STREAM, stop);
    let both = ended(TWO_STREAMS, |driver| {
        stop(driver);
        tell(driver, failed("host"));
        tell(driver, failed("other"));
    });
    let limited = ended(STREAM, |driver| {
        assert_eq!(driver.handle(Event::LimitReached(Limit::Duration)), [Action::Drain]);
    });
    for ended in [told.await, untold.await, both.await, limited.await] {
        let info = ended.info;
        assert!(matches!(ended.outcome, Outcome::Failed(_)), "{info:#?}");
        assert_eq!((info.status(), info.error_code), (proto::EgressStatus::EgressFailed, 503), "{info:#?}");
        for stream in &info.stream_results {
            assert!(stream.status() == Status::Failed && !stream.error.is_empty(), "{info:#?}");
        }
        let first = &info.stream_results[0];
        assert!(info.error.contains(&first.error) && info.error.contains(&first.url), "{info:#?}");
        assert!(!info.error.contains("secretkey"), "{info:#?}");
    }
}

#[tokio::test]
async fn a_stream_that_never_started_fails_alone_beside_what_worked() {
    let failed = |url: StreamUrl| StreamEvent::Failed { url, error: "no connection".to_owned() };
    let beside_a_stream = ended(TWO_STREAMS, |driver| {
        tell(driver, StreamEvent::Started { url: url("other") });
        stop(driver);
        tell(driver, failed(url("host")));
        tell(
            driver,
            StreamEvent::Finished { url: url("other"), missing: Some("it was not connected".into()) },
        );
    });
    let info = beside_a_stream.await.info;
    let states: Vec<Status> = info.stream_results.iter().map(proto::StreamInfo::status).collect();
    assert_eq!(states, [Status::Failed, Status::Finished]);
    assert_eq!(info.status(), proto::EgressStatus::EgressComplete, "{info:#?}");
    assert!(info.details.contains("is missing: it was not connected"), "{}", info.details);

    let outputs = format!("{STREAM}, {FILE}");
    let beside_a_file = ended(&outputs, |driver| {
        let is_stream = |output: &OutputPlan| matches!(output, OutputPlan::Stream(_));
        let at = driver.setup.plan.outputs.iter().position(is_stream).unwrap();
        stop(driver);
        driver.take(Input::Sink(SinkEvent::Stream(OutputId(at), failed(url("host")))));
    });
    let info = beside_a_file.await.info;
    assert_eq!(info.status(), proto::EgressStatus::EgressComplete, "{info:#?}");
    assert_eq!(info.stream_results[0].status(), Status::Failed);
}

#[tokio::test]
async fn what_stood_still_is_told_from_when_to_when() {
    let seconds = Duration::from_secs;
    let ended = ended(FILE, |driver| {
        let what = "the page did not respond";
        driver.take(Input::Source(SourceEvent::Stalled { what, from: seconds(12), to: seconds(22) }));
        driver.take(Input::Source(SourceEvent::Died { what: "the browser's GPU process" }));
        stop(driver);
        // Also events at the end.
        let what = "audio capture stood still";
        driver.take(Input::Source(SourceEvent::Stalled { what, from: seconds(30), to: seconds(40) }));
    });
    let details = ended.await.info.details;
    for note in [
        "; the page did not respond from 12 s to 22 s",
        "; the browser's GPU process died at 0.0 s",
        "; audio capture stood still from 30 s to 40 s",
    ] {
        assert!(details.contains(note), "{details}");
    }
}

#[tokio::test]
async fn when_the_last_stream_fails_the_next_report_says_that_it_failed() {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), TWO_STREAMS, &mut reports);
    assert_eq!(driver.handle(Event::SourceReady), [Action::Begin]);
    assert_eq!(driver.begin(), []);
    tell(&mut driver, StreamEvent::Started { url: url("host") });
    let failed =
        |host: &str| StreamEvent::Failed { url: url(host), error: "no outbound progress".to_owned() };
    let actions = driver.take(Input::Sink(SinkEvent::Stream(OutputId(0), failed("host"))));
    // There are no sinks: nothing is left to be sent to.
    assert_eq!(actions, [Action::Drain]);
    drop(driver.drain(EncoderEvents::new()));
    tell(&mut driver, failed("other"));
    let emptied = Flushed { failures: Vec::new(), left_behind: false };
    assert_eq!(driver.take(Input::Drained(emptied)), [Action::Store]);
    assert_eq!(driver.take(Input::EverythingStored), [Action::Finish]);
    let ended = driver.finish().await;
    assert_eq!((ended.info.status(), ended.info.error_code), (proto::EgressStatus::EgressFailed, 503));
    let first = reports.0.iter().position(|info| info.stream_results[0].status() == Status::Failed).unwrap();
    let (before, after) = reports.0.split_at(first);
    assert!(before.iter().all(|info| info.status() != proto::EgressStatus::EgressEnding), "{before:#?}");
    assert!(after.iter().all(|info| info.status() == proto::EgressStatus::EgressFailed), "{after:#?}");
    assert_eq!(after.iter().filter(|info| info.ended_at != 0).count(), 1, "it ends once: {after:#?}");
}

#[tokio::test]
async fn an_evicted_recording_reports_nothing_and_its_files_stay_where_nobody_stores_them() {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), FILE, &mut reports);
    assert_eq!(driver.handle(Event::SourceReady), [Action::Begin]);
    assert_eq!(driver.begin(), []);
    let recorded = driver.setup.work.output(OutputId(0)).join("file-0.mp4");
    std::fs::write(&recorded, "frames").unwrap();
    assert_eq!(driver.take(Input::Source(SourceEvent::Evicted)), []);
    let ended = driver.end_evicted().await;
    assert!(ended.is_evicted && matches!(ended.outcome, Outcome::Failed(_)), "{ended:?}");
    let kept = ended.kept.unwrap();
    assert!(recorded.starts_with(&kept) && recorded.exists());
    assert!(!kept.join("storage.json").exists(), "`weir recover` does not know where it belongs");
    assert!(!dir.path().join("a.mp4").exists());
    let last = reports.0.last().unwrap();
    assert_eq!((last.status(), last.ended_at), (proto::EgressStatus::EgressActive, 0), "{last:#?}");
}

#[tokio::test]
async fn details_name_files_without_their_directories() {
    let mut reports = Reports::default();
    let dir = tempfile::Builder::new().prefix("my recs, all").tempdir().unwrap();
    let file = r#""fileOutputs": [{"filepath": "team a, b/a.mp4"}]"#;
    let mut driver = driver(dir.path(), file, &mut reports);
    let place = dir.path().join(driver.setup.plan.outputs[0].dir().unwrap()).join("a.mp4");
    let (root, local) =
        (driver.setup.work.root().to_owned(), driver.setup.work.output(OutputId(0)).join("file-0.mp4"));
    driver.note(format!("storage away: {}: permission denied", place.display()));
    driver.report.fail(&Failure::new(
        format!("no space left on the disk of {}: 0 MB", root.display()),
        Fault::Service,
    ));
    let error = StoreError::new(StoreErrorKind::Refused, "no such bucket");
    let error = UploadError::Failed { store: "S3", error }.kept_at(&local);
    assert!(error.contains(&local.display().to_string()), "a person finds it: {error}");
    driver.report.fail(&Failure::new(error, Fault::Storage));
    let details = &driver.report.info().details;
    for note in [
        "storage away: a.mp4: permission denied; ",
        "failed: no space left on the disk of EG_driver: 0 MB; ",
        "(kept at file-0.mp4: ",
    ] {
        assert!(details.contains(note), "{details}");
    }
    assert!(!details.contains("recs"), "{details}");
}

#[tokio::test]
async fn a_disk_that_hangs_at_the_start_holds_up_no_command() {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), FILE, &mut reports);
    let (names, root) = (driver.setup.names.unclaimed(), driver.setup.work.root().to_owned());
    let mut plan = driver.setup.plan.clone();
    assert!(names.is_some());
    // Who creates this file waits until somebody reads it.
    let recorded = driver.setup.work.output(OutputId(0)).join("file-0.recording.mp4");
    nix::unistd::mkfifo(&recorded, nix::sys::stat::Mode::S_IRWXU).unwrap();
    driver.open_outputs(names, Some(root));
    let mut opening = driver.take_opening().unwrap();
    let opened = tokio::time::timeout(Duration::from_millis(200), opening.opened());
    assert!(opened.await.is_err(), "it hangs");
    assert_eq!(driver.take(Input::Source(SourceEvent::Ready)), [], "it waits for its outputs");
    assert_eq!(driver.take(Input::Tick), []);
    assert_eq!(driver.take(Input::Command(Some(Command::Stop(StopCause::Request)))), [Action::Finish]);
    // The disk answers again.
    let reader = std::fs::File::open(&recorded).unwrap();
    opening.give_up().await;
    drop(reader);
    std::fs::remove_file(&recorded).unwrap();
    let ended = driver.finish().await;
    assert!(matches!(ended.outcome, Outcome::Aborted { .. }) && ended.kept.is_none(), "{ended:?}");
    let claimed = Names::new(dir.path(), OlderFiles::Replace).claim(&mut plan);
    assert!(claimed.is_ok(), "its names are free: {claimed:?}");
}

#[tokio::test]
async fn a_source_that_ends_while_outputs_are_opened_is_recorded_first() {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), STREAM, &mut reports);
    driver.open_outputs(None, None);
    let mut opening = driver.take_opening().unwrap();
    assert_eq!(driver.take(Input::Source(SourceEvent::Ready)), []);
    assert_eq!(driver.take(Input::Source(SourceEvent::Ended)), []);
    let opened = opening.opened().await;
    assert_eq!(driver.take(Input::Opened(opened)), [Action::Begin, Action::Drain]);
}

#[tokio::test]
async fn outputs_that_can_not_be_opened_fail_the_start_by_their_own_error() {
    let mut reports = Reports::default();
    let dir = tempfile::tempdir().unwrap();
    let mut driver = driver(dir.path(), FILE, &mut reports);
    std::fs::remove_dir(driver.setup.work.output(OutputId(0))).unwrap();
    driver.open_outputs(None, None);
    let mut opening = driver.take_opening().unwrap();
    // The page is ready, and ends.
    assert_eq!(driver.take(Input::Source(SourceEvent::Ready)), []);
    assert_eq!(driver.take(Input::Source(SourceEvent::Ended)), []);
    let opened = opening.opened().await;
    assert_eq!(driver.take(Input::Opened(opened)), [Action::Finish]);
    let info = driver.finish().await.info;
    assert_eq!(info.status(), proto::EgressStatus::EgressFailed);
    assert!(info.error.contains("creating") && info.error.contains("file-0"), "{}", info.error);
}
