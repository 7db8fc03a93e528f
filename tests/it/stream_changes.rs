//! Streams added and removed during a recording: the library as a service uses it.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use livekit_protocol as proto;
use nix::sys::signal::Signal;
use proto::stream_info::Status;
use tokio::sync::{mpsc, oneshot, watch};
use weir::control::{Command, CommandError, StopCause};
use weir::plan::graph::{GraphPlan, Machine};
use weir::plan::stream_url::{StreamProtocol, StreamUrl};
use weir::plan::{EgressId, RecordingPlan, json};
use weir::recording::workdir::WorkDir;
use weir::recording::{Ended, Outcome, Progress, Reporter, Setup, run};

use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::recorder::{Ended as Finished, Recorder, page};
use crate::support::slots;

const PATIENCE: Duration = Duration::from_secs(120);

/// The events of a recording, with waits for them.
struct Board {
    info: watch::Sender<proto::EgressInfo>,
    elapsed: watch::Sender<Duration>,
}

impl Reporter for Board {
    fn changed(&mut self, info: &proto::EgressInfo) {
        self.info.send_replace(info.clone());
    }

    fn progress(&mut self, progress: &Progress) {
        self.elapsed.send_replace(progress.elapsed);
    }
}

/// The controlling side of a running recording.
struct Controls {
    commands: mpsc::UnboundedSender<Command>,
    info: watch::Receiver<proto::EgressInfo>,
    elapsed: watch::Receiver<Duration>,
}

impl Controls {
    async fn add(&self, url: &str) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        let url = StreamUrl::parse(url, None).unwrap();
        self.commands.send(Command::AddStream { url, reply }).unwrap();
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap()
    }

    async fn remove(&self, url: &str) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        let url = StreamUrl::parse(url, None).unwrap();
        self.commands.send(Command::RemoveStream { url, reply }).unwrap();
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap()
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&proto::EgressInfo) -> bool) {
        let met = tokio::time::timeout(PATIENCE, self.info.wait_for(|info| is_so(info))).await;
        let met = met.map(|met| met.is_ok());
        assert_eq!(met.ok(), Some(true), "{what}: {:#?}", self.info.borrow());
    }

    async fn until_active(&mut self) {
        self.until("it is active", |info| info.status() == proto::EgressStatus::EgressActive).await;
    }

    async fn until_streaming(&mut self, index: usize) {
        self.until("media goes out", |info| info.stream_results[index].started_at != 0).await;
    }

    async fn until_stream_is(&mut self, index: usize, status: Status) {
        self.until("a stream has its state", |info| info.stream_results[index].status() == status).await;
    }

    /// Waits until more time is recorded.
    async fn record_for(&mut self, time: Duration) {
        let end = *self.elapsed.borrow() + time;
        let met = tokio::time::timeout(PATIENCE, self.elapsed.wait_for(|elapsed| *elapsed >= end)).await;
        met.expect("it goes on").expect("it goes on");
    }
}

