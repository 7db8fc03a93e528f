//! LiveKit's own clients against the API, the store and the webhooks of a service without a LiveKit
//! server. The recorder is a fake that only reports.

mod rust;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::HeaderMap;
use livekit::EgressStatus as Status;
use livekit::egress_info::Request as Asked;
use livekit_protocol as livekit;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use weir::protocol as rpc;
use weir::secret::Secret;
use weir::service::api::{self, Api};
use weir::service::egresses::Egresses;
use weir::service::error::ServiceError;
use weir::service::keys::ApiKeys;
use weir::service::registry::Registry;
use weir::service::standalone::Standalone;
use weir::service::store::{Store, StoreOptions};
use weir::service::webhook::{Filter, Limits, Notifier, WebhookOptions};

use crate::support::slots;
use crate::support::stores::peer;
use crate::support::tool::{Tool, command};

const KEY: &str = "devkey";
const SECRET: &str = "a secret of at least thirty-two bytes";
const PATIENCE: Duration = Duration::from_secs(60);

/// Pretends to record, and stores its reports.
struct Fake(Standalone);

impl Fake {
    fn known(&self, egress_id: &str) -> Result<livekit::EgressInfo, ServiceError> {
        self.0.store.get(egress_id).ok_or_else(|| ServiceError::not_found("egress does not exist"))
    }
}

#[async_trait]
impl Egresses for Fake {
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<livekit::EgressInfo, ServiceError> {
        use rpc::start_egress_request::Request;
        let (room_name, asked) = match request.request {
            Some(Request::Web(web)) => (String::new(), Asked::Web(web)),
            Some(Request::Egress(v2)) => (v2.room_name.clone(), Asked::Egress(v2)),
            Some(Request::RoomComposite(room)) => (room.room_name.clone(), Asked::RoomComposite(room)),
            other => return Err(ServiceError::invalid(format!("not expected: {:?}", other.is_some()))),
        };
        let info = livekit::EgressInfo {
            egress_id: request.egress_id,
            room_name,
            started_at: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap(),
            request: Some(asked),
            ..Default::default()
        };
        self.0.create(&info).await?;
        Ok(info)
    }

    async fn stop(&self, egress_id: &str) -> Result<livekit::EgressInfo, ServiceError> {
        let info = livekit::EgressInfo { status: Status::EgressEnding.into(), ..self.known(egress_id)? };
        self.0.update(info.clone());
        let ended_at = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
        let over = livekit::EgressInfo { status: Status::EgressComplete.into(), ended_at, ..info.clone() };
        self.0.update(over);
        Ok(info)
    }

    async fn update_stream(
        &self,
        request: livekit::UpdateStreamRequest,
    ) -> Result<livekit::EgressInfo, ServiceError> {
        let mut info = self.known(&request.egress_id)?;
        let streams = request.add_output_urls.into_iter();
        info.stream_results.extend(streams.map(|url| livekit::StreamInfo { url, ..Default::default() }));
        Ok(info)
    }

    async fn update_layout(&self, egress_id: &str, _: &str) -> Result<livekit::EgressInfo, ServiceError> {
        let info = self.known(egress_id)?;
        match info.room_name.as_str() {
            "" => Err(ServiceError::not_found("participant does not exist")),
            _ => Ok(info),
        }
    }

    async fn list(
        &self,
        request: livekit::ListEgressRequest,
    ) -> Result<livekit::ListEgressResponse, ServiceError> {
        self.0.list(request).await
    }
}

/// Bodies and tokens in order of arrival.
type Webhooks = Arc<Mutex<Vec<Value>>>;

async fn take(State(webhooks): State<Webhooks>, headers: HeaderMap, body: String) {
    let token = headers["authorization"].to_str().unwrap();
    webhooks.lock().unwrap().push(json!({ "body": body, "token": token }));
}

async fn serve(router: axum::Router, tasks: &TaskTracker) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(axum::serve(listener, router).into_future());
    address
}

/// A client.
#[derive(Clone)]
enum Client {
    /// A program with its script, which gets commands, and more arguments.
    Script { program: PathBuf, script: &'static str, arguments: Vec<String> },
    /// The crate, in this process.
    Crate,
}

impl Client {
    async fn calls(self, address: &str, tasks: &TaskTracker) -> Value {
        match self {
            Self::Script { .. } => self.run("calls", &[address, KEY, SECRET], None, tasks).await,
            Self::Crate => rust::calls(address, KEY, SECRET).await,
        }
    }

