//! The one task that owns an address: it connects, watches, connects again, and says goodbye.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::destination;
use super::fault::{self, Fault};
use super::lifecycle::{Action, Cause, Event, Lifecycle, Loss};
use super::pipeline::{PipelineSpec, StreamPipeline};
use super::redact::Redactor;
use super::timing::Timing;
use super::twitch;
use crate::media::PipelineEvent;
use crate::outbound::Guard;
use crate::plan::output::OutputId;
use crate::plan::stream_url::StreamUrl;
use crate::sink::{SinkEvent, StreamEvent};

/// Counters of one address, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) retries: AtomicU64,
    /// Whether the address has failed or finished.
    pub(super) over: AtomicBool,
}

/// Commands of the stream's owner for an address.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    SinkPipeline,
    /// Send what is queued, and be gone at that time.
    Finish {
        by: Instant,
    },
}

/// State of a stream between two connections.
const NOT_CONNECTED: &str = "it was not connected";

/// Everything the task needs.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) output: OutputId,
    pub(super) url: StreamUrl,
    pub(super) spec: PipelineSpec,
    pub(super) timing: Timing,
    pub(super) events: mpsc::UnboundedSender<SinkEvent>,
    pub(super) counters: Arc<Counters>,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) abandon: CancellationToken,
    /// The same address, removed a moment ago: a server takes a key only once.
    pub(super) after: Option<JoinHandle<()>>,
    /// Address of Twitch's ingest API.
    pub(super) ingests: String,
    pub(super) redactor: Redactor,
    /// The zero of the lifecycle's time.
    pub(super) zero: Instant,
    pub(super) life: Lifecycle,
    /// Why the last connection was lost, or could not be made; without secrets.
    pub(super) last_error: Option<String>,
}

enum End {
    /// `missing`: why the last media was not sent.
    Finished {
        missing: Option<String>,
    },
    Failed(String),
}

/// Counters before a connection.
#[derive(Debug, Clone, Copy)]
struct Before {
    bytes: u64,
    dropped: u64,
}

/// How one connection ended.
enum Broken {
    Over(End),
    Retry { at: Duration, retries: u32, error: String },
}

impl Connection {
    pub(super) async fn run(mut self) {
        let abandon = self.abandon.clone();
        let served = abandon.run_until_cancelled(self.serve()).await;
        let end = served.unwrap_or_else(|| self.cut_short("it was abandoned"));
        self.counters.over.store(true, Ordering::Release);
        let url = self.url.clone();
        self.tell(match end {
            End::Finished { missing: None } => {
                tracing::info!(%url, "stream finished");
                StreamEvent::Finished { url, missing: None }
            }
            End::Finished { missing: Some(why) } => {
                tracing::warn!(%url, why, "the end of the stream is missing");
                StreamEvent::Finished { url, missing: Some(why) }
            }
            End::Failed(error) => {
                tracing::warn!(%url, error, "stream failed");
                StreamEvent::Failed { url, error }
            }
        });
    }

    async fn serve(&mut self) -> End {
        if let Some(before) = self.after.take() {
            // The task ends by its own deadline, after it has reported its result itself.
            if let Err(error) = before.await {
                tracing::debug!(%error, "the address's last task broke off");
            }
        }
        self.tell(StreamEvent::Connecting { url: self.url.clone() });
        loop {
            self.life.handle(self.now(), Event::Attempt);
            match self.connection().await {
                Broken::Over(end) => return end,
                Broken::Retry { at, retries, error } => {
                    self.counters.retries.store(retries.into(), Ordering::Relaxed);
                    tracing::info!(url = %self.url, retries, error, "stream lost, will connect again");
                    self.last_error = Some(error.clone());
                    self.tell(StreamEvent::Retrying { url: self.url.clone(), retries, error });
                    let wait = tokio::time::timeout_at(self.zero + at, finish_order(&mut self.orders));
                    if wait.await.is_ok() {
                        return self.cut_short(NOT_CONNECTED);
                    }
                }
            }
        }
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self) -> Broken {
        let mut pipeline = match self.open().await {
            Ok(Some(pipeline)) => pipeline,
            Ok(None) => return Broken::Over(self.cut_short("it was still connecting")),
            Err(fault) => return self.lost(&fault),
        };
        let broken = self.watch(&mut pipeline).await;
        pipeline.close(self.timing.close).await;
        broken
    }

