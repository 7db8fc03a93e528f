//! Webhooks: notify receivers over HTTP about egresses (docs/reference/egress.md).
//!
//! ```text
//! notify ─► body ─┬─► queue (one receiver, one egress) ─► POST, repeated until accepted
//!                 └─► queue …
//! ```
//!
//! A queue keeps the order of one egress's events and is independent of other queues, so that a
//! slow receiver delays only itself. Queues are bounded in length and time; dropped events are
//! logged. Connections are bounded per receiver and in total, and so are waiting events.
//!
//! Requests equal livekit-server's, and receivers verify them with the same libraries: the body is
//! protobuf JSON, the header `Authorization` holds a token with the body's digest, and `User-Agent`
//! is `LiveKit`.

mod delivery;
mod event;
mod filter;
mod receipt;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use livekit_protocol as proto;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::error::ServiceError;
use super::keys::ApiKeys;
use crate::outbound::Guard;
use crate::secret::Secret;
use crate::token::Signer;
use delivery::Delivery;
pub use event::{Event, requested};
pub use filter::Filter;
use receipt::Receipt;

/// An operator's settings.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Receivers of every egress's events.
    pub urls: Vec<Secret<Url>>,
    /// The name of the API key that signs. Empty: the first one.
    pub api_key: String,
    /// Events for the configured receivers.
    pub filter: Filter,
    pub limits: Limits,
}

/// How much waits for a receiver, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events of one egress that wait for one receiver.
    pub depth: usize,
    /// How long an event is tried. LiveKit's 30 s are shorter than a receiver takes to restart.
    pub age: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// The pause after the first attempt; it doubles after each.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long [`Notifier::drained`] waits.
    pub flush: Duration,
    /// Attempts at the same time.
    pub connections: usize,
    /// Of those, to one host and port.
    pub to_one_host: usize,
    /// Events that wait, of all egresses for all receivers.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 200,
            age: Duration::from_mins(10),
            attempt: Duration::from_secs(10),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            flush: Duration::from_secs(10),
            connections: 64,
            to_one_host: 8,
            waiting: 10_000,
        }
    }
}

/// Checks that all signing keys of a request's webhooks exist, and that no address is link-local.
///
/// # Errors
///
/// `invalid_argument`, naming the field.
pub fn check(keys: &ApiKeys, webhooks: &[proto::WebhookConfig]) -> Result<(), ServiceError> {
    check_guarded(Guard::of_process(), keys, webhooks)
}

fn check_guarded(
    guard: Guard,
    keys: &ApiKeys,
    webhooks: &[proto::WebhookConfig],
) -> Result<(), ServiceError> {
    for (at, webhook) in webhooks.iter().enumerate() {
        let key = &webhook.signing_key;
        if !key.is_empty() && keys.secret(key).is_none() {
            return Err(ServiceError::invalid(format!(
                "request has missing or invalid field: webhooks[{at}].signing_key: no API key has this name; leave it out \
                 for the service's own"
            )));
        }
        if let Ok(url) = Url::parse(&webhook.url)
            && let Err(error) = guard.check(&url)
        {
            return Err(ServiceError::invalid(format!(
                "request has missing or invalid field: webhooks[{at}].url: {error}"
            )));
        }
    }
    Ok(())
}

/// Sends webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: WebhookOptions,
    keys: ApiKeys,
    /// `None` without a key: no webhook can be sent.
    signer: Option<Signer>,
    guard: Guard,
    http: reqwest::Client,
    tasks: TaskTracker,
    given_up: CancellationToken,
    lanes: Mutex<BTreeMap<LaneKey, VecDeque<Delivery>>>,
    /// A lane ended.
    ended: Notify,
    /// Attempts at the same time.
    connections: Semaphore,
    /// The same to one host and port; as long as a lane leads there.
    hosts: Mutex<BTreeMap<(String, u16), Weak<Semaphore>>>,
}

/// Identifies a queue: egress, receiver, signing key.
type LaneKey = (String, String, String);

/// A receiver of an event.
#[derive(Debug, Clone)]
struct Target {
    url: Secret<Url>,
    signer: Signer,
    /// Attempts at its host at the same time.
    host_connections: Arc<Semaphore>,
}

impl Notifier {
    /// `tasks`: where deliveries run.
    ///
    /// # Errors
    /// When there are receivers but no such key, or the HTTP client does not start.
    pub fn new(options: WebhookOptions, keys: ApiKeys, tasks: TaskTracker) -> Result<Self, ServiceError> {
        Self::guarded(Guard::of_process(), options, keys, tasks)
    }

