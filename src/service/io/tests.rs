use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::psrpc::{MemoryBus, Offer, Registration, Server, ServerOptions, typed};

/// livekit-server's side: records reports when allowed to.
struct Peer {
    told: Arc<Mutex<Vec<(String, i32)>>>,
    let_in: Arc<Semaphore>,
    /// Error code instead of an acceptance; `None`: accepts.
    refuses: Arc<Mutex<Option<Code>>>,
    _server: Server,
    _registration: Registration,
}

impl Peer {
    async fn start(bus: &MemoryBus, tasks: &TaskTracker) -> Self {
        let server = Server::new(Arc::new(bus.clone()), "IOInfo", tasks, ServerOptions::default());
        let told: Arc<Mutex<Vec<(String, i32)>>> = Arc::default();
        let let_in = Arc::new(Semaphore::new(0));
        let refuses: Arc<Mutex<Option<Code>>> = Arc::default();
        let (noted, gate, refusing) = (Arc::clone(&told), Arc::clone(&let_in), Arc::clone(&refuses));
        let update = typed(
            |_: &proto::EgressInfo| Offer::Affinity(1.0),
            move |info: proto::EgressInfo, _| {
                let (noted, gate) = (Arc::clone(&noted), Arc::clone(&gate));
                let refusing = Arc::clone(&refusing);
                async move {
                    gate.acquire().await.unwrap().forget();
                    let refused = *refusing.lock().unwrap();
                    if let Some(code) = refused {
                        return Err(Error::new(code, "no"));
                    }
                    noted.lock().unwrap().push((info.egress_id, info.status));
                    Ok(())
                }
            },
        );
        let registration = server.register(Method::queued("UpdateEgress"), update).await.unwrap();
        Self { told, let_in, refuses, _server: server, _registration: registration }
    }

    fn refuse(&self, code: Option<Code>) {
        *self.refuses.lock().unwrap() = code;
    }

    fn mark_reported(&self) -> Vec<(String, i32)> {
        self.told.lock().unwrap().clone()
    }
}

fn info(egress_id: &str, status: proto::EgressStatus) -> proto::EgressInfo {
    let ended_at = i64::from(status == proto::EgressStatus::EgressComplete);
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        status: status.into(),
        ended_at,
        ..Default::default()
    }
}

fn registry(bus: &MemoryBus, tasks: &TaskTracker) -> IoRegistry {
    let times = IoTimes { update: Duration::from_secs(3), ..IoTimes::default() };
    IoRegistry::new(Arc::new(bus.clone()), times, tasks)
}

use proto::EgressStatus::{EgressActive as Active, EgressComplete as Complete, EgressEnding as Ending};

#[tokio::test(start_paused = true)]
async fn one_egress_is_told_in_order_and_the_newest_of_what_waits() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let peer = Peer::start(&bus, &tasks).await;
    let registry = registry(&bus, &tasks);
    registry.update(info("EG_1", Active));
    // On its way. What comes now waits, and the last of it counts.
    tokio::time::sleep(Duration::from_millis(50)).await;
    registry.update(info("EG_1", Ending));
    registry.update(info("EG_1", Complete));
    registry.update(info("EG_1", Active));
    peer.let_in.add_permits(2);
    timeout(Duration::from_secs(2), registry.delivered("EG_1")).await.expect("it is taken");
    let (active, complete) = (i32::from(Active), i32::from(Complete));
    assert_eq!(peer.mark_reported(), [("EG_1".to_owned(), active), ("EG_1".to_owned(), complete)]);
}

