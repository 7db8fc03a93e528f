//! Makes calls.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bus::{MessageBus, Standing, Subscription};
use super::claim::{Selection, SelectionRules};
use super::envelope::{ClaimRequest, ClaimResponse, Envelope, Request, Response};
use super::error::{Code, Error};
use super::method::{Claiming, Method};
use super::server::{Answered, Observer, Rpc};
use super::{channel, clock, id};

/// How one call is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallOptions {
    /// From the request to its answer.
    pub timeout: Duration,
    /// For methods with a claim.
    pub selection: SelectionRules,
}

impl Default for CallOptions {
    /// The library's: three seconds, and the first server that comes forward.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), selection: SelectionRules::FIRST }
    }
}

/// When a call is made again. Each attempt is a request of its own, with the whole timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// All of them, the first included; `None`: until it is cancelled.
    pub attempts: Option<NonZeroU32>,
    /// After the first attempt; twice as long after each further one.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Retry {
    /// How long to wait after `failed` attempts; `None`: no more.
    #[must_use]
    pub fn pause(&self, failed: u32) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| failed >= attempts.get()) {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(31);
        Some(self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause))
    }
}

/// The answer of one of several servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `SRV_…`
    pub server_id: String,
    pub outcome: Result<Bytes, Error>,
}

/// One service's client.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    /// Confirmed: answers and claims arrive.
    standing: [Standing; 2],
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    bus: Arc<dyn MessageBus>,
    service: String,
    id: String,
    observer: OnceLock<Arc<dyn Observer>>,
    waiting: Mutex<HashMap<String, mpsc::Sender<Reply>>>,
}

#[derive(Debug)]
enum Reply {
    Claim(ClaimRequest),
    Response(Response),
}

/// Replies to one request that may wait to be read.
const BACKLOG: usize = 1000;

impl Client {
    /// A client of a service (its bare name), whose one task runs on `tasks`. It begins to listen
    /// at once; calls wait until it does.
    pub fn new(bus: Arc<dyn MessageBus>, service: impl Into<String>, tasks: &TaskTracker) -> Self {
        let shared = Arc::new(Shared {
            bus,
            service: service.into(),
            id: id::client(),
            observer: OnceLock::new(),
            waiting: Mutex::default(),
        });
        let responses = shared.bus.subscribe(&channel::response(&shared.service, &shared.id));
        let claims = shared.bus.subscribe(&channel::claim(&shared.service, &shared.id));
        let standing = [responses.watch(), claims.watch()];
        let stop = CancellationToken::new();
        tasks.spawn(dispatch(Arc::clone(&shared), responses, claims, stop.clone()));
        Self { shared, standing, _stop: stop.drop_guard() }
    }

    /// Says who counts. To be called once, before the first call.
    pub fn observed_by(&self, observer: Arc<dyn Observer>) {
        if self.shared.observer.set(observer).is_err() {
            tracing::error!("the observer was set before");
        }
    }

    /// `CLI_…`
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Calls a method that one server answers.
    ///
    /// # Errors
    ///
    /// The server's; `unavailable` without a server; `deadline_exceeded` if a server accepted the
    /// call and did not answer in time.
    pub async fn call(&self, method: &Method, request: Bytes, options: CallOptions) -> Result<Bytes, Error> {
        let (begin, sent) = (Instant::now(), request.len());
        let outcome = self.attempt(method, request, options).await;
        self.shared.count(method, || Answered {
            multi: false,
            took: begin.elapsed(),
            error: outcome.as_ref().err().map(Error::code),
            received: outcome.as_ref().map_or(0, Bytes::len),
            sent,
        });
        outcome
    }

