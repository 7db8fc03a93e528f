//! Recorders of a former run that stand still.

use proto::EgressStatus::{EgressActive, EgressFailed};
use tokio::time::sleep;

use super::*;
use crate::ipc::Lines;
use crate::ipc::egress_dir::Alive;

/// Remains of a stopped recorder: a listening socket that accepts no connection.
struct Still {
    listening: RecorderSocket,
    alive: Alive,
    info: proto::EgressInfo,
}

impl Still {
    async fn begin(egress_dir: &EgressDir, registry: &MemoryRegistry) -> Self {
        let info = info(egress_dir.egress_id(), EgressActive, 0);
        registry.create(&info).await.unwrap();
        egress_dir.create(&info).unwrap();
        let alive = egress_dir.enter().unwrap().unwrap();
        Self { listening: RecorderSocket::bind(egress_dir).unwrap(), alive, info }
    }

    /// It goes on. Gives the first order that it finds; those who have gone meanwhile come first.
    async fn first_order(&self) -> ToRecorder {
        loop {
            let (incoming, mut outgoing) = self.listening.accept().await.unwrap().into_split();
            // It fails where nobody is any more.
            outgoing.write_all(&ipc::line(&FromRecorder::Info(ipc::Info::new(&self.info)))).await.ok();
            if let Some(line) = Lines::new(incoming).next().await {
                return ipc::parse(&line.unwrap()).unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_to_stop_a_recorder_that_stands_still_is_kept_until_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let recorder = Still::begin(&egress_dir, &registry).await;
    service.take_over().await.unwrap();
    // Once while it is looked for, and once when it is known that it does not answer.
    for _ in 0..2 {
        assert_eq!(service.stop("EG_1").await.unwrap().status(), EgressActive);
    }
    assert_eq!(service.orphans().len(), 1);
    let add_output_urls = vec!["rtmp://example.com/live/key".to_owned()];
    let update =
        proto::UpdateStreamRequest { egress_id: "EG_1".to_owned(), add_output_urls, ..Default::default() };
    assert_eq!(service.update_stream(update).await.unwrap_err(), ServiceError::unreached());
    assert_eq!(service.graph("EG_1").await.unwrap_err(), ServiceError::unreached());
    assert_eq!(recorder.first_order().await, ToRecorder::Stop { cause: ipc::Cause::Request });
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_stands_still_ends_with_its_new_service_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let recorder = Still::begin(&egress_dir, &registry).await;
    service.take_over().await.unwrap();
    sleep(Duration::from_secs(20)).await;
    service.kill_all("server is shutting down");
    timeout(Duration::from_secs(1), service.idle()).await.expect("nobody waits for it");
    sleep(Duration::from_secs(10)).await;
    let order = recorder.first_order().await;
    assert_eq!(order, ToRecorder::Kill { error: "server is shutting down".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn an_order_that_could_not_reach_a_recorder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    // Its file system takes no sockets.
    let Still { alive: _alive, listening, .. } = Still::begin(&egress_dir, &registry).await;
    drop(listening);
    service.take_over().await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(service.stop("EG_1").await.unwrap_err(), ServiceError::unreached());
    assert_eq!(service.orphans().len(), 1, "nobody knows that it hangs");
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_hangs_is_given_up_though_its_service_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, tasks) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let Still { alive, listening, .. } = Still::begin(&egress_dir, &registry).await;
    service.take_over().await.unwrap();
    service.close();
    tasks.close();
    let gone = async {
        // It is this test: it must not be there any more when it is killed, and has to be when it
        // is last tried.
        sleep(Duration::from_secs(119)).await;
        drop(alive);
    };
    let waiting = timeout(Duration::from_secs(600), tasks.wait());
    let (waited, ()) = tokio::join!(waiting, gone);
    waited.expect("it is given up");
    drop(listening);
    let told = service.known("EG_1").await.unwrap();
    assert_eq!(told.status(), EgressFailed, "{told:?}");
    assert!(told.error.contains("it said nothing for 120 s"), "{told:?}");
    assert!(!egress_dir.dir().exists());
}
