//! Sends one encode to any number of RTMP or SRT servers (docs/reference/media.md).
//!
//! ```text
//! StreamSink ──► Connection (a task) ──► Lifecycle (pure): when to connect, retry, give up
//!    │             └─► StreamPipeline: appsrc ► parser ► muxer ► rtmp2sink or srtsink, taking from the feeds
//!    └─────────► Connection ─► StreamPipeline         one of each for every address
//! ```
//!
//! Addresses share only the feeds, so that a failing, hanging, new or removed one disturbs no
//! other. Each reports [`StreamEvent`](super::StreamEvent)s: `Connecting` once, `Started` whenever
//! media begins to flow, `Retrying` for each further attempt, and at the end exactly one of
//! `Failed` and `Finished`. A stream that ends before any media was sent has failed, whoever ended
//! it.
//!
//! No event or log line contains keys or passphrases.

mod connection;
mod destination;
mod fault;
mod keyframe_gate;
mod lifecycle;
mod pipeline;
mod redact;
mod srt_uri;
mod timing;
mod twitch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use connection::{Connection, Counters, Order};
use lifecycle::Lifecycle;
use pipeline::PipelineSpec;
use redact::Redactor;
use timing::Timing;

use super::{SinkContext, SinkError};
use crate::media::{self, Feed};
use crate::plan::codec::AudioCodec;
use crate::plan::output::{OutputId, StreamPlan};
use crate::plan::stream_url::{StreamUrl, Transport};

/// Why an address could not be added or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("{url} is already being streamed to: remove it first")]
    Duplicate { url: StreamUrl },
    #[error("{url} is not being streamed to")]
    Unknown { url: StreamUrl },
    #[error("{url} is how several addresses are shown: give the whole one")]
    Ambiguous { url: StreamUrl },
}

/// Counters of one address, over all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStats {
    pub url: StreamUrl,
    /// Sent, as the protocol's own library counts it.
    pub bytes: u64,
    /// Frames dropped because the network was too slow (audio samples if there is no video).
    pub dropped: u64,
    /// Connections made after the first.
    pub retries: u64,
}

/// A stream output. Dropping it abandons all its connections at once.
#[derive(Debug)]
pub struct StreamSink {
    output: OutputId,
    context: SinkContext,
    protocol: Transport,
    video: Option<Feed>,
    audio: Option<Feed>,
    timing: Timing,
    ingests: String,
    abandon: CancellationToken,
    links: HashMap<StreamUrl, Running>,
    /// Removed, and still saying goodbye.
    leaving: HashMap<StreamUrl, JoinHandle<()>>,
    /// For the names of pipelines.
    made: u64,
}

#[derive(Debug)]
struct Running {
    orders: watch::Sender<Order>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Running {
    fn is_over(&self) -> bool {
        self.counters.over.load(Ordering::Acquire)
    }
}

impl StreamSink {
    /// Starts streaming to the plan's addresses, of which there may be none yet. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`SinkError::Missing`] for an element that this machine lacks, [`SinkError::NoFeed`] for a
    /// medium that the recording lacks. Results of connections are events.
    pub fn open(id: OutputId, plan: &StreamPlan, context: &SinkContext) -> Result<Self, SinkError> {
        Self::open_with(id, plan, context, Timing::DEFAULT, twitch::INGESTS)
    }

    fn open_with(
        id: OutputId,
        plan: &StreamPlan,
        context: &SinkContext,
        timing: Timing,
        ingests: &str,
    ) -> Result<Self, SinkError> {
        let no_feed = |medium: &str| SinkError::NoFeed(medium.to_owned());
        let video = match plan.has_video {
            true => Some(context.video.clone().ok_or_else(|| no_feed("H.264 video"))?),
            false => None,
        };
        let audio = match plan.has_audio {
            true => Some(context.audio.get(&AudioCodec::Aac).cloned().ok_or_else(|| no_feed("AAC audio"))?),
            false => None,
        };
        for element in elements(plan.transport) {
            media::make(element)?;
        }
        let mut sink = Self {
            output: id,
            context: context.clone(),
            protocol: plan.transport,
            video,
            audio,
            timing,
            ingests: ingests.to_owned(),
            abandon: context.abandon.child_token(),
            links: HashMap::new(),
            leaving: HashMap::new(),
            made: 0,
        };
        for url in &plan.urls {
            if let Err(error) = sink.add(url.clone()) {
                tracing::warn!(%error, "an address stands twice in the plan");
            }
        }
        Ok(sink)
    }

