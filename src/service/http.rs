//! Small pages for those who run the service: health, metrics, debugging
//! (docs/reference/egress.md). Each has a port of its own, as LiveKit has it, and none shows a
//! secret.

mod profile;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State as With};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::ServiceError;
use super::metrics::Metrics;
use super::snapshot::{ServiceView, Snapshot, State};

/// The view that the pages share.
type View = Arc<dyn ServiceView>;

/// Pages of `health_port`. `/healthz` says whether work is accepted: 200, or 503 with the reason.
/// Every other path is LiveKit's: the *free* CPU under its misleading name, and each recording's
/// id. LiveKit shows whole requests with their keys; here only their kind is shown.
pub fn health(view: View) -> Router {
    Router::new().route("/healthz", get(healthz)).fallback(livekit).with_state(view)
}

/// For `prometheus_port`: any path.
pub fn metrics(view: View, metrics: Arc<Metrics>) -> Router {
    Router::new().fallback(scrape).with_state((view, metrics))
}

/// For `debug_handler_port`: `/recordings`, each with its process, what it takes and how it fares;
/// `/gst_pipeline/{egress id}`, the pipelines of one in Graphviz's language; `/pprof/profile` and
/// `/pprof/profile/{egress id}`, CPU profiles.
pub fn debug(view: View) -> Router {
    let inner = Router::new()
        .route("/gst_pipeline/{egress_id}", get(pipelines))
        .route("/pprof/{name}", get(profile::of_service))
        .route("/pprof/{name}/{egress_id}", get(profile::of_recorder))
        .with_state(Arc::clone(&view));
    let pages = Router::new().route("/recordings", get(recordings)).with_state(view);
    pages.merge(inner).fallback(no_such_dump)
}

async fn healthz(With(view): With<View>) -> Response {
    let snapshot = view.snapshot();
    let status = |status: StatusCode, value: Value| (status, Json(value)).into_response();
    match problem(&snapshot) {
        None => status(StatusCode::OK, json!({"status": "ok", "recordings": snapshot.recordings.len()})),
        Some(reason) => status(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"status": "unavailable", "reason": reason, "recordings": snapshot.recordings.len()}),
        ),
    }
}

/// Why no work is taken at all. A machine that is busy is healthy.
const fn problem(snapshot: &Snapshot) -> Option<&'static str> {
    match snapshot.state {
        State::Serving => None,
        State::Unheard => Some("reports do not get through"),
        State::Terminating => Some("server is shutting down"),
    }
}

async fn livekit(With(view): With<View>) -> Json<BTreeMap<String, Value>> {
    let snapshot = view.snapshot();
    let recordings = snapshot.recordings.iter();
    let recordings =
        recordings.map(|recording| (recording.egress_id.clone(), json!({"type": recording.kind.as_str()})));
    let free = ("CpuLoad".to_owned(), json!(snapshot.room.available));
    Json(std::iter::once(free).chain(recordings).collect())
}

async fn scrape(With((view, metrics)): With<(View, Arc<Metrics>)>) -> Response {
    match metrics.page(&view.snapshot()) {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics page failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn recordings(With(view): With<View>) -> Json<Value> {
    let snapshot = view.snapshot();
    let recordings = snapshot.recordings.iter().map(|recording| {
        json!({
            "egress_id": recording.egress_id,
            "type": recording.kind.as_str(),
            "pid": recording.pid,
            "cpu_cores": recording.used.cpu,
            "memory_bytes": recording.used.memory,
            "progress": recording.progress,
        })
    });
    let orphans = snapshot.orphans.iter();
    let orphans =
        orphans.map(|orphan| json!({ "egress_id": orphan.egress_id, "type": orphan.kind.as_str() }));
    Json(json!({
        "cores": snapshot.room.cores,
        "cores_available": snapshot.room.available,
        "cores_in_use": snapshot.reading.cores,
        "memory_gb": snapshot.reading.memory,
        "recordings": recordings.collect::<Vec<_>>(),
        // Of former runs of the service, whose recorders finish their files.
        "orphans": orphans.collect::<Vec<_>>(),
    }))
}

async fn pipelines(With(view): With<View>, Path(egress_id): Path<String>) -> Response {
    match view.graph(&egress_id).await {
        Ok(dot) => ([(header::CONTENT_TYPE, "text/vnd.graphviz; charset=utf-8")], dot).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &ServiceError) -> Response {
    let status = StatusCode::from_u16(error.code.http_status());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), format!("{}\n", error.message)).into_response()
}

async fn no_such_dump() -> (StatusCode, &'static str) {
    let text = "no such dump; there are /recordings, /gst_pipeline/{egress id}, /pprof/profile and \
                /pprof/profile/{egress id}\n";
    (StatusCode::NOT_FOUND, text)
}

#[cfg(test)]
mod tests;