    async fn attempt(&self, method: &Method, request: Bytes, options: CallOptions) -> Result<Bytes, Error> {
        let deadline = after(options.timeout);
        let mut waiter = self.send(method, request, deadline, false).await?;
        if method.claiming == Claiming::Required {
            let server_id = waiter.choose(options.selection, deadline).await?;
            let decision = ClaimResponse { request_id: waiter.request_id.clone(), server_id };
            let channel = method.decision_channel(&self.shared.service);
            self.shared.publish(&channel, &Envelope::ClaimResponse(decision), deadline).await?;
        }
        loop {
            match waiter.next(deadline).await? {
                Reply::Response(response) => return response.into_outcome(),
                // The claims of those that were not chosen.
                Reply::Claim(_) => {}
            }
        }
    }

    /// The same with messages.
    ///
    /// # Errors
    /// As [`Client::call`], and `malformed_result` for an answer that can't be read.
    pub async fn ask<R: Message + Default>(
        &self,
        method: &Method,
        request: &impl Message,
        options: CallOptions,
    ) -> Result<R, Error> {
        let answer = self.call(method, request.encode_to_vec().into(), options).await?;
        R::decode(answer).map_err(|error| Error::new(Code::MalformedResult, error.to_string()))
    }

    /// Calls, and calls again while what failed may pass.
    ///
    /// # Errors
    /// The last attempt's; `canceled`, when `cancel` came first.
    pub async fn call_retrying(
        &self,
        method: &Method,
        request: Bytes,
        options: CallOptions,
        retry: Retry,
        cancel: &CancellationToken,
    ) -> Result<Bytes, Error> {
        let attempts = async {
            for failed in 1.. {
                match self.call(method, request.clone(), options).await {
                    Err(error) if error.is_passing() => match retry.pause(failed) {
                        Some(pause) => {
                            tracing::debug!(method = %method.name, failed, %error, "calling again");
                            sleep(pause).await;
                        }
                        None => return Err(error),
                    },
                    done => return done,
                }
            }
            Err(Error::timed_out())
        };
        tokio::select! {
            done = attempts => done,
            () = cancel.cancelled() => Err(Error::new(Code::Canceled, "request canceled")),
        }
    }

    /// Calls a method that every server answers, and collects what they say for the whole
    /// `timeout`: nobody knows how many there are.
    ///
    /// # Errors
    /// When the request could not be sent.
    pub async fn call_all(
        &self,
        method: &Method,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Vec<Answer>, Error> {
        let (begin, sent) = (Instant::now(), request.len());
        let answers = self.attempt_all(method, request, timeout).await;
        let lengths = |answers: &Vec<Answer>| {
            answers.iter().filter_map(|answer| answer.outcome.as_ref().ok()).map(Bytes::len).sum()
        };
        self.shared.count(method, || Answered {
            multi: true,
            took: begin.elapsed(),
            error: answers.as_ref().err().map(Error::code),
            received: answers.as_ref().map_or(0, lengths),
            sent,
        });
        answers
    }

    async fn attempt_all(
        &self,
        method: &Method,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Vec<Answer>, Error> {
        let deadline = after(timeout);
        let mut waiter = self.send(method, request, deadline, true).await?;
        let mut answers = Vec::new();
        while let Ok(reply) = waiter.next(deadline).await {
            if let Reply::Response(response) = reply {
                answers
                    .push(Answer { server_id: response.server_id.clone(), outcome: response.into_outcome() });
            }
        }
        Ok(answers)
    }

    /// Sends a request when its answers would arrive.
    async fn send(
        &self,
        method: &Method,
        request: Bytes,
        deadline: Instant,
        multi: bool,
    ) -> Result<Waiter, Error> {
        for standing in &self.standing {
            match timeout_at(deadline, standing.wait()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Error::new(Code::Unavailable, error.to_string())),
                Err(_) => return Err(Error::new(Code::Unavailable, "no connection to the message bus")),
            }
        }
        let waiter = Waiter::new(&self.shared);
        let sent_at = clock::unix_nanos();
        let request = Request {
            request_id: waiter.request_id.clone(),
            client_id: self.shared.id.clone(),
            sent_at,
            expiry: clock::plus(sent_at, deadline - Instant::now()),
            multi,
            metadata: std::collections::BTreeMap::new(),
            raw_request: request,
        };
        let channel = method.request_channel(&self.shared.service);
        self.shared.publish(&channel, &Envelope::Request(request), deadline).await?;
        Ok(waiter)
    }
}

/// One request's place among those that wait for replies.
struct Waiter {
    shared: Arc<Shared>,
    request_id: String,
    replies: mpsc::Receiver<Reply>,
}

impl Waiter {
    fn new(shared: &Arc<Shared>) -> Self {
        let request_id = id::request();
        let (sender, replies) = mpsc::channel(BACKLOG);
        shared.waiting().insert(request_id.clone(), sender);
        Self { shared: Arc::clone(shared), request_id, replies }
    }

