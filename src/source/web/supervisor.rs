//! The task that watches a stage and brings back what it loses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::WebError;
use super::address::Addresses;
use super::capture::PictureSlot;
use super::page::{Signal, StartReport};
use super::relapses::{ATTEMPTS, Relapses, Verdict};
use super::stage::{Patience, Stage, StageEvent};
use super::vitals::{News, Part};
use crate::plan::page::Page;
use crate::plan::source::WebPlan;
use crate::source::{SourceContext, SourceEvent};

/// Asks what the page did, and where to put the answer.
pub(super) type Question = oneshot::Sender<StartReport>;

/// Owns the stage from the end of the start on.
#[derive(Debug)]
pub(super) struct Supervisor {
    plan: WebPlan,
    addresses: Arc<Addresses>,
    context: SourceContext,
    slot: Option<PictureSlot>,
    relapses: Relapses,
    /// Said once each, whatever a page that is loaded again logs.
    ready: bool,
    ended: bool,
    stages: u32,
    /// What stands still, and since when.
    stalled: BTreeMap<Part, Instant>,
}

impl Supervisor {
    pub(super) fn new(
        plan: WebPlan,
        addresses: Arc<Addresses>,
        context: SourceContext,
        slot: Option<PictureSlot>,
    ) -> Self {
        let relapses = Relapses::default();
        let stalled = BTreeMap::new();
        Self { plan, addresses, context, slot, relapses, ready: false, ended: false, stages: 1, stalled }
    }

    pub(super) fn tell(&self, event: SourceEvent) {
        // A recording that does not listen is ending.
        drop(self.context.events.send(event));
    }

    pub(super) fn on_signal(&mut self, signal: Signal) {
        // Any other page joins no room as this egress, whatever it logs.
        let is_room = matches!(self.plan.page, Page::Room(_));
        let (said, event) = match signal {
            Signal::Start => (&mut self.ready, SourceEvent::Ready),
            Signal::End => (&mut self.ended, SourceEvent::Ended),
            Signal::Evicted if is_room => (&mut self.ended, SourceEvent::Evicted),
            Signal::InRoom(room_id) if is_room => return self.tell(SourceEvent::InRoom { room_id }),
            Signal::Evicted | Signal::InRoom(_) => return,
        };
        if !std::mem::replace(said, true) {
            self.tell(event);
        }
    }

    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Stalled { part, since } => {
                let silent_ms = since.elapsed().as_millis();
                tracing::warn!(what = part.stalled(), silent_ms, "stall began");
                self.stalled.insert(part, since);
            }
            News::Resumed { part, since, until } => {
                let gap = until.saturating_duration_since(since);
                tracing::info!(what = part.stalled(), gap_ms = gap.as_millis(), "stall ended");
                self.stalled.remove(&part);
                self.tell_stall(part, since, until);
            }
            News::Died(what) => {
                tracing::warn!(what, "a part of the browser died");
                self.tell(SourceEvent::Died { what });
            }
        }
    }

    /// Tells of what still stands still when it is lost, or the recording ends.
    pub(super) fn end_stalls(&mut self) {
        for (part, since) in std::mem::take(&mut self.stalled) {
            self.tell_stall(part, since, Instant::now());
        }
    }

    fn tell_stall(&self, part: Part, since: Instant, until: Instant) {
        if let (Some(from), Some(to)) = (self.media_time(since), self.media_time(until))
            && from < to
        {
            self.tell(SourceEvent::Stalled { what: part.stalled(), from, to });
        }
    }

    /// Where a moment lies in the recording, or the edge of it that is nearest; `None` before it has begun.
    fn media_time(&self, at: Instant) -> Option<Duration> {
        let timeline = &self.context.timeline;
        let running = Duration::from(timeline.now()).saturating_sub(at.elapsed());
        let media = running.saturating_sub(Duration::from(timeline.begun()?));
        Some(timeline.ended().map_or(media, |length| media.min(length.into())))
    }

    /// Runs until it is stopped. Aborted, it leaves nothing behind either: the stage is a value.
    pub(super) async fn run(
        mut self,
        mut stage: Stage,
        stop: CancellationToken,
        mut questions: mpsc::Receiver<Question>,
    ) {
        loop {
            if self.ready {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = stage.started() => {}
                }
            }
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(question) = questions.recv() => {
                    let report = stage.report(&self.context.report_dir).await;
                    // Who asked may have waited long enough.
                    drop(question.send(report));
                    continue;
                }
                event = stage.next() => event,
            };
            if !matches!(event, StageEvent::Signal(_) | StageEvent::News(_)) {
                self.end_stalls();
            }
            let recovered = match event {
                StageEvent::Signal(signal) => {
                    self.on_signal(signal);
                    continue;
                }
                StageEvent::News(news) => {
                    self.on_news(news);
                    continue;
                }
                StageEvent::Refused(error) => {
                    let report = Box::new(stage.report(&self.context.report_dir).await);
                    self.tell(SourceEvent::Failed(WebError::Page { error, report }.into()));
                    None
                }
                StageEvent::PageLost(why) => self.interrupted(why, Some(stage), &stop).await,
                StageEvent::StageLost(why) => {
                    // Killed right away: half a stage must not go on playing.
                    drop(stage);
                    self.interrupted(why, None, &stop).await
                }
            };
            match recovered {
                Some(next) => stage = next,
                None => {
                    stop.cancelled().await;
                    return;
                }
            }
        }
        self.end_stalls();
        stage.close().await;
    }

    /// Brings a page or a stage back; `None`: given up (and said), or stopped.
    async fn interrupted(
        &mut self,
        mut why: String,
        mut standing: Option<Stage>,
        stop: &CancellationToken,
    ) -> Option<Stage> {
        let since = Instant::now();
        tracing::warn!(why, "the page was lost, and is brought back");
        self.tell(SourceEvent::Interrupted { why: why.clone() });
        loop {
            if self.relapses.another(Instant::now()) == Verdict::GiveUp {
                tracing::error!(why, "the page can't be brought back");
                self.tell(SourceEvent::Failed(WebError::GaveUp { attempts: ATTEMPTS, why }.into()));
                return None;
            }
            let attempt = self.attempt(standing.take());
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                attempt = attempt => attempt,
            };
            match attempt {
                Ok((stage, signals)) => {
                    self.relapses.went_well();
                    let gap = since.elapsed();
                    tracing::info!(gap_ms = gap.as_millis(), "the page is back");
                    self.tell(SourceEvent::Resumed { gap });
                    for signal in signals {
                        self.on_signal(signal);
                    }
                    return Some(stage);
                }
                Err(error) => {
                    tracing::warn!(%error, "an attempt to bring the page back failed");
                    why = error.to_string();
                }
            }
        }
    }

    /// A page that is lost is loaded again where it was; where that fails, everything is set up anew.
    async fn attempt(&mut self, standing: Option<Stage>) -> Result<(Stage, Vec<Signal>), WebError> {
        if let Some(mut stage) = standing {
            match stage.reload(&self.addresses.next()?).await {
                Ok(signals) => return Ok((stage, signals)),
                Err(error) => {
                    let report = Box::default();
                    return Err(WebError::Page { error, report });
                }
            }
        }
        let number = self.stages;
        self.stages += 1;
        let Self { plan, addresses, context, slot, .. } = self;
        Stage::start(plan, addresses, context, slot.clone(), number, Patience::AGAIN).await
    }
}