    /// Finds out where to send, and starts a pipeline that does; `None` when it is to finish before
    /// that is done.
    async fn open(&mut self) -> Result<Option<StreamPipeline>, Fault> {
        let address = match twitch::key(self.url.expose()) {
            None => self.url.expose().to_owned(),
            Some(key) => {
                let address = tokio::select! {
                    address = twitch::resolve(&self.ingests, key, self.timing.resolve) => address,
                    _ = finish_order(&mut self.orders) => return Ok(None),
                };
                let address = address.map_err(|error| fault::of_twitch(&error))?;
                self.redactor = Redactor::new(&self.url, Some(&address));
                address
            }
        };
        let (spec, protocol) = (self.spec.clone(), self.spec.protocol);
        let checked = destination::checked(Guard::of_process(), &address, protocol, self.timing.resolve);
        let address = tokio::select! {
            checked = checked => checked?,
            _ = finish_order(&mut self.orders) => return Ok(None),
        };
        let mut opening = self.spec.tasks.spawn_blocking(move || StreamPipeline::open(&spec, &address));
        tokio::select! {
            opened = &mut opening => match opened {
                Ok(pipeline) => pipeline.map(Some).map_err(|error| fault::of_outlet(&error, protocol)),
                Err(error) => Err(Fault { text: error.to_string(), loss: Loss::Interrupted }),
            },
            // Starting may block (see `StreamPipeline::open`). What it opens after all goes down
            // with its thread.
            () = tokio::time::sleep(self.timing.connect) => Err(fault::not_connected(self.timing.connect)),
            _ = finish_order(&mut self.orders) => Ok(None),
        }
    }

