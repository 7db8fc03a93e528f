//! Answers calls.
//!
//! ```text
//! REQ ────► decode ► expired? ► lock (queue) ► Handler::offer ► ClaimRequest ─► wait ─► Handler::answer ► Response
//! RCLAIM ─► decode ─────────────────────────────────► Offers::decide ───────────┘
//!           one task for each registration             one task for each request
//! ```

mod call;
mod handler;
mod observer;
mod stats;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bus::{BusError, MessageBus, Subscription};
use super::claim::{Decision, Offers};
use super::envelope::{Envelope, MalformedFrame, Request};
use super::method::{Claiming, Method};
use super::{clock, id};

pub use handler::{Call, Handler, typed};
pub use observer::{Answered, ClaimOutcome, Observer, Rpc};
pub use stats::ServerStats;

use stats::Counters;

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Requests in the works at a time, over all methods. To further ones it stays silent.
    pub concurrency: usize,
    /// Longest that a request is waited for or worked on by its own account; one that says more is
    /// held to it.
    pub longest: Duration,
    /// How long [`Server::register`] waits for the bus.
    pub patience: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { concurrency: 1000, longest: Duration::from_secs(5 * 60), patience: Duration::from_secs(5) }
    }
}

/// One service's server. Its methods are answered as long as their [`Registration`]s are held, and
/// none after [`Server::shutdown`] or its drop.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    bus: Arc<dyn MessageBus>,
    service: String,
    id: String,
    options: ServerOptions,
    tasks: TaskTracker,
    stop: CancellationToken,
    permits: Arc<Semaphore>,
    /// Requests in the works, for [`Server::shutdown`].
    calls: TaskTracker,
    counters: Counters,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// Keeps a method answered. Dropping it ends that at once; calls in the works go on.
#[derive(Debug)]
pub struct Registration {
    _stop: DropGuard,
}

/// One method with its handler.
struct Registered {
    shared: Arc<Shared>,
    method: Method,
    handler: Box<dyn Handler>,
    offers: Mutex<Offers<oneshot::Sender<()>>>,
    /// Requests that came and are not decided on.
    undecided: AtomicUsize,
    /// There is one less.
    decided: Notify,
}

impl Server {
    /// A server of a service (its bare name), whose tasks run on `tasks`.
    pub fn new(
        bus: Arc<dyn MessageBus>,
        service: impl Into<String>,
        tasks: &TaskTracker,
        options: ServerOptions,
    ) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            bus,
            service: service.into(),
            id: id::server(),
            options,
            tasks: tasks.clone(),
            stop: stop.clone(),
            permits: Arc::new(Semaphore::new(options.concurrency.min(Semaphore::MAX_PERMITS))),
            calls: TaskTracker::new(),
            counters: Counters::default(),
            observer: OnceLock::new(),
        });
        Self { shared, _stop: stop.drop_guard() }
    }

    /// Says who counts. To be called once, before the first method is registered.
    pub fn observed_by(&self, observer: Arc<dyn Observer>) {
        if self.shared.observer.set(observer).is_err() {
            tracing::error!("the observer was set before");
        }
    }

    /// `SRV_…`
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Counters of received frames.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.shared.counters.read()
    }

    /// Begins to answer a method; when it comes back, calls arrive.
    ///
    /// # Errors
    /// [`BusError`], when the bus does not confirm it in time.
    pub async fn register(&self, method: Method, handler: impl Handler) -> Result<Registration, BusError> {
        let shared = &self.shared;
        let decisions = match method.claiming {
            Claiming::Required => Some(shared.bus.subscribe(&method.decision_channel(&shared.service))),
            Claiming::None => None,
        };
        let requests = shared.bus.subscribe(&method.request_channel(&shared.service));
        let within = shared.options.patience;
        let standing = async {
            if let Some(decisions) = &decisions {
                decisions.standing().await?;
            }
            requests.standing().await
        };
        timeout(within, standing)
            .await
            .unwrap_or(Err(BusError::TimedOut { what: "the subscription", within }))?;

        let stop = shared.stop.child_token();
        let registered = Arc::new(Registered {
            shared: Arc::clone(shared),
            method,
            handler: Box::new(handler),
            offers: Mutex::new(Offers::new(shared.options.concurrency)),
            undecided: AtomicUsize::new(0),
            decided: Notify::new(),
        });
        shared.tasks.spawn(registered.serve(requests, decisions, stop.clone()));
        Ok(Registration { _stop: stop.drop_guard() })
    }

    /// Takes no more calls, and waits for those in the works; `false`: some still are after
    /// `within`.
    pub async fn shutdown(self, within: Duration) -> bool {
        self.shared.stop.cancel();
        self.shared.calls.close();
        timeout(within, self.shared.calls.wait()).await.is_ok()
    }
}