#[tokio::test(start_paused = true)]
async fn an_egress_that_can_not_be_told_holds_up_no_other() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let peer = Peer::start(&bus, &tasks).await;
    let registry = registry(&bus, &tasks);
    registry.update(info("EG_1", Active));
    tokio::time::sleep(Duration::from_millis(50)).await;
    registry.update(info("EG_2", Active));
    peer.let_in.add_permits(1);
    assert!(timeout(Duration::from_millis(200), registry.drained()).await.is_err(), "one is still told");
    peer.let_in.add_permits(1);
    timeout(Duration::from_secs(2), registry.drained()).await.expect("both are taken");
    assert_eq!(peer.mark_reported().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_told_again_until_somebody_takes_it() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let registry = registry(&bus, &tasks);
    assert!(registry.is_healthy());
    registry.update(info("EG_1", Active));
    // Five minutes with nobody there.
    assert!(timeout(Duration::from_secs(300), registry.delivered("EG_1")).await.is_err());
    assert!(!registry.is_healthy(), "no more work is taken");
    registry.update(info("EG_1", Complete));
    let peer = Peer::start(&bus, &tasks).await;
    peer.let_in.add_permits(2);
    timeout(Duration::from_secs(70), registry.delivered("EG_1")).await.expect("it is taken");
    assert_eq!(peer.mark_reported(), [("EG_1".to_owned(), i32::from(Complete))], "the newest alone");
    assert!(registry.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_told_again() {
    for code in [Code::InvalidArgument, Code::NotFound, Code::PermissionDenied] {
        let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
        let peer = Peer::start(&bus, &tasks).await;
        let registry = registry(&bus, &tasks);
        peer.refuse(Some(code));
        peer.let_in.add_permits(10);
        registry.update(info("EG_1", Active));
        timeout(Duration::from_secs(2), registry.delivered("EG_1")).await.expect("it is over");
        peer.refuse(None);
        registry.update(info("EG_1", Complete));
        timeout(Duration::from_secs(2), registry.delivered("EG_1")).await.expect("it is taken");
        assert_eq!(peer.mark_reported(), [("EG_1".to_owned(), i32::from(Complete))], "{code}");
        assert!(registry.is_healthy());
    }
}

#[tokio::test(start_paused = true)]
async fn every_other_error_passes_and_the_end_is_told() {
    let is_final =
        |code: &Code| matches!(code, Code::NotFound | Code::InvalidArgument | Code::PermissionDenied);
    for code in Code::ALL.iter().filter(|code| !is_final(code)) {
        let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
        let peer = Peer::start(&bus, &tasks).await;
        let registry = registry(&bus, &tasks);
        peer.refuse(Some(*code));
        peer.let_in.add_permits(1000);
        registry.update(info("EG_1", Complete));
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, registry.delivered("EG_1")).await.is_err(), "{code}: it is kept");
        let asked = 1000 - peer.let_in.available_permits();
        assert!((30..80).contains(&asked), "{code}: {asked} times in an hour");
        assert!(registry.is_healthy(), "{code}: livekit-server answers, whatever it says");
        peer.refuse(None);
        timeout(Duration::from_secs(70), registry.delivered("EG_1")).await.expect("it is taken");
        assert_eq!(peer.mark_reported(), [("EG_1".to_owned(), i32::from(Complete))], "{code}");
        assert!(registry.is_healthy(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_ends_the_silence_and_the_report_is_still_told() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let registry = registry(&bus, &tasks);
    registry.update(info("EG_1", Active));
    assert!(timeout(Duration::from_secs(30), registry.delivered("EG_1")).await.is_err(), "nobody is there");
    assert!(!registry.is_healthy());
    registry.update(info("EG_1", Complete));
    let peer = Peer::start(&bus, &tasks).await;
    // As livekit-server answers when its Redis is away.
    peer.refuse(Some(Code::Unknown));
    peer.let_in.add_permits(1000);
    assert!(timeout(Duration::from_secs(120), registry.delivered("EG_1")).await.is_err(), "it is kept");
    assert!(registry.is_healthy(), "livekit-server answers: work is taken");
    peer.refuse(None);
    timeout(Duration::from_secs(70), registry.delivered("EG_1")).await.expect("it is taken");
    assert_eq!(peer.mark_reported(), [("EG_1".to_owned(), i32::from(Complete))]);
}

#[tokio::test(start_paused = true)]
async fn an_egress_is_not_begun_where_nobody_keeps_it() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let times = IoTimes { create: Duration::from_millis(200), ..IoTimes::default() };
    let registry = IoRegistry::new(Arc::new(bus), times, &tasks);
    let refused = registry.create(&info("EG_1", Active)).await.unwrap_err();
    assert_eq!((refused.code, &*refused.message), (Code::Unavailable, crate::psrpc::NO_RESPONSE));
}

/// `/healthz` used to answer "ok" as long as there was nothing to report.
#[tokio::test]
async fn a_bus_that_is_away_is_known_before_there_is_something_to_tell() {
    let (bus, tasks) = (MemoryBus::new(), TaskTracker::new());
    let registry = registry(&bus, &tasks);
    assert!(registry.is_connected());
    bus.set_link(crate::psrpc::LinkState::Down);
    assert!(!registry.is_connected() && registry.is_healthy());
    bus.set_link(crate::psrpc::LinkState::Up);
    assert!(registry.is_connected());
}
