mod real_time;
mod unreached;

use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::recovery::{Death, clear_when_told, settle};
use super::registry::MemoryRegistry;
use super::*;
use crate::config::cost::CpuCost;
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::socket::RecorderSocket;
use crate::ipc::{self, FromRecorder, ToRecorder};

/// A service on a directory, with a registry that is looked into.
fn service(dir: &Path, admission: AdmissionController) -> (Arc<Service>, Arc<MemoryRegistry>, TaskTracker) {
    let settings = Settings {
        defaults: Defaults::default(),
        layouts: None,
        session: SessionLimits::default(),
        keep_free: 0,
        upload_patience: Duration::ZERO,
        work_dir: dir.join("work"),
        base: dir.to_owned(),
        logs: Logs { filter: "info".to_owned(), json: false },
        browser: BrowserSettings::default(),
        video_encoder_threads: 0,
        orphan_timeout: Duration::from_secs(3600),
    };
    let registry = Arc::new(MemoryRegistry::new());
    let tasks = TaskTracker::new();
    (
        Service::new(settings, Arc::clone(&registry) as Arc<dyn Registry>, admission, None, &tasks),
        registry,
        tasks,
    )
}

fn web(egress_id: &str, url: &str) -> rpc::StartEgressRequest {
    let file = proto::EncodedFileOutput { filepath: "a.mp4".to_owned(), ..Default::default() };
    let web = proto::WebEgressRequest { url: url.to_owned(), file_outputs: vec![file], ..Default::default() };
    rpc::StartEgressRequest {
        egress_id: egress_id.to_owned(),
        request: Some(rpc::start_egress_request::Request::Web(web)),
        ..Default::default()
    }
}

fn info(egress_id: &str, status: proto::EgressStatus, ended_at: i64) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        status: status.into(),
        ended_at,
        ..Default::default()
    }
}

/// A controller with capacity for every request.
fn ample() -> AdmissionController {
    AdmissionController::new(CpuCost::default(), 1e6)
}

/// A controller without capacity: one recording costs more memory than there is.
fn full() -> AdmissionController {
    let costs = CpuCost { max_memory: 1.0, memory_cost: 4.0, ..CpuCost::default() };
    AdmissionController::new(costs, 4.0)
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), full());
    let start = async |request| service.start(request).await.unwrap_err();
    let page = "https://example.com";
    for id in ["", "../EG_1", "a/b"] {
        let refused = start(web(id, page)).await;
        assert!(refused.code == Code::InvalidArgument && refused.message.contains("egressID"), "{refused:?}");
    }
    let wrong = start(web("EG_1", "nowhere")).await;
    assert!(wrong.code == Code::InvalidArgument && wrong.message.contains("web url"), "{wrong:?}");
    assert_eq!(start(web("EG_1", page)).await, ServiceError::unavailable("not enough CPU"));
    assert!(service.affinity(&web("EG_1", page)) < 0.0);
    service.close();
    assert_eq!(start(web("EG_1", page)).await, ServiceError::shutting_down());

    assert!(!dir.path().join("work").exists(), "nothing was made");
    assert!(service.active().is_empty());
    assert_eq!(registry.list(proto::ListEgressRequest::default()).await.unwrap().items, []);
    timeout(Duration::from_secs(1), service.idle()).await.expect("nothing is recorded");
}

/// An announced start is found by the room that its request names.
#[tokio::test]
async fn a_page_recorded_for_a_room_is_listed_by_that_room() {
    let dir = tempfile::tempdir().unwrap();
    let (service, ..) = service(dir.path(), ample());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let file = dir.path().join("egresses.redb");
    let store =
        store::Store::open(&file, store::StoreOptions::default(), &tasks, stop.clone()).await.unwrap();
    let of_room = r#""roomName": "stand-up", "outputs": [{"file": {"filepath": "{room_name}"}}]"#;
    let of_page = r#""outputs": [{"file": {"filepath": "a.mp4"}}]"#;
    for (egress_id, rest) in [("EG_room", of_room), ("EG_page", of_page)] {
        let text = format!(r#"{{"web": {{"url": "https://example.com"}}, {rest}}}"#);
        let v2 = serde_json::from_str(&text).unwrap();
        let request = rpc::StartEgressRequest {
            egress_id: egress_id.to_owned(),
            request: Some(rpc::start_egress_request::Request::Egress(v2)),
            ..Default::default()
        };
        let egress_dir = EgressDir::of(&service.settings.work_dir, egress_id).unwrap();
        let info = start::first_report(&start::job(&service.settings, &egress_dir, &request)).unwrap();
        assert!(store.create(&info).await.unwrap());
    }
    let list = |room: &str| {
        let request = proto::ListEgressRequest { room_name: room.to_owned(), ..Default::default() };
        store.list(&request).unwrap().items
    };
    let listed = list("stand-up");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&*listed[0].egress_id, &*listed[0].room_name), ("EG_room", "stand-up"));
    assert_eq!(listed[0].file_results[0].filename, "stand-up.mp4");
    assert_eq!(list("another").len(), 0);
    assert_eq!(list("").len(), 2);
    stop.cancel();
    tasks.close();
    timeout(Duration::from_secs(60), tasks.wait()).await.expect("the store closes");
}