    /// Watches a connection until it ends.
    async fn watch(&mut self, pipeline: &mut StreamPipeline) -> Broken {
        let before = Before {
            bytes: self.counters.bytes.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        };
        let mut looks = tokio::time::interval(self.timing.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut finish_by = None;
        loop {
            tokio::select! {
                event = pipeline.events().next() => match event {
                    Some(PipelineEvent::Eos) => return Broken::Over(self.goodbye(pipeline, before, finish_by).await),
                    Some(PipelineEvent::Error(error)) => {
                        let fault = fault::of_pipeline(&error, self.spec.protocol, self.life.has_worked());
                        return match finish_by {
                            None => self.lost(&fault),
                            Some(_) => Broken::Over(self.cut_short(&fault.text)),
                        };
                    }
                    Some(PipelineEvent::Warning { element, text }) => {
                        let text = self.redactor.clean(&text);
                        tracing::warn!(url = %self.url, element, text, "the stream's pipeline warns");
                    }
                    Some(PipelineEvent::Element(_)) => {}
                    None => return self.lost(&fault::of_silence()),
                },
                by = finish_order(&mut self.orders), if finish_by.is_none() => {
                    finish_by = Some(by);
                    pipeline.end();
                }
                () = moment(finish_by) => {
                    return Broken::Over(self.cut_short(match self.life.has_worked() {
                        true => "the server took the last media too slowly",
                        false => "the server did not take the stream in time",
                    }));
                }
                _ = looks.tick() => {
                    if let Some(broken) = self.look(pipeline, before).await {
                        return broken;
                    }
                }
            }
        }
    }

    /// Looks at what was sent, and whether that is enough.
    async fn look(&mut self, pipeline: &mut StreamPipeline, before: Before) -> Option<Broken> {
        let sent = self.count(pipeline, before, self.timing.look).await;
        let now = self.now();
        if pipeline.is_due() {
            self.life.handle(now, Event::Offered);
        }
        if let Some(sent) = sent
            && self.life.handle(now, Event::Sent(sent)) == Some(Action::Started)
        {
            self.started(pipeline);
        }
        if !pipeline.is_due() {
            return None;
        }
        let action = self.life.handle(self.now(), Event::Tick { jitter: rand::random() });
        action.and_then(|action| self.broken(action, ""))
    }

    /// After the end of the stream has reached the sink.
    async fn goodbye(
        &mut self,
        pipeline: &mut StreamPipeline,
        before: Before,
        finish_by: Option<Instant>,
    ) -> End {
        let by = finish_by.unwrap_or_else(|| Instant::now() + self.timing.drain);
        // Counted before the wait, which depends on what is agreed with the other end, and after
        // it: nothing may have been sent before.
        let left = by.saturating_duration_since(Instant::now()).max(self.timing.look);
        let mut sent = self.count(pipeline, before, left).await;
        let lingered = tokio::time::timeout_at(by, pipeline.linger()).await.is_ok();
        if !self.life.has_worked() {
            if sent.is_none_or(|sent| sent == 0) {
                sent = self.count(pipeline, before, self.timing.look).await;
            }
            // A stream that is too short to be looked at twice has still gone out.
            if !pipeline.has_media() || sent.is_none_or(|sent| sent == 0) {
                return self.cut_short(match (pipeline.has_media(), pipeline.listens()) {
                    (false, _) => "no media was sent to it",
                    (true, true) => "nobody called",
                    (true, false) => "the server took nothing",
                });
            }
            self.started(pipeline);
        }
        End::Finished { missing: (!lingered).then(|| "no time was left for it".to_owned()) }
    }

    fn started(&self, pipeline: &StreamPipeline) {
        tracing::info!(url = %self.url, "stream started");
        self.tell(StreamEvent::Started { url: self.url.clone() });
        if pipeline.dropped() > 0 {
            // Connecting took longer than the queue holds: request a key frame, or the gap would
            // last for a whole GOP.
            self.spec.key_frames.request();
        }
    }

    /// Adds up what this connection did; gives its bytes, where they could be had.
    async fn count(&self, pipeline: &mut StreamPipeline, before: Before, within: Duration) -> Option<u64> {
        let sent = pipeline.sent(within).await;
        if let Some(sent) = sent {
            self.counters.bytes.store(before.bytes + sent, Ordering::Relaxed);
        }
        self.counters.dropped.store(before.dropped + pipeline.dropped(), Ordering::Relaxed);
        sent
    }

    fn lost(&mut self, fault: &Fault) -> Broken {
        let action = self.life.handle(self.now(), Event::Lost { loss: fault.loss, jitter: rand::random() });
        let broken = action.and_then(|action| self.broken(action, &fault.text));
        // The lifecycle answers every loss of a connection that it knows of.
        broken.unwrap_or_else(|| Broken::Over(End::Failed(self.redactor.clean(&fault.text))))
    }

    fn broken(&self, action: Action, text: &str) -> Option<Broken> {
        let text_of = |cause| match cause {
            Cause::Lost => self.redactor.clean(text),
            Cause::NotConnected => fault::not_connected(self.timing.connect).text,
            Cause::Stalled => {
                format!("no outbound progress for {} s", self.timing.liveness.as_secs_f32())
            }
        };
        match action {
            Action::Started => None,
            Action::Retry { at, retries, cause } => {
                Some(Broken::Retry { at, retries, error: text_of(cause) })
            }
            Action::GiveUp { cause } => Some(Broken::Over(End::Failed(text_of(cause)))),
        }
    }

    /// How an address ends that is ended while it is not connected, or whose last media can't be
    /// sent. A stream that never started has failed.
    fn cut_short(&self, why: &str) -> End {
        let why = self.redactor.clean(why);
        if self.life.has_worked() {
            let why = match &self.last_error {
                Some(error) if why == NOT_CONNECTED => format!("{why}: {error}"),
                _ => why,
            };
            return End::Finished { missing: Some(why) };
        }
        End::Failed(match &self.last_error {
            Some(error) => format!("it ended before media could be sent: {error}"),
            None => format!("it ended before media could be sent: {why}"),
        })
    }

    fn now(&self) -> Duration {
        self.zero.elapsed()
    }

    fn tell(&self, event: StreamEvent) {
        // Nobody listens any more when the recording is abandoned.
        if self.events.send(SinkEvent::Stream(self.output, event)).is_err() {
            tracing::debug!(url = %self.url, "nobody hears of the stream");
        }
    }
}

/// Waits for the order to finish, and gives its deadline. For ever where the stream is gone: it is
/// abandoned then.
async fn finish_order(orders: &mut watch::Receiver<Order>) -> Instant {
    let order = orders.wait_for(|order| matches!(order, Order::Finish { .. })).await.map(|order| *order);
    match order {
        Ok(Order::Finish { by }) => by,
        Ok(Order::SinkPipeline) | Err(_) => std::future::pending().await,
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