    /// Begins streaming to one more address. One that failed before may be added again.
    ///
    /// # Errors
    /// [`StreamError::Duplicate`] when there is a stream to that address.
    pub fn add(&mut self, url: StreamUrl) -> Result<(), StreamError> {
        if self.links.get(&url).is_some_and(|link| !link.is_over()) {
            return Err(StreamError::Duplicate { url });
        }
        self.leaving.retain(|_, task| !task.is_finished());
        // A removed or failed predecessor has to be gone before the same key is used again.
        let failed = self.links.remove(&url).map(|link| link.task);
        let after = self.leaving.remove(&url).or(failed);
        let (orders, received) = watch::channel(Order::SinkPipeline);
        let counters = Arc::<Counters>::default();
        let link = Connection {
            output: self.output,
            spec: PipelineSpec {
                name: format!("stream-{}-{}", self.output.0, self.made),
                protocol: self.protocol,
                video: self.video.clone(),
                audio: self.audio.clone(),
                key_frames: self.context.key_frames.clone(),
                queue: self.timing.queue,
                tasks: self.context.tasks.clone(),
            },
            timing: self.timing,
            events: self.context.events.clone(),
            counters: Arc::clone(&counters),
            orders: received,
            abandon: self.abandon.clone(),
            after,
            ingests: self.ingests.clone(),
            redactor: Redactor::new(&url, None),
            zero: Instant::now(),
            life: Lifecycle::new(self.timing),
            last_error: None,
            url: url.clone(),
        };
        self.made += 1;
        let task = self.context.tasks.spawn(link.run());
        self.links.insert(url, Running { orders, counters, task });
        Ok(())
    }

    /// Ends the stream to an address: queued media is still sent, then it is `Finished`, or
    /// `Failed` if nothing was sent. The redacted address is accepted, too. Returns the address.
    ///
    /// # Errors
    ///
    /// [`StreamError::Unknown`] if there is no such stream (any more), [`StreamError::Ambiguous`]
    /// if several have this redacted form.
    pub fn remove(&mut self, url: &StreamUrl) -> Result<StreamUrl, StreamError> {
        let url = self.find(url)?;
        if let Some(link) = self.links.remove(&url) {
            link.orders.send_replace(Order::Finish { by: Instant::now() + self.timing.drain });
            self.leaving.insert(url.clone(), link.task);
        }
        Ok(url)
    }

    /// The address of a stream that is meant.
    fn find(&self, url: &StreamUrl) -> Result<StreamUrl, StreamError> {
        let live = || self.links.iter().filter(|(_, link)| !link.is_over()).map(|(url, _)| url);
        if live().any(|known| known == url) {
            return Ok(url.clone());
        }
        let mut shown_so = live().filter(|known| known.redacted() == url.expose());
        match (shown_so.next(), shown_so.next()) {
            (Some(known), None) => Ok(known.clone()),
            (Some(_), Some(_)) => Err(StreamError::Ambiguous { url: url.clone() }),
            (None, _) => Err(StreamError::Unknown { url: url.clone() }),
        }
    }

    /// How many addresses are connected or trying to be.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.links.values().filter(|link| !link.is_over()).count()
    }

    /// Whether no address is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live_count() == 0
    }

    /// Counters of each address that was not removed, including failed ones.
    #[must_use]
    pub fn stats(&self) -> Vec<StreamStats> {
        let stats = self.links.iter().map(|(url, link)| StreamStats {
            url: url.clone(),
            bytes: link.counters.bytes.load(Ordering::Relaxed),
            dropped: link.counters.dropped.load(Ordering::Relaxed),
            retries: link.counters.retries.load(Ordering::Relaxed),
        });
        stats.collect()
    }

    /// Sends what is queued, says goodbye to every server, and returns when all connections are
    /// down, at the latest after `within` and the moment that bringing down a hanging one may take.
    /// Call it after the feeds have ended.
    pub async fn finish(mut self, within: Duration) {
        let by = Instant::now() + within;
        let mut tasks: Vec<_> = self.leaving.drain().map(|(_, task)| task).collect();
        for (_, link) in self.links.drain() {
            link.orders.send_replace(Order::Finish { by });
            tasks.push(link.task);
        }
        // Each task keeps the deadline itself; this one only holds if a task does not.
        let all_down = tokio::time::timeout_at(by + self.timing.close * 2, join_all(tasks));
        if all_down.await.is_err() {
            tracing::warn!(output = self.output.0, "streams did not end in time and are abandoned");
        }
    }
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        self.abandon.cancel();
    }
}

const fn elements(protocol: Transport) -> &'static [&'static str] {
    match protocol {
        Transport::Rtmp => &["appsrc", "h264parse", "aacparse", "flvmux", "rtmp2sink"],
        Transport::Srt => &["appsrc", "h264parse", "aacparse", "mpegtsmux", "srtsink"],
    }
}

#[cfg(test)]
mod tests;
