//! How far the head of a connection's next request is. Before the first request, and from the first
//! byte of each further one, it has to be there soon; between two requests a connection may be kept
//! for as long as clients keep theirs.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its connection is new, or a part of it has come.
    Awaited,
    /// It has come.
    There,
    /// Its request got its answer then, and of the next one nothing has come.
    Answered(Instant),
}

/// The heads of one connection, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Heads(watch::Sender<Phase>);

impl Heads {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Phase::Awaited))
    }

    /// When the last request got its answer; `None` if a request is being sent.
    pub(super) fn answered_at(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Phase::Answered(at) => Some(at),
            Phase::Awaited | Phase::There => None,
        }
    }

    /// Something came from the peer.
    pub(super) fn read(&self) {
        self.0.send_if_modified(|phase| {
            let is_next = matches!(phase, Phase::Answered(_));
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
        self.0.send_replace(Phase::Answered(Instant::now()));
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
