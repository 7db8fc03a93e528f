//! The operator's console: a page that shows what this node records, and what the page asks for.
//!
//! ```text
//! GET  /                                          the page (`pages`), and its assets beside it
//! GET  /console/api/recordings                    the node, what runs, what has ended
//! GET  /console/api/recordings/{id}/picture.jpg   what a recording shows now; 204: nothing can be seen
//! POST /console/api/recordings/{id}/stop          {}
//! POST /console/api/recordings/{id}/layout        {"layout": …}
//! POST /console/api/recordings/{id}/streams       {"add": […], "remove": […]}
//! POST /console/api/start                         a form
//! POST /console/api/session                       {"key": …}: a session for a one-time key
//! ```
//!
//! The page itself is public and holds no data. Every other request is authenticated (`access`,
//! `login`). Answers are LiveKit's JSON as the API gives it, with errors as `{"code", "message"}`.

mod access;
mod form;
mod login;
mod previews;
mod recent;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use livekit_protocol as proto;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::api::json::Answer;
use super::egresses::Egresses;
use super::error::{ServiceError, twirp_status};
use super::keys::ApiKeys;
use super::snapshot::ServiceView;
use crate::pages::{self, File};
use crate::secret::Secret;
use access::Asker;
use form::Form;
pub use login::{KEY_LASTS, OneTimeKeys};
use login::{SESSION_LASTS, Sessions};
use previews::Previews;
pub use recent::Recent;

/// The largest request, in bytes. A form has some hundred.
const LARGEST: usize = 64 << 10;

/// Security headers of every answer: only the page's own scripts and styles run, it loads nothing
/// from elsewhere, and no other page can frame it or read an answer.
const RULES: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Data and connections of the console.
pub struct Console {
    pub egresses: Arc<dyn Egresses>,
    /// The node and its running recordings.
    pub view: Arc<dyn ServiceView>,
    /// The ended recordings.
    pub recent: Recent,
    /// Keys of accepted tokens.
    pub keys: ApiKeys,
    /// For logins on this machine.
    pub one_time_keys: OneTimeKeys,
    /// Running calls.
    pub tasks: TaskTracker,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

struct ConsoleState {
    console: Console,
    previews: Previews,
    sessions: Sessions,
}

/// The routes. They have to be served with the peers' addresses
/// ([`Router::into_make_service_with_connect_info`]): without, who is on this machine is not known,
/// and everybody needs a token.
pub fn router(console: Console) -> Router {
    let previews = Previews::new(Arc::clone(&console.view));
    let desk = Arc::new(ConsoleState { console, previews, sessions: Sessions::default() });
    let api = Router::new()
        .route("/console/api/recordings", get(recordings))
        .route("/console/api/recordings/{id}/picture.jpg", get(preview))
        .route("/console/api/recordings/{id}/stop", post(stop))
        .route("/console/api/recordings/{id}/layout", post(layout))
        .route("/console/api/recordings/{id}/streams", post(streams))
        .route("/console/api/start", post(start))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), guard))
        // Not behind the guard: a login has no token yet.
        .route("/console/api/session", post(session))
        .with_state(desk);
    Router::new()
        .route("/", get(page))
        .route("/assets/{name}", get(asset))
        .merge(api)
        .layer(middleware::map_response(with_rules))
}

