//! The embedded store: every egress of this machine, for a service without a LiveKit server.
//!
//! Reads are answered from memory. Every change is also written to a file, in the background and in
//! order, so that a killed service finds its state: a commit is on the disk completely or not at
//! all. An egress that begins waits for its commit; later changes do not, and of several waiting
//! ones the last is written.
//!
//! It stores `EgressInfo`s, which are already redacted. The file is readable by its owner only.

mod disk;
mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use livekit_protocol as proto;
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{Code, ServiceError};
use super::registry::is_over;
use disk::Disk;
pub use disk::StoreError;

/// An operator's settings.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// How long an egress that ended is kept; LiveKit keeps it for a day.
    pub retention: Duration,
    /// How often it is looked for those that are older; LiveKit looks every 30 minutes.
    pub sweep: Duration,
    /// How many egresses one answer of [`Store::list`] holds.
    pub page: usize,
    /// How long it is waited before what could not be written is written again.
    pub pause: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(24),
            sweep: Duration::from_mins(30),
            page: 1000,
            pause: Duration::from_secs(1),
        }
    }
}

/// Every egress that is known. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: StoreOptions,
    known: Mutex<Known>,
    /// Something changed.
    changed: Notify,
    written: watch::Sender<Written>,
}

#[derive(Debug, Default)]
struct Known {
    infos: BTreeMap<String, proto::EgressInfo>,
    /// Those whose end was not yet told to everybody who is to know.
    untold: BTreeSet<String>,
    /// Ids of egresses that differ from the file. Those missing in memory are removed from it.
    dirty: BTreeSet<String>,
    /// How often something changed.
    changes: u64,
}

/// How far the file has come.
#[derive(Debug, Clone, Default)]
struct Written {
    changes: u64,
    /// Why the last attempt failed; `None`: it did not.
    failure: Option<String>,
    attempts: u64,
    is_closed: bool,
}

/// Result of [`Store::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Its status is new, or it is.
    News,
    /// A repeated report, or one with more details.
    Same,
    /// It had ended, and can't go on.
    Late,
}

impl Store {
    /// Opens the file, or makes it, and reads what it holds. Its directory has to exist. A task of
    /// `tasks` writes until `stop`.
    ///
    /// # Errors
    /// When the file can't be opened, is in use, or is damaged.
    pub async fn open(
        file: &Path,
        options: StoreOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let file = file.to_owned();
        let opening = tasks.spawn_blocking(move || {
            let disk = Disk::open(&file)?;
            let (infos, untold) = disk.read()?;
            Ok((disk, infos, untold))
        });
        let (disk, infos, untold) = opening.await.map_err(|_| StoreError::BrokeOff)??;
        let shared = Arc::new(Shared {
            options,
            known: Mutex::new(Known { infos, untold, ..Known::default() }),
            changed: Notify::new(),
            written: watch::Sender::default(),
        });
        tasks.spawn(write(shared.clone(), Arc::new(disk), tasks.clone(), stop));
        Ok(Self { shared })
    }

    /// Keeps an egress that is new. Returns when it is on the disk; whether it was new.
    ///
    /// # Errors
    /// When it can't be written; then it is not kept.
    pub async fn create(&self, info: &proto::EgressInfo) -> Result<bool, ServiceError> {
        let change = {
            let mut known = self.shared.lock();
            if known.infos.contains_key(&info.egress_id) {
                return Ok(false);
            }
            known.set(info.clone());
            known.changes
        };
        self.shared.changed.notify_one();
        match self.wait_for(change, true).await {
            Ok(()) => Ok(true),
            Err(why) => {
                self.shared.lock().remove(&info.egress_id);
                self.shared.changed.notify_one();
                tracing::error!(egress_id = info.egress_id, why, "egress not written to the store");
                Err(ServiceError::internal(format!("the egress can't be kept: {why}")))
            }
        }
    }

    /// Stores the state of an egress. An ended one does not start again; its end counts as
    /// unreported until [`Store::mark_reported`].
    pub fn put(&self, info: proto::EgressInfo) -> Put {
        let mut known = self.shared.lock();
        let before = known.infos.get(&info.egress_id);
        let found = match before {
            Some(before) if is_over(before) && !is_over(&info) => return Put::Late,
            Some(before) if is_over(before) => Put::Same,
            Some(_) | None => Put::News,
        };
        if found == Put::News && is_over(&info) {
            known.untold.insert(info.egress_id.clone());
        }
        known.set(info);
        drop(known);
        self.shared.changed.notify_one();
        found
    }

    /// Everybody who is to know of an egress's end does.
    pub fn mark_reported(&self, egress_id: &str) {
        let mut known = self.shared.lock();
        if known.untold.remove(egress_id) {
            known.touch(egress_id);
            drop(known);
            self.shared.changed.notify_one();
        }
    }

    /// Egresses with an unreported end.
    #[must_use]
    pub fn unreported(&self) -> Vec<proto::EgressInfo> {
        let known = self.shared.lock();
        known.untold.iter().filter_map(|egress_id| known.infos.get(egress_id).cloned()).collect()
    }

    #[must_use]
    pub fn get(&self, egress_id: &str) -> Option<proto::EgressInfo> {
        self.shared.lock().infos.get(egress_id).cloned()
    }