    fn guarded(
        guard: Guard,
        options: WebhookOptions,
        keys: ApiKeys,
        tasks: TaskTracker,
    ) -> Result<Self, ServiceError> {
        let signer = match options.api_key.as_str() {
            "" => keys.first(),
            name => keys.signer(name),
        };
        if signer.is_none() && !options.urls.is_empty() {
            return Err(ServiceError::invalid("webhook.api_key: no API key has this name"));
        }
        let http = guard
            .http()
            .user_agent("LiveKit")
            .connect_timeout(options.limits.attempt)
            .timeout(options.limits.attempt)
            // A signature is for one receiver.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ServiceError::internal(format!("webhooks: {error}")))?;
        let shared = Shared {
            connections: Semaphore::new(options.limits.connections),
            hosts: Mutex::default(),
            options,
            keys,
            signer,
            guard,
            http,
            tasks,
            given_up: CancellationToken::new(),
            lanes: Mutex::default(),
            ended: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Tells everybody who wants to know that this happened. Returns at once. `settled` is called
    /// when each of them took it or it was given up for good; it is not when the service ends
    /// before.
    pub fn notify(
        &self,
        event: Event,
        info: &proto::EgressInfo,
        now: Timestamp,
        settled: impl FnOnce() + Send + 'static,
    ) {
        let targets = self.targets(event, info);
        let receipt = Receipt::new(targets.len(), settled);
        if targets.is_empty() {
            return;
        }
        let body = match event::body(event, info, now) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(egress_id = info.egress_id, %error, "webhook not encoded");
                return;
            }
        };
        let expires = tokio::time::Instant::now() + self.shared.options.limits.age;
        for target in targets {
            let delivery = Delivery { event, body: body.clone(), expires, receipt: receipt.clone() };
            self.queue(&info.egress_id, target, delivery);
        }
    }

    /// Returns when nothing waits any more, or when `limits.flush` is over; what waits then is
    /// given up.
    pub async fn drained(&self) {
        let all = async {
            loop {
                // Asked for before looking, so that no end is missed.
                let ended = self.shared.ended.notified();
                if self.shared.lock().is_empty() {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(self.shared.options.limits.flush, all).await.is_err() {
            let left: usize = self.shared.lock().values().map(|lane| lane.len() + 1).sum();
            tracing::error!(left, "undelivered webhooks given up");
            self.shared.given_up.cancel();
        }
    }

    fn targets(&self, event: Event, info: &proto::EgressInfo) -> Vec<Target> {
        let shared = &self.shared;
        let own = shared
            .options
            .urls
            .iter()
            .filter(|_| shared.options.filter.passes(event))
            .filter_map(|url| Some(shared.target(url.expose().clone(), shared.signer.clone()?)));
        let requested = event::webhooks_of(info).iter().filter_map(|webhook| {
            let filter = webhook.filter_params.as_ref().map(Filter::from).unwrap_or_default();
            if !filter.passes(event) {
                return None;
            }
            let signer = match webhook.signing_key.as_str() {
                "" => shared.signer.clone(),
                name => shared.keys.signer(name),
            };
            // Both were looked at when the request came; a key may be gone since the service was
            // started again.
            let (Ok(url), Some(signer)) = (Url::parse(&webhook.url), signer) else {
                tracing::error!(
                    egress_id = info.egress_id,
                    "webhook of the request has no key or no address; ignored"
                );
                return None;
            };
            Some(shared.target(url, signer))
        });
        own.chain(requested).collect()
    }

    fn queue(&self, egress_id: &str, target: Target, delivery: Delivery) {
        let key = (egress_id.to_owned(), target.url.expose().to_string(), target.signer.key.clone());
        let mut lanes = self.shared.lock();
        let waiting: usize = lanes.values().map(VecDeque::len).sum();
        if waiting >= self.shared.options.limits.waiting {
            // A receiver hears later states anyway; the next run delivers the end of an egress.
            tracing::warn!(egress_id, receiver = target.host(), waiting, "webhook dropped; queue full");
            if delivery.event != Event::Ended {
                delivery.receipt.settle();
            }
            return;
        }
        if let Some(lane) = lanes.get_mut(&key) {
            // Of many that say how things are, the first to go is the oldest; what began and what
            // ended stays.
            if lane.len() >= self.shared.options.limits.depth {
                let oldest = lane.iter().position(|waiting| waiting.event == Event::Updated).unwrap_or(0);
                if let Some(dropped) = lane.remove(oldest) {
                    dropped.receipt.settle();
                }
                tracing::warn!(egress_id, receiver = target.host(), "webhook dropped; queue full");
            }
            lane.push_back(delivery);
            return;
        }
        lanes.insert(key.clone(), VecDeque::from([delivery]));
        drop(lanes);
        self.shared.tasks.spawn(delivery::run(self.shared.clone(), key, target));
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<LaneKey, VecDeque<Delivery>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next of a lane; at its end, the lane is gone.
    fn next(&self, key: &LaneKey) -> Option<Delivery> {
        let mut lanes = self.lock();
        let next = lanes.get_mut(key).and_then(VecDeque::pop_front);
        if next.is_none() {
            lanes.remove(key);
            self.ended.notify_waiters();
        }
        next
    }
}

impl Shared {
    fn target(&self, url: Url, signer: Signer) -> Target {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, connections| connections.strong_count() > 0);
        let port = url.port_or_known_default().unwrap_or_default();
        let host = (url.host_str().unwrap_or_default().to_owned(), port);
        let known = hosts.get(&host).and_then(Weak::upgrade);
        let host_connections = known.unwrap_or_else(|| {
            let connections = Arc::new(Semaphore::new(self.options.limits.to_one_host));
            hosts.insert(host, Arc::downgrade(&connections));
            connections
        });
        Target { url: Secret::new(url), signer, host_connections }
    }
}

impl Target {
    /// Host of the address; the rest may be a receiver's secret.
    fn host(&self) -> String {
        self.url.expose().host_str().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests;
