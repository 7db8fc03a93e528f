//! A DevTools connection over two pipes: calls, answers and events.
//!
//! ```text
//! call ──► queue ──► writer ──► browser's descriptor 3
//! call ◄── answer ── reader ◄── browser's descriptor 4
//!                      └──► Listener: every event, in order
//! ```
//!
//! The reader waits for the browser only, so answers arrive however many events a page causes.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::framing::{self, LIMIT, Piece, Splitter, answered, well_formed};
use crate::process::text::shown;

/// Calls that wait to be written. If the browser reads nothing, further callers wait.
const QUEUE: usize = 16;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;
/// Bytes of the browser's message in an error.
const TEXT: usize = 1 << 10;

/// Why a DevTools call failed.
#[derive(Debug, thiserror::Error)]
pub enum DevToolsError {
    #[error("the browser's DevTools: {method}: {message}")]
    Refused { method: &'static str, message: String },
    #[error("the browser's DevTools: the connection ended: {0}")]
    Ended(String),
    #[error("the browser's DevTools: the answer to {method} has {bytes} bytes, which is more than {limit}")]
    TooLong { method: &'static str, bytes: usize, limit: usize },
    #[error("the browser's DevTools: the answer to {method} can't be read: {source}")]
    Unreadable { method: &'static str, source: serde_json::Error },
    #[error("the browser's DevTools: no answer within {} s ({asked})", .within.as_secs_f32())]
    NoAnswer { asked: &'static str, within: Duration },
}

/// A message for a listener.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Event(Event<'a>),
    /// An event longer than [`LIMIT`] was dropped. `head`: its first bytes.
    TooLong {
        head: &'a [u8],
        bytes: usize,
    },
    /// The connection ended, with the reason. Nothing follows.
    Ended(&'a str),
}

/// One event.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub(super) method: &'a str,
    /// `None`: an event of the browser.
    pub(super) session: Option<&'a str>,
    message: &'a [u8],
}

impl Event<'_> {
    /// The event's parameters; `None`: they have another form.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Option<T> {
        #[derive(Deserialize)]
        struct Params<T> {
            params: T,
        }
        match parse::<Params<T>>(self.message) {
            Ok(Params { params }) => Some(params),
            Err(error) => {
                tracing::debug!(method = self.method, %error, "an event of the browser can't be read");
                None
            }
        }
    }
}

/// Parses a message. Halves of characters in it are replaced.
fn parse<T: DeserializeOwned>(message: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(message).or_else(|error| match well_formed(message) {
        Some(message) => serde_json::from_slice(&message),
        None => Err(error),
    })
}

/// Receives events on the reading task. Must not block.
pub(super) trait Listener: Send + 'static {
    fn on(&mut self, said: Said<'_>);
}

/// Makes calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Vec<u8>>,
}

/// The tasks of a connection. Dropping them ends it.
#[derive(Debug)]
pub(super) struct Running {
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Calls>,
    /// Nothing can be written any more.
    unwritable: Notify,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, Waiting>,
    /// The reason for the end, once it has ended.
    ended: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    method: &'static str,
    /// Longest answer, in bytes.
    limit: usize,
    answer: oneshot::Sender<Result<Vec<u8>, DevToolsError>>,
}

#[derive(Serialize)]
struct Call<'a, P> {
    id: u64,
    method: &'static str,
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    params: P,
}

/// The fields that tell an answer from an event. The rest is parsed later.
#[derive(Deserialize)]
struct Head {
    id: Option<u64>,
    method: Option<String>,
    #[serde(rename = "sessionId")]
    session: Option<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: Option<T>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Connection {
    /// Starts the tasks of a connection. `from` and `to` lead to the browser.
    pub(super) fn open(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
        listener: impl Listener,
    ) -> (Self, Running) {
        let shared = Arc::new(Shared::default());
        let (queue, calls) = mpsc::channel(QUEUE);
        let tasks = TaskTracker::new();
        // Made here: a task that is ended before it ran at all has to fail calls, too.
        let closing = Closing(Arc::clone(&shared));
        let reader = AbortOnDropHandle::new(tasks.spawn(read(from, closing, listener)));
        let writer = AbortOnDropHandle::new(tasks.spawn(write(to, Arc::clone(&shared), calls)));
        (Self { shared, queue }, Running { _tasks: [reader, writer] })
    }

    /// Calls a method of a session (`None`: of the browser) and waits for the answer. Has no
    /// deadline of its own.
    ///
    /// # Errors
    /// When the browser refuses, the answer is unreadable or longer than [`LIMIT`], or the
    /// connection ends.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        session: Option<&str>,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<T, DevToolsError> {
        self.call_for(LIMIT, session, method, params).await
    }

