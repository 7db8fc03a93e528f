//! A service that does nothing but remember, and the API before it.

use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::StatusCode;
use livekit_token::{AccessToken, VideoGrants};
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::protocol as rpc;
use crate::secret::Secret;

pub(super) const KEY: &str = "devkey";
pub(super) const SECRET: &str = "a secret of some length";

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) started: Mutex<Vec<rpc::StartEgressRequest>>,
    /// While it is set, nothing starts.
    pub(super) hold: watch::Sender<bool>,
}

/// An egress whose receiver's address has a secret.
fn info(egress_id: &str, status: proto::EgressStatus, details: String) -> proto::EgressInfo {
    let webhook = proto::WebhookConfig {
        url: "https://receiver.example/?token=hush".to_owned(),
        ..proto::WebhookConfig::default()
    };
    let web = proto::WebEgressRequest { webhooks: vec![webhook], ..proto::WebEgressRequest::default() };
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        status: status.into(),
        details,
        request: Some(proto::egress_info::Request::Web(web)),
        ..proto::EgressInfo::default()
    }
}

#[async_trait]
impl Egresses for Fake {
    async fn start(&self, request: rpc::StartEgressRequest) -> Result<proto::EgressInfo, ServiceError> {
        self.hold.subscribe().wait_for(|held| !held).await.unwrap();
        let answer = info(&request.egress_id, proto::EgressStatus::EgressStarting, String::new());
        self.started.lock().unwrap().push(request);
        Ok(answer)
    }

    async fn stop(&self, egress_id: &str) -> Result<proto::EgressInfo, ServiceError> {
        match egress_id {
            "EG_one" => Ok(info(egress_id, proto::EgressStatus::EgressEnding, String::new())),
            "EG_panic" => panic!("as a defect would"),
            _ => Err(ServiceError::not_found("egress does not exist")),
        }
    }

    async fn update_stream(
        &self,
        request: proto::UpdateStreamRequest,
    ) -> Result<proto::EgressInfo, ServiceError> {
        let (added, removed) = (request.add_output_urls.len(), request.remove_output_urls.len());
        let details = format!("{added} added, {removed} removed");
        Ok(info(&request.egress_id, proto::EgressStatus::EgressActive, details))
    }

    async fn update_layout(&self, egress_id: &str, layout: &str) -> Result<proto::EgressInfo, ServiceError> {
        Ok(info(egress_id, proto::EgressStatus::EgressActive, format!("layout {layout}")))
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        let token = request.page_token.unwrap_or_default().token;
        let details = format!("room {}, active {}, token {token}", request.room_name, request.active);
        let items = vec![info("EG_one", proto::EgressStatus::EgressActive, details)];
        Ok(proto::ListEgressResponse { items, next_page_token: None })
    }
}

pub(super) struct Bench {
    pub(super) fake: Arc<Fake>,
    pub(super) api: Api,
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    _server: TaskTracker,
}

pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl Answered {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) fn token(may_record: bool) -> String {
    let grants = VideoGrants { room_record: may_record, ..VideoGrants::default() };
    AccessToken::with_api_key(KEY, SECRET).with_grants(grants).to_jwt().unwrap()
}

impl Bench {
    pub(super) fn keys() -> ApiKeys {
        [(KEY.to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect()
    }

    pub(super) async fn start() -> Self {
        let fake = Arc::new(Fake { started: Mutex::default(), hold: watch::Sender::new(false) });
        let api = Api { egresses: fake.clone(), keys: Self::keys(), tasks: TaskTracker::new() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = TaskTracker::new();
        server.spawn(axum::serve(listener, router(api.clone())).into_future());
        Self { fake, api, http: reqwest::Client::new(), base, _server: server }
    }

    pub(super) fn url(&self, method: &str) -> String {
        format!("{}/twirp/livekit.Egress/{method}", self.base)
    }

    /// A call by somebody who may record.
    pub(super) fn request(&self, method: &str, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let call = self.http.post(self.url(method)).bearer_auth(token(true));
        headers.iter().fold(call, |call, (name, value)| call.header(*name, *value))
    }

    pub(super) async fn answer(call: reqwest::RequestBuilder) -> Answered {
        let answer = call.send().await.unwrap();
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        Answered { status: answer.status(), content_type, body: answer.bytes().await.unwrap() }
    }

    pub(super) async fn call_json(&self, method: &str, body: &Value) -> Answered {
        let call = self.request(method, &[("content-type", "application/json")]);
        Self::answer(call.body(body.to_string())).await
    }

    pub(super) async fn call_protobuf(&self, method: &str, body: Vec<u8>) -> Answered {
        Self::answer(self.request(method, &[("content-type", "application/protobuf")]).body(body)).await
    }
}