/// Records `outputs` (a part of a request in JSON) of the clock page in a directory, while `drive`
/// controls it.
async fn record(
    dir: &Path,
    server: &PageServer,
    outputs: &str,
    drive: impl AsyncFnOnce(&mut Controls),
) -> Ended {
    weir::media::init().unwrap();
    let request = format!(r#"{{"url": "{}", {outputs}}}"#, server.url("/pages/clock.html"));
    let request = json::parse(&request).unwrap();
    let plan = RecordingPlan::new(
        &request,
        &weir::plan::defaults::Defaults::default(),
        EgressId::new("EG_streams"),
        &jiff::Zoned::now(),
    )
    .unwrap();
    let graph =
        GraphPlan::new(&plan, Machine { cores: weir::recorder::available_cores(), encoder_threads: 0 });
    let work = WorkDir::create(&plan, Some(&dir.join(".weir")), dir).unwrap();
    let names = weir::recording::names::Names::new(dir, weir::recording::names::OlderFiles::Replace);
    let setup = Setup {
        plan,
        graph,
        request: None,
        work,
        names,
        base: dir.to_owned(),
        keep_free: 0,
        upload_patience: std::time::Duration::ZERO,
    };
    let (commands, received) = mpsc::unbounded_channel();
    let (info, elapsed) = (watch::Sender::default(), watch::Sender::default());
    let mut controls = Controls { commands, info: info.subscribe(), elapsed: elapsed.subscribe() };
    let mut board = Board { info, elapsed };
    let (ended, ()) = tokio::join!(run(setup, received, &mut board), drive(&mut controls));
    assert_eq!(ended.kept, None);
    assert!(!dir.join(".weir").exists(), "a work directory is left");
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_and_go_beside_a_file_that_does_not_notice() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let (pages, rtmp) = (PageServer::start(), RtmpServer::start());
    let (good, bad) = (rtmp.url("good"), rtmp.url_in("no-such-application", "bad"));
    let outputs = r#""fileOutputs": [{"filepath": "a.mp4"}], "streamOutputs": [{"protocol": "RTMP"}],
        "segmentOutputs": [{"filenamePrefix": "hls/a", "playlistName": "a.m3u8", "segmentDuration": 2}]"#;
    let ended = record(dir.path(), &pages, outputs, async |controls| {
        controls.until_active().await;
        controls.add(&good).await.unwrap();
        let again = controls.add(&good).await.unwrap_err().to_string();
        assert!(again.contains("already") && !again.contains("/good"), "{again}");
        controls.add(&bad).await.unwrap();
        controls.until_streaming(0).await;
        controls.until_stream_is(1, Status::Failed).await;
        controls.record_for(Duration::from_secs(2)).await;
        controls.remove(&good).await.unwrap();
        controls.until_stream_is(0, Status::Finished).await;
        let gone = controls.remove(&good).await.unwrap_err();
        assert!(matches!(gone, CommandError::UnknownStream(_)), "{gone}");
        let other = controls.add("srt://127.0.0.1:9?mode=caller").await.unwrap_err();
        assert_eq!(other, CommandError::NoStreamOutput(StreamProtocol::Srt));
        controls.record_for(Duration::from_secs(2)).await;
        controls.commands.send(Command::Stop(StopCause::Request)).unwrap();
        let late = controls.add(&good).await.unwrap_err();
        assert_eq!(late, CommandError::Ending);
    })
    .await;
    assert_eq!(ended.outcome, Outcome::Complete, "{:#?}", ended.info);
    let [good, bad] = ended.info.stream_results.as_slice() else { panic!("{:#?}", ended.info) };
    assert!(good.error.is_empty() && good.duration > 300_000_000, "{good:#?}");
    assert!(!bad.error.is_empty() && bad.status() == Status::Failed, "{bad:#?}");

    let file = dir.path().join("a.mp4");
    assert_decodable(&file);
    let (length, told) = (Probe::of(&file).duration, ended.info.file_results[0].duration as f64 / 1e9);
    assert!((length - told).abs() < 1.5 && length > 3.0, "{length} s in the file, {told} s told");
    // Nor do its segments, also while it has no stream.
    let playlist = dir.path().join("hls/a.m3u8");
    assert_decodable(&playlist);
    let text = std::fs::read(&playlist).unwrap();
    let playlist = m3u8_rs::parse_media_playlist_res(&text).unwrap();
    let seconds: f64 = playlist.segments.iter().map(|segment| f64::from(segment.duration)).sum();
    assert!(
        playlist.end_list && (seconds - length).abs() < 1.5,
        "{seconds} s in segments, {length} s in the file"
    );
    let received = rtmp.received("good");
    assert_decodable(&received);
    let streamed = Probe::of(&received).duration;
    assert!(streamed > 0.3 && streamed < length, "{streamed} s arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_without_file_ends_with_its_last_stream() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let (pages, rtmp) = (PageServer::start(), RtmpServer::start());
    let (first, second) = (rtmp.url("first"), rtmp.url("second"));
    let outputs = format!(r#""streamOutputs": [{{"protocol": "RTMP", "urls": ["{first}"]}}]"#);
    let ended = record(dir.path(), &pages, &outputs, async |controls| {
        controls.until_active().await;
        controls.until_streaming(0).await;
        controls.add(&second).await.unwrap();
        controls.until_streaming(1).await;
        controls.remove(&first).await.unwrap();
        controls.record_for(Duration::from_secs(2)).await;
        controls.remove(&second).await.unwrap();
    })
    .await;
    assert_eq!(ended.outcome, Outcome::Complete, "{:#?}", ended.info);
    assert!(ended.info.details.contains("All streams stopped"), "{:#?}", ended.info);
    let received = rtmp.received("second");
    assert_decodable(&received);
}

/// Accepts connections, and never reads or answers.
struct SilentServer(TcpListener);

impl SilentServer {
    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn rtmp(&self) -> String {
        format!("rtmp://{}/app/key", self.0.local_addr().unwrap())
    }
}

/// Asserts that the one stream of a recording never started, and that the recording failed because
/// of it.
#[track_caller]
fn assert_never_started(info: &proto::EgressInfo) {
    let [stream] = info.stream_results.as_slice() else { panic!("{info:#?}") };
    assert_eq!((stream.status(), stream.duration), (Status::Failed, 0), "{info:#?}");
    assert!(!stream.error.is_empty(), "{info:#?}");
    assert_eq!((info.status(), info.error_code), (proto::EgressStatus::EgressFailed, 503), "{info:#?}");
    assert!(info.error.contains(&stream.error), "{info:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_started_fails_the_recording_that_has_no_other() {
    let _slot = slots::browser();
    let (pages, deaf) = (PageServer::start(), SilentServer::start());
    let stream = deaf.rtmp();
    let outputs = format!(r#""streamOutputs": [{{"protocol": "RTMP", "urls": ["{stream}"]}}]"#);

    // Stopped between two attempts.
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &pages, &outputs, async |controls| {
        controls.until("it is tried again", |info| info.stream_results[0].retries > 0).await;
        controls.commands.send(Command::Stop(StopCause::Request)).unwrap();
    })
    .await;
    assert_never_started(&ended.info);
    assert!(matches!(ended.outcome, Outcome::Failed(_)), "{:?}", ended.outcome);

    // Removed.
    let dir = tempfile::tempdir().unwrap();
    let ended = record(dir.path(), &pages, &outputs, async |controls| {
        controls.until_active().await;
        controls.remove(&stream).await.unwrap();
        controls.until_stream_is(0, Status::Failed).await;
    })
    .await;
    assert_never_started(&ended.info);
    assert!(ended.info.details.contains("All streams stopped"), "{:#?}", ended.info);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_started_fails_alone_beside_another_output() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let (pages, deaf) = (PageServer::start(), SilentServer::start());
    let outputs = format!(
        r#""fileOutputs": [{{"filepath": "a.mp4"}}], "streamOutputs": [{{"protocol": "RTMP", "urls": ["{}"]}}]"#,
        deaf.rtmp()
    );
    let ended = record(dir.path(), &pages, &outputs, async |controls| {
        controls.until_active().await;
        controls.record_for(Duration::from_secs(2)).await;
        controls.commands.send(Command::Stop(StopCause::Request)).unwrap();
    })
    .await;
    assert_eq!(ended.outcome, Outcome::Complete, "{:#?}", ended.info);
    let stream = &ended.info.stream_results[0];
    assert!(stream.status() == Status::Failed && !stream.error.is_empty(), "{:#?}", ended.info);
    assert_decodable(&dir.path().join("a.mp4"));
}

/// Records to one stream at a terminal.
fn recorded(arguments: &[&str], ends_by_signal: bool) -> Finished {
    let dir = tempfile::tempdir().unwrap();
    let page = page("clock.html");
    let mut recorder = Recorder::start(dir.path(), &[&["web", page.as_str()], arguments].concat());
    if ends_by_signal {
        recorder.until_logged("stream lost, will connect again");
        recorder.signal(Signal::SIGINT);
    }
    recorder.finish(PATIENCE)
}

#[track_caller]
fn assert_failed(ended: &Finished) {
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED", "{}", ended.stdout);
    let stream = &ended.info["streamResults"][0];
    assert_eq!(stream["status"], "FAILED", "{}", ended.stdout);
    assert!(stream["error"].as_str().is_some_and(|error| !error.is_empty()), "{}", ended.stdout);
}

#[test]
fn a_stream_that_never_started_is_a_failure_to_who_interrupts_and_to_who_waits() {
    let _slot = slots::browser();
    let deaf = SilentServer::start();
    assert_failed(&recorded(&["--stream", &deaf.rtmp()], true));
    assert_failed(&recorded(&["--stream", &deaf.rtmp(), "--duration", "4s"], false));
    // An SRT listener without a caller.
    let [port] = crate::support::ports::free();
    let own = format!("srt://127.0.0.1:{port}?mode=listener");
    assert_failed(&recorded(&["--stream", &own, "--duration", "4s"], false));
    // A websocket that never opens, for a recording shorter than its patience.
    let socket = format!("ws://{}/", deaf.0.local_addr().unwrap());
    assert_failed(&recorded(&["--websocket", &socket, "--duration", "3s"], false));
}
