//! Sound that waits for the network: bounded, the oldest goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use tokio::sync::Notify;

use super::chunker::Chunker;
use crate::media::FeedConsumer;

/// Duration of a message.
const MESSAGE: Duration = Duration::from_millis(10);

/// Messages on their way from the feed to the link.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    longest: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    ended: bool,
}

impl Queue {
    /// A queue that holds so much sound.
    pub(super) fn new(longest: Duration) -> Self {
        let longest = usize::try_from(longest.as_millis() / MESSAGE.as_millis()).unwrap_or(usize::MAX);
        Self { waiting: Mutex::default(), changed: Notify::new(), longest, dropped: AtomicU64::new(0) }
    }

    /// The oldest message, when there is one; `None` when there will be none any more. A caller
    /// that goes before it has an answer takes nothing along.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(message) = waiting.messages.pop_front() {
                    return Some(message);
                }
                if waiting.ended {
                    return None;
                }
            }
            // One that changed since is remembered.
            self.changed.notified().await;
        }
    }

    /// Sound that was left out so far.
    pub(super) fn dropped(&self) -> Duration {
        MESSAGE.saturating_mul(u32::try_from(self.dropped.load(Ordering::Relaxed)).unwrap_or(u32::MAX))
    }

    fn add(&self, messages: impl IntoIterator<Item = Bytes>) {
        let mut waiting = self.lock();
        waiting.messages.extend(messages);
        let over = waiting.messages.len().saturating_sub(self.longest);
        waiting.messages.drain(..over);
        drop(waiting);
        self.dropped.fetch_add(over as u64, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue's end at the feed.
#[derive(Debug)]
pub(super) struct Filler {
    queue: Arc<Queue>,
    cutter: Chunker,
}

impl Filler {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, cutter: Chunker::default() }
    }
}

impl FeedConsumer for Filler {
    fn take(&mut self, sample: &gst::Sample) {
        let Some(buffer) = sample.buffer() else { return };
        let Ok(sound) = buffer.map_readable() else { return };
        let messages = self.cutter.take(buffer.pts().map(Duration::from), &sound);
        self.queue.add(messages);
    }

    fn end(&mut self) {
        self.queue.add(self.cutter.finish());
        self.queue.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_is_left_out_and_counted() {
        let queue = Queue::new(Duration::from_millis(30));
        queue.add((0..5).map(|number: u8| Bytes::from(vec![number])));
        queue.end();
        let mut found = Vec::new();
        while let Some(message) = queue.next().await {
            found.push(message[0]);
        }
        assert_eq!(found, [2, 3, 4]);
        assert_eq!(queue.dropped(), Duration::from_millis(20));
    }
}
