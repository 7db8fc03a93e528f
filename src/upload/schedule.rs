//! Order of uploads: the files of one output in order, with failed ones set aside so that later
//! ones continue.
//!
//! A round covers the waiting files until too many failed: then the storage counts as unavailable,
//! and the next round comes after a pause. A refused file is retried once another one was accepted.
//! Refused again, the storage works and the file is at fault: it is kept, and not retried any more.
//! Pure, except for the backlog's file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backlog::Backlog;
use super::verdict::Verdict;
use super::{Subject, Upload, UploadError, Versions};

/// A round is over when what failed in it weighs so much.
const MOST_WEIGHT: u32 = 8;
/// A refusal costs one request; a storage that is away may cost minutes.
const REFUSED: u32 = 1;
const PASSING: u32 = 4;
/// Files that are set aside, some hundreds of bytes each. With more, a round tries those and no new
/// ones.
const MOST_HELD: usize = 1024;

/// A file that failed and waits for another turn.
#[derive(Debug)]
struct Held<T> {
    at: u64,
    upload: Upload<T>,
    error: Arc<UploadError>,
    verdict: Verdict,
    /// The last attempt was after another file had been taken.
    again: bool,
    /// It was tried since [`Schedule::end`].
    tried_at_end: bool,
}

/// History of a file that failed before.
#[derive(Debug)]
struct Former {
    error: Arc<UploadError>,
    verdict: Verdict,
    /// Another one was taken since.
    again: bool,
}

#[derive(Debug)]
pub(super) struct Schedule<T> {
    backlog: Backlog<T>,
    /// By the time of their last attempt.
    held: VecDeque<Held<T>>,
    held_bytes: u64,
    /// Failed files with another attempt.
    former: BTreeMap<u64, Former>,
    /// Of things that have versions: by name, the newest version that is kept.
    kept: BTreeMap<String, PathBuf>,
    weight: u32,
    /// The same of repetitions, which say nothing about the storage.
    weight_of_repetitions: u32,
    /// Number of `held` files that have their turn in this round.
    owed: usize,
    /// One of them had it, and it is a new file's turn.
    has_probed: bool,
    /// The last attempt that says something about the storage succeeded.
    works: bool,
    is_ending: bool,
    /// The last round: everything that was not tried since the end has its turn, whatever failed
    /// before it.
    is_last: bool,
}

