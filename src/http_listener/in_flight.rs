//! Tracks connections being answered: their request is complete, and their answer is not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

/// Number of requests of a connection being answered, and a notification when it becomes zero.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    count: Arc<AtomicUsize>,
    idle: Arc<Notify>,
}

impl Answering {
    /// `idle` is notified whenever the connection is no longer being answered.
    pub(super) fn new(idle: &Arc<Notify>) -> Self {
        Self { count: Arc::default(), idle: Arc::clone(idle) }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn release(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_one();
        }
    }

    /// Follows a request from its head on, until what this gives beside it is dropped.
    pub(super) fn follow(&self, request: Request<Incoming>) -> (Request<Arriving>, InFlight) {
        let turn = Arc::new(Turn { state: AtomicU8::new(ARRIVING), answering: self.clone() });
        if request.body().is_end_stream() {
            turn.arrived();
        }
        let in_flight = InFlight(Arc::clone(&turn));
        (request.map(|body| Arriving { body, turn }), in_flight)
    }
}

const ARRIVING: u8 = 0;
const BEING_ANSWERED: u8 = 1;
const OVER: u8 = 2;

/// One request.
#[derive(Debug)]
struct Turn {
    state: AtomicU8,
    answering: Answering,
}

impl Turn {
    /// All of it is there.
    fn arrived(&self) {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        // Counted first: it may be over on another thread at any time.
        self.answering.count.fetch_add(1, Ordering::AcqRel);
        if self.state.compare_exchange(ARRIVING, BEING_ANSWERED, success, failure).is_err() {
            self.answering.release();
        }
    }
}

/// A request that has no answer yet. Dropped: it has one, or its connection is gone.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Turn>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.state.swap(OVER, Ordering::AcqRel) == BEING_ANSWERED {
            self.0.answering.release();
        }
    }
}

/// A request's body. A connection with an incomplete body is not being answered.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Incoming,
    turn: Arc<Turn>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let is_over = matches!(polled, Poll::Ready(None | Some(Err(_))));
        if is_over || self.body.is_end_stream() {
            self.turn.arrived();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
