use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use livekit_token::{AccessToken, VideoGrants};
use tokio::net::TcpListener;

use super::*;
use crate::ipc::RecorderProgress;
use crate::protocol as rpc;
use crate::service::Running;
use crate::service::admission::Kind;
use crate::service::monitor::Use;
use crate::service::registry::{MemoryRegistry, Registry, Watched};
use crate::service::snapshot::{RecordingView, Snapshot};

const KEY: &str = "devkey";
const SECRET: &str = "a secret of some length";
const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xd9];

/// An egress whose receiver's address has a secret.
fn info(egress_id: &str, status: proto::EgressStatus, ended_at: i64) -> proto::EgressInfo {
    let webhook =
        proto::WebhookConfig { url: "https://receiver.example/?token=hush".to_owned(), ..Default::default() };
    let web = proto::WebEgressRequest { webhooks: vec![webhook], ..Default::default() };
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        status: status.into(),
        ended_at,
        request: Some(proto::egress_info::Request::Web(web)),
        ..Default::default()
    }
}

/// A service with one recording, which remembers what it was asked.
#[derive(Default)]
struct Fake {
    started: Mutex<Vec<rpc::StartEgressRequest>>,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn answer(&self, egress_id: &str, asked: String) -> Result<proto::EgressInfo, ServiceError> {
        self.asked.lock().unwrap().push(asked);
        match egress_id {
            "EG_one" => Ok(info(egress_id, proto::EgressStatus::EgressActive, 0)),
            _ => Err(ServiceError::not_found("egress does not exist")),
        }
    }
}

#[async_trait]
impl Egresses for Fake {
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError> {
        let answer = info(&request.egress_id, proto::EgressStatus::EgressStarting, 0);
        self.started.lock().unwrap().push(request);
        Ok(answer)
    }

    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError> {
        self.answer(egress_id, format!("stop {egress_id}"))
    }

    async fn update_stream(
        &self,
        request: proto::UpdateStreamRequest,
    ) -> Result<proto::EgressInfo, ServiceError> {
        let asked = format!("streams +{:?} -{:?}", request.add_output_urls, request.remove_output_urls);
        self.answer(&request.egress_id, asked)
    }

    async fn update_layout(&self, egress_id: &str, layout: &str) -> Result<proto::EgressInfo, ServiceError> {
        self.answer(egress_id, format!("layout {layout}"))
    }

    async fn list(&self, _: proto::ListEgressRequest) -> Result<proto::ListEgressResponse, ServiceError> {
        Err(ServiceError::internal("the page is polled: nobody else is to be asked"))
    }
}

#[async_trait]
impl ServiceView for Fake {
    fn snapshot(&self) -> Snapshot {
        let view = RecordingView {
            egress_id: "EG_one".to_owned(),
            kind: Kind::Web,
            pid: Some(1),
            used: Use { cpu: 0.75, ..Use::default() },
            progress: RecorderProgress::default(),
        };
        Snapshot { recordings: vec![view], ..Snapshot::default() }
    }

    fn running(&self) -> Vec<Running> {
        let progress = RecorderProgress { seconds: 12.5, dropped: 3, ..RecorderProgress::default() };
        let active = info("EG_one", proto::EgressStatus::EgressActive, 0);
        let over = info("EG_over", proto::EgressStatus::EgressComplete, 7);
        [active, over].into_iter().map(|info| Running { info, progress, pid: 1 }).collect()
    }

    async fn preview(&self, egress_id: &str, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        assert_eq!(width, 480);
        match egress_id {
            "EG_one" => Ok(Some(JPEG.to_vec())),
            "EG_sound" => Ok(None),
            _ => Err(ServiceError::egress_not_found()),
        }
    }
}

/// A console behind a port of its own.
struct Site {
    fake: Arc<Fake>,
    at: String,
    /// Sends a session's token.
    http: reqwest::Client,
    /// Sends no token.
    stranger: reqwest::Client,
    keys: OneTimeKeys,
    _work_dir: tempfile::TempDir,
    _server: TaskTracker,
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(Duration::from_secs(20))
}

