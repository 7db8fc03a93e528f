//! Sums totals of recordings. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use livekit_protocol as proto;
use proto::EgressStatus;

use super::{Kind, RecorderProgress};
use crate::plan::remux;

/// Number of remembered ended recordings. A snapshot of the service may be a moment older than an
/// end.
const REMEMBERED: usize = 4096;

/// How a recording ended, in LiveKit's words; `failed` is ours: to LiveKit the handler was all
/// right then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Result {
    Completed,
    Aborted,
    Failed,
    KilledCpu,
    KilledOom,
    KilledShutdown,
    ProcessError,
    DuplicateIdentity,
}

impl Result {
    /// Classifies the last report.
    #[must_use]
    pub fn of(info: &proto::EgressInfo) -> Self {
        const FORBIDDEN: i32 = 403;
        const INTERNAL: i32 = 500;
        match info.status() {
            EgressStatus::EgressAborted => Self::Aborted,
            EgressStatus::EgressFailed => match (info.error_code, info.error.as_str()) {
                (FORBIDDEN, error) if error.starts_with("OOM") => Self::KilledOom,
                (FORBIDDEN, error) if error.starts_with("CPU exhausted") => Self::KilledCpu,
                (FORBIDDEN, error) if error.starts_with("server is shutting down") => Self::KilledShutdown,
                (INTERNAL, _) => Self::ProcessError,
                _ => Self::Failed,
            },
            EgressStatus::EgressStarting
            | EgressStatus::EgressActive
            | EgressStatus::EgressEnding
            | EgressStatus::EgressComplete
            | EgressStatus::EgressLimitReached => Self::Completed,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::KilledCpu => "killed_cpu",
            Self::KilledOom => "killed_oom",
            Self::KilledShutdown => "killed_shutdown",
            Self::ProcessError => "process_error",
            Self::DuplicateIdentity => "duplicate_identity",
        }
    }
}

/// Treatment of the tracks of a recording that requested pass-through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Handling {
    Remuxed,
    Encoded,
}

impl Handling {
    /// Reads it from the last report.
    pub(super) fn of(info: &proto::EgressInfo) -> Option<Self> {
        let says = |words: &str| info.details.split("; ").any(|note| note.starts_with(words));
        match (says(remux::REMUXED), says(remux::ENCODED)) {
            (true, _) => Some(Self::Remuxed),
            (false, true) => Some(Self::Encoded),
            (false, false) => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Remuxed => "remuxed",
            Self::Encoded => "encoded",
        }
    }
}

/// Totals of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Media time.
    pub seconds: f64,
    pub pictures: u64,
    pub dropped: u64,
    pub bytes: u64,
    pub stored: u64,
}

impl Totals {
    const fn of(progress: RecorderProgress) -> Self {
        let RecorderProgress { seconds, pictures, dropped, bytes, stored, .. } = progress;
        Self {
            seconds: if seconds.is_finite() { seconds.max(0.0) } else { 0.0 },
            pictures,
            dropped,
            bytes,
            stored,
        }
    }

    fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.pictures = self.pictures.saturating_add(other.pictures);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.stored = self.stored.saturating_add(other.stored);
    }

    /// Of two, the further of each.
    fn furthest(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            pictures: self.pictures.max(other.pictures),
            dropped: self.dropped.max(other.dropped),
            bytes: self.bytes.max(other.bytes),
            stored: self.stored.max(other.stored),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    over: BTreeMap<Kind, Totals>,
    live: BTreeMap<String, (Kind, Totals)>,
    results: BTreeMap<(Kind, Result), u64>,
    handled: BTreeMap<Handling, u64>,
    ended: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Tally {
    /// A recording has come so far. It never falls back, and nothing is heard of one that is over.
    pub(super) fn observe(&mut self, egress_id: &str, kind: Kind, progress: RecorderProgress) {
        if self.ended.contains(egress_id) {
            return;
        }
        let (_, totals) = self.live.entry(egress_id.to_owned()).or_insert((kind, Totals::default()));
        *totals = totals.furthest(Totals::of(progress));
    }

    /// Counts an ended recording. Returns `false` for a repeated report.
    pub(super) fn record_end(&mut self, egress_id: &str, kind: Kind, result: Result) -> bool {
        if !self.ended.insert(egress_id.to_owned()) {
            return false;
        }
        self.order.push_back(egress_id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        *self.results.entry((kind, result)).or_default() += 1;
        let (kind, totals) = self.live.remove(egress_id).unwrap_or((kind, Totals::default()));
        self.over.entry(kind).or_default().add(totals);
        true
    }

    /// Totals of ended and running recordings.
    pub(super) fn totals(&self) -> BTreeMap<Kind, Totals> {
        let mut sums = self.over.clone();
        for (kind, totals) in self.live.values() {
            sums.entry(*kind).or_default().add(*totals);
        }
        sums
    }

    /// A recording that is over, and not told of before, did so with its tracks.
    pub(super) fn record_handling(&mut self, handling: Handling) {
        *self.handled.entry(handling).or_default() += 1;
    }

    pub(super) const fn handlings(&self) -> &BTreeMap<Handling, u64> {
        &self.handled
    }

    pub(super) const fn results(&self) -> &BTreeMap<(Kind, Result), u64> {
        &self.results
    }
}