async fn with_rules(mut response: Response) -> Response {
    for (name, value) in RULES {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets in who may see and do all of it.
async fn guard(State(desk): State<Arc<ConsoleState>>, request: Request, next: Next) -> Response {
    let has_session = |token: &str| desk.sessions.has(token, Instant::now());
    match access::may(&desk.console.keys, has_session, asker(&request)) {
        Ok(()) => next.run(request).await,
        Err(error) => refusal(&error),
    }
}

fn asker(request: &Request) -> Asker<'_> {
    Asker {
        peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer),
        version: request.version(),
        method: request.method(),
        headers: request.headers(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: Secret<String>,
}

/// Exchanges a one-time key for a session.
async fn session(State(desk): State<Arc<ConsoleState>>, request: Request) -> Response {
    if let Err(error) = access::may_begin(asker(&request)) {
        return refusal(&error);
    }
    let Key { key } = match Sent::from_request(request, &()).await {
        Ok(Sent(key)) => key,
        Err(refused) => return refused,
    };
    let keys = desk.console.one_time_keys.clone();
    let taken = tokio::task::spawn_blocking(move || keys.take(key.expose())).await;
    if !taken.unwrap_or_default() {
        let why = "the key is not known, was used, or is too old: `weir console` prints an address with a fresh one";
        return refusal(&ServiceError::unauthenticated(why));
    }
    let token = desk.sessions.begin(Instant::now());
    Json(json!({ "token": token.expose(), "seconds": SESSION_LASTS.as_secs() })).into_response()
}

async fn page(request: Request) -> Response {
    if access::is_led_here(asker(&request)) {
        let text = "Another page has led here. Open the console by its address instead: type it, or use a bookmark.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    file(pages::console().lookup(""))
}

async fn asset(Path(name): Path<String>) -> Response {
    file(pages::console().lookup(&format!("assets/{name}")))
}

fn file(found: Option<File>) -> Response {
    let Some(File { bytes, content_type, cache_control }) = found else {
        return (StatusCode::NOT_FOUND, "no such page\n").into_response();
    };
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache_control)];
    (headers, bytes.into_owned()).into_response()
}

async fn recordings(State(desk): State<Arc<ConsoleState>>) -> Json<Value> {
    let Console { view, recent, .. } = &desk.console;
    Json(view::all(&view.snapshot(), &view.running(), &recent.all()))
}

async fn preview(State(desk): State<Arc<ConsoleState>>, Path(id): Path<String>) -> Response {
    match desk.previews.of(&id).await {
        Ok(Some(jpeg)) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refusal(&error),
    }
}

/// Nothing is to be said but that.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn stop(
    State(desk): State<Arc<ConsoleState>>,
    Path(id): Path<String>,
    Sent(Nothing {}): Sent<Nothing>,
) -> Response {
    desk.apart(move |egresses| async move { egresses.stop(&id).await }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    layout: String,
}

async fn layout(
    State(desk): State<Arc<ConsoleState>>,
    Path(id): Path<String>,
    Sent(Layout { layout }): Sent<Layout>,
) -> Response {
    desk.apart(move |egresses| async move { egresses.update_layout(&id, &layout).await }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Streams {
    add: Secret<Vec<String>>,
    /// Redacted addresses are accepted, too.
    remove: Secret<Vec<String>>,
}

async fn streams(
    State(desk): State<Arc<ConsoleState>>,
    Path(egress_id): Path<String>,
    Sent(Streams { add, remove }): Sent<Streams>,
) -> Response {
    let asked = proto::UpdateStreamRequest {
        egress_id,
        add_output_urls: add.expose().clone(),
        remove_output_urls: remove.expose().clone(),
    };
    desk.apart(move |egresses| async move { egresses.update_stream(asked).await }).await
}

async fn start(State(desk): State<Arc<ConsoleState>>, Sent(form): Sent<Form>) -> Response {
    match form.request() {
        Ok(request) => desk.apart(move |egresses| async move { egresses.start(request).await }).await,
        Err(error) => refusal(&error),
    }
}

impl ConsoleState {
    /// Runs a call in a task of its own, so that a page that is closed does not stop it half-way,
    /// and waits for it.
    async fn apart<F>(&self, call: impl FnOnce(Arc<dyn Egresses>) -> F) -> Response
    where
        F: Future<Output = Result<proto::EgressInfo, ServiceError>> + Send + 'static,
    {
        let done = self.console.tasks.spawn(call(Arc::clone(&self.console.egresses))).await;
        match done.unwrap_or_else(|_| Err(ServiceError::internal("the call broke off"))) {
            Ok(info) => Json(info.json()).into_response(),
            Err(error) => refusal(&error),
        }
    }
}

/// A decoded request body.
struct Sent<T>(T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Sent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        read(&head.headers, body).await.map(Self).map_err(|error| refusal(&error))
    }
}

/// Reads a request body. Errors do not quote it, as it may contain an address with its key.
async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ServiceError> {
    if !access::is_json(headers) {
        return Err(ServiceError::invalid("send JSON, and say so: content-type: application/json"));
    }
    let bytes = super::body::read(body, LARGEST).await.map_err(ServiceError::invalid)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ServiceError::invalid(format!("the request could not be decoded (line {line}, column {column})"))
    })
}

fn refusal(error: &ServiceError) -> Response {
    let code = error.code.twirp();
    let status = StatusCode::from_u16(twirp_status(code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "code": code, "message": error.message }))).into_response()
}

#[cfg(test)]
mod tests;
