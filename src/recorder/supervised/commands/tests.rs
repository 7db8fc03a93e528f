use tokio::io::{AsyncWriteExt, duplex};

use super::super::report_writer::ReportWriter;
use super::*;
use crate::control::StopCause;
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::socket;

/// A recorder whose recording is this test.
struct Recorder {
    commands: mpsc::UnboundedReceiver<Command>,
    egress_dir: EgressDir,
    writer: ReportWriter,
    _listening: JoinSet<()>,
    _dir: tempfile::TempDir,
}

fn info(details: &str) -> livekit_protocol::EgressInfo {
    livekit_protocol::EgressInfo {
        egress_id: "EG_1".to_owned(),
        details: details.to_owned(),
        ..Default::default()
    }
}

impl Recorder {
    /// Gives its service's end of the pipe, too.
    fn start(orphan_timeout: Duration) -> (Self, tokio::io::DuplexStream) {
        let dir = tempfile::tempdir().unwrap();
        let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
        egress_dir.create(&info("")).unwrap();
        let (service, stdin) = duplex(1 << 16);
        let mut writer = ReportWriter::open(Box::new(tokio::io::sink()), egress_dir.clone());
        crate::recording::Reporter::changed(&mut writer, &info("begun"));
        let (to_recording, commands) = mpsc::unbounded_channel();
        let streams = Streams::new(to_recording.clone(), writer.words(), writer.infos(), false);
        let socket = Some(RecorderSocket::bind(&egress_dir).unwrap());
        let orders =
            Orders { commands: to_recording, streams, words: writer.words(), socket, orphan_timeout };
        let mut listening = JoinSet::new();
        listening.spawn(orders.take(Box::new(stdin)));
        (Self { commands, egress_dir, writer, _listening: listening, _dir: dir }, service)
    }
}

const STOP: ToRecorder = ToRecorder::Stop { cause: ipc::Cause::Request };

#[tokio::test]
async fn a_recording_outlives_its_service_and_the_next_one_stops_it() {
    let (mut recorder, service) = Recorder::start(Duration::from_secs(3600));
    drop(service);
    for _ in 0..2 {
        // The second takes over from the first.
        let (stream, _) = socket::connect(&recorder.egress_dir).await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = Lines::new(read);
        let first: FromRecorder = ipc::parse(&lines.next().await.unwrap().unwrap()).unwrap();
        let FromRecorder::Info(report) = first else { panic!("{first:?}") };
        assert_eq!(report.read().unwrap(), info("begun"));
        write.write_all(&ipc::line(&STOP)).await.unwrap();
        let stopped = recorder.commands.recv().await.unwrap();
        assert!(matches!(stopped, Command::Stop(StopCause::Request)), "{stopped:?}");
        write
            .write_all(&ipc::line(&ToRecorder::UpdateStream {
                id: 5,
                add: crate::secret::Secret::default(),
                remove: crate::secret::Secret::default(),
            }))
            .await
            .unwrap();
        // A report may come before it.
        loop {
            let said: FromRecorder = ipc::parse(&lines.next().await.unwrap().unwrap()).unwrap();
            if matches!(said, FromRecorder::Reply { id: 5, refusal: Some(_) }) {
                break;
            }
        }
    }
    drop(recorder.writer);
}

#[tokio::test]
async fn as_long_as_its_service_is_there_nobody_else_takes_over() {
    let (mut recorder, mut service) = Recorder::start(Duration::from_secs(3600));
    let (mut stranger, _) = socket::connect(&recorder.egress_dir).await.unwrap();
    stranger.write_all(&ipc::line(&ToRecorder::Kill { error: "mine".to_owned() })).await.unwrap();
    service.write_all(&ipc::line(&STOP)).await.unwrap();
    let first = recorder.commands.recv().await.unwrap();
    assert!(matches!(first, Command::Stop(StopCause::Request)), "{first:?}");
    assert!(recorder.commands.try_recv().is_err(), "the other one waits");
    drop(service);
    let then = recorder.commands.recv().await.unwrap();
    assert!(matches!(&then, Command::Kill { error } if error == "mine"), "{then:?}");
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_no_service_comes_back_to_ends_after_its_time() {
    let (mut recorder, service) = Recorder::start(Duration::from_secs(600));
    let begun = Instant::now();
    drop(service);
    let ended = recorder.commands.recv().await.unwrap();
    assert!(matches!(&ended, Command::Kill { error } if error.contains("600 s")), "{ended:?}");
    assert!(begun.elapsed() >= Duration::from_secs(600));
    // It is said once.
    assert!(timeout(Duration::from_secs(6000), recorder.commands.recv()).await.is_err());
}

#[tokio::test]
async fn a_service_that_comes_back_in_time_gives_it_all_its_time_again() {
    let (mut recorder, service) = Recorder::start(Duration::from_secs(600));
    drop(service);
    let (mut stream, _) = socket::connect(&recorder.egress_dir).await.unwrap();
    stream.write_all(&ipc::line(&ToRecorder::Degrade { why: "a test".to_owned() })).await.unwrap();
    let taken = recorder.commands.recv().await.unwrap();
    assert!(matches!(taken, Command::Degrade { .. }), "{taken:?}");
    tokio::time::pause();
    assert!(timeout(Duration::from_secs(6000), recorder.commands.recv()).await.is_err(), "it is not alone");
    let begun = Instant::now();
    drop(stream);
    assert!(matches!(recorder.commands.recv().await, Some(Command::Kill { .. })));
    assert!(begun.elapsed() >= Duration::from_secs(600));
}