    async fn webhooks(self, arrived: &[Value], tasks: &TaskTracker) -> Value {
        match self {
            Self::Script { .. } => {
                let arrived = serde_json::to_vec(arrived).unwrap();
                self.run("webhooks", &[KEY, SECRET], Some(arrived), tasks).await
            }
            Self::Crate => rust::webhooks(KEY, SECRET, arrived),
        }
    }

    async fn run(
        self,
        task: &'static str,
        words: &[&str],
        stdin: Option<Vec<u8>>,
        tasks: &TaskTracker,
    ) -> Value {
        let Self::Script { program, script, arguments } = self else { panic!("it is no program") };
        let mut command = command(program);
        command.arg(script).arg(task).args(arguments).args(words);
        let client =
            tasks.spawn_blocking(move || Tool::start(command, stdin).finish(PATIENCE * 3).succeeded().stdout);
        serde_json::from_slice(&client.await.unwrap()).unwrap()
    }
}

/// The results of a client: calls first, then webhooks.
async fn results_of(client: Client) -> (Value, Value) {
    let tasks = TaskTracker::new();
    let webhooks = Webhooks::default();
    let hook = axum::Router::new().route("/", axum::routing::post(take)).with_state(webhooks.clone());
    let hook = Url::parse(&serve(hook, &tasks).await).unwrap();
    let keys: ApiKeys = [(KEY.to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect();
    let options = WebhookOptions {
        urls: vec![Secret::new(hook)],
        api_key: KEY.to_owned(),
        filter: Filter::default(),
        limits: Limits::default(),
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("egresses.redb");
    let store = Store::open(&file, StoreOptions::default(), &tasks, CancellationToken::new());
    let registry = Standalone {
        store: store.await.unwrap(),
        webhooks: Notifier::new(options, keys.clone(), tasks.clone()).unwrap(),
    };
    let api = Api { egresses: Arc::new(Fake(registry.clone())), keys, tasks: tasks.clone() };
    let address = serve(api::router(api), &tasks).await;

    let calls = client.clone().calls(&address, &tasks).await;
    registry.drained().await;
    let arrived = webhooks.lock().unwrap().clone();
    let told = client.webhooks(&arrived, &tasks).await;
    (calls, told)
}

/// All clients get the same, including the error texts. `tells_status`: the client also shows the
/// HTTP status of an error.
fn check(client: &str, tells_status: bool, (calls, webhooks): (Value, Value)) {
    let refusal = |code: &str, words: &str, status: u16| {
        if tells_status { json!([code, words, status]) } else { json!([code, words]) }
    };
    let expected = json!({
        "web": ["EGRESS_STARTING", "https://example.com/", 1, true],
        "v2": ["EGRESS_STARTING", 1],
        "room": ["EGRESS_STARTING", "my room", "speaker"],
        "listed": true,
        "in_room": true,
        "updated": ["rtmp://d/e/f"],
        "layout": true,
        "no_layout": refusal("not_found", "participant does not exist", 404),
        "stopped": "EGRESS_ENDING",
        "unknown": refusal("not_found", "egress does not exist", 404),
        "stranger": refusal(
            "unauthenticated",
            "invalid token: it is not signed with the secret of its API key, or its time is over",
            401,
        ),
    });
    assert_eq!(calls, expected, "{client}");
    // One queue per egress: there is no order between them.
    let mut webhooks: Vec<Value> = webhooks.as_array().unwrap().clone();
    webhooks.sort_by_key(|webhook| webhook[0] == "egress_started");
    let expected = [
        json!(["egress_updated", "EGRESS_ENDING", true, true]),
        json!(["egress_ended", "EGRESS_COMPLETE", true, true]),
        json!(["egress_started", "EGRESS_STARTING", true, true]),
        json!(["egress_started", "EGRESS_STARTING", true, true]),
        json!(["egress_started", "EGRESS_STARTING", true, true]),
    ];
    assert_eq!(webhooks, expected, "{client}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn livekits_client_for_python_is_served() {
    let _slot = slots::light();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/egress.py");
    let client = Client::Script { program: peer("python/bin/python3"), script, arguments: Vec::new() };
    check("PyPI's livekit-api", true, results_of(client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn livekits_client_for_node_is_served() {
    let _slot = slots::light();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/egress.mjs");
    let sdk = peer("node_modules/livekit-server-sdk");
    let peers = sdk.parent().unwrap().parent().unwrap().display().to_string();
    let client = Client::Script { program: PathBuf::from("node"), script, arguments: vec![peers] };
    check("livekit-server-sdk", true, results_of(client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn livekits_client_for_rust_is_served() {
    let _slot = slots::light();
    check("the crate livekit-api", false, results_of(Client::Crate).await);
}