impl<T: Subject> Schedule<T> {
    /// `dir`: where entries may wait in a file.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            backlog: Backlog::new(dir),
            held: VecDeque::new(),
            held_bytes: 0,
            former: BTreeMap::new(),
            kept: BTreeMap::new(),
            weight: 0,
            weight_of_repetitions: 0,
            owed: 0,
            has_probed: false,
            works: true,
            is_ending: false,
            is_last: false,
        }
    }

    /// Files that wait.
    pub(super) fn len(&self) -> u64 {
        self.backlog.len() + self.held.len() as u64
    }

    /// Those of them that have versions.
    pub(super) fn versions(&self) -> u64 {
        let held = self.held.iter().filter(|held| held.upload.versions == Versions::NewestCounts).count();
        self.backlog.versions() + held as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.backlog.bytes() + self.held_bytes
    }

    /// Uploads that were forgotten since this was last called ([`Backlog::take_lost`]).
    pub(super) const fn take_lost(&mut self) -> u64 {
        self.backlog.take_lost()
    }

    /// Whether something failed and waits for another turn.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether something waits for a storage that is away.
    pub(super) fn awaits_storage(&self) -> bool {
        self.held.iter().any(|held| held.verdict == Verdict::Passing)
    }

    /// Why things wait: of a storage that is away, if one is, and of the oldest.
    pub(super) fn first_error(&self) -> Option<Arc<UploadError>> {
        self.held.iter().min_by_key(|held| (held.verdict, held.at)).map(|held| Arc::clone(&held.error))
    }

    /// Whether the storage accepted the last file that was not a retry.
    pub(super) const fn works(&self) -> bool {
        self.works
    }

    /// Whether this one, whose turn it is, failed before.
    pub(super) fn has_failed(&self, at: u64) -> bool {
        self.former.contains_key(&at)
    }

    pub(super) const fn is_last_round(&self) -> bool {
        self.is_last
    }

    /// Adds an upload at the end. Gives back a version that it supersedes.
    pub(super) fn push(&mut self, upload: Upload<T>) -> Option<Upload<T>> {
        self.backlog.push(upload)
    }

    /// Failed files may be retried.
    pub(super) fn begin_round(&mut self) {
        (self.weight, self.weight_of_repetitions) = (0, 0);
        self.owed = self.held.len();
        self.has_probed = false;
    }

    /// The recording is over: nothing more is pushed, and a round begins.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.held.make_contiguous().sort_by_key(|held| held.at);
        for held in &mut self.held {
            held.tried_at_end = false;
        }
        self.begin_round();
    }

    /// Begins the last round, in which each file that was not tried since the end has its turn;
    /// `all`: each file that is left.
    pub(super) fn begin_last_round(&mut self, all: bool) {
        self.begin_round();
        for held in self.held.iter_mut().filter(|_| all) {
            held.tried_at_end = false;
        }
        self.owed = 0;
        self.is_last = true;
    }

    /// Takes the next one; `None`: the round is over.
    pub(super) fn next(&mut self) -> Option<(u64, Upload<T>)> {
        if self.is_last {
            let untried = self.held.iter().enumerate().filter(|(_, held)| !held.tried_at_end);
            let oldest = untried.min_by_key(|(_, held)| held.at).map(|(index, _)| index);
            return oldest.and_then(|index| self.take_held(index)).or_else(|| self.backlog.pop());
        }
        if self.weight >= MOST_WEIGHT {
            return None;
        }
        let takes_new = self.backlog.len() > 0 && self.held.len() < MOST_HELD;
        let may_repeat = self.owed > 0 && self.weight_of_repetitions < MOST_WEIGHT;
        if may_repeat && !(self.has_probed && takes_new) {
            self.owed -= 1;
            self.has_probed = true;
            if let Some(next) = self.take_held(0) {
                return Some(next);
            }
        }
        if takes_new { self.backlog.pop() } else { None }
    }

    /// One was stored: the storage works, and what failed before gets another turn. Gives what it
    /// supersedes of what failed.
    pub(super) fn mark_uploaded(&mut self, at: u64, upload: &Upload<T>) -> Vec<Upload<T>> {
        self.former.remove(&at);
        self.works = true;
        self.weight = 0;
        let mut superseded = Vec::new();
        let mut once_more = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let is_older = upload.versions == Versions::NewestCounts
                && held.upload.versions == Versions::NewestCounts
                && held.upload.name == upload.name
                && held.at < at;
            if is_older {
                superseded.push(held.upload);
            } else if held.again {
                self.held.push_back(held);
            } else {
                once_more.push(held);
            }
        }
        self.held_bytes = self.held.iter().map(|held| held.upload.size).sum();
        self.owed = self.owed.min(self.held.len());
        // The oldest comes first again.
        once_more.sort_by_key(|held| std::cmp::Reverse(held.at));
        for held in once_more {
            let Held { at, upload, error, verdict, .. } = held;
            self.former.insert(at, Former { error, verdict, again: true });
            self.backlog.put_back(at, upload);
        }
        superseded
    }

    /// One failed. It is set aside for another turn, or given back to be kept. The last round is in
    /// a hurry: what an attempt before it said of a storage that is away says more.
    pub(super) fn on_failed(
        &mut self,
        at: u64,
        upload: Upload<T>,
        error: Arc<UploadError>,
        verdict: Verdict,
    ) -> Option<(Upload<T>, Arc<UploadError>)> {
        let former = self.former.remove(&at);
        let again = former.as_ref().is_some_and(|former| former.again);
        let was_away = |former: &Former| verdict == Verdict::Passing && former.verdict == Verdict::Passing;
        let error =
            former.filter(|former| self.is_last && was_away(former)).map_or(error, |former| former.error);
        let is_final = verdict == Verdict::Permanent || (again && verdict == Verdict::Unclear);
        if is_final || (self.is_last && self.held.len() >= MOST_HELD) {
            return Some((upload, error));
        }
        let weight = if verdict == Verdict::Passing { PASSING } else { REFUSED };
        if again {
            self.weight_of_repetitions += weight;
        } else {
            self.works = false;
            self.weight += weight;
        }
        self.held_bytes += upload.size;
        let tried_at_end = self.is_ending;
        self.held.push_back(Held { at, upload, error, verdict, again, tried_at_end });
        None
    }

    /// One is kept. Gives the file of an older version that was, which nobody needs any more.
    pub(super) fn keep(&mut self, upload: &Upload<T>) -> Option<PathBuf> {
        match upload.versions {
            Versions::One => None,
            Versions::NewestCounts => self.kept.insert(upload.name.clone(), upload.local.clone()),
        }
    }

    /// Gives the file of an older version that is kept, now that this one was stored.
    pub(super) fn take_kept(&mut self, upload: &Upload<T>) -> Option<PathBuf> {
        self.kept.remove(&upload.name)
    }

    /// Takes all that failed, in the order in which it was pushed, each with why.
    pub(super) fn take_failed(&mut self) -> Vec<(Upload<T>, Arc<UploadError>)> {
        let mut held: Vec<Held<T>> = std::mem::take(&mut self.held).into();
        self.held_bytes = 0;
        held.sort_by_key(|held| held.at);
        held.into_iter().map(|held| (held.upload, held.error)).collect()
    }

    fn take_held(&mut self, index: usize) -> Option<(u64, Upload<T>)> {
        let held = self.held.remove(index)?;
        self.held_bytes = self.held_bytes.saturating_sub(held.upload.size);
        let Held { at, upload, error, verdict, again, .. } = held;
        self.former.insert(at, Former { error, verdict, again });
        Some((at, upload))
    }
}

#[cfg(test)]
mod tests;
