use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use proto::EgressStatus as Status;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::*;
use crate::secret::Secret;
use crate::service::store::StoreOptions;
use crate::service::webhook::{Filter, Limits, WebhookOptions};

const PATIENCE: Duration = Duration::from_secs(20);

type Told = Arc<Mutex<Vec<(String, String)>>>;

async fn take(State(told): State<Told>, body: String) {
    let event: serde_json::Value = serde_json::from_str(&body).unwrap();
    let status = event["egressInfo"]["status"].as_str().unwrap_or("EGRESS_STARTING");
    told.lock().unwrap().push((event["event"].as_str().unwrap().to_owned(), status.to_owned()));
}

struct Bench {
    registry: Standalone,
    told: Told,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A receiver that answers with `status`.
async fn receiver(tasks: &TaskTracker, status: u16) -> (Url, Told) {
    let told = Told::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let answer = async move |told: State<Told>, body: String| {
        take(told, body).await;
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let router = axum::Router::new().route("/", axum::routing::post(answer)).with_state(told.clone());
    tasks.spawn(axum::serve(listener, router).into_future());
    (url, told)
}

async fn open(directory: &Path, status: u16, flush: Duration) -> Bench {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (url, told) = receiver(&TaskTracker::new(), status).await;
    // What ends in these tests ended in 1970.
    let kept = StoreOptions { retention: Duration::MAX, ..StoreOptions::default() };
    let store = Store::open(&directory.join("egresses.redb"), kept, &tasks, stop.clone()).await.unwrap();
    let keys = [("devkey".to_owned(), Secret::new("a secret".to_owned()))].into_iter().collect();
    let options = WebhookOptions {
        urls: vec![Secret::new(url)],
        api_key: "devkey".to_owned(),
        filter: Filter::default(),
        limits: Limits { flush, pause: Duration::from_millis(20), ..Limits::default() },
    };
    let webhooks = Notifier::new(options, keys, tasks.clone()).unwrap();
    Bench { registry: Standalone { store, webhooks }, told, tasks, stop }
}

fn info(status: Status) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: "EG_one".to_owned(),
        status: status.into(),
        ended_at: i64::from(!matches!(
            status,
            Status::EgressStarting | Status::EgressActive | Status::EgressEnding
        )),
        ..proto::EgressInfo::default()
    }
}

impl Bench {
    async fn mark_reported(&self) -> Vec<(String, String)> {
        let drained = self.registry.drained();
        tokio::time::timeout(PATIENCE * 2, drained).await.expect("all is told");
        self.told.lock().unwrap().clone()
    }
}

fn events(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(event, status)| (event.to_owned(), status.to_owned())).collect()
}

/// Its directory is removed when its end is delivered.
#[tokio::test]
async fn what_ends_when_the_store_has_closed_is_not_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(directory.path(), 200, PATIENCE).await;
    let registry = &bench.registry;
    registry.create(&info(Status::EgressActive)).await.unwrap();
    bench.stop.cancel();
    bench.tasks.close();
    bench.tasks.wait().await;
    registry.update(info(Status::EgressFailed));
    let delivered = tokio::time::timeout(Duration::from_millis(200), registry.delivered("EG_one"));
    assert!(delivered.await.is_err());
}

#[tokio::test]
async fn a_life_is_told_once_from_its_beginning_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(directory.path(), 200, PATIENCE).await;
    let registry = &bench.registry;
    registry.create(&info(Status::EgressStarting)).await.unwrap();
    // Whoever else creates it again, does nothing.
    registry.create(&info(Status::EgressStarting)).await.unwrap();
    registry.update(info(Status::EgressStarting));
    registry.update(info(Status::EgressActive));
    registry.update(info(Status::EgressActive));
    registry.update(info(Status::EgressEnding));
    registry.update(info(Status::EgressComplete));
    // It is over.
    registry.update(info(Status::EgressActive));
    registry.update(info(Status::EgressComplete));
    let expected = events(&[
        ("egress_started", "EGRESS_STARTING"),
        ("egress_updated", "EGRESS_ACTIVE"),
        ("egress_updated", "EGRESS_ACTIVE"),
        ("egress_updated", "EGRESS_ENDING"),
        ("egress_ended", "EGRESS_COMPLETE"),
    ]);
    assert_eq!(bench.mark_reported().await, expected);
    assert_eq!(registry.store.get("EG_one").unwrap().status(), Status::EgressComplete);
}

#[tokio::test]
async fn a_limit_is_told_as_the_end_when_its_files_are_finished() {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(directory.path(), 200, PATIENCE).await;
    bench.registry.create(&info(Status::EgressStarting)).await.unwrap();
    bench.registry.update(proto::EgressInfo { ended_at: 0, ..info(Status::EgressLimitReached) });
    bench.registry.update(info(Status::EgressLimitReached));
    let expected = events(&[
        ("egress_started", "EGRESS_STARTING"),
        ("egress_updated", "EGRESS_LIMIT_REACHED"),
        ("egress_ended", "EGRESS_LIMIT_REACHED"),
    ]);
    assert_eq!(bench.mark_reported().await, expected);
}

#[tokio::test]
async fn every_end_is_one() {
    for status in [Status::EgressFailed, Status::EgressAborted, Status::EgressLimitReached] {
        let directory = tempfile::tempdir().unwrap();
        let bench = open(directory.path(), 200, PATIENCE).await;
        bench.registry.create(&info(Status::EgressStarting)).await.unwrap();
        bench.registry.update(info(status));
        let expected =
            events(&[("egress_started", "EGRESS_STARTING"), ("egress_ended", status.as_str_name())]);
        assert_eq!(bench.mark_reported().await, expected);
    }
}

#[tokio::test]
async fn an_end_is_told_by_the_next_run_when_it_must() {
    let directory = tempfile::tempdir().unwrap();
    let unwilling = open(directory.path(), 503, Duration::from_millis(100)).await;
    unwilling.registry.create(&info(Status::EgressStarting)).await.unwrap();
    unwilling.registry.update(info(Status::EgressFailed));
    unwilling.mark_reported().await;
    unwilling.stop.cancel();
    unwilling.tasks.close();
    tokio::time::timeout(PATIENCE, unwilling.tasks.wait()).await.expect("the store closes");

    let next = open(directory.path(), 200, PATIENCE).await;
    assert_eq!(next.registry.store.unreported(), [info(Status::EgressFailed)]);
    next.registry.resume();
    assert_eq!(next.mark_reported().await, events(&[("egress_ended", "EGRESS_FAILED")]));
    assert!(next.registry.store.unreported().is_empty());
    next.registry.resume();
    assert_eq!(next.mark_reported().await.len(), 1, "once is enough");
}