impl Site {
    async fn start() -> Self {
        let fake = Arc::new(Fake::default());
        let recent = Recent::default();
        let work_dir = tempfile::tempdir().unwrap();
        let one_time_keys = OneTimeKeys::of(work_dir.path());
        let registry = Watched::new(Arc::new(MemoryRegistry::new()), vec![Arc::new(recent.clone())]);
        registry.update(info("EG_over", proto::EgressStatus::EgressComplete, 7));
        let console = Console {
            egresses: Arc::clone(&fake) as _,
            view: Arc::clone(&fake) as _,
            recent,
            keys: [(KEY.to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect(),
            one_time_keys: one_time_keys.clone(),
            tasks: TaskTracker::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let service = router(console).into_make_service_with_connect_info::<SocketAddr>();
        let server = TaskTracker::new();
        server.spawn(axum::serve(listener, service).into_future());
        let stranger = client().build().unwrap();
        let begin = stranger.post(format!("{at}/console/api/session"));
        let begin = begin.json(&json!({ "key": one_time_keys.create().unwrap().expose() }));
        let session: Value = begin.send().await.unwrap().json().await.unwrap();
        let bearer = format!("Bearer {}", session["token"].as_str().unwrap());
        let headers = [(header::AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap())];
        let http = client().default_headers(headers.into_iter().collect()).build().unwrap();
        Self { fake, at, http, stranger, keys: one_time_keys, _work_dir: work_dir, _server: server }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let call = self.http.post(format!("{}{path}", self.at)).json(&body);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.at)).send().await.unwrap()
    }
}

#[tokio::test]
async fn the_page_comes_with_rules_for_browsers() {
    let site = Site::start().await;
    let page = site.get("/").await;
    assert_eq!(page.status(), 200);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    let policy = header("content-security-policy");
    for said in ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(said), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for nothing in ["/assets/none.js", "/assets/..%2findex.html", "/index", "/console"] {
        assert_eq!(site.get(nothing).await.status(), 404, "{nothing}");
    }
    let led = site.http.get(&site.at).header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(led.status(), 403);
}

#[cfg(weir_pages)]
#[tokio::test]
async fn the_pages_script_may_be_cached() {
    let site = Site::start().await;
    let text = site.get("/").await.text().await.unwrap();
    let asset =
        text.split('"').find(|part| part.ends_with(".js")).expect("it has a script").trim_start_matches('.');
    let script = site.get(asset).await;
    assert_eq!(script.status(), 200, "{asset}");
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    assert!(script.headers()["cache-control"].to_str().unwrap().contains("immutable"));
}

#[tokio::test]
async fn what_runs_and_what_has_ended_is_told_without_asking_anybody() {
    let site = Site::start().await;
    let answer = site.get("/console/api/recordings").await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["node"]["state"], "serving");
    let recordings = told["recordings"].as_array().unwrap();
    assert_eq!(recordings.len(), 1, "what is told as over does not run any more: {told}");
    let one = &recordings[0];
    assert_eq!(one["info"]["egress_id"], "EG_one");
    assert_eq!(one["info"]["status"], "EGRESS_ACTIVE");
    assert_eq!((&one["kind"], &one["cpu_cores"]), (&json!("web"), &json!(0.75)));
    assert_eq!((&one["progress"]["seconds"], &one["progress"]["dropped"]), (&json!(12.5), &json!(3)));
    assert_eq!(told["finished"][0]["egress_id"], "EG_over");
}

