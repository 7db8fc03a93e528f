//! Shared state of a queue, readable at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{UploadAttempt, UploadAttempts};
use super::silence::Silence;
use super::store::Sent;
use super::verdict::Trouble;

/// How far an output's uploads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadProgress {
    /// Finished files on the disk that wait, the one under way included.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Those of them that have versions: playlists.
    pub waiting_versions: u64,
    /// Uploaded bytes of the current file.
    pub sent: u64,
    /// Size of the current file; 0 without one.
    pub total: u64,
    /// The last round failed; there will be others.
    pub is_away: bool,
    /// The recording has ended, and its end waits for a storage that is away.
    pub patience: Option<PatienceLeft>,
}

/// How long the end of a recording goes on waiting for a storage, and why it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatienceLeft {
    pub trouble: Trouble,
    pub left: Duration,
}

/// Shared state of a queue, readable at any time.
#[derive(Debug, Default)]
pub struct QueueView {
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    waiting_versions: AtomicU64,
    total: AtomicU64,
    sent: Sent,
    is_away: AtomicBool,
    /// Why the end waits, and until when.
    patience: Mutex<Option<(Trouble, Instant)>>,
    /// The unused patience at the end.
    unused: Mutex<Option<Duration>>,
    tries: UploadAttempts,
    silence: Silence,
}

impl QueueView {
    #[must_use]
    pub fn progress(&self) -> UploadProgress {
        let patience = (*self.patience()).map(|(trouble, until)| PatienceLeft {
            trouble,
            left: until.saturating_duration_since(Instant::now()),
        });
        UploadProgress {
            waiting: self.waiting.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed),
            waiting_versions: self.waiting_versions.load(Ordering::Relaxed),
            sent: self.sent.bytes(),
            total: self.total.load(Ordering::Relaxed),
            is_away: self.is_away.load(Ordering::Relaxed),
            patience,
        }
    }

    /// The unused patience at the output's end; `None` before the end.
    #[must_use]
    pub fn unused_patience(&self) -> Option<Duration> {
        *self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempts since the last call.
    #[must_use]
    pub fn take_attempts(&self) -> Vec<UploadAttempt> {
        self.tries.take()
    }

    pub(super) fn add_attempt(&self, tried: UploadAttempt) {
        self.tries.add(tried);
    }

    pub(super) const fn sent(&self) -> &Sent {
        &self.sent
    }

    pub(super) const fn silence(&self) -> &Silence {
        &self.silence
    }

    /// Shows everything but [`UploadProgress::sent`] and [`UploadProgress::patience`].
    pub(super) fn set(&self, progress: UploadProgress) {
        self.waiting.store(progress.waiting, Ordering::Relaxed);
        self.waiting_bytes.store(progress.waiting_bytes, Ordering::Relaxed);
        self.waiting_versions.store(progress.waiting_versions, Ordering::Relaxed);
        self.total.store(progress.total, Ordering::Relaxed);
        self.is_away.store(progress.is_away, Ordering::Relaxed);
    }

    pub(super) fn set_patience(&self, patience: Option<(Trouble, Instant)>) {
        *self.patience() = patience;
    }

    pub(super) fn set_unused_patience(&self, unused: Duration) {
        *self.unused.lock().unwrap_or_else(PoisonError::into_inner) = Some(unused);
    }

    fn patience(&self) -> MutexGuard<'_, Option<(Trouble, Instant)>> {
        // The pair is replaced as a whole.
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
