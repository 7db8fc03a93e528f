//! The uploads of one output.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::attempt::{Place, Sides, Stored, UploadError};
use super::backlog::Backlog;
use super::growing::Session;
use super::ledger::Ledger;
use super::store::{Sent, StoreError};
use super::tried::{Tried, Tries};
use super::{Growing, LaneSetup, Subject, Upload, UploadEvent, Versions};
use crate::plan::output::OutputId;

/// After a round that failed: the next one comes after this, then after twice as long, …
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Growing files that are held at once; more are stored when they are finished.
const SESSIONS: usize = 4;

#[derive(Debug)]
pub(super) enum Message<T> {
    Store(Upload<T>),
    Grow(Growing),
    Look,
}

/// How far an output's uploads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadProgress {
    /// Finished files on the disk that wait, the one under way included.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Those of them that have versions: playlists.
    pub waiting_versions: u64,
    /// Of the file under way: bytes that are at the store.
    pub sent: u64,
    /// Of the file under way; 0: there is none.
    pub total: u64,
    /// The last round failed; there will be others.
    pub is_away: bool,
}

/// What others may see of a lane at any time.
#[derive(Debug, Default)]
pub struct LaneView {
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    waiting_versions: AtomicU64,
    total: AtomicU64,
    sent: Sent,
    is_away: AtomicBool,
    tries: Tries,
}

impl LaneView {
    #[must_use]
    pub fn progress(&self) -> UploadProgress {
        UploadProgress {
            waiting: self.waiting.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed),
            waiting_versions: self.waiting_versions.load(Ordering::Relaxed),
            sent: self.sent.bytes(),
            total: self.total.load(Ordering::Relaxed),
            is_away: self.is_away.load(Ordering::Relaxed),
        }
    }

    /// What was tried since this was called last.
    #[must_use]
    pub fn take_tried(&self) -> Vec<Tried> {
        self.tries.take()
    }

    pub(super) fn add_tried(&self, tried: Tried) {
        self.tries.add(tried);
    }

    pub(super) const fn sent(&self) -> &Sent {
        &self.sent
    }
}

pub(super) struct Lane<T> {
    output: OutputId,
    sides: Sides,
    keeps_growing: bool,
    backlog: Backlog<T>,
    ledger: Ledger,
    sessions: Vec<Session>,
    /// Growing files may have enough for a part.
    look: bool,
    /// Since when rounds fail, and when the next one is.
    pause: Option<Pause>,
    view: Arc<LaneView>,
    results: mpsc::UnboundedSender<UploadEvent<T>>,
}

struct Pause {
    length: Duration,
    /// `None`: now.
    until: Option<Instant>,
}

