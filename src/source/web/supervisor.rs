//! The task that watches a stage and brings back what it loses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::WebError;
use super::address::Addresses;
use super::browser_session::{BrowserSession, Patience, SessionEvent};
use super::capture::LatestFrame;
use super::cdp::FailedNavigation;
use super::health::{News, Part};
use super::outage::{self, Outage};
use super::page::{Signal, StartReport};
use super::restart_budget::{ATTEMPTS, RestartBudget, Verdict};
use crate::plan::page::Page;
use crate::plan::source::WebPlan;
use crate::source::standstill::RECORDER_STALLED;
use crate::source::{SourceContext, SourceEvent};

/// Asks what the page did, and where to put the answer.
pub(super) type Question = oneshot::Sender<StartReport>;

/// Owns the stage from the end of the start on.
#[derive(Debug)]
pub(super) struct Supervisor {
    plan: WebPlan,
    addresses: Arc<Addresses>,
    context: SourceContext,
    slot: Option<LatestFrame>,
    relapses: RestartBudget,
    /// Said once each, whatever a page that is loaded again logs.
    ready: bool,
    ended: bool,
    stages: u32,
    /// Stalled parts with the start of the stall.
    stalled: BTreeMap<Part, Instant>,
    /// The page's server is away.
    outage: Option<Outage>,
    /// How often it was.
    absences: u32,
}

impl Supervisor {
    pub(super) fn new(
        plan: WebPlan,
        addresses: Arc<Addresses>,
        context: SourceContext,
        slot: Option<LatestFrame>,
    ) -> Self {
        let relapses = RestartBudget::default();
        let stalled = BTreeMap::new();
        let (ready, ended, outage, absences) = (false, false, None, 0);
        Self { plan, addresses, context, slot, relapses, ready, ended, stages: 1, stalled, outage, absences }
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

    /// Tells of a page that was taken for loaded without all of it.
    pub(super) fn on_pending(&self, pending: Option<String>) {
        if let Some(what) = pending {
            let why = "the request was still pending when the page was taken for loaded".to_owned();
            self.tell(SourceEvent::Lacking { what, why });
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
                self.tell_stall(part.stalled(), since, until);
            }
            News::StoodStill { since, until } => {
                let gap = until.saturating_duration_since(since);
                tracing::warn!(gap_ms = gap.as_millis(), "{RECORDER_STALLED}");
                // No time is reported twice: earlier stalls end here.
                for (part, began) in std::mem::take(&mut self.stalled) {
                    self.tell_stall(part.stalled(), began, since);
                }
                self.tell_stall(RECORDER_STALLED, since, until);
            }
            News::Died(what) => {
                tracing::warn!(what, "a part of the browser died");
                self.tell(SourceEvent::Died { what });
            }
        }
    }

    /// Tells what is left to tell of a stage that is lost or ends.
    fn end_watch(&mut self, session: &mut BrowserSession) {
        for news in session.last_news() {
            self.on_news(news);
        }
        self.end_stalls();
    }

    /// Tells of what still stands still when it is lost, or the recording ends.
    pub(super) fn end_stalls(&mut self) {
        for (part, since) in std::mem::take(&mut self.stalled) {
            self.tell_stall(part.stalled(), since, Instant::now());
        }
    }

    fn tell_stall(&self, what: &'static str, since: Instant, until: Instant) {
        let timeline = &self.context.timeline;
        if let (Some(from), Some(to)) = (timeline.media_at(since), timeline.media_at(until))
            && from < to
        {
            self.tell(SourceEvent::Stalled { what, from, to });
        }
    }

