use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};
use tokio::time::advance;

use super::*;
use crate::ipc::Info;

use proto::EgressStatus;
use proto::EgressStatus::{
    EgressActive as Active, EgressComplete as Complete, EgressEnding as Ending, EgressFailed as Failed,
};

fn info(status: EgressStatus) -> proto::EgressInfo {
    let ended_at = i64::from(status == Complete);
    proto::EgressInfo { egress_id: "EG_1".to_owned(), status: status.into(), ended_at, ..Default::default() }
}

fn report(status: EgressStatus) -> Vec<u8> {
    ipc::line(&FromRecorder::Info(Info::new(&info(status))))
}

/// A directory in which no recorder lives, and what it lies in.
fn egress_dir() -> (EgressDir, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    egress_dir.create(&info(Active)).unwrap();
    (egress_dir, dir)
}

/// A recorder that is this test: what it says goes into the first end, and orders come out of the
/// second. It has gone already, so that nothing is killed.
fn launched(egress_dir: &EgressDir) -> (Launched, DuplexStream, DuplexStream) {
    launched_with_room(egress_dir, 1 << 20)
}

/// The same with room for so many bytes of orders that it has not read.
fn launched_with_room(egress_dir: &EgressDir, room: usize) -> (Launched, DuplexStream, DuplexStream) {
    let (says, hears) = duplex(1 << 20);
    let (orders, takes) = duplex(room);
    let recorder = Recorder::TakenOver { egress_dir: egress_dir.clone(), pid: i32::MAX };
    let lines = Lines::new(Box::new(hears) as Incoming);
    (Launched::new(recorder, Box::new(orders), lines, info(Active)), says, takes)
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_says_nothing_has_hung() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, says, _takes) = launched(&egress_dir);
    let begun = Instant::now();
    let departed = launched.attend(|_| {}, |_| {}).await;
    assert!(matches!(&departed.death, Death::Sudden(how) if how.contains("120 s")), "{departed:?}");
    assert!(begun.elapsed() >= silence::LONGEST && begun.elapsed() < silence::LONGEST * 2);
    drop(says);
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_of_the_service_what_the_recorder_said_meanwhile_counts() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, mut says, _takes) = launched(&egress_dir);
    let told = Mutex::new(Vec::new());
    let attending = launched.attend(|info| told.lock().unwrap().push(info.status()), |_| {});
    let recorder = async {
        // The service stands still for ten minutes, while its recorder goes on and then comes to
        // its end.
        for _ in 0..3 {
            says.write_all(&ipc::line(&FromRecorder::Progress(RecorderProgress::default()))).await.unwrap();
            says.write_all(&report(Active)).await.unwrap();
            advance(Duration::from_secs(600)).await;
        }
        // Both stand still: there is nothing to be read afterwards, and the recorder gets its time
        // again.
        advance(Duration::from_secs(600)).await;
        tokio::time::sleep(silence::LONGEST - silence::LOOK_EVERY * 2).await;
        says.write_all(&report(Ending)).await.unwrap();
        says.write_all(&report(Complete)).await.unwrap();
        says.write_all(&ipc::line(&FromRecorder::Ended { kept: None })).await.unwrap();
        drop(says);
    };
    let (departed, ()) = tokio::join!(attending, recorder);
    assert_eq!((departed.death, departed.info), (Death::Natural, info(Complete)));
    assert_eq!(*told.lock().unwrap(), [Active, Active, Active, Ending]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_when_its_files_are_finished_and_not_before() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, mut says, _takes) = launched(&egress_dir);
    let told = Mutex::new(Vec::new());
    let attending = launched.attend(|info| told.lock().unwrap().push(info.status()), |_| {});
    let last = proto::EgressInfo { ended_at: 7, ..info(Failed) };
    let recorder = async {
        says.write_all(&report(Active)).await.unwrap();
        // Twice, as more of its streams end.
        says.write_all(&report(Failed)).await.unwrap();
        says.write_all(&report(Failed)).await.unwrap();
        says.write_all(&ipc::line(&FromRecorder::Info(Info::new(&last)))).await.unwrap();
        says.write_all(&ipc::line(&FromRecorder::Ended { kept: None })).await.unwrap();
        drop(says);
    };
    let (departed, ()) = tokio::join!(attending, recorder);
    assert_eq!(*told.lock().unwrap(), [Active]);
    assert_eq!((departed.death, departed.info), (Death::Natural, last.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_was_evicted_is_no_recorder_that_died() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, mut says, _takes) = launched(&egress_dir);
    let recorder = async {
        says.write_all(&ipc::line(&FromRecorder::Evicted { kept: Some("/w".into()) })).await.unwrap();
        drop(says);
    };
    let (departed, ()) = tokio::join!(launched.attend(|_| {}, |_| {}), recorder);
    assert_eq!((departed.death, departed.info), (Death::Evicted, info(Active)));
}

