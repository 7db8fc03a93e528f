//! Reports to livekit-server: `IOInfo` over psrpc (docs/reference/egress.md).
//!
//! ```text
//! update ──► the egress's slot (the newest counts) ──► a task, as long as there is something to tell
//!                                                          └─ asks again until it is taken; at once when the bus is back
//! ```
//!
//! Three answers end a report without its being taken: `not_found`, `invalid_argument` and
//! `permission_denied`. Any other error passes (livekit-server hands its store's errors on as
//! `unknown`), and the report is sent again, with growing pauses, for as long as the service runs.
//! An egress's directory stays until its end is taken or refused, so the next run sends it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use livekit_protocol as proto;
use prost::Message;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::error::ServiceError;
use super::registry::{Registry, is_over};
use crate::psrpc::{
    CallOptions, Client, Code, Error, LinkState, MessageBus, Method, Observer, Retry, SelectionRules,
};

/// How long answers are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoTimes {
    pub create: Duration,
    pub update: Duration,
    /// How long a claim is awaited; `None`: as long as the answer.
    pub selection: Option<Duration>,
}

impl Default for IoTimes {
    fn default() -> Self {
        Self { create: Duration::from_secs(15), update: Duration::from_secs(30), selection: None }
    }
}

/// Between two attempts (docs/reference/egress.md).
const RETRY: Retry =
    Retry { attempts: None, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(60) };
/// After the bus is back, its other ends need a moment to be back, too.
const AFTER_RETURN: Duration = Duration::from_millis(100);

/// livekit-server, as the one who keeps what is known of egresses.
#[derive(Debug, Clone)]
pub struct IoRegistry(Arc<Io>);

#[derive(Debug)]
struct Io {
    client: Client,
    times: IoTimes,
    link: watch::Receiver<LinkState>,
    tasks: TaskTracker,
    slots: Mutex<HashMap<String, Slot>>,
    /// Changes whenever a slot is emptied.
    emptied: watch::Sender<u64>,
    unhealthy: AtomicBool,
}

/// The consequence of a failed call for the next one with the same report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// livekit-server was not reached, or did not answer in time.
    Unanswered,
    /// livekit-server answered; the same report may be taken later.
    Passing,
    /// The same report will never be taken.
    Final,
}

impl Failure {
    const fn of(error: &Error) -> Self {
        match error.code() {
            Code::NotFound | Code::InvalidArgument | Code::PermissionDenied => Self::Final,
            // `unavailable` or `deadline_exceeded` among them, where livekit-server itself says so.
            _ if error.is_answer() => Self::Passing,
            _ => Self::Unanswered,
        }
    }
}

/// An egress with a pending report.
#[derive(Debug, Default)]
struct Slot {
    /// Newer than what is on its way.
    newer: Option<proto::EgressInfo>,
}

impl IoRegistry {
    /// Reports go over a bus; the tasks that send them are on `tasks`.
    #[must_use]
    pub fn new(bus: Arc<dyn MessageBus>, times: IoTimes, tasks: &TaskTracker) -> Self {
        let link = bus.link();
        let client = Client::new(bus, "IOInfo", tasks);
        Self(Arc::new(Io {
            client,
            times,
            link,
            tasks: tasks.clone(),
            slots: Mutex::default(),
            emptied: watch::Sender::new(0),
            unhealthy: AtomicBool::new(false),
        }))
    }
}

impl IoRegistry {
    /// Says who counts what is asked of livekit-server. To be called once, before the first report.
    pub fn observed_by(&self, observer: Arc<dyn Observer>) {
        self.0.client.observed_by(observer);
    }
}