/// What is under way.
enum Work<T> {
    Put(Put<T>),
    Advance(BoxFuture<'static, (Session, Result<bool, StoreError>)>),
}

struct Put<T> {
    at: u64,
    upload: Upload<T>,
    /// What was begun at the store and is settled by this.
    begun: Option<String>,
    put: BoxFuture<'static, Result<Stored, UploadError>>,
}

enum Done {
    Put(Result<Stored, UploadError>),
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

impl<T: Subject> Lane<T> {
    pub(super) fn new(
        setup: LaneSetup,
        base: &Path,
        view: Arc<LaneView>,
        results: mpsc::UnboundedSender<UploadEvent<T>>,
    ) -> Self {
        let LaneSetup { output, storage, dir } = setup;
        Self {
            output,
            sides: Sides::open(&storage, base),
            keeps_growing: !storage.primary.is_local(),
            backlog: Backlog::new(&dir),
            ledger: Ledger::new(&dir),
            sessions: Vec::new(),
            look: false,
            pause: None,
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
                        // One more round, without waiting for its time.
                        self.pause = self.pause.take().map(|pause| Pause { until: None, ..pause });
                    }
                },
                Some(done) = OptionFuture::from(work.as_mut().map(Work::done)) => {
                    match (work.take(), done) {
                        (Some(Work::Put(put)), Done::Put(Ok(stored))) => self.stored(put, stored).await,
                        (Some(Work::Put(put)), Done::Put(Err(error))) => self.failed(put, error, is_open),
                        (_, Done::Advanced(session, result)) => self.advanced(*session, result).await,
                        // Work's end is its own.
                        (_, Done::Put(_)) => {}
                    }
                }
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.pause = self.pause.take().map(|pause| Pause { until: None, ..pause });
                }
                else => break,
            }
        }
        for session in std::mem::take(&mut self.sessions) {
            self.let_go(session).await;
        }
        self.show(None);
    }

    fn take(&mut self, message: Message<T>) {
        match message {
            Message::Store(upload) => {
                if let Some(superseded) = self.backlog.push(upload)
                    && let Err(error) = std::fs::remove_file(&superseded.local)
                {
                    tracing::debug!(%error, path = %superseded.local.display(), "could not be removed");
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

    fn next_work(&mut self) -> Option<Work<T>> {
        if self.pause.as_ref().is_some_and(|pause| pause.until.is_some()) {
            return None;
        }
        if let Some((at, upload)) = self.backlog.pop() {
            let session = self.sessions.iter().position(|session| session.is_for(&upload.name));
            let session = session.map(|at| self.sessions.swap_remove(at));
            let begun = session.as_ref().and_then(Session::handle);
            let put: BoxFuture<'static, _> = match session {
                Some(session) if session.grew_to(&upload.name, &upload.local) => {
                    let (sides, name, local) =
                        (self.sides.clone(), upload.name.clone(), upload.local.clone());
                    let if_taken = upload.if_taken.clone();
                    let view = Arc::clone(&self.view);
                    Box::pin(async move {
                        match session.finish(&view).await {
                            Ok(stored) => Ok(stored),
                            Err(error) => {
                                tracing::warn!(%error, name, "not stored in parts; it is stored whole");
                                sides.put(name, if_taken, local, view).await
                            }
                        }
                    })
                }
                session => {
                    let put = self.sides.clone().put(
                        upload.name.clone(),
                        upload.if_taken.clone(),
                        upload.local.clone(),
                        Arc::clone(&self.view),
                    );
                    Box::pin(async move {
                        if let Some(session) = session {
                            session.abort().await;
                        }
                        put.await
                    })
                }
            };
            return Some(Work::Put(Put { at, upload, begun, put }));
        }
        if !std::mem::take(&mut self.look) {
            return None;
        }
        let at = self.sessions.iter().position(Session::can_advance)?;
        let mut session = self.sessions.swap_remove(at);
        Some(Work::Advance(Box::pin(async move {
            let result = session.advance().await;
            (session, result)
        })))
    }

    async fn stored(&mut self, put: Put<T>, stored: Stored) {
        let Put { mut upload, begun, .. } = put;
        let Stored { place, name, location } = stored;
        if place == Place::Backup {
            self.sides.set_on_backup();
        }
        self.ledger.stored(&upload.name);
        if let Some(handle) = begun {
            self.ledger.settled(&handle);
        }
        if upload.local.exists() {
            // After a power cut nothing else says that the copy is not needed any more, and that a playlist has it. Where the local
            // disk moved the file, the file itself says so.
            self.ledger.sync().await;
        }
        super::forget(&upload.local);
        upload.name = name;
        if self.pause.take().is_some() {
            self.tell(UploadEvent::Resumed { output: self.output });
        }
        self.tell(UploadEvent::Stored { upload, location, place });
    }

    fn failed(&mut self, put: Put<T>, error: UploadError, is_open: bool) {
        let Put { at, upload, .. } = put;
        if !upload.local.exists() {
            // Nothing to try again with.
            self.tell(UploadEvent::Kept { upload, error: Arc::new(error) });
            return;
        }
        if !is_open {
            // The others would fail as this one did, and each would take its time for it.
            let error = Arc::new(error);
            self.tell(UploadEvent::Kept { upload, error: Arc::clone(&error) });
            while let Some((_, upload)) = self.backlog.pop() {
                self.tell(UploadEvent::Kept { upload, error: Arc::clone(&error) });
            }
            return;
        }
        self.backlog.put_back(at, upload);
        let length = match &self.pause {
            Some(pause) => (pause.length * 2).min(LONGEST_PAUSE),
            None => {
                self.tell(UploadEvent::Delayed { output: self.output, error });
                FIRST_PAUSE
            }
        };
        let jitter = rand::rng().random_range(0.5..1.0);
        self.pause = Some(Pause { length, until: Some(Instant::now() + length.mul_f64(jitter)) });
    }

    async fn advanced(&mut self, mut session: Session, result: Result<bool, StoreError>) {
        match result {
            Ok(true) => {
                if let Some(handle) = session.newly_begun() {
                    self.ledger.begun(session.key(), &handle, session.place());
                }
                self.sessions.push(session);
            }
            // It is stored when it is finished.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, key = session.key(), "can't be stored while it grows; it is when it is finished");
                self.let_go(session).await;
            }
        }
    }

    async fn let_go(&mut self, session: Session) {
        let handle = session.handle();
        session.abort().await;
        if let Some(handle) = handle {
            self.ledger.settled(&handle);
        }
    }

    fn show(&self, work: Option<&Work<T>>) {
        let upload = match work {
            Some(Work::Put(put)) => Some(&put.upload),
            Some(Work::Advance(_)) | None => None,
        };
        let size = upload.map(|upload| upload.size);
        let is_version = upload.is_some_and(|upload| upload.versions == Versions::NewestCounts);
        let view = &self.view;
        view.waiting.store(self.backlog.len() + u64::from(size.is_some()), Ordering::Relaxed);
        view.waiting_bytes.store(self.backlog.bytes() + size.unwrap_or_default(), Ordering::Relaxed);
        view.waiting_versions.store(self.backlog.versions() + u64::from(is_version), Ordering::Relaxed);
        view.total.store(size.unwrap_or_default(), Ordering::Relaxed);
        view.is_away.store(self.pause.is_some(), Ordering::Relaxed);
    }

    fn tell(&self, event: UploadEvent<T>) {
        if self.results.send(event).is_err() {
            tracing::debug!("nobody listens to the uploads any more");
        }
    }
}