#[tokio::test]
async fn a_layout_is_one_of_a_room_of_a_server_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), ample());
    let mut room = info("EG_room", proto::EgressStatus::EgressActive, 0);
    room.room_name = "stand-up".to_owned();
    for info in [&room, &info("EG_page", proto::EgressStatus::EgressActive, 0)] {
        registry.create(info).await.unwrap();
    }
    for (egress_id, code, text) in [
        ("EG_page", Code::NotFound, "participant does not exist"),
        ("EG_none", Code::NotFound, "egress does not exist"),
        ("EG_room", Code::InvalidArgument, "ws_url"),
    ] {
        let refused = service.update_layout(egress_id, "grid").await.unwrap_err();
        assert!(refused.code == code && refused.message.contains(text), "{refused:?}");
    }
}

#[tokio::test]
async fn an_egress_whose_files_are_still_here_is_not_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let (service, ..) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    egress_dir.create(&info("EG_1", proto::EgressStatus::EgressActive, 0)).unwrap();
    let refused = service.start(web("EG_1", "https://example.com")).await.unwrap_err();
    assert_eq!(refused, ServiceError::egress_exists());
}

#[tokio::test]
async fn a_recorder_that_ended_well_is_believed_though_nobody_heard_its_last_word() {
    use proto::EgressStatus::{EgressActive, EgressComplete, EgressFailed};
    let dir = tempfile::tempdir().unwrap();
    for (id, last, death, status) in [
        // It ended with exit code 0 while its service stood still: its last report is in its
        // directory.
        ("EG_whole", Some(EgressComplete), Death::Unheard, EgressComplete),
        ("EG_killed", Some(EgressComplete), Death::Sudden("the recorder died".to_owned()), EgressComplete),
        ("EG_silent", None, Death::Unheard, EgressFailed),
    ] {
        let registry = MemoryRegistry::new();
        let egress_dir = EgressDir::of(dir.path(), id).unwrap();
        egress_dir.create(&info(id, EgressActive, 0)).unwrap();
        if let Some(last) = last {
            egress_dir.write_info(&info(id, last, 7)).unwrap();
        }
        settle(&registry, &egress_dir, info(id, EgressActive, 0), death, || {}).await;
        let request = proto::ListEgressRequest { egress_id: id.to_owned(), ..Default::default() };
        let told = registry.list(request).await.unwrap().items;
        assert_eq!(told[0].status(), status, "{told:?}");
        assert!(!told[0].error.contains("exit code 0"), "{told:?}");
        assert!(!egress_dir.dir().exists(), "it is told");
    }
}

#[tokio::test]
async fn a_recorder_that_died_is_told_by_the_newest_of_what_it_has_said_and_written() {
    use proto::EgressStatus::{EgressActive, EgressFailed, EgressStarting};
    let dir = tempfile::tempdir().unwrap();
    let registry = MemoryRegistry::new();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    let heard = info("EG_1", EgressStarting, 0);
    egress_dir.create(&heard).unwrap();
    // Its service stood still when it said this.
    let (details, updated_at) = ("storage away at 3.0 s".to_owned(), 5);
    let written = proto::EgressInfo { details, updated_at, ..info("EG_1", EgressActive, 0) };
    egress_dir.write_info(&written).unwrap();
    settle(&registry, &egress_dir, heard, Death::Sudden("the recorder died".to_owned()), || {}).await;
    let told = registry.list(proto::ListEgressRequest::default()).await.unwrap().items.remove(0);
    assert_eq!((told.status(), &*told.error), (EgressFailed, "the recorder died"));
    assert!(told.details.contains("storage away at 3.0 s"), "{told:?}");
}

