//! How far the head of a connection's next request is. Before the first request, and from the first byte of each further one, it has to
//! be there soon; between two requests a connection may be kept for as long as clients keep theirs.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its connection is new, or a part of it has come.
    Awaited,
    /// It has come.
    There,
    /// Its request has its answer, and of the next one nothing has come.
    None,
}

/// The heads of one connection, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Heads(watch::Sender<Phase>);

impl Heads {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Phase::Awaited))
    }

    /// Whether the last request has its answer, and nothing of the next one has come.
    pub(super) fn is_answered(&self) -> bool {
        *self.0.borrow() == Phase::None
    }

    /// Something came from the peer.
    pub(super) fn read(&self) {
        self.0.send_if_modified(|phase| {
            let is_next = *phase == Phase::None;
            if is_next {
                *phase = Phase::Awaited;
            }
            is_next
        });
    }

    pub(super) fn arrived(&self) {
        self.0.send_replace(Phase::There);
    }

    pub(super) fn answered(&self) {
        self.0.send_replace(Phase::None);
    }

    /// Waits until a head takes longer than `within`.
    pub(super) async fn late(&self, within: Duration) {
        let mut phases = self.0.subscribe();
        loop {
            let is_awaited = *phases.borrow_and_update() == Phase::Awaited;
            let deadline = async { if is_awaited { sleep(within).await } else { pending().await } };
            tokio::select! {
                // The sender is in `self`.
                Ok(()) = phases.changed() => {}
                () = deadline => return,
            }
        }
    }
}