#[tokio::test(start_paused = true)]
async fn orders_that_pile_up_do_not_hide_that_a_recorder_has_hung() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, _says, takes) = launched(&egress_dir);
    let handle = Arc::clone(&launched.handle);
    drop(takes);
    let asking = async {
        // Somebody asks something of it all the time.
        for _ in 0..10_000 {
            handle.degrade("a test");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let departed = tokio::select! {
        departed = launched.attend(|_| {}, |_| {}) => departed,
        () = asking => panic!("it is attended for ever"),
    };
    assert!(matches!(departed.death, Death::Sudden(_)), "{departed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_read_in_time_takes_no_other_with_it() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, says, takes) = launched_with_room(&egress_dir, 16);
    let handle = Arc::clone(&launched.handle);
    let recorder = async move {
        // Half of it gets through.
        handle.degrade("a test");
        tokio::time::sleep(WRITE_WITHIN * 2).await;
        handle.kill("the end");
        let mut takes = BufReader::new(takes);
        loop {
            let mut line = String::new();
            assert!(takes.read_line(&mut line).await.unwrap() > 0, "it is lost");
            if let Ok(order) = ipc::parse::<ToRecorder>(line.as_bytes()) {
                drop(says);
                return order;
            }
        }
    };
    let (_, order) = tokio::join!(launched.attend(|_| {}, |_| {}), recorder);
    assert_eq!(order, ToRecorder::Kill { error: "the end".to_owned() });
}

#[tokio::test]
async fn a_recorder_of_a_former_run_is_taken_over_and_attended_to_its_end() {
    let (egress_dir, _dir) = egress_dir();
    assert!(take_over(&egress_dir, &[]).await.is_err(), "nobody is there");
    let alive = egress_dir.enter().unwrap().unwrap();
    let listening = socket::RecorderSocket::bind(&egress_dir).unwrap();
    let recorder = async {
        let mut service = listening.accept().await.unwrap();
        // What comes before its report, and of another egress, is passed over.
        service.write_all(&ipc::line(&FromRecorder::Progress(RecorderProgress::default()))).await.unwrap();
        let mut stranger = info(Active);
        stranger.egress_id = "EG_2".to_owned();
        service.write_all(&ipc::line(&FromRecorder::Info(Info::new(&stranger)))).await.unwrap();
        service.write_all(&report(Active)).await.unwrap();
        service
    };
    let (launched, service) = tokio::join!(take_over(&egress_dir, &[]), recorder);
    let launched = launched.unwrap();
    let handle = Arc::clone(&launched.handle);
    assert_eq!(handle.info(), info(Active));
    assert_eq!(handle.pid(), i32::try_from(std::process::id()).unwrap());

    let recorder = async move {
        let mut service = BufReader::new(service);
        let mut line = String::new();
        service.read_line(&mut line).await.unwrap();
        assert_eq!(
            ipc::parse::<ToRecorder>(line.as_bytes()),
            Ok(ToRecorder::Stop { cause: ipc::Cause::Request })
        );
        line.clear();
        service.write_all(&report(Ending)).await.unwrap();
        service.read_line(&mut line).await.unwrap();
        let Ok(ToRecorder::UpdateStream { id, .. }) = ipc::parse(line.as_bytes()) else { panic!("{line}") };
        let stale = Refusal { kind: RefusalKind::Internal, message: "to its former service".to_owned() };
        service.write_all(&ipc::line(&FromRecorder::Reply { id: 1, refusal: Some(stale) })).await.unwrap();
        service.write_all(&ipc::line(&FromRecorder::Reply { id, refusal: None })).await.unwrap();
        service.write_all(&report(Complete)).await.unwrap();
        service.write_all(&ipc::line(&FromRecorder::Ended { kept: None })).await.unwrap();
        drop((service, alive));
    };
    let asking = async {
        assert_eq!(handle.stop().await, info(Ending));
        handle.update_stream(vec!["rtmp://a/b/c".to_owned()], Vec::new()).await.unwrap();
    };
    let (departed, (), ()) = tokio::join!(launched.attend(|_| {}, |_| {}), recorder, asking);
    assert_eq!((departed.death, departed.info), (Death::Natural, info(Complete)));
}

#[tokio::test]
async fn of_a_recorder_that_was_taken_over_only_that_it_died_is_known() {
    let (egress_dir, _dir) = egress_dir();
    let (launched, says, _takes) = launched(&egress_dir);
    drop(says);
    let departed = launched.attend(|_| {}, |_| {}).await;
    assert_eq!(departed.death, Death::Sudden("the recorder died".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_stands_still_finds_its_orders_when_it_goes_on_and_has_hung_otherwise() {
    let (egress_dir, _dir) = egress_dir();
    let alive = egress_dir.enter().unwrap().unwrap();
    let listening = socket::RecorderSocket::bind(&egress_dir).unwrap();
    let orders = [
        ToRecorder::Stop { cause: ipc::Cause::Request },
        ToRecorder::Kill { error: "server is shutting down".to_owned() },
    ];
    let Err(Unreached::Silent(silent)) = take_over(&egress_dir, &orders).await else {
        panic!("it says nothing")
    };
    // Nobody is there any more who would say them again.
    let (incoming, _outgoing) = listening.accept().await.unwrap().into_split();
    let mut lines = Lines::new(incoming);
    for order in orders {
        assert_eq!(ipc::parse::<ToRecorder>(&lines.next().await.unwrap().unwrap()), Ok(order));
    }
    assert!(lines.next().await.is_none());

    // It is gone when it would be killed: it is this test.
    drop((alive, listening));
    let death = silent.give_up().await;
    assert!(matches!(&death, Death::Sudden(how) if how.contains("120 s")), "{death:?}");
    assert!(matches!(take_over(&egress_dir, &[]).await, Err(Unreached::Away(_))));
}
