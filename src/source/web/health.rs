//! Detects stalls of a session's parts: polls four times per second, and reports two seconds of
//! silence.
//!
//! ```text
//! page     next frame requested ─► answer     (renderer, GPU process, browser)
//! capture  each buffer ─► Heartbeat           (audio server, display)
//! helpers  list of processes, compared with the last one; the network process by its state
//! itself   each wake-up ─► Pulse              (the recorder)
//! ```
//!
//! A stopped or hanging process does not die: only missing signs of life show it. The recording
//! continues meanwhile with the last frame and silence, and its report has the time of the stall. A
//! recorder that stalled itself could not observe others: that is reported instead, and all others
//! start anew.

mod liveness;
mod silence;
mod wake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::liveness::Signs;
use self::wake::Pulse;
use super::capture::Heartbeat;
use super::cdp::{Answer, HelperList, Probe};
use super::helpers::{self, Helpers, Role};
use crate::source::standstill::{PERIOD, STALL, Stall, Woken};

/// From one list of the browser's processes to the next.
const LIST_PERIOD: Duration = Duration::from_secs(1);
/// A stall is noticed within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const _: () = assert!(STALL.as_millis() + PERIOD.as_millis() < NOTICED_WITHIN.as_millis());

/// A part that can stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Page,
    Video,
    Audio,
    /// The browser's network process. The page has frames without it.
    Network,
}

impl Part {
    /// Name of its stall in reports.
    pub(super) const fn stalled(self) -> &'static str {
        match self {
            Self::Page => "the page did not respond",
            Self::Video => "video capture stood still",
            Self::Audio => "audio capture stood still",
            Self::Network => "the browser's network process stood still",
        }
    }
}

/// An observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing has come of it since.
    Stalled { part: Part, since: Instant },
    /// It goes on.
    Resumed { part: Part, since: Instant, until: Instant },
    /// The recorder itself stalled, and could not observe others. Earlier stalls that continue are
    /// reported anew.
    StoodStill { since: Instant, until: Instant },
    /// A process is gone, and the browser starts another.
    Died(&'static str),
}

impl From<Stall> for News {
    fn from(Stall { since, until }: Stall) -> Self {
        Self::StoodStill { since, until }
    }
}

/// The watch over one stage, from a loaded page on. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct HealthMonitor {
    news: mpsc::UnboundedReceiver<News>,
    pulse: Arc<Pulse>,
    _task: AbortOnDropHandle<()>,
}

impl HealthMonitor {
    pub(super) fn start(probe: Probe, captures: Vec<(Part, Heartbeat)>) -> Self {
        let (told, news) = mpsc::unbounded_channel();
        let pulse = Arc::new(Pulse::new(Instant::now(), told));
        let task = TaskTracker::new().spawn(Watch::new(probe, captures, Arc::clone(&pulse)).run());
        Self { news, pulse, _task: AbortOnDropHandle::new(task) }
    }

    /// The next observation. Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Pending observations at the end of the watch. A stop that came during a stall of the
    /// recorder is executed before the watch wakes.
    pub(super) fn last_news(&mut self, now: Instant) -> Vec<News> {
        let stall = match self.pulse.wake(now) {
            Woken::StoodStill(stall) => Some(News::from(stall)),
            Woken::Late(_) => None,
        };
        let mut last = Vec::new();
        while let Ok(news) = self.news.try_recv() {
            last.push(news);
            // The watch was not told of it, and calls silent whom it could not hear.
            if stall == Some(news) {
                break;
            }
        }
        last
    }
}

/// State of the task. It only waits for its next wake-up: questions are futures beside each other.
struct Watch {
    probe: Probe,
    signs: Signs,
    captures: Vec<(Part, Heartbeat)>,
    helpers: Helpers,
    pulse: Arc<Pulse>,
    /// There is somebody to ask.
    asks_page: bool,
    asks_browser: bool,
}

impl Watch {
    fn new(probe: Probe, captures: Vec<(Part, Heartbeat)>, pulse: Arc<Pulse>) -> Self {
        let (signs, helpers) = (Signs::new(Arc::clone(&pulse)), Helpers::default());
        Self { probe, signs, captures, helpers, pulse, asks_page: true, asks_browser: true }
    }