    /// [`Connection::call`] for an answer of at most `limit` bytes.
    pub(super) async fn call_for<T: DeserializeOwned>(
        &self,
        limit: usize,
        session: Option<&str>,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<T, DevToolsError> {
        let (answer, answered) = oneshot::channel();
        let id = self.shared.expect(Waiting { method, limit, answer })?;
        // Forgets the call when this future is dropped.
        let _expected = Expected { shared: &self.shared, id };
        self.send(Call { id, method, session, params }).await?;
        let message = answered.await.map_err(|_| self.shared.ended())??;
        let unreadable = |source| DevToolsError::Unreadable { method, source };
        match parse(&message).map_err(unreadable)? {
            Answer { error: Some(Refusal { message }), .. } => {
                Err(DevToolsError::Refused { method, message: shown(&message, TEXT, 0) })
            }
            Answer { result: Some(result), error: None } => Ok(result),
            Answer { result: None, error: None } => {
                Err(unreadable(serde::de::Error::custom("there is neither a result nor an error")))
            }
        }
    }

    /// Sends a call without waiting for its answer.
    pub(super) async fn post(
        &self,
        session: Option<&str>,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<(), DevToolsError> {
        let id = self.shared.lock().new_id();
        self.send(Call { id, method, session, params }).await
    }

    async fn send(&self, call: Call<'_, impl Serialize>) -> Result<(), DevToolsError> {
        let method = call.method;
        // JSON contains no NUL byte: strings escape it.
        let mut message =
            serde_json::to_vec(&call).map_err(|source| DevToolsError::Unreadable { method, source })?;
        message.push(0);
        self.queue.send(message).await.map_err(|_| self.shared.ended())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, waiting: Waiting) -> Result<u64, DevToolsError> {
        let mut calls = self.lock();
        if let Some(why) = &calls.ended {
            return Err(DevToolsError::Ended(why.clone()));
        }
        let id = calls.new_id();
        calls.waiting.insert(id, waiting);
        Ok(id)
    }

    fn ended(&self) -> DevToolsError {
        let why = self.lock().ended.clone();
        DevToolsError::Ended(why.unwrap_or_else(|| "it was closed".to_owned()))
    }

    /// Fails all pending and future calls. The first reason is kept.
    fn end(&self, why: &str) -> String {
        let mut calls = self.lock();
        let why = calls.ended.get_or_insert_with(|| why.to_owned()).clone();
        let waiting = std::mem::take(&mut calls.waiting);
        drop(calls);
        for (_, waiting) in waiting {
            drop(waiting.answer.send(Err(DevToolsError::Ended(why.clone()))));
        }
        why
    }

    fn limit_of(&self, head: &[u8]) -> usize {
        let calls = self.lock();
        answered(head).and_then(|id| calls.waiting.get(&id)).map_or(0, |waiting| waiting.limit)
    }

    fn answer(&self, id: u64, message: &[u8]) {
        // Answers to calls that were given up, or only posted, are dropped.
        if let Some(waiting) = self.lock().waiting.remove(&id) {
            drop(waiting.answer.send(Ok(message.to_vec())));
        }
    }

    /// Fails the call whose answer is too long. Returns whether the message is an answer.
    fn refuse(&self, head: &[u8], bytes: usize) -> bool {
        let Some(id) = answered(head) else { return false };
        if let Some(Waiting { method, limit, answer }) = self.lock().waiting.remove(&id) {
            drop(answer.send(Err(DevToolsError::TooLong { method, bytes, limit })));
        }
        true
    }
}

impl Calls {
    const fn new_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Removes a pending call on drop.
struct Expected<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.id);
    }
}

/// Fails pending calls when the connection is dropped.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.end("it was closed");
    }
}

async fn read(mut from: impl AsyncRead + Unpin, closing: Closing, mut listener: impl Listener) {
    let shared = &closing.0;
    let (mut splitter, mut chunk) = (framing::Splitter::default(), vec![0; CHUNK]);
    let why = loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut chunk) => read,
            // Half a connection is useless. The reason is known already.
            () = shared.unwritable.notified() => break "it was closed".to_owned(),
        };
        match read {
            Ok(0) => break "the browser closed the connection".to_owned(),
            Ok(read) => feed(&mut splitter, &chunk[..read], shared, &mut listener),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break format!("the browser can't be read from: {error}"),
        }
    };
    let why = shared.end(&why);
    listener.on(Said::Ended(&why));
}

fn feed(splitter: &mut Splitter, read: &[u8], shared: &Shared, listener: &mut impl Listener) {
    splitter.feed(
        read,
        |head| shared.limit_of(head),
        |piece| match piece {
            Piece::Message(message) => dispatch(message, shared, listener),
            Piece::TooLong { head, bytes } => {
                if !shared.refuse(head, bytes) {
                    listener.on(Said::TooLong { head, bytes });
                }
            }
        },
    );
}

fn dispatch(message: &[u8], shared: &Shared, listener: &mut impl Listener) {
    match serde_json::from_slice(message) {
        Ok(Head { id: Some(id), .. }) => shared.answer(id, message),
        Ok(Head { id: None, method: Some(method), session }) => {
            listener.on(Said::Event(Event { method: &method, session: session.as_deref(), message }));
        }
        Ok(Head { id: None, method: None, .. }) => tracing::debug!("invalid message from the browser"),
        // The message is not logged: it may hold text of the page.
        Err(error) => tracing::debug!(%error, "a message of the browser can't be read"),
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, shared: Arc<Shared>, mut calls: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = calls.recv().await {
        if let Err(error) = to.write_all(&message).await {
            shared.end(&format!("the browser can't be written to: {error}"));
            shared.unwritable.notify_one();
            return;
        }
    }
}

#[cfg(test)]
mod tests;