/// Another recorder has the egress: nobody reports of it, neither this service nor its next run,
/// and what is kept stays.
#[tokio::test]
async fn of_an_evicted_recording_nothing_is_reported_and_nothing_stored() {
    use proto::EgressStatus::EgressActive;
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, tasks) = service(dir.path(), ample());
    let work = dir.path().join("work");
    let [kept, empty] = ["EG_kept", "EG_empty"].map(|id| EgressDir::of(&work, id).unwrap());
    for egress_dir in [&kept, &empty] {
        let active = info(egress_dir.egress_id(), EgressActive, 0);
        registry.create(&active).await.unwrap();
        egress_dir.create(&active).unwrap();
        egress_dir.mark_evicted().unwrap();
    }
    let recorded = kept.work_dir().join("0/file-0.mp4");
    std::fs::create_dir_all(recorded.parent().unwrap()).unwrap();
    std::fs::write(&recorded, "frames").unwrap();
    let mut is_told = false;
    settle(&*registry, &kept, info("EG_kept", EgressActive, 0), Death::Evicted, || is_told = true).await;
    assert!(is_told, "its place is free");
    settle(&*registry, &empty, info("EG_empty", EgressActive, 0), Death::Evicted, || {}).await;
    assert!(!empty.dir().exists(), "nothing is left of it");

    service.take_over().await.unwrap();
    service.close();
    tasks.close();
    timeout(Duration::from_secs(60), tasks.wait()).await.expect("there is nothing to do");
    assert_eq!(service.known("EG_kept").await.unwrap().status(), EgressActive);
    assert!(recorded.exists() && !kept.is_told());
}

/// A registry that is away until it is said to be back.
#[derive(Default)]
struct Away {
    registry: MemoryRegistry,
    is_back: Notify,
}

#[async_trait]
impl Registry for Away {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        self.registry.create(info).await
    }

    fn update(&self, info: proto::EgressInfo) {
        self.registry.update(info);
    }

    async fn delivered(&self, _: &str) {
        self.is_back.notified().await;
    }

    async fn drained(&self) {
        self.is_back.notified().await;
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        self.registry.list(request).await
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        self.registry.unfinished().await
    }
}

#[tokio::test]
async fn what_a_failed_start_leaves_stays_until_its_registry_has_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    egress_dir.create(&info("EG_1", proto::EgressStatus::EgressFailed, 7)).unwrap();
    let registry = Away::default();
    let clearing = clear_when_told(&registry, &egress_dir);
    tokio::pin!(clearing);
    assert!(timeout(Duration::from_millis(100), &mut clearing).await.is_err());
    assert!(egress_dir.info().is_some(), "the next run can tell it");
    registry.is_back.notify_one();
    timeout(Duration::from_secs(60), clearing).await.expect("it is told");
    assert!(!egress_dir.dir().exists());
}

#[tokio::test]
async fn what_a_recording_leaves_stays_until_its_registry_has_its_end() {
    use proto::EgressStatus::{EgressActive, EgressComplete};
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = EgressDir::of(dir.path(), "EG_1").unwrap();
    egress_dir.create(&info("EG_1", EgressActive, 0)).unwrap();
    let complete = info("EG_1", EgressComplete, 7);
    egress_dir.write_info(&complete).unwrap();
    let registry = Away::default();
    let settling = settle(&registry, &egress_dir, complete, Death::Natural, || {});
    tokio::pin!(settling);
    assert!(timeout(Duration::from_millis(100), &mut settling).await.is_err());
    assert_eq!(egress_dir.info().map(|info| info.status()), Some(EgressComplete), "the next run can tell it");
    registry.is_back.notify_one();
    timeout(Duration::from_secs(60), settling).await.expect("it is told");
    assert!(!egress_dir.dir().exists());
}

#[tokio::test]
async fn a_recording_whose_report_is_lost_ends_in_the_registry_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, tasks) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let active = info("EG_1", proto::EgressStatus::EgressActive, 0);
    registry.create(&active).await.unwrap();
    egress_dir.create(&active).unwrap();
    // As a power cut may leave it.
    std::fs::write(egress_dir.dir().join("info"), "").unwrap();
    service.take_over().await.unwrap();
    service.close();
    tasks.close();
    timeout(Duration::from_secs(60), tasks.wait()).await.expect("it is told");
    let told = service.known("EG_1").await.unwrap();
    assert_eq!(told.status(), proto::EgressStatus::EgressFailed, "{told:?}");
    assert!(!egress_dir.dir().exists());
}