    async fn run(mut self) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lists = tokio::time::interval(LIST_PERIOD);
        lists.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frame: Option<BoxFuture<'static, Answer>> = None;
        let mut list: Option<BoxFuture<'static, HelperList>> = None;
        let mut roles: Option<BoxFuture<'static, Vec<(i32, Role)>>> = None;
        let mut network: Option<BoxFuture<'static, bool>> = None;
        loop {
            tokio::select! {
                biased;
                Some(answer) = OptionFuture::from(frame.as_mut()) => {
                    frame = None;
                    let now = self.wake();
                    match answer {
                        Answer::Alive => self.signs.heard(Part::Page, now),
                        Answer::Silent => {}
                        // Whoever owns the connection notices that it is gone.
                        Answer::Gone => self.asks_page = false,
                    }
                }
                Some(there) = OptionFuture::from(list.as_mut()) => {
                    list = None;
                    self.wake();
                    match there {
                        HelperList::Known(there) => roles = Some(Box::pin(roles_of(self.compare(&there)))),
                        HelperList::Unknown => {}
                        HelperList::Gone => self.asks_browser = false,
                    }
                }
                Some(known) = OptionFuture::from(roles.as_mut()) => {
                    roles = None;
                    self.wake();
                    for (pid, role) in known {
                        self.helpers.learn(pid, role);
                    }
                }
                Some(is_stopped) = OptionFuture::from(network.as_mut()) => {
                    network = None;
                    let now = self.wake();
                    match is_stopped {
                        true => self.signs.look(Part::Network, now),
                        false => self.signs.heard(Part::Network, now),
                    }
                }
                _ = ticks.tick() => {
                    let now = self.wake();
                    self.look(now);
                    if network.is_none() {
                        network = Some(Box::pin(is_any_stopped(self.helpers.named(helpers::NETWORK))));
                    }
                    if self.asks_page && frame.is_none() {
                        frame = Some(Box::pin(self.probe.clone().frame()));
                    }
                }
                _ = lists.tick(), if self.asks_browser && list.is_none() && roles.is_none() => {
                    self.wake();
                    list = Some(Box::pin(self.probe.clone().helpers()));
                }
            }
        }
    }

    /// Comes first, whatever it was that woke the watch.
    fn wake(&mut self) -> Instant {
        let now = Instant::now();
        self.signs.wake(now);
        now
    }

    fn look(&mut self, now: Instant) {
        if self.asks_page {
            self.signs.look(Part::Page, now);
        }
        for (part, beat) in &self.captures {
            if let Some(last) = beat.last() {
                self.signs.heard(*part, last);
            }
            self.signs.look(*part, now);
        }
    }

    /// Tells who is gone. Gives those of whom it is not known yet what they are.
    fn compare(&mut self, there: &[i32]) -> Vec<i32> {
        for name in self.helpers.missing(there) {
            self.pulse.tell(News::Died(name));
        }
        self.helpers.unknown(there)
    }
}

async fn roles_of(pids: Vec<i32>) -> Vec<(i32, Role)> {
    let mut roles = Vec::new();
    for pid in pids {
        roles.push((pid, helpers::role(pid).await));
    }
    roles
}

/// A network process that is stopped costs the page no frame: it is seen by its state alone. One
/// that is gone is missed elsewhere.
async fn is_any_stopped(pids: Vec<i32>) -> bool {
    for pid in pids {
        if helpers::is_stopped(pid).await {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stall_of_the_recorder_that_its_end_comes_upon_is_told_and_nothing_behind_it() {
        let begun = Instant::now();
        let (told, news) = mpsc::unbounded_channel();
        let pulse = Arc::new(Pulse::new(begun, told));
        let task = TaskTracker::new().spawn(std::future::pending::<()>());
        let mut health =
            HealthMonitor { news, pulse: Arc::clone(&pulse), _task: AbortOnDropHandle::new(task) };
        let died = News::Died("the browser's GPU process");
        pulse.tell(died);
        let back = begun + Duration::from_secs(9);
        assert_eq!(health.last_news(back), [died, News::StoodStill { since: begun, until: back }]);
        assert!(health.last_news(back + PERIOD).is_empty(), "told once");
    }
}