    async fn next(&mut self, deadline: Instant) -> Result<Reply, Error> {
        match timeout_at(deadline, self.replies.recv()).await {
            Ok(Some(reply)) => Ok(reply),
            // The dispatcher holds the other end as long as we are listed.
            Ok(None) => Err(Error::new(Code::Unavailable, "the bus is closed")),
            Err(_) => Err(Error::timed_out()),
        }
    }

    /// The server that gets the call.
    async fn choose(&mut self, rules: SelectionRules, deadline: Instant) -> Result<String, Error> {
        let mut selection = Selection::new(rules, Instant::now().into_std(), deadline.into_std());
        loop {
            match timeout_at(Instant::from_std(selection.due()), self.replies.recv()).await {
                Ok(Some(Reply::Claim(claim))) => {
                    let now = Instant::now().into_std();
                    if let Some(chosen) = selection.claim(now, claim.server_id, claim.affinity) {
                        return Ok(chosen);
                    }
                }
                Ok(Some(Reply::Response(response))) => {
                    if let Err(error) = response.into_outcome() {
                        selection.refused(error);
                    }
                }
                Ok(None) | Err(_) => return selection.decide(),
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.request_id);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Reply>>> {
        // A map's own operations leave it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, method: &Method, call: impl FnOnce() -> Answered) {
        if let Some(observer) = self.observer.get() {
            observer.called(Rpc { service: &self.service, method: &method.name }, call());
        }
    }

    async fn publish(&self, channel: &str, envelope: &Envelope, deadline: Instant) -> Result<(), Error> {
        match timeout_at(deadline, self.bus.publish(channel, envelope.encode())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::new(Code::Unavailable, error.to_string())),
            Err(_) => Err(Error::timed_out()),
        }
    }

    /// Hands a reply to the request that it belongs to.
    fn deliver(&self, frame: &Bytes) {
        let (request_id, reply) = match Envelope::decode(frame) {
            Ok(Envelope::ClaimRequest(claim)) => (claim.request_id.clone(), Reply::Claim(claim)),
            Ok(Envelope::Response(response)) => (response.request_id.clone(), Reply::Response(response)),
            Ok(Envelope::Request(_) | Envelope::ClaimResponse(_)) => {
                return tracing::debug!(service = self.service, "invalid reply frame");
            }
            Err(error) => return tracing::debug!(service = self.service, %error, "a malformed frame"),
        };
        // One that nobody waits for any more came too late.
        if let Some(waiter) = self.waiting().get(&request_id) {
            drop(waiter.try_send(reply));
        }
    }
}

async fn dispatch(
    shared: Arc<Shared>,
    mut responses: Subscription,
    mut claims: Subscription,
    stop: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            () = stop.cancelled() => break,
            frame = responses.next() => frame,
            frame = claims.next() => frame,
        };
        match frame {
            Some(frame) => shared.deliver(&frame),
            None => break,
        }
    }
    // Nobody will answer those that still wait.
    shared.waiting().clear();
}

/// A moment so far from now; an hour at most, since no call is longer.
fn after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(3600))
}
