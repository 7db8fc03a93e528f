//! A receiver like those made with LiveKit's libraries: it verifies signature and digest first. The
//! verification is independent of the code that signs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PATIENCE;
use crate::ports;

pub(super) const SECRET: &str = "a secret of some length";

/// A received webhook.
#[derive(Debug, Clone)]
pub(super) struct Got {
    /// The API key that signed.
    pub(super) signer: String,
    pub(super) body: Bytes,
    /// The status it was answered with.
    pub(super) answer: u16,
    /// How many headers claim to be the signature.
    pub(super) signatures: usize,
    headers: BTreeMap<String, String>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        &self.headers[name]
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) struct Receiver {
    pub(super) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    arriving: tokio::sync::Mutex<mpsc::UnboundedReceiver<Got>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The listening socket.
    listens: OwnedFd,
}

struct Shared {
    all: Mutex<Vec<Got>>,
    arrivals: watch::Sender<usize>,
    answers: Mutex<Box<dyn Iterator<Item = u16> + Send>>,
    to: mpsc::UnboundedSender<Got>,
    held: watch::Sender<bool>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listens = listener.as_fd().try_clone_to_owned().unwrap();
        let (to, arriving) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            all: Mutex::default(),
            arrivals: watch::Sender::new(0),
            answers: Mutex::new(Box::new(std::iter::repeat(200))),
            to,
            held: watch::Sender::new(false),
        });
        let router = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(shared.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(serving.into_future());
        let url = format!("http://{address}/hook?token=hush");
        Self { url, address, shared, arriving: tokio::sync::Mutex::new(arriving), tasks, stop, listens }
    }

    /// Nobody listens there afterwards.
    pub(super) async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("the receiver stops");
        ports::stop_listening(self.listens);
        self.address
    }

    pub(super) fn answer_with(&self, answers: impl Iterator<Item = u16> + Send + 'static) {
        *self.shared.answers.lock().unwrap() = Box::new(answers);
    }

    /// Answers nobody until [`Self::release`].
    pub(super) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.shared.held.send_replace(false);
    }

    pub(super) async fn next(&self) -> Got {
        let next = async { self.arriving.lock().await.recv().await };
        tokio::time::timeout(PATIENCE, next).await.expect("a webhook arrives").unwrap()
    }

    /// Waits until so many are here, answered or not.
    pub(super) async fn arrived(&self, count: usize) {
        let mut arrivals = self.shared.arrivals.subscribe();
        let there = arrivals.wait_for(|here| *here >= count);
        tokio::time::timeout(PATIENCE, there).await.expect("webhooks arrive").unwrap();
    }

    /// How many are here, answered or not.
    pub(super) fn arrivals(&self) -> usize {
        *self.shared.arrivals.borrow()
    }

    pub(super) fn answered(&self) -> usize {
        self.shared.all.lock().unwrap().len()
    }

    pub(super) fn all(&self) -> Vec<Got> {
        self.shared.all.lock().unwrap().clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    shared.arrivals.send_modify(|count| *count += 1);
    shared.held.subscribe().wait_for(|held| !held).await.unwrap();
    let signer = check(headers["authorization"].to_str().unwrap(), &body);
    let answer = shared.answers.lock().unwrap().next().unwrap_or(200);
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let signatures = headers.get_all("authorization").iter().count();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let got = Got { signer, body, answer, signatures, headers };
    shared.all.lock().unwrap().push(got.clone());
    shared.to.send(got).ok();
    StatusCode::from_u16(answer).unwrap()
}

/// Panics unless a key that exists vouches for just this body, now. A panic here is an answer that
/// never comes.
fn check(token: &str, body: &[u8]) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(json(header)["alg"], "HS256");
    let claims = json(claims);
    let secret = match claims["iss"].as_str().unwrap() {
        "devkey" => SECRET,
        "another" => "another secret",
        other => panic!("signed by {other}"),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    mac.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("rightly signed");
    assert_eq!(claims["sha256"], BASE64_STANDARD.encode(Sha256::digest(body)));
    let now = jiff::Timestamp::now().as_second();
    let left = claims["exp"].as_i64().unwrap() - now;
    assert!((290..=300).contains(&left), "good for {left} s");
    assert!(claims["nbf"].as_i64().unwrap() <= now);
    claims["iss"].as_str().unwrap().to_owned()
}
