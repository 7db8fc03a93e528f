//! Upload attempts, for metrics (docs/reference/egress.md).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::StoreErrorKind;
use super::targets::Place;

/// Maximum number of uncounted attempts; they are fetched twice a second.
const MOST: usize = 1024;

/// One file that was offered to one store, with every request that this took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadAttempt {
    /// Its media type, such as `video/mp4`.
    pub mime: String,
    pub status: Status,
    /// The store is one of a given address, not its provider's own.
    pub custom_endpoint: bool,
    /// How long it took, in milliseconds.
    pub ms: u64,
    pub place: Place,
}

/// A storage's answer in LiveKit's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Success,
    /// No.
    Refused,
    /// Not now.
    Busy,
    /// Nothing: it was not reached, or not asked.
    Internal,
}

impl Status {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "4xx",
            Self::Busy => "5xx",
            Self::Internal => "internal",
        }
    }
}

impl From<StoreErrorKind> for Status {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::Refused => Self::Refused,
            StoreErrorKind::Busy => Self::Busy,
            StoreErrorKind::Unreachable
            | StoreErrorKind::TooSlow
            | StoreErrorKind::File
            | StoreErrorKind::Exists
            | StoreErrorKind::Unusable => Self::Internal,
        }
    }
}

/// Uncounted attempts: the newest, if nobody fetches them.
#[derive(Debug, Default)]
pub(super) struct UploadAttempts(Mutex<VecDeque<UploadAttempt>>);

impl UploadAttempts {
    pub(super) fn add(&self, tried: UploadAttempt) {
        let mut tries = self.lock();
        if tries.len() == MOST {
            tries.pop_front();
        }
        tries.push_back(tried);
    }

    pub(super) fn take(&self) -> Vec<UploadAttempt> {
        self.lock().drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<UploadAttempt>> {
        // A queue's own operations leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole milliseconds.
pub(super) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
