//! Sends mixed audio to a WebSocket: S16LE, 48 kHz, stereo (docs/reference/media.md).
//!
//! ```text
//! Feed(raw audio) ─► Chunker (pure): 10 ms each ─► Queue, bounded ─► Connection (a task) ─► websocket
//! ```
//!
//! A binary message has 10 ms of audio, 1920 bytes. A text message, `{"muted":true}` or
//! `{"muted":false}`, reports that all recorded audio was muted, or no longer is. The connection is
//! made while the recording is prepared; an unreachable server fails the recording. A connection
//! lost later is made again until the end; meanwhile the queue keeps the newest audio. An address
//! that is not connected at the end has failed.
//!
//! User and password in the address become `Authorization: Basic`; with the user `bearer`, the
//! password is a token and becomes `Authorization: Bearer`. Neither is in any event or log line.

mod chunker;
mod connection;
mod dial;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Timing};
use self::queue::Queue;
use super::{SinkContext, SinkError};
use crate::media::Attachment;
use crate::plan::output::{OutputId, WebSocketPlan};

/// Sound on its way to a websocket. Dropping it drops the connection.
#[derive(Debug)]
pub struct WebSocketSink {
    output: OutputId,
    muted: watch::Sender<bool>,
    finish: watch::Sender<Option<Instant>>,
    abandon: CancellationToken,
    link: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
    _taker: Attachment,
}

impl WebSocketSink {
    /// Connects to the server. Results are [`StreamEvent`](super::StreamEvent)s: `Started` for each
    /// connection, `Retrying` for each further attempt, and at the end exactly one of `Failed` and
    /// `Finished`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`SinkError::NoFeed`] if the recording has no audio.
    pub fn open(id: OutputId, plan: &WebSocketPlan, context: &SinkContext) -> Result<Self, SinkError> {
        Self::open_with(id, plan, context, Timing::DEFAULT)
    }

    fn open_with(
        id: OutputId,
        plan: &WebSocketPlan,
        context: &SinkContext,
        timing: Timing,
    ) -> Result<Self, SinkError> {
        let feed = context.raw_audio.clone().ok_or_else(|| SinkError::NoFeed("sound".to_owned()))?;
        let queue = Arc::new(Queue::new(timing.queue));
        let (muted, is_muted) = watch::channel(false);
        let (finish, deadline) = watch::channel(None);
        let abandon = context.abandon.child_token();
        let is_over = Arc::<AtomicBool>::default();
        let link = Connection {
            output: id,
            url: plan.url.clone(),
            queue: Arc::clone(&queue),
            muted: is_muted,
            deadline,
            events: context.events.clone(),
            timing,
            is_over: Arc::clone(&is_over),
        };
        let stop = abandon.clone();
        let link = context.tasks.spawn(async move {
            stop.run_until_cancelled_owned(link.run()).await;
        });
        let taker = feed.attach(Box::new(queue::Filler::new(queue)));
        Ok(Self { output: id, muted, finish, abandon, link, is_over, _taker: taker })
    }

    /// Tells the server whether all sound is muted.
    pub fn set_muted(&self, is_muted: bool) {
        self.muted.send_replace(is_muted);
    }

    /// Whether nothing is sent any more, nor will be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Sends what is queued and says goodbye, within this time. Call it after the feed has ended.
    pub async fn finish(mut self, within: Duration) {
        let by = Instant::now() + within.min(Timing::DEFAULT.drain);
        self.finish.send_replace(Some(by));
        // The task keeps the deadline itself; this one only holds if it does not.
        if tokio::time::timeout_at(by + Timing::DEFAULT.goodbye, &mut self.link).await.is_err() {
            tracing::warn!(output = self.output.0, "a websocket did not end in time and is abandoned");
        }
    }
}

impl Drop for WebSocketSink {
    fn drop(&mut self) {
        self.abandon.cancel();
    }
}

#[cfg(test)]
mod tests;
