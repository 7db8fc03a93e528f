//! Counts receivers that still have to accept an event.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts down what is on its way, and says when nothing is any more.
#[derive(Clone)]
pub(super) struct Receipt(Arc<Mutex<State>>);

struct State {
    left: usize,
    settled: Option<Box<dyn FnOnce() + Send>>,
}

impl Receipt {
    /// Starts with a number of deliveries. With none, it settles at once.
    pub(super) fn new(deliveries: usize, settled: impl FnOnce() + Send + 'static) -> Self {
        let receipt =
            Self(Arc::new(Mutex::new(State { left: deliveries, settled: Some(Box::new(settled)) })));
        receipt.check(|_| ());
        receipt
    }

    /// One was taken, or given up for good.
    pub(super) fn settle(&self) {
        self.check(|state| state.left = state.left.saturating_sub(1));
    }

    fn check(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let settled = if state.left == 0 { state.settled.take() } else { None };
        drop(state);
        if let Some(settled) = settled {
            settled();
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").finish_non_exhaustive()
    }
}
