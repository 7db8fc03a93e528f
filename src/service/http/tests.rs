use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::ipc::RecorderProgress;
use crate::profile::Length;
use crate::psrpc::Code;
use crate::service::admission::{Kind, Room};
use crate::service::error::ServiceError;
use crate::service::monitor::Use;
use crate::service::snapshot::{OrphanView, RecordingView};

#[derive(Default)]
struct Fixed(Mutex<Snapshot>);

#[async_trait]
impl ServiceView for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap().clone()
    }

    async fn graph(&self, egress_id: &str) -> Result<String, ServiceError> {
        match egress_id {
            "EG_abc" => Ok("digraph pipeline {\n}\n".to_owned()),
            "EG_hangs" => Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
            _ => Err(ServiceError::egress_not_found()),
        }
    }

    async fn profile(&self, egress_id: &str, length: Length) -> Result<Vec<u8>, ServiceError> {
        match egress_id {
            "EG_abc" => Ok(format!("{} s", length.get().as_secs()).into_bytes()),
            "EG_busy" => Err(ServiceError::new(Code::AlreadyExists, "another profile is being taken")),
            _ => Err(ServiceError::egress_not_found()),
        }
    }
}

/// A router behind a port of its own.
struct Site {
    at: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Site {
    async fn new(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Self { at, stop, tasks }
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let response = client.get(format!("{}{path}", self.at)).send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind, response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, _, text) = self.get(path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.unwrap();
    }
}

fn recording() -> RecordingView {
    RecordingView {
        egress_id: "EG_abc".into(),
        kind: Kind::Web,
        pid: Some(4711),
        used: Use { cpu: 0.5, memory: 1024 },
        progress: RecorderProgress { pictures: 30, waiting: 2, ..RecorderProgress::default() },
    }
}

fn busy() -> Snapshot {
    Snapshot {
        room: Room { available: 1.25, cores: 4.0, ..Room::default() },
        recordings: vec![recording()],
        orphans: vec![OrphanView { egress_id: "EG_left".into(), kind: Kind::Track }],
        ..Snapshot::default()
    }
}

#[tokio::test]
async fn health_says_whether_work_is_taken_and_why_not() {
    let source = Arc::new(Fixed::default());
    let site = Site::new(health(Arc::clone(&source) as View)).await;
    assert_eq!(site.json("/healthz").await, (200, json!({"status": "ok", "recordings": 0})));
    *source.0.lock().unwrap() = Snapshot { state: State::Terminating, ..busy() };
    let expected = json!({"status": "unavailable", "reason": "server is shutting down", "recordings": 1});
    assert_eq!(site.json("/healthz").await, (503, expected));
    *source.0.lock().unwrap() = Snapshot { state: State::Unheard, ..Snapshot::default() };
    let expected = json!({"status": "unavailable", "reason": "reports do not get through", "recordings": 0});
    assert_eq!(site.json("/healthz").await, (503, expected));
    site.close().await;
}

#[tokio::test]
async fn livekits_health_page_has_one_key_when_idle_and_names_alone_when_not() {
    let source = Arc::new(Fixed::default());
    source.0.lock().unwrap().room.available = 4.0;
    let site = Site::new(health(Arc::clone(&source) as View)).await;
    assert_eq!(site.json("/").await, (200, json!({"CpuLoad": 4.0})));
    *source.0.lock().unwrap() = busy();
    for path in ["/", "/status/of/anything", "/health"] {
        let (status, kind, _) = site.get(path).await;
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        assert_eq!(site.json(path).await.1, json!({"CpuLoad": 1.25, "EG_abc": {"type": "web"}}));
    }
    site.close().await;
}

#[tokio::test]
async fn metrics_are_at_every_path() {
    let source = Arc::new(Fixed(Mutex::new(busy())));
    let site = Site::new(metrics(source, Arc::new(Metrics::new("NE_1", "").unwrap()))).await;
    for path in ["/metrics", "/"] {
        let (status, kind, text) = site.get(path).await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4"));
        assert!(
            text.contains("livekit_egress_requests{cluster_id=\"\",node_id=\"NE_1\",type=\"web\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE weir_pictures_total counter\n"), "{text}");
    }
    site.close().await;
}

#[tokio::test]
async fn debugging_shows_processes_and_what_they_take() {
    let source = Arc::new(Fixed(Mutex::new(busy())));
    let site = Site::new(debug(source)).await;
    let (status, value) = site.json("/recordings").await;
    assert_eq!(status, 200);
    let recording = &value["recordings"][0];
    assert_eq!((&recording["egress_id"], &recording["pid"]), (&json!("EG_abc"), &json!(4711)));
    assert_eq!((&recording["cpu_cores"], &recording["memory_bytes"]), (&json!(0.5), &json!(1024)));
    assert_eq!(
        (&recording["progress"]["pictures"], &recording["progress"]["waiting"]),
        (&json!(30), &json!(2))
    );
    assert_eq!(value["cores_available"], json!(1.25));
    assert_eq!(value["orphans"], json!([{ "egress_id": "EG_left", "type": "track" }]));
    assert_eq!(site.get("/pprof/heap").await.0, 404);
    site.close().await;
}

#[tokio::test]
async fn a_recordings_pipelines_are_drawn_and_no_others() {
    let source = Arc::new(Fixed(Mutex::new(busy())));
    let site = Site::new(debug(source)).await;
    let (status, kind, text) = site.get("/gst_pipeline/EG_abc").await;
    assert_eq!((status, kind.as_str()), (200, "text/vnd.graphviz; charset=utf-8"));
    assert_eq!(text, "digraph pipeline {\n}\n");
    let (status, _, text) = site.get("/gst_pipeline/EG_other").await;
    assert_eq!((status, text.as_str()), (404, "egress not found\n"));
    assert_eq!(site.get("/gst_pipeline/EG_hangs").await.0, 503);
    assert_eq!(site.get("/gst_pipeline").await.0, 404);
    site.close().await;
}

#[tokio::test]
async fn profiles_are_taken_of_the_service_and_of_recorders() {
    let source = Arc::new(Fixed(Mutex::new(busy())));
    let site = Site::new(debug(source)).await;
    for path in ["/pprof/profile/EG_abc?seconds=3", "/pprof/EG_abc/cpu?timeout=3&debug=0"] {
        let (status, kind, text) = site.get(path).await;
        assert_eq!(
            (status, kind.as_str(), text.as_str()),
            (200, "application/octet-stream", "3 s"),
            "{path}"
        );
    }
    for (path, status) in [
        ("/pprof/profile/EG_busy", 409),
        ("/pprof/profile/EG_other", 404),
        ("/pprof/heap/EG_abc", 404),
        ("/pprof/profile/EG_abc?seconds=0", 400),
        ("/pprof/profile?seconds=3600", 400),
        ("/pprof/profile?seconds=soon", 400),
    ] {
        assert_eq!(site.get(path).await.0, status, "{path}");
    }
    site.close().await;
}
