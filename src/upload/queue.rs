//! The uploads of one output.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::multipart::Session;
use super::panic_guard::{is_readable, unless_panicked};
use super::patience::{FIRST_STALL, Patience, shorter_stall};
use super::queue_view::{QueueView, UploadProgress};
use super::schedule::Schedule;
use super::silence::{USUAL, short_for};
use super::store::{StoreError, StoreErrorKind};
use super::targets::{Place, Stores, Targets, UploadError, Uploaded};
use super::upload_journal::UploadJournal;
use super::verdict::Verdict;
use super::{Growing, LaneSetup, Subject, Upload, UploadEvent, Versions};
use crate::plan::output::OutputId;

/// After a round that failed: the next one comes after this, then after twice as long, …
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same when the recording is over and somebody waits for its end.
const FIRST_PAUSE_AT_END: Duration = Duration::from_secs(1);
const LONGEST_PAUSE_AT_END: Duration = Duration::from_secs(8);
/// Growing files that are held at once; more are stored when they are finished.
const SESSIONS: usize = 4;
/// A store has so long to let go of what was begun; what it does not is in the ledger.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Message<T> {
    Store(Upload<T>),
    Grow(Growing),
    Look,
}

pub(super) struct UploadQueue<T> {
    output: OutputId,
    sides: Targets,
    keeps_growing: bool,
    schedule: Schedule<T>,
    ledger: UploadJournal,
    sessions: Vec<Session>,
    /// Growing files may have enough for a part.
    look: bool,
    /// Something failed: when it is tried again.
    pause: Option<Pause>,
    /// Whether the storage accepts nothing, which was reported.
    is_away: bool,
    /// The recording is over, and nothing more comes.
    ending: Option<Patience>,
    /// See [`LaneSetup::patience`].
    patience: Duration,
    /// In the last round after a storage was away: `sides` in a hurry.
    hurried: Option<Targets>,
    /// The same: see [`FIRST_STALL`].
    stalled_after: Option<Duration>,
    /// How long the storage took for the file that it took last.
    pace: Duration,
    view: Arc<QueueView>,
    results: mpsc::UnboundedSender<UploadEvent<T>>,
}

struct Pause {
    length: Duration,
    /// `None`: now.
    until: Option<Instant>,
}

/// The work in progress.
enum Work<T> {
    Put(Put<T>),
    Advance(BoxFuture<'static, (Session, Result<bool, StoreError>)>),
}

struct Put<T> {
    at: u64,
    upload: Upload<T>,
    /// The multipart upload that this completes.
    begun: Option<String>,
    since: Instant,
    put: BoxFuture<'static, Result<Uploaded, UploadError>>,
}

enum Done {
    Put(Result<Uploaded, UploadError>),
    Advanced(Box<Session>, Result<bool, StoreError>),
}

impl<T> Work<T> {
    async fn done(&mut self) -> Done {
        match self {
            Self::Put(put) => Done::Put((&mut put.put).await),
            Self::Advance(advance) => {
                let (session, result) = advance.await;
                Done::Advanced(Box::new(session), result)
            }
        }
    }
}

impl<T: Subject> UploadQueue<T> {
    pub(super) fn new(
        setup: LaneSetup,
        stores: &Stores,
        view: Arc<QueueView>,
        results: mpsc::UnboundedSender<UploadEvent<T>>,
    ) -> Self {
        let LaneSetup { output, storage, dir, patience } = setup;
        Self {
            output,
            sides: Targets::open(&storage, stores),
            keeps_growing: !storage.primary.is_local(),
            schedule: Schedule::new(&dir),
            ledger: UploadJournal::new(&dir),
            sessions: Vec::new(),
            look: false,
            pause: None,
            is_away: false,
            ending: None,
            patience,
            hurried: None,
            stalled_after: None,
            pace: Duration::ZERO,
            view,
            results,
        }
    }