impl Io {
    fn options(&self, timeout: Duration) -> CallOptions {
        CallOptions {
            timeout,
            selection: SelectionRules { timeout: self.times.selection, ..SelectionRules::FIRST },
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everything that there is to tell of an egress, in order.
    async fn tell(self: Arc<Self>, egress_id: String, mut info: proto::EgressInfo) {
        loop {
            self.send(&egress_id, info).await;
            let newer = {
                let mut slots = self.slots();
                let newer = slots.get_mut(&egress_id).and_then(|slot| slot.newer.take());
                if newer.is_none() {
                    slots.remove(&egress_id);
                }
                newer
            };
            match newer {
                Some(newer) => info = newer,
                None => {
                    self.emptied.send_modify(|count| *count += 1);
                    return;
                }
            }
        }
    }

    /// Sends a report until livekit-server has taken it, or has refused it for good; while it does
    /// neither, a newer report takes its place.
    async fn send(&self, egress_id: &str, mut info: proto::EgressInfo) {
        const UPDATE: Method = Method::queued("UpdateEgress");
        let mut failed = 0;
        loop {
            let request = info.encode_to_vec().into();
            let error = match self.client.call(&UPDATE, request, self.options(self.times.update)).await {
                Ok(_) => return self.note_answer(),
                Err(error) => error,
            };
            match Failure::of(&error) {
                Failure::Unanswered => {
                    if !self.unhealthy.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "reports fail; refusing new work");
                    }
                }
                // It is there, and hands on an error of what it keeps egresses in, or of a proxy:
                // that passes.
                Failure::Passing => {
                    self.note_answer();
                    let code = error.code();
                    if failed == 0 {
                        tracing::warn!(%code, %error, "report failed; sending it again");
                    } else {
                        tracing::debug!(%code, %error, failed, "report failed");
                    }
                }
                Failure::Final => {
                    self.note_answer();
                    tracing::error!(code = %error.code(), %error, "report refused by livekit-server");
                    return;
                }
            }
            failed += 1;
            self.pause(failed).await;
            if let Some(newer) = self.slots().get_mut(egress_id).and_then(|slot| slot.newer.take()) {
                info = newer;
            }
        }
    }

    /// livekit-server is there.
    fn note_answer(&self) {
        if self.unhealthy.swap(false, Ordering::Relaxed) {
            tracing::info!("livekit-server answers reports again");
        }
    }

    /// Waits for the next attempt, or for the bus to come back.
    async fn pause(&self, failed: u32) {
        let pause = RETRY.pause(failed).unwrap_or(RETRY.longest_pause);
        let mut link = self.link.clone();
        let back = async {
            if *link.borrow_and_update() == LinkState::Down
                && link.wait_for(|link| *link == LinkState::Up).await.is_ok()
            {
                sleep(AFTER_RETURN).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = back => {}
        }
    }

    async fn until(&self, is_done: impl Fn(&HashMap<String, Slot>) -> bool) {
        let mut emptied = self.emptied.subscribe();
        // The sender is in here.
        drop(emptied.wait_for(|_| is_done(&self.slots())).await);
    }
}

#[async_trait]
impl Registry for IoRegistry {
    async fn create(&self, info: &proto::EgressInfo) -> Result<(), ServiceError> {
        const CREATE: Method = Method::queued("CreateEgress");
        let io = &self.0;
        io.client.ask::<()>(&CREATE, info, io.options(io.times.create)).await?;
        Ok(())
    }

    fn update(&self, info: proto::EgressInfo) {
        let egress_id = info.egress_id.clone();
        {
            let mut slots = self.0.slots();
            if let Some(slot) = slots.get_mut(&egress_id) {
                // What has ended stays ended.
                if !slot.newer.as_ref().is_some_and(is_over) || is_over(&info) {
                    slot.newer = Some(info);
                }
                return;
            }
            slots.insert(egress_id.clone(), Slot::default());
        }
        self.0.tasks.spawn(Arc::clone(&self.0).tell(egress_id, info).in_current_span());
    }

    async fn delivered(&self, egress_id: &str) {
        self.0.until(|slots| !slots.contains_key(egress_id)).await;
    }

    async fn drained(&self) {
        self.0.until(HashMap::is_empty).await;
    }

    async fn list(
        &self,
        request: proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        const LIST: Method = Method::queued("ListEgress");
        Ok(self.0.client.ask(&LIST, &request, CallOptions::default()).await?)
    }

    async fn unfinished(&self) -> Result<Vec<proto::EgressInfo>, ServiceError> {
        Ok(Vec::new())
    }

    fn is_healthy(&self) -> bool {
        !self.0.unhealthy.load(Ordering::Relaxed)
    }

    fn is_connected(&self) -> bool {
        *self.0.link.borrow() == LinkState::Up
    }
}

#[cfg(test)]
mod tests;
