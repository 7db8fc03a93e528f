//! Gives up what a storage does not answer when the recording has ended: it takes the connection
//! and says nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::patience::Patience;
use super::queue_view::QueueView;
use super::store::{StoreError, StoreErrorKind};
use super::verdict::Trouble;

/// How often an upload is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After this, people see that the storage is waited for.
const SHOWN_AFTER: Duration = Duration::from_secs(3);
/// An attempt has so long without a sign of the storage, and the time of what is on its way unseen,
/// also where no patience is left.
const SHORT: Duration = Duration::from_secs(5);
const UNSEEN_BYTES: u64 = 1024 * 1024;
const UNSEEN_BYTES_PER_SECOND: u64 = 64 * 1024;
/// The same for a storage that takes other files.
pub(super) const USUAL: Duration = Duration::from_secs(30);

/// How long an attempt for a file of `size` may be without a sign where no patience is left.
pub(super) fn short_for(size: u64) -> Duration {
    SHORT + Duration::from_millis(size.min(UNSEEN_BYTES) * 1000 / UNSEEN_BYTES_PER_SECOND)
}

/// How long a lane's upload under way has been without a sign of the storage, and how long it may
/// be.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<State>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The patience of the recording's end; `None` before the end, when the storage's own deadlines
    /// are enough.
    patience: Option<Patience>,
    since: Option<Instant>,
    least: Duration,
}

impl Silence {
    /// An upload begins; it may be silent for `least` whatever patience is left.
    pub(super) fn begin(&self, now: Instant, least: Duration) {
        let mut state = self.state();
        (state.since, state.least) = (Some(now), least);
    }

    /// Something moved, or the recording has ended: what was silent before does not count.
    pub(super) fn on_sign(&self, now: Instant) {
        self.state().since = Some(now);
    }

    pub(super) fn set_patience(&self, patience: Patience) {
        self.state().patience = Some(patience);
    }

    /// Since when nothing has moved.
    pub(super) fn since(&self) -> Option<Instant> {
        self.state().since
    }

    /// When an attempt whose last sign was at `last` is given up; `None`: not yet.
    fn until(&self, last: Instant) -> Option<Instant> {
        let State { patience, since, least } = *self.state();
        patience.map(|patience| patience.silent_until(since.unwrap_or(last), last + least))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a part of an upload. When the recording has ended it is given up where `moved` stands still
/// for longer than the patience that is left; `None`: the storage does not say what moves, and has
/// its time.
pub(super) async fn unless_silent<T>(
    view: &QueueView,
    moved: impl Fn() -> Option<u64>,
    work: impl Future<Output = T>,
) -> Result<T, StoreError> {
    let mut before = moved();
    if before.is_none() {
        return Ok(work.await);
    }
    tokio::pin!(work);
    let mut last = Instant::now();
    let mut is_shown = false;
    loop {
        let looked = tokio::time::timeout(LOOK_EVERY, &mut work).await;
        let (now, is_moving) = (Instant::now(), moved() != before);
        if is_shown && (is_moving || looked.is_ok()) {
            view.set_patience(None);
            is_shown = false;
        }
        if let Ok(done) = looked {
            return Ok(done);
        }
        if is_moving {
            before = moved();
            last = now;
            view.silence().on_sign(now);
            continue;
        }
        let Some(until) = view.silence().until(last) else { continue };
        if now >= until {
            view.set_patience(None);
            let silent = now.saturating_duration_since(last);
            let text = format!("no answer within {silent:.1?}");
            return Err(StoreError::new(StoreErrorKind::TooSlow, text));
        }
        let since = view.silence().since().unwrap_or(last);
        if !is_shown && now.saturating_duration_since(since) >= SHOWN_AFTER {
            is_shown = true;
            let seconds = until.saturating_duration_since(now).as_secs();
            tracing::info!(seconds, "storage does not answer, waiting");
            view.set_patience(Some((Trouble::Silent, until)));
        }
    }
}