/// A recorder of a former run, as this test plays it.
struct Recorder {
    lines: crate::ipc::Lines<tokio::net::unix::OwnedReadHalf>,
    says: tokio::net::unix::OwnedWriteHalf,
    _alive: crate::ipc::egress_dir::Alive,
}

impl Recorder {
    async fn say(&mut self, word: &FromRecorder) {
        self.says.write_all(&ipc::line(word)).await.unwrap();
    }

    async fn next(&mut self) -> ToRecorder {
        ipc::parse(&self.lines.next().await.unwrap().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_recording_of_a_former_run_is_stopped_and_told_like_any_other() {
    use proto::EgressStatus::{EgressActive, EgressComplete, EgressEnding};
    let dir = tempfile::tempdir().unwrap();
    let gate = admission::AdmissionController::new(crate::config::cost::CpuCost::default(), 4.0);
    let (service, registry, tasks) = service(dir.path(), gate.clone());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let mut active = info("EG_1", EgressActive, 0);
    active.request = Some(proto::egress_info::Request::Web(proto::WebEgressRequest::default()));
    registry.create(&active).await.unwrap();
    egress_dir.create(&active).unwrap();
    let alive = egress_dir.enter().unwrap().unwrap();
    let listening = RecorderSocket::bind(&egress_dir).unwrap();

    service.take_over().await.unwrap();
    // Whoever asks for it waits until it is taken over, and it is not started again.
    assert_eq!(service.active(), ["EG_1"]);
    let refused = service.start(web("EG_1", "https://example.com")).await.unwrap_err();
    assert_eq!(refused, ServiceError::egress_exists());
    let (lines, says) = listening.accept().await.unwrap().into_split();
    let mut recorder = Recorder { lines: crate::ipc::Lines::new(lines), says, _alive: alive };
    let report = |info: &proto::EgressInfo| FromRecorder::Info(ipc::Info::new(info));
    recorder.say(&report(&active)).await;
    recorder
        .say(&FromRecorder::Progress(RecorderProgress { pictures: 7, ..RecorderProgress::default() }))
        .await;
    let playing = async {
        assert_eq!(recorder.next().await, ToRecorder::Stop { cause: ipc::Cause::Request });
        let ending = proto::EgressInfo { status: EgressEnding.into(), ..active.clone() };
        recorder.say(&report(&ending)).await;
    };
    let (stopped, ()) = tokio::join!(service.stop("EG_1"), playing);
    assert_eq!(stopped.unwrap().status(), EgressEnding);
    let running = service.running();
    assert_eq!((running.len(), running[0].progress.pictures), (1, 7));
    let reservations: Vec<_> = gate.reservations().into_values().collect();
    assert_eq!((reservations.len(), reservations[0].kind), (1, admission::Kind::Web));
    assert!(service.orphans().is_empty());

    let complete = proto::EgressInfo { status: EgressComplete.into(), ended_at: 7, ..active.clone() };
    recorder.say(&report(&complete)).await;
    recorder.say(&FromRecorder::Ended { kept: None }).await;
    drop((recorder, listening));
    timeout(Duration::from_secs(30), service.idle()).await.expect("it is over");
    assert_eq!(service.known("EG_1").await.unwrap(), complete);
    assert!(gate.reservations().is_empty(), "its room is free again");
    service.close();
    tasks.close();
    timeout(Duration::from_secs(30), tasks.wait()).await.expect("all is told");
    assert!(!egress_dir.dir().exists());
}

#[tokio::test]
async fn a_recording_of_a_former_run_ends_with_its_new_service() {
    use proto::EgressStatus::EgressActive;
    let dir = tempfile::tempdir().unwrap();
    let (service, ..) = service(dir.path(), ample());
    let egress_dir = EgressDir::of(&dir.path().join("work"), "EG_1").unwrap();
    let active = info("EG_1", EgressActive, 0);
    egress_dir.create(&active).unwrap();
    let alive = egress_dir.enter().unwrap().unwrap();
    let listening = RecorderSocket::bind(&egress_dir).unwrap();
    service.take_over().await.unwrap();
    // Said while it is looked for.
    service.kill_all("server is shutting down");
    let (lines, says) = listening.accept().await.unwrap().into_split();
    let mut recorder = Recorder { lines: crate::ipc::Lines::new(lines), says, _alive: alive };
    recorder.say(&FromRecorder::Info(ipc::Info::new(&active))).await;
    assert_eq!(recorder.next().await, ToRecorder::Kill { error: "server is shutting down".to_owned() });
}