    /// Runs until it is stopped. Aborted, it leaves nothing behind either: the stage is a value.
    pub(super) async fn run(
        mut self,
        mut session: BrowserSession,
        stop: CancellationToken,
        mut questions: mpsc::Receiver<Question>,
    ) {
        loop {
            if self.ready {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = session.started() => {}
                }
            }
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(question) = questions.recv() => {
                    let report = session.report(&self.context.report_dir).await;
                    // Who asked may have waited long enough.
                    drop(question.send(report));
                    continue;
                }
                event = session.next() => event,
                () = due(self.outage.as_ref()) => {
                    let tried = tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        tried = self.try_again(&mut session) => tried,
                    };
                    match tried {
                        Some(lost) => SessionEvent::PageLost(lost),
                        None => continue,
                    }
                }
            };
            if !matches!(
                event,
                SessionEvent::Signal(_) | SessionEvent::News(_) | SessionEvent::NavigationFailed(_)
            ) {
                self.end_watch(&mut session);
                // What is lost is brought back where it was at first.
                self.outage = None;
            }
            let recovered = match event {
                SessionEvent::Signal(signal) => {
                    self.on_signal(signal);
                    continue;
                }
                SessionEvent::News(news) => {
                    self.on_news(news);
                    continue;
                }
                SessionEvent::NavigationFailed(failed) => {
                    self.on_navigation_failed(failed, &session);
                    continue;
                }
                SessionEvent::Refused(error) => {
                    let report = Box::new(session.report(&self.context.report_dir).await);
                    self.tell(SourceEvent::Failed(WebError::Page { error, report }.into()));
                    None
                }
                SessionEvent::PageLost(why) => self.interrupted(why, Some(session), &stop).await,
                SessionEvent::StageLost(why) => {
                    // Killed right away: half a stage must not go on playing.
                    drop(session);
                    self.interrupted(why, None, &stop).await
                }
            };
            match recovered {
                Some(next) => session = next,
                None => {
                    stop.cancelled().await;
                    return;
                }
            }
        }
        self.end_watch(&mut session);
        session.close().await;
    }

    /// The page wanted to go where nothing can be shown.
    fn on_navigation_failed(
        &mut self,
        FailedNavigation { url, error }: FailedNavigation,
        session: &BrowserSession,
    ) {
        let address = match (self.addresses.next(), url) {
            (Ok(page), Some(url)) => page.elsewhere(&url),
            // It sent something, which is not sent again.
            (Ok(page), None) => page,
            (Err(error), _) => {
                tracing::warn!(%error, "the page has no address");
                return;
            }
        };
        if let Some(outage) = &mut self.outage {
            outage.redirect(address);
            return;
        }
        tracing::warn!(%error, "a navigation of the page failed; the page is kept, and its server is tried again");
        let now = tokio::time::Instant::now();
        let outage = Outage::new(now, address, session.document(), self.absences);
        self.absences = self.absences.saturating_add(1);
        if outage.is_told() {
            self.tell(SourceEvent::Interrupted { why: error.to_string() });
        }
        self.outage = Some(outage);
    }

    /// Goes where the page could not go. Gives why the page itself was lost by that.
    async fn try_again(&mut self, session: &mut BrowserSession) -> Option<String> {
        let mut outage = self.outage.take()?;
        if !outage.is_over(session.document()) {
            match session.retry(outage.address()).await {
                Ok(signals) => signals.into_iter().for_each(|signal| self.on_signal(signal)),
                Err(error) => match outage.verdict(&error, session.document()) {
                    outage::Verdict::Back => {
                        tracing::warn!(%error, "the page's server is back, without the page")
                    }
                    outage::Verdict::Away => {
                        tracing::debug!(%error, "the page's server is still away");
                        outage.on_failure(tokio::time::Instant::now());
                        self.outage = Some(outage);
                        return None;
                    }
                    outage::Verdict::Lost(why) => return Some(why),
                },
            }
        }
        let now = tokio::time::Instant::now();
        let gap = outage.gap(now);
        tracing::info!(gap_ms = gap.as_millis(), "the page is back");
        if outage.is_told() {
            self.tell(SourceEvent::Resumed { gap });
            self.on_pending(session.take_pending());
        } else if let (Some(from), Some(to)) = (
            self.context.timeline.media_at(outage.since().into_std()),
            self.context.timeline.media_at(now.into_std()),
        ) {
            self.tell(SourceEvent::Stalled { what: "the page's server was away", from, to });
        }
        None
    }

    /// Brings a page or a stage back; `None`: given up (and said), or stopped.
    async fn interrupted(
        &mut self,
        mut why: String,
        mut standing: Option<BrowserSession>,
        stop: &CancellationToken,
    ) -> Option<BrowserSession> {
        let since = Instant::now();
        tracing::warn!(why, "the page was lost, and is brought back");
        self.tell(SourceEvent::Interrupted { why: why.clone() });
        loop {
            if self.relapses.on_restart(Instant::now()) == Verdict::GiveUp {
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
                Ok((mut session, signals)) => {
                    self.relapses.on_success();
                    let gap = since.elapsed();
                    tracing::info!(gap_ms = gap.as_millis(), "the page is back");
                    self.tell(SourceEvent::Resumed { gap });
                    self.on_pending(session.take_pending());
                    for signal in signals {
                        self.on_signal(signal);
                    }
                    return Some(session);
                }
                Err(error) => {
                    tracing::warn!(%error, "an attempt to bring the page back failed");
                    why = error.to_string();
                }
            }
        }
    }

    /// A page that is lost is loaded again where it was; where that fails, everything is set up
    /// anew.
    async fn attempt(
        &mut self,
        standing: Option<BrowserSession>,
    ) -> Result<(BrowserSession, Vec<Signal>), WebError> {
        if let Some(mut session) = standing {
            match session.reload(&self.addresses.next()?).await {
                Ok(signals) => return Ok((session, signals)),
                Err(error) => {
                    let report = Box::default();
                    return Err(WebError::Page { error, report });
                }
            }
        }
        let number = self.stages;
        self.stages += 1;
        let Self { plan, addresses, context, slot, .. } = self;
        BrowserSession::start(plan, addresses, context, slot.clone(), number, Patience::AGAIN).await
    }
}

/// Waits until a page whose server is away is tried again.
async fn due(outage: Option<&Outage>) {
    match outage {
        Some(outage) => tokio::time::sleep_until(outage.next()).await,
        None => std::future::pending().await,
    }
}
