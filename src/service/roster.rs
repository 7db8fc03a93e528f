//! The egresses that live here, and those that former runs have left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use livekit_protocol as proto;
use tokio::sync::watch;

use super::supervisor::Handle;

/// A recorder that may still be on its way.
type Place = watch::Receiver<Option<Arc<Handle>>>;

/// Which egresses live, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster {
    places: Arc<Mutex<BTreeMap<String, Place>>>,
    count: watch::Sender<usize>,
}

/// An egress's place. Free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    roster: Roster,
    egress_id: String,
    handle: watch::Sender<Option<Arc<Handle>>>,
}

impl Roster {
    /// Takes a place; `None`: an egress of this name lives.
    pub(super) fn seat(&self, egress_id: &str) -> Option<Seat> {
        let mut places = self.places();
        if places.contains_key(egress_id) {
            return None;
        }
        let (handle, place) = watch::channel(None);
        places.insert(egress_id.to_owned(), place);
        self.count.send_replace(places.len());
        Some(Seat { roster: self.clone(), egress_id: egress_id.to_owned(), handle })
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

impl Seat {
    /// It is up.
    pub(super) fn take(&self, handle: Arc<Handle>) {
        self.handle.send_replace(Some(handle));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut places = self.roster.places();
        places.remove(&self.egress_id);
        self.roster.count.send_replace(places.len());
    }
}

/// Egresses of former runs whose recorders are still at work, with their last reports.
#[derive(Debug, Clone, Default)]
pub(super) struct Orphans(Arc<Mutex<BTreeMap<String, proto::EgressInfo>>>);

/// An orphan's entry. Gone when this is dropped.
#[derive(Debug)]
pub(super) struct Orphan {
    orphans: Orphans,
    egress_id: String,
}

impl Orphans {
    /// Enters one.
    pub(super) fn enter(&self, info: proto::EgressInfo) -> Orphan {
        let egress_id = info.egress_id.clone();
        self.lock().insert(egress_id.clone(), info);
        Orphan { orphans: self.clone(), egress_id }
    }

    pub(super) fn list(&self) -> Vec<proto::EgressInfo> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, proto::EgressInfo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.orphans.lock().remove(&self.egress_id);
    }
}
