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

type Told = Arc<Mutex<Vec<(String, String)>>>;

async fn take(State(told): State<Told>, body: String) {
    let event: serde_json::Value = serde_json::from_str(&body).unwrap();
    let status = event["egressInfo"]["status"].as_str().unwrap_or("EGRESS_STARTING");
    told.lock().unwrap().push((event["event"].as_str().unwrap().to_owned(), status.to_owned()));
}

struct Bench {
    registry: Standalone,
    told: Told,
    _directory: tempfile::TempDir,
}

async fn bench() -> Bench {
    let tasks = TaskTracker::new();
    let told = Told::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let router = axum::Router::new().route("/", axum::routing::post(take)).with_state(told.clone());
    tasks.spawn(axum::serve(listener, router).into_future());
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default(), &tasks, CancellationToken::new())
        .await
        .unwrap();
    let keys = [("devkey".to_owned(), Secret::new("a secret".to_owned()))].into_iter().collect();
    let options = WebhookOptions {
        urls: vec![Secret::new(url)],
        api_key: "devkey".to_owned(),
        filter: Filter::default(),
        limits: Limits::default(),
    };
    let webhooks = Notifier::new(options, keys, tasks).unwrap();
    Bench { registry: Standalone { store, webhooks }, told, _directory: directory }
}

fn info(status: Status) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: "EG_one".to_owned(),
        status: status.into(),
        ..proto::EgressInfo::default()
    }
}

impl Bench {
    async fn told(&self) -> Vec<(String, String)> {
        let drained = self.registry.drained();
        tokio::time::timeout(Duration::from_secs(20), drained).await.expect("all is told");
        self.told.lock().unwrap().clone()
    }
}

fn events(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(event, status)| (event.to_owned(), status.to_owned())).collect()
}

#[tokio::test]
async fn a_life_is_told_once_from_its_beginning_to_its_end() {
    let bench = bench().await;
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
    assert_eq!(bench.told().await, expected);
    assert_eq!(registry.store.get("EG_one").unwrap().status(), Status::EgressComplete);
}

#[tokio::test]
async fn every_end_is_one() {
    for status in [Status::EgressFailed, Status::EgressAborted, Status::EgressLimitReached] {
        let bench = bench().await;
        bench.registry.create(&info(Status::EgressStarting)).await.unwrap();
        bench.registry.update(info(status));
        let expected =
            events(&[("egress_started", "EGRESS_STARTING"), ("egress_ended", status.as_str_name())]);
        assert_eq!(bench.told().await, expected);
    }
}