    /// Stores what comes through the channel until that closes and nothing is left.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message<T>>) {
        let mut is_open = true;
        let mut work: Option<Work<T>> = None;
        loop {
            if work.is_none() {
                work = self.next_work();
            }
            self.show(work.as_ref());
            let until = self.pause.as_ref().and_then(|pause| pause.until);
            tokio::select! {
                biased;
                message = messages.recv(), if is_open => match message {
                    Some(message) => self.take(message),
                    None => {
                        is_open = false;
                        self.end();
                    }
                },
                Some(done) = OptionFuture::from(work.as_mut().map(Work::done)) => {
                    match (work.take(), done) {
                        (Some(Work::Put(put)), Done::Put(Ok(stored))) => self.mark_uploaded(put, stored).await,
                        (Some(Work::Put(put)), Done::Put(Err(error))) => self.failed(put, error),
                        (_, Done::Advanced(session, result)) => self.advanced(*session, result).await,
                        // Work's end is its own.
                        (_, Done::Put(_)) => {}
                    }
                }
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.pause = self.pause.take().map(|pause| Pause { until: None, ..pause });
                    self.schedule.begin_round();
                }
                else => break,
            }
        }
        for session in std::mem::take(&mut self.sessions) {
            if !self.release(session).await {
                break;
            }
        }
        self.ledger.write_waiting();
        if let Some(patience) = &self.ending {
            self.view.set_unused_patience(patience.left_at(Instant::now()));
        }
        self.show(None);
    }

    fn take(&mut self, message: Message<T>) {
        match message {
            Message::Store(upload) => {
                if let Some(superseded) = self.schedule.push(upload) {
                    super::forget(&superseded.local);
                }
            }
            Message::Grow(growing) => {
                if self.keeps_growing && self.sessions.len() < SESSIONS {
                    self.sessions.extend(Session::new(growing, self.sides.current()));
                }
            }
            Message::Look => self.look = true,
        }
    }

    /// The recording has ended. Waiting files have a round at once.
    fn end(&mut self) {
        let now = Instant::now();
        self.ending = Some(Patience::new(self.patience));
        self.view.silence().on_sign(now);
        let is_away = self.schedule.awaits_storage();
        self.change_patience(|patience| {
            if is_away {
                patience.on_failure(now);
            }
        });
        self.pause = None;
        self.schedule.end();
    }

    /// Changes the patience of the end, if that has come, also for what is under way.
    fn change_patience(&mut self, change: impl FnOnce(&mut Patience)) {
        if let Some(patience) = &mut self.ending {
            change(patience);
            self.view.silence().set_patience(*patience);
        }
    }

    /// The storage failed: its silence counts from where that began.
    fn use_patience(&mut self, was_silent: bool) {
        let since = self.view.silence().since().filter(|_| was_silent);
        self.change_patience(|patience| patience.on_failure(since.unwrap_or_else(Instant::now)));
    }

    fn next_work(&mut self) -> Option<Work<T>> {
        // Where the storage takes other files, only those that it does not take wait.
        let rests = self.pause.as_ref().is_some_and(|pause| pause.until.is_some());
        if rests && !self.schedule.works() {
            return None;
        }
        let next = if self.has_lost_patience() { None } else { self.schedule.next() };
        let next = next.or_else(|| self.next_round());
        self.report_lost();
        if let Some(next) = next {
            return Some(self.put(next));
        }
        if !std::mem::take(&mut self.look) {
            return None;
        }
        let at = self.sessions.iter().position(Session::can_advance)?;
        let mut session = self.sessions.swap_remove(at);
        let view = Arc::clone(&self.view);
        view.silence().begin(Instant::now(), short_for(u64::MAX));
        Some(Work::Advance(Box::pin(async move {
            let result = session.advance(&view).await;
            (session, result)
        })))
    }

    /// A round is over. Failed files wait for the next one; returns the first of the last round,
    /// unless everything is done.
    fn next_round(&mut self) -> Option<(u64, Upload<T>)> {
        let now = Instant::now();
        let until = self.pause.as_ref().and_then(|pause| pause.until);
        if self.ending.is_none() || (self.waits_at_end() && !self.has_lost_patience()) {
            if !self.schedule.has_held() {
                self.pause = None;
            } else if until.is_none() {
                self.rest(now);
            }
            self.report_unavailable();
            return None;
        }
        if !self.schedule.is_last_round() {
            self.view.set_patience(None);
            let is_away = self.ending.as_ref().is_some_and(Patience::is_failing);
            self.schedule.begin_last_round(is_away && !self.patience.is_zero());
            if is_away {
                self.hurried = Some(self.sides.hurried());
                self.stalled_after = Some(FIRST_STALL);
            }
        }
        let next = self.schedule.next();
        if next.is_none() {
            for (upload, error) in self.schedule.take_failed() {
                self.keep(upload, error);
            }
            (self.pause, self.is_away) = (None, false);
            self.view.set_patience(None);
        }
        next
    }

    /// Whether the end waits for a storage that is away.
    fn waits_at_end(&self) -> bool {
        !self.schedule.is_last_round() && self.schedule.awaits_storage()
    }

    /// Whether it has waited long enough.
    fn has_lost_patience(&self) -> bool {
        let is_over = |patience: &Patience| patience.left_at(Instant::now()).is_zero();
        self.waits_at_end() && self.ending.as_ref().is_some_and(is_over)
    }

    fn rest(&mut self, now: Instant) {
        let (first, longest) = match self.ending {
            None => (FIRST_PAUSE, LONGEST_PAUSE),
            Some(_) => (FIRST_PAUSE_AT_END, LONGEST_PAUSE_AT_END),
        };
        let length = self.pause.as_ref().map_or(first, |pause| (pause.length * 2).min(longest));
        let mut until = now + length.mul_f64(rand::rng().random_range(0.5..1.0));
        let over = self.ending.as_ref().and_then(Patience::until);
        if let Some((over, error)) = over.zip(self.schedule.first_error()) {
            until = until.min(over);
            let trouble = error.trouble();
            let seconds = over.saturating_duration_since(now).as_secs();
            tracing::info!(output = self.output.0, %trouble, seconds, "upload failed, trying again");
            self.view.set_patience(Some((trouble, over)));
        }
        self.pause = Some(Pause { length, until: Some(until) });
    }

    fn report_unavailable(&mut self) {
        if self.is_away || self.schedule.works() {
            return;
        }
        if let Some(error) = self.schedule.first_error() {
            self.is_away = true;
            self.tell(UploadEvent::Delayed { output: self.output, error });
        }
    }

    fn put(&mut self, (at, upload): (u64, Upload<T>)) -> Work<T> {
        let session = self.sessions.iter().position(|session| session.is_for(&upload.name));
        let session = session.map(|at| self.sessions.swap_remove(at));
        // A storage that takes other files is given its time for those that it has not refused yet.
        let is_urgent = !self.schedule.works() || self.schedule.has_failed(at);
        let hurried = self.hurried.as_ref().filter(|_| is_urgent);
        let stalled_after = self.stalled_after.filter(|_| hurried.is_some());
        // In a hurry there is no time for many requests. What was begun stays in the ledger, for
        // `weir recover`.
        let session = session.filter(|_| stalled_after.is_none());
        let begun = session.as_ref().and_then(Session::handle);
        let has_time = self.schedule.is_last_round() && !is_urgent;
        // Slow, and no worse than it was.
        let slow = (2 * self.pace).min(USUAL);
        let least = if has_time { USUAL } else { short_for(upload.size).max(slow) };
        self.view.silence().begin(Instant::now(), least);
        let sides = hurried.unwrap_or(&self.sides).clone();
        let (view, name, local) = (Arc::clone(&self.view), upload.name.clone(), upload.local.clone());
        let if_taken = upload.if_taken.clone();
        let grown = session.as_ref().is_some_and(|session| session.grew_to(&name, &local));
        let put: BoxFuture<'static, _> = Box::pin(async move {
            match session {
                Some(session) if grown => match session.finish(&view).await {
                    Ok(stored) => return Ok(stored),
                    Err(error) => tracing::warn!(%error, name, "not stored in parts; it is stored whole"),
                },
                // What stays is forgotten by the store's own rules.
                Some(session) => drop(tokio::time::timeout(LET_GO_WITHIN, session.abort()).await),
                None => {}
            }
            sides.put(name, if_taken, local, view, stalled_after).await
        });
        Work::Put(Put { at, upload, begun, since: Instant::now(), put: unless_panicked(put) })
    }

    async fn mark_uploaded(&mut self, put: Put<T>, stored: Uploaded) {
        let Put { at, mut upload, begun, since, .. } = put;
        self.pace = since.elapsed();
        let Uploaded { place, name, location } = stored;
        if place == Place::Backup {
            [Some(&mut self.sides), self.hurried.as_mut()]
                .into_iter()
                .flatten()
                .for_each(Targets::set_on_backup);
        }
        self.ledger.mark_uploaded(&upload.name);
        if let Some(handle) = begun {
            self.ledger.mark_settled(&handle);
        }
        if upload.local.exists() {
            // After a power cut nothing else says that the copy is not needed any more, and that a
            // playlist has it. Where the local disk moved the file, the file itself says so.
            self.ledger.sync().await;
        }
        super::forget(&upload.local);
        self.schedule.take_kept(&upload).iter().for_each(|older| super::forget(older));
        for superseded in self.schedule.mark_uploaded(at, &upload) {
            super::forget(&superseded.local);
        }
        upload.name = name;
        if self.ending.is_some() {
            self.change_patience(|patience| patience.on_success(Instant::now()));
            self.view.set_patience(None);
        }
        self.stalled_after = self.stalled_after.map(|_| FIRST_STALL);
        if std::mem::take(&mut self.is_away) {
            self.pause = None;
            self.tell(UploadEvent::Resumed { output: self.output });
        }
        self.tell(UploadEvent::Uploaded { upload, location, place });
    }

    fn failed(&mut self, put: Put<T>, error: UploadError) {
        let Put { at, upload, since, .. } = put;
        let verdict = match is_readable(&upload.local) {
            true => error.verdict(),
            // Whatever its store said: there is nothing to try again with.
            false => Verdict::Permanent,
        };
        if verdict == Verdict::Passing {
            self.use_patience(error.is_too_slow());
        }
        if error.is_too_slow() {
            self.stalled_after = self.stalled_after.map(|limit| shorter_stall(limit, since.elapsed()));
        }
        tracing::debug!(%error, name = upload.name, ?verdict, "upload failed");
        if let Some((upload, error)) = self.schedule.on_failed(at, upload, Arc::new(error), verdict) {
            self.keep(upload, error);
        }
    }

    fn keep(&mut self, upload: Upload<T>, error: Arc<UploadError>) {
        self.schedule.keep(&upload).iter().for_each(|older| super::forget(older));
        self.tell(UploadEvent::Kept { upload, error });
    }

    async fn advanced(&mut self, mut session: Session, result: Result<bool, StoreError>) {
        match result {
            Ok(true) => {
                if let Some(handle) = session.newly_begun() {
                    self.ledger.mark_begun(session.key(), &handle, session.place());
                }
                self.sessions.push(session);
            }
            // It is stored when it is finished.
            Ok(false) => {}
            Err(error) => {
                if error.kind() == StoreErrorKind::TooSlow {
                    self.use_patience(true);
                }
                tracing::warn!(%error, key = session.key(), "can't be stored while it grows; it is when it is finished");
                self.release(session).await;
            }
        }
    }

    /// Gives whether the store did so in time.
    async fn release(&mut self, session: Session) -> bool {
        let handle = session.handle();
        let is_gone = tokio::time::timeout(LET_GO_WITHIN, session.abort()).await.is_ok();
        if let Some(handle) = handle.filter(|_| is_gone) {
            self.ledger.mark_settled(&handle);
        }
        is_gone
    }

    fn show(&self, work: Option<&Work<T>>) {
        let upload = match work {
            Some(Work::Put(put)) => Some(&put.upload),
            Some(Work::Advance(_)) | None => None,
        };
        let size = upload.map(|upload| upload.size);
        let is_version = upload.is_some_and(|upload| upload.versions == Versions::NewestCounts);
        self.view.set(UploadProgress {
            waiting: self.schedule.len() + u64::from(size.is_some()),
            waiting_bytes: self.schedule.bytes() + size.unwrap_or_default(),
            waiting_versions: self.schedule.versions() + u64::from(is_version),
            total: size.unwrap_or_default(),
            is_away: self.is_away || !self.schedule.works(),
            ..UploadProgress::default()
        });
    }

    /// Reports uploads that were forgotten: their files are still there.
    fn report_lost(&mut self) {
        let files = match self.schedule.take_lost() {
            0 => return,
            1 => "1 file".to_owned(),
            lost => format!("{lost} files"),
        };
        let error = format!("{files} not uploaded: waiting.jsonl, which lists them, can't be read");
        self.tell(UploadEvent::LeftBehind { output: self.output, error });
    }

    fn tell(&self, event: UploadEvent<T>) {
        if self.results.send(event).is_err() {
            tracing::debug!("nobody listens to the uploads any more");
        }
    }
}
