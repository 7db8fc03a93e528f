//! The HTTP API of a service without a LiveKit server: `livekit.Egress` over Twirp, as used by
//! LiveKit's SDKs and the `lk` command (docs/reference/egress.md).
//!
//! ```text
//! POST /twirp/livekit.Egress/{method} ─► token ─► message ─► Service ─► message
//!                                          └── Twirp error ◄──┴──────────┘
//! ```
//!
//! Each call runs in a task of its own: a caller who disconnects or times out does not stop a start
//! half-way.

mod auth;
pub(super) mod json;
mod twirp;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request};
use axum::response::{IntoResponse, Response};
use livekit_protocol as proto;
use prost::Message;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use super::egresses::Egresses;
use super::error::{Code, ServiceError};
use super::keys::ApiKeys;
use super::webhook;
use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request as Start;
use crate::psrpc;
use json::Answer;
use twirp::{Call, Format, Incoming, TwirpError};

/// How long a call may take when the caller does not say.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest request, in bytes. Real ones are some thousands; credentials of Google are two
/// thousand alone.
const LARGEST: usize = 4 << 20;
/// How long a browser may remember what it is allowed.
const CORS_AGE: Duration = Duration::from_hours(24);

/// State of the API.
#[derive(Clone)]
pub struct Api {
    pub egresses: Arc<dyn Egresses>,
    /// Keys of the callers.
    pub keys: ApiKeys,
    /// Running calls; the shutdown waits for them.
    pub tasks: TaskTracker,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// The routes below `/twirp`. Everybody may call from any page: the token is what lets in.
pub fn router(api: Api) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods(AllowMethods::list([
            Method::OPTIONS,
            Method::HEAD,
            Method::GET,
            Method::POST,
            Method::PATCH,
            Method::DELETE,
        ]))
        .expose_headers(ExposeHeaders::any())
        .max_age(CORS_AGE);
    // Some clients put a slash too many between address and path.
    Router::new()
        .route("/twirp/{*route}", axum::routing::any(handle))
        .route("//twirp/{*route}", axum::routing::any(handle))
        .layer(cors)
        .with_state(api)
}

async fn handle(State(api): State<Api>, request: Request<Body>) -> Response {
    match answer(&api, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(api: &Api, request: Request<Body>) -> Result<Response, TwirpError> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let method = twirp::method(&head.method, path)?;
    let format = Format::of(&head.headers, &head.method, path)?;
    let end = tokio::time::Instant::now() + patience(&head.headers);
    let whole = async {
        auth::may_record(&api.keys, &head)?;
        let bytes = super::body::read(body, LARGEST).await.map_err(TwirpError::malformed)?;
        dispatch(api, method, &Incoming { format, bytes }).await
    };
    match tokio::time::timeout_at(end, whole).await {
        Ok(answered) => answered,
        Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, psrpc::TIMED_OUT).into()),
    }
}

/// Twirp's callers may say how long they wait.
fn patience(headers: &HeaderMap) -> Duration {
    let said = headers.get("x-twirp-timeout-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(PATIENCE, |milliseconds| Duration::from_millis(milliseconds).min(PATIENCE))
}

async fn dispatch(api: &Api, call: Call, incoming: &Incoming) -> Result<Response, TwirpError> {
    let egresses = api.egresses.clone();
    match call {
        Call::StartEgress => start(api, incoming, Start::Egress).await,
        Call::StartRoomCompositeEgress => start(api, incoming, Start::RoomComposite).await,
        Call::StartWebEgress => start(api, incoming, Start::Web).await,
        Call::StartParticipantEgress => start(api, incoming, Start::Participant).await,
        Call::StartTrackCompositeEgress => start(api, incoming, Start::TrackComposite).await,
        Call::StartTrackEgress => start(api, incoming, Start::Track).await,
        Call::UpdateLayout => {
            let asked: proto::UpdateLayoutRequest = incoming.read()?;
            let done = async move { egresses.update_layout(&asked.egress_id, &asked.layout).await };
            apart(api, incoming.format, done).await
        }
        Call::UpdateStream => {
            let asked: proto::UpdateStreamRequest = incoming.read()?;
            apart(api, incoming.format, async move { egresses.update_stream(asked).await }).await
        }
        Call::ListEgress => {
            let asked: proto::ListEgressRequest = incoming.read()?;
            apart(api, incoming.format, async move { egresses.list(asked).await }).await
        }
        Call::StopEgress => {
            let asked: proto::StopEgressRequest = incoming.read()?;
            apart(api, incoming.format, async move { egresses.stop(&asked.egress_id).await }).await
        }
    }
}

/// Starts an egress as livekit-server does: with a new id, without token and server address, which
/// the recorder has itself. The service has no list of rooms, so only the recorder finds out that a
/// room does not exist.
async fn start<R: Message + Default + DeserializeOwned>(
    api: &Api,
    incoming: &Incoming,
    kind: impl FnOnce(R) -> Start,
) -> Result<Response, TwirpError> {
    let asked = kind(incoming.read()?);
    webhook::check(&api.keys, webhook::requested(&asked))?;
    let request = StartEgressRequest {
        egress_id: new_egress_id(),
        request: Some(asked),
        ..StartEgressRequest::default()
    };
    let egresses = api.egresses.clone();
    apart(api, incoming.format, async move { egresses.start(request).await }).await
}

/// Runs a call in a task of its own, and waits for it.
async fn apart<A: Answer>(
    api: &Api,
    format: Format,
    call: impl Future<Output = Result<A, ServiceError>> + Send + 'static,
) -> Result<Response, TwirpError> {
    let done = api.tasks.spawn(call).await;
    let answer = done.map_err(|_| ServiceError::internal("the call broke off"))??;
    Ok(twirp::response(format, &answer))
}

/// `EG_` and twelve letters and digits.
pub(super) fn new_egress_id() -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from);
    "EG_".chars().chain(random).collect()
}

#[cfg(test)]
mod tests;