impl Registered {
    async fn serve(
        self: Arc<Self>,
        requests: Subscription,
        mut decisions: Option<Subscription>,
        stop: CancellationToken,
    ) {
        let mut requests = Some(requests);
        loop {
            // Who offers itself stays for the decision, else the caller waits for nobody.
            if requests.is_none() && self.undecided.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if requests.is_some() => requests = None,
                () = self.decided.notified(), if requests.is_none() => {}
                frame = next(&mut requests) => match frame {
                    Some(frame) => self.on_request(frame),
                    None => return,
                },
                frame = next(&mut decisions) => match frame {
                    Some(frame) => self.on_decision(&frame),
                    None => return,
                },
            }
        }
    }

    fn on_request(self: &Arc<Self>, frame: Bytes) {
        let counters = &self.shared.counters;
        counters.received.add();
        self.observe(|observer, rpc| observer.received(rpc));
        let request = match Envelope::decode(&frame) {
            Ok(Envelope::Request(request)) if is_usable(&request) => request,
            Ok(other) => return self.malformed(&format!("not a usable request: {}", kind(&other))),
            Err(error) => return self.refuse(&error),
        };
        let Some(deadline) = clock::deadline(request.expiry, self.shared.options.longest) else {
            counters.expired.add();
            self.observe(|observer, rpc| observer.expired(rpc));
            let (method, request_id) = (&self.method.name, &request.request_id);
            tracing::debug!(%method, request_id, "a request came when its time was over");
            return;
        };
        let Ok(permit) = Arc::clone(&self.shared.permits).try_acquire_owned() else {
            counters.overloaded.add();
            tracing::debug!(method = %self.method.name, "too many requests at a time, one is left to others");
            return;
        };
        let this = Arc::clone(self);
        let undecided = Undecided::new(self);
        let call = async move {
            this.call(request, &frame, deadline, undecided).await;
            drop(permit);
        };
        self.shared.tasks.spawn(self.shared.calls.track_future(call));
    }

    fn on_decision(&self, frame: &Bytes) {
        match Envelope::decode(frame) {
            Ok(Envelope::ClaimResponse(decision)) => {
                let decided =
                    self.offers().decide(&decision.request_id, &decision.server_id, &self.shared.id);
                match decided {
                    // The call may have given up at this moment.
                    Decision::Ours(chosen) => drop(chosen.send(())),
                    Decision::Theirs(forgotten) => drop(forgotten),
                    Decision::Unconcerned => {}
                }
            }
            Ok(other) => self.malformed(&format!("not a decision: {}", kind(&other))),
            Err(error) => self.refuse(&error),
        }
    }

    fn observe(&self, tell: impl FnOnce(&dyn Observer, Rpc<'_>)) {
        if let Some(observer) = self.shared.observer.get() {
            tell(&**observer, Rpc { service: &self.shared.service, method: &self.method.name });
        }
    }

    fn refuse(&self, error: &MalformedFrame) {
        self.malformed(&error.to_string());
    }

    fn malformed(&self, why: &str) {
        self.shared.counters.malformed.add();
        tracing::debug!(service = self.shared.service, method = %self.method.name, why, "a malformed frame");
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, Offers<oneshot::Sender<()>>> {
        // A map's own operations leave it whole.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a client's decision on an offer that was noted; `false`: it went to another, or
    /// nobody decided.
    async fn is_chosen(&self, request_id: &str, decision: oneshot::Receiver<()>, deadline: Instant) -> bool {
        let since = Instant::now();
        let outcome = match timeout_at(deadline, decision).await {
            Ok(Ok(())) => ClaimOutcome::Granted,
            Ok(Err(_)) => ClaimOutcome::Lost,
            Err(_) => {
                self.offers().withdraw(request_id);
                ClaimOutcome::TimedOut
            }
        };
        self.observe(|observer, rpc| observer.claimed(rpc, outcome, since.elapsed()));
        outcome == ClaimOutcome::Granted
    }
}

/// A request that is not decided on; dropped when it is, or when it ends otherwise.
struct Undecided(Arc<Registered>);

impl Undecided {
    fn new(registered: &Arc<Registered>) -> Self {
        registered.undecided.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(registered))
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.0.undecided.fetch_sub(1, Ordering::AcqRel);
        self.0.decided.notify_one();
    }
}

/// The next frame; never, where there is no subscription.
async fn next(subscription: &mut Option<Subscription>) -> Option<Bytes> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

/// Longest identifier that is answered to, in bytes; they are parts of channels' names.
const LONGEST_ID: usize = 256;

fn is_usable(request: &Request) -> bool {
    let usable = |id: &str| !id.is_empty() && id.len() <= LONGEST_ID;
    usable(&request.request_id) && usable(&request.client_id)
}

const fn kind(envelope: &Envelope) -> &'static str {
    match envelope {
        Envelope::Request(_) => "a request",
        Envelope::Response(_) => "a response",
        Envelope::ClaimRequest(_) => "a claim",
        Envelope::ClaimResponse(_) => "a decision",
    }
}