    /// Those that have not ended. After a start, they are what the service did not see the end of.
    #[must_use]
    pub fn active(&self) -> Vec<proto::EgressInfo> {
        self.shared.lock().infos.values().filter(|info| !is_over(info)).cloned().collect()
    }

    /// The egresses that a request asks for, the newest first, a page at a time.
    ///
    /// # Errors
    /// `not_found` for an id that nobody knows, `invalid_argument` for a token that was not given
    /// by this.
    pub fn list(
        &self,
        request: &proto::ListEgressRequest,
    ) -> Result<proto::ListEgressResponse, ServiceError> {
        list::list(&self.shared.lock().infos, request, self.shared.options.page)
    }

    /// Returns when all that is known is on the disk.
    ///
    /// # Errors
    /// Why it is not, when the store has closed: the service ends.
    pub async fn drained(&self) -> Result<(), String> {
        let change = self.shared.lock().changes;
        let drained = self.wait_for(change, false).await;
        drained.inspect_err(|why| {
            tracing::error!(why, "last state of the egresses not written to disk");
        })
    }

    /// `once`: the first attempt that fails counts, else the last one before the store closes.
    async fn wait_for(&self, change: u64, once: bool) -> Result<(), String> {
        let mut written = self.shared.written.subscribe();
        let before = written.borrow().attempts;
        let settled = written
            .wait_for(|now| {
                let failed = now.failure.is_some() && now.attempts > before;
                now.changes >= change || now.is_closed || (once && failed)
            })
            .await;
        match settled.as_deref() {
            Ok(now) if now.changes >= change => Ok(()),
            Ok(now) => Err(now.failure.clone().unwrap_or_else(|| "the service ends".to_owned())),
            Err(_) => Err("the service ends".to_owned()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what ended long ago.
    fn sweep(&self, now: Timestamp) {
        let retention = i128::try_from(self.options.retention.as_nanos()).unwrap_or(i128::MAX);
        let before = now.as_nanosecond().saturating_sub(retention);
        let mut known = self.lock();
        let old: Vec<String> = known
            .infos
            .values()
            .filter(|info| is_over(info) && i128::from(info.ended_at.max(info.updated_at)) < before)
            .map(|info| info.egress_id.clone())
            .collect();
        for egress_id in old {
            known.remove(&egress_id);
        }
    }

    /// The pending writes: each egress in its current state, `None` if it is removed.
    fn pending(&self) -> Option<Batch> {
        let mut known = self.lock();
        let dirty = std::mem::take(&mut known.dirty);
        if dirty.is_empty() {
            return None;
        }
        let entries = dirty
            .into_iter()
            .map(|egress_id| Entry {
                info: known.infos.get(&egress_id).map(Message::encode_to_vec),
                is_untold: known.untold.contains(&egress_id),
                egress_id,
            })
            .collect();
        Some(Batch { changes: known.changes, entries })
    }
}

#[derive(Debug)]
struct Batch {
    changes: u64,
    entries: Vec<Entry>,
}

/// An egress as it is to be on the disk.
#[derive(Debug)]
struct Entry {
    egress_id: String,
    /// Serialized as protobuf; `None` to remove it.
    info: Option<Vec<u8>>,
    is_untold: bool,
}

impl Known {
    fn set(&mut self, info: proto::EgressInfo) {
        self.touch(&info.egress_id);
        self.infos.insert(info.egress_id.clone(), info);
    }

    fn touch(&mut self, egress_id: &str) {
        self.dirty.insert(egress_id.to_owned());
        self.changes += 1;
    }

    fn remove(&mut self, egress_id: &str) {
        if self.infos.remove(egress_id).is_some() {
            self.untold.remove(egress_id);
            self.touch(egress_id);
        }
    }
}

/// Writes what changes until `stop`, and then what is left.
async fn write(shared: Arc<Shared>, disk: Arc<Disk>, tasks: TaskTracker, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(shared.options.sweep);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            _ = sweep.tick() => {
                shared.sweep(Timestamp::now());
                false
            }
            () = shared.changed.notified() => false,
            () = tokio::time::sleep(shared.options.pause), if failed => false,
        };
        failed = !flush(&shared, &disk, &tasks).await;
        if is_last {
            shared.written.send_modify(|written| written.is_closed = true);
            return;
        }
    }
}

/// Writes what differs; whether nothing is left.
async fn flush(shared: &Shared, disk: &Arc<Disk>, tasks: &TaskTracker) -> bool {
    let Some(batch) = shared.pending() else { return true };
    let changes = batch.changes;
    let egress_ids: Vec<String> = batch.entries.iter().map(|entry| entry.egress_id.clone()).collect();
    let to = disk.clone();
    let done = tasks.spawn_blocking(move || to.write(&batch.entries)).await;
    let failure = match done {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("writing broke off".to_owned()),
    };
    if let Some(why) = &failure {
        tracing::error!(why, "egresses not written to disk; trying again later");
        shared.lock().dirty.extend(egress_ids);
    }
    let is_done = failure.is_none();
    shared.written.send_modify(|written| {
        written.attempts += 1;
        if is_done {
            written.changes = changes;
        }
        written.failure = failure;
    });
    is_done
}

/// Not found, in LiveKit's words.
pub(super) fn unknown() -> ServiceError {
    ServiceError::new(Code::NotFound, "egress does not exist")
}

#[cfg(test)]
mod tests;
