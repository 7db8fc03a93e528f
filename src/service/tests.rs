mod real_time;

use std::path::Path;

use super::registry::MemoryRegistry;
use super::*;
use crate::ipc::cell::Cell;

/// A service on a directory, with a registry that is looked into.
fn service(dir: &Path, admission: Arc<dyn Admission>) -> (Arc<Service>, Arc<MemoryRegistry>, TaskTracker) {
    let settings = Settings {
        provisions: Provisions::default(),
        layouts: None,
        session: SessionLimits::default(),
        keep_free: 0,
        upload_patience: Duration::ZERO,
        work_dir: dir.join("work"),
        base: dir.to_owned(),
        logs: Logs { filter: "info".to_owned(), json: false },
        browser: BrowserTerms::default(),
        video_encoder_threads: 0,
    };
    let registry = Arc::new(MemoryRegistry::new());
    let tasks = TaskTracker::new();
    (Service::new(settings, Arc::clone(&registry) as Arc<dyn Registry>, admission, &tasks), registry, tasks)
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

/// There is no room.
struct Full;

impl Admission for Full {
    fn admit(&self, _: &rpc::StartEgressRequest) -> Result<Box<dyn Any + Send + Sync>, ServiceError> {
        Err(ServiceError::unavailable("not enough CPU"))
    }

    fn affinity(&self, _: &rpc::StartEgressRequest) -> f32 {
        -1.0
    }
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), Arc::new(Full));
    let start = async |request| service.start(request).await.unwrap_err();
    let page = "https://example.com";
    for id in ["", "../EG_1", "a/b"] {
        let refused = start(web(id, page)).await;
        assert!(
            refused.code == Code::InvalidArgument && refused.message.contains("egress_id"),
            "{refused:?}"
        );
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

#[tokio::test]
async fn a_layout_is_one_of_a_room_of_a_server_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, _) = service(dir.path(), Arc::new(RoomForAll));
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
    let (service, ..) = service(dir.path(), Arc::new(RoomForAll));
    let cell = Cell::of(&dir.path().join("work"), "EG_1").unwrap();
    cell.create(&info("EG_1", proto::EgressStatus::EgressActive, 0)).unwrap();
    let refused = service.start(web("EG_1", "https://example.com")).await.unwrap_err();
    assert_eq!(refused, ServiceError::egress_exists());
}