#[tokio::test]
async fn no_answer_shows_the_secret_in_a_webhooks_address() {
    let site = Site::start().await;
    let recordings = site.get("/console/api/recordings").await.text().await.unwrap();
    let (_, stopped) = site.post("/console/api/recordings/EG_one/stop", json!({})).await;
    // One that runs and one that has ended, and the one that is stopped.
    for (shown, count) in [(recordings, 2), (stopped.to_string(), 1)] {
        assert_eq!(shown.matches("https://receiver.example/?token={...}").count(), count, "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[tokio::test]
async fn a_picture_is_a_jpeg_or_nothing() {
    let site = Site::start().await;
    let picture = |id: &str| format!("/console/api/recordings/{id}/picture.jpg");
    let shown = site.get(&picture("EG_one")).await;
    assert_eq!(shown.headers()["content-type"], "image/jpeg");
    assert_eq!(shown.headers()["cross-origin-resource-policy"], "same-origin");
    assert_eq!(shown.bytes().await.unwrap(), JPEG);
    assert_eq!(site.get(&picture("EG_sound")).await.status(), 204);
    let gone = site.get(&picture("EG_gone")).await;
    assert_eq!(gone.status(), 404);
    assert_eq!(gone.json::<Value>().await.unwrap()["message"], "egress not found");
}

#[tokio::test]
async fn what_is_asked_reaches_the_service() {
    let site = Site::start().await;
    let one = "/console/api/recordings/EG_one";
    for (path, body) in [
        ("stop", json!({})),
        ("layout", json!({"layout": "grid"})),
        ("streams", json!({"add": ["rtmp://a/b/c"], "remove": ["rtmp://a/b/{...}"]})),
    ] {
        let (status, answer) = site.post(&format!("{one}/{path}"), body).await;
        assert_eq!((status, &answer["egress_id"]), (200, &json!("EG_one")), "{path}: {answer}");
    }
    assert_eq!(
        *site.fake.asked.lock().unwrap(),
        ["stop EG_one", "layout grid", r#"streams +["rtmp://a/b/c"] -["rtmp://a/b/{...}"]"#]
    );
    let form = json!({"source": {"type": "web", "url": "https://x/"}, "outputs": {"file": "a.mp4"}});
    let (status, answer) = site.post("/console/api/start", form).await;
    assert_eq!((status, &answer["status"]), (200, &json!("EGRESS_STARTING")));
    assert_eq!(answer["egress_id"], site.fake.started.lock().unwrap()[0].egress_id);
    let (status, answer) = site.post("/console/api/recordings/EG_none/stop", json!({})).await;
    assert_eq!((status, answer), (404, json!({"code": "not_found", "message": "egress does not exist"})));
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_not_repeated() {
    let site = Site::start().await;
    let form = json!({"source": {"type": "web", "url": "https://x/"}, "preset": {"my": "hunter2"}});
    let (status, answer) = site.post("/console/api/start", form).await;
    assert_eq!((status, &answer["code"]), (400, &json!("invalid_argument")));
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
    // As a form of another page would send it.
    let plain = site.http.post(format!("{}/console/api/recordings/EG_one/stop", site.at));
    let plain = plain.header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(plain.status(), 400);
    let large = site.http.post(format!("{}/console/api/start", site.at));
    let large = large.header("content-type", "application/json").body(" ".repeat(LARGEST + 1));
    assert_eq!(large.send().await.unwrap().status(), 400);
    assert!(site.fake.asked.lock().unwrap().is_empty() && site.fake.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn strangers_are_shown_the_page_and_nothing_else() {
    let site = Site::start().await;
    let grants = VideoGrants { room_record: true, ..VideoGrants::default() };
    let token = AccessToken::with_api_key(KEY, SECRET).with_grants(grants).to_jwt().unwrap();
    let paths = ["/console/api/recordings", "/console/api/recordings/EG_one/picture.jpg"];
    for path in paths {
        let nothing_shown = site.stranger.get(format!("{}{path}", site.at)).send().await.unwrap();
        assert_eq!(nothing_shown.status(), 401, "{path}, on this machine");
        let call = || site.stranger.get(format!("{}{path}", site.at)).header("host", "weir.example");
        let refused = call().send().await.unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        assert!(refused.headers().contains_key("content-security-policy"));
        let says = refused.json::<Value>().await.unwrap();
        assert!(says["message"].as_str().unwrap().contains("roomRecord"), "{says}");
        assert_eq!(call().bearer_auth(&token).send().await.unwrap().status(), 200, "{path}");
    }
    for path in ["start", "recordings/EG_one/stop", "recordings/EG_one/layout", "recordings/EG_one/streams"] {
        let call = site.http.post(format!("{}/console/api/{path}", site.at)).json(&json!({}));
        let foreign = call.header("origin", "https://evil.example").send().await.unwrap();
        assert_eq!(foreign.status(), 403, "{path}");
        assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    }
    assert!(site.fake.asked.lock().unwrap().is_empty());
    let page = site.http.get(&site.at).header("host", "weir.example").send().await.unwrap();
    assert_eq!(page.status(), 200);
}

#[tokio::test]
async fn a_session_begins_with_a_key_that_is_good_once() {
    let site = Site::start().await;
    let begin = |key: &str| {
        let call = site.stranger.post(format!("{}/console/api/session", site.at));
        call.json(&json!({ "key": key }))
    };
    let key = site.keys.create().unwrap();
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("sec-fetch-site", "same-site", 403),
        ("host", "weir.example", 401),
        ("x-forwarded-for", "203.0.113.9", 401),
    ] {
        let refused = begin(key.expose()).header(name, value).send().await.unwrap();
        assert_eq!(refused.status(), status, "{name}");
    }
    let begun = begin(key.expose()).send().await.unwrap();
    assert_eq!(
        (begun.status().as_u16(), &begun.headers()["cache-control"]),
        (200, &HeaderValue::from_static("no-store"))
    );
    assert!(!begun.headers().contains_key("set-cookie"), "other ports of this machine would see it");
    let session: Value = begun.json().await.unwrap();
    assert_eq!(session["seconds"], 43_200);
    let ask =
        |token: &str| site.stranger.get(format!("{}/console/api/recordings", site.at)).bearer_auth(token);
    let token = session["token"].as_str().unwrap();
    assert_eq!(ask(token).send().await.unwrap().status(), 200);
    assert_eq!(ask(token).header("host", "weir.example").send().await.unwrap().status(), 401);
    assert_eq!(ask(key.expose()).send().await.unwrap().status(), 401, "a key is no token");
    for used in [key.expose().as_str(), "", "wk_"] {
        let refused = begin(used).send().await.unwrap();
        assert_eq!(refused.status(), 401);
        let says: Value = refused.json().await.unwrap();
        assert!(says["message"].as_str().unwrap().contains("weir console"), "{says}");
    }
}
