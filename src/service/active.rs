//! The egresses that live here, and those that former runs have left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use livekit_protocol as proto;
use tokio::sync::watch;

use super::error::ServiceError;
use super::registry::is_over;
use super::supervisor::Handle;

/// A recorder that may still be on its way.
type Place = watch::Receiver<Option<Arc<Handle>>>;

/// The running egresses by id.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveEgresses {
    places: Arc<Mutex<BTreeMap<String, Place>>>,
    count: watch::Sender<usize>,
}

/// An egress's place. Free again when this is dropped.
#[derive(Debug)]
pub(super) struct ActiveEntry {
    active: ActiveEgresses,
    egress_id: String,
    handle: watch::Sender<Option<Arc<Handle>>>,
}

impl ActiveEgresses {
    /// Takes a place; `None`: an egress of this name lives.
    pub(super) fn entry(&self, egress_id: &str) -> Option<ActiveEntry> {
        let mut places = self.places();
        if places.contains_key(egress_id) {
            return None;
        }
        let (handle, place) = watch::channel(None);
        places.insert(egress_id.to_owned(), place);
        self.count.send_replace(places.len());
        Some(ActiveEntry { active: self.clone(), egress_id: egress_id.to_owned(), handle })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.places().keys().cloned().collect()
    }

    /// Whether an egress lives.
    pub(super) fn has(&self, egress_id: &str) -> bool {
        self.places().contains_key(egress_id)
    }

    /// Those that are up.
    pub(super) fn handles(&self) -> Vec<Arc<Handle>> {
        self.places().values().filter_map(|place| place.borrow().clone()).collect()
    }

    /// One that is up.
    pub(super) fn handle(&self, egress_id: &str) -> Option<Arc<Handle>> {
        self.places().get(egress_id).and_then(|place| place.borrow().clone())
    }

    /// Waits until it is up; `None`: it is not here, or does not come up.
    pub(super) async fn up(&self, egress_id: &str) -> Option<Arc<Handle>> {
        let mut place = self.places().get(egress_id).cloned()?;
        place.wait_for(Option::is_some).await.ok().and_then(|handle| handle.clone())
    }

    /// Waits until no place is taken.
    pub(super) async fn empty(&self) {
        let mut count = self.count.subscribe();
        // The sender is this.
        drop(count.wait_for(|count| *count == 0).await);
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveEntry {
    /// It is up.
    pub(super) fn take(&self, handle: Arc<Handle>) {
        self.handle.send_replace(Some(handle));
    }
}

impl Drop for ActiveEntry {
    fn drop(&mut self) {
        let mut places = self.active.places();
        places.remove(&self.egress_id);
        self.active.count.send_replace(places.len());
    }
}

/// Egresses of former runs whose recorders are still at work and can't be reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Orphans(Arc<Mutex<BTreeMap<String, OrphanState>>>);

/// The state of an orphan, with pending requests.
#[derive(Debug)]
struct OrphanState {
    /// Its last report.
    info: proto::EgressInfo,
    /// Whether its recorder has a socket, and so reads commands as soon as it can.
    listens: bool,
    /// Somebody has asked it to stop.
    is_to_stop: bool,
}

/// An orphan's entry. Gone when this is dropped.
#[derive(Debug)]
pub(super) struct Orphan {
    orphans: Orphans,
    egress_id: String,
}

impl Orphans {
    /// Enters one.
    pub(super) fn enter(&self, info: proto::EgressInfo, listens: bool) -> Orphan {
        let egress_id = info.egress_id.clone();
        self.lock().insert(egress_id.clone(), OrphanState { info, listens, is_to_stop: false });
        Orphan { orphans: self.clone(), egress_id }
    }

    pub(super) fn list(&self) -> Vec<proto::EgressInfo> {
        self.lock().values().map(|orphan| orphan.info.clone()).collect()
    }

    /// The last report of one.
    pub(super) fn info(&self, egress_id: &str) -> Option<proto::EgressInfo> {
        self.lock().get(egress_id).map(|orphan| orphan.info.clone())
    }

    /// Whether there is one that is not over.
    pub(super) fn has_unfinished(&self, egress_id: &str) -> bool {
        self.lock().get(egress_id).is_some_and(|orphan| !is_over(&orphan.info))
    }

    /// Has one stop as soon as it is reached. Gives its last report; `None`: it is not here, or is
    /// over.
    ///
    /// # Errors
    /// `unavailable` when nothing of its recorder listens, so that no order would come through.
    pub(super) fn stop(&self, egress_id: &str) -> Option<Result<proto::EgressInfo, ServiceError>> {
        let mut orphans = self.lock();
        let orphan = orphans.get_mut(egress_id).filter(|orphan| !is_over(&orphan.info))?;
        // One that is ending needs no order.
        if !orphan.listens && orphan.info.status() != proto::EgressStatus::EgressEnding {
            return Some(Err(ServiceError::unreached()));
        }
        orphan.is_to_stop = true;
        Some(Ok(orphan.info.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OrphanState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orphan {
    /// How it stands now.
    pub(super) fn update(&self, info: proto::EgressInfo, listens: bool) {
        if let Some(orphan) = self.orphans.lock().get_mut(&self.egress_id) {
            (orphan.info, orphan.listens) = (info, listens);
        }
    }

    /// Whether somebody has asked it to stop.
    pub(super) fn is_to_stop(&self) -> bool {
        self.orphans.lock().get(&self.egress_id).is_some_and(|orphan| orphan.is_to_stop)
    }

    /// Ends its entry: it is reached. Gives whether it is to stop; nobody can ask for that here
    /// from now on.
    pub(super) fn leave(self) -> bool {
        self.orphans.lock().remove(&self.egress_id).is_some_and(|orphan| orphan.is_to_stop)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.orphans.lock().remove(&self.egress_id);
    }
}
