//! Whether what a stage is made of still works: asked four times a second, noticed within two seconds of silence.
//!
//! ```text
//! page     next frame asked for ─► answer           (renderer, GPU process, browser)
//! capture  each piece ─► Beat                       (audio server, display)
//! helpers  list of processes, compared with the one before; the network process by its state
//! ```
//!
//! A process that is stopped, or waits for ever, dies of nothing: it is only seen by what does not come. The recording goes on
//! meanwhile, with the last frame and with silence, and its report says from when to when.

mod silence;

use std::time::{Duration, Instant};

use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub(super) use self::silence::STALL;
use self::silence::{Change, Silence};
use super::capture::Beat;
use super::cdp::{Answer, Probe};
use super::helpers::{self, Helpers};

/// From one look at the page and the captures to the next.
const PERIOD: Duration = Duration::from_millis(250);
/// From one list of the browser's processes to the next.
const LIST_PERIOD: Duration = Duration::from_secs(1);
/// Who stops is noticed within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const _: () = assert!(STALL.as_millis() + PERIOD.as_millis() < NOTICED_WITHIN.as_millis());

/// What can stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Page,
    Video,
    Audio,
    /// The browser's network process. What a page shows meanwhile has frames all the same.
    Network,
}

impl Part {
    /// What it is called when it does.
    pub(super) const fn stalled(self) -> &'static str {
        match self {
            Self::Page => "the page did not respond",
            Self::Video => "video capture stood still",
            Self::Audio => "audio capture stood still",
            Self::Network => "the browser's network process stood still",
        }
    }
}

/// What is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing has come of it since.
    Stalled { part: Part, since: Instant },
    /// It goes on.
    Resumed { part: Part, since: Instant, until: Instant },
    /// A process is gone, and the browser starts another.
    Died(&'static str),
}

/// The watch over one stage, from a loaded page on. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Vitals {
    news: mpsc::UnboundedReceiver<News>,
    _task: AbortOnDropHandle<()>,
}

impl Vitals {
    pub(super) fn start(probe: Probe, captures: Vec<(Part, Beat)>) -> Self {
        let (told, news) = mpsc::unbounded_channel();
        let task = TaskTracker::new().spawn(Watch::new(probe, captures, told).run());
        Self { news, _task: AbortOnDropHandle::new(task) }
    }

    /// What is noticed next. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

/// What the task owns.
struct Watch {
    probe: Probe,
    page: Silence,
    network: Silence,
    captures: Vec<(Part, Beat, Silence)>,
    helpers: Helpers,
    told: mpsc::UnboundedSender<News>,
    /// There is somebody to ask.
    asks_page: bool,
    asks_browser: bool,
}

impl Watch {
    fn new(probe: Probe, captures: Vec<(Part, Beat)>, told: mpsc::UnboundedSender<News>) -> Self {
        let captures = captures.into_iter().map(|(part, beat)| (part, beat, Silence::default())).collect();
        let (page, network, helpers) = (Silence::default(), Silence::default(), Helpers::default());
        Self { probe, page, network, captures, helpers, told, asks_page: true, asks_browser: true }
    }

    async fn run(mut self) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lists = tokio::time::interval(LIST_PERIOD);
        lists.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        let mut frame: Option<BoxFuture<'static, Answer>> = None;
        let mut list: Option<BoxFuture<'static, Option<Vec<i32>>>> = None;
        loop {
            tokio::select! {
                biased;
                Some(answer) = OptionFuture::from(frame.as_mut()) => {
                    frame = None;
                    match answer {
                        Answer::Alive => {
                            let change = self.page.heard(Instant::now());
                            self.tell(Part::Page, change);
                        }
                        Answer::Silent => {}
                        // Whoever owns the connection notices that it is gone.
                        Answer::Gone => self.asks_page = false,
                    }
                }
                Some(there) = OptionFuture::from(list.as_mut()) => {
                    list = None;
                    match there {
                        Some(there) => self.compare(&there).await,
                        None => self.asks_browser = false,
                    }
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    self.look(now, now.saturating_duration_since(last).saturating_sub(PERIOD));
                    last = now;
                    self.look_at_network().await;
                    if self.asks_page && frame.is_none() {
                        frame = Some(Box::pin(self.probe.clone().frame()));
                    }
                }
                _ = lists.tick(), if self.asks_browser && list.is_none() => {
                    list = Some(Box::pin(self.probe.clone().helpers()));
                }
            }
        }
    }

    /// `late`: how much later than it should be this look is. Meanwhile nobody could hear the page.
    fn look(&mut self, now: Instant, late: Duration) {
        self.page.excuse(late);
        if self.asks_page {
            let change = self.page.look(now);
            self.tell(Part::Page, change);
        }
        for at in 0..self.captures.len() {
            let Some((part, beat, silence)) = self.captures.get_mut(at) else { continue };
            let part = *part;
            let heard = beat.last().and_then(|last| silence.heard(last));
            let stalled = silence.look(now);
            self.tell(part, heard);
            self.tell(part, stalled);
        }
    }

    /// A network process that is stopped costs the page no frame: it is seen by its state alone. One that is gone is missed
    /// elsewhere.
    async fn look_at_network(&mut self) {
        let mut is_stopped = false;
        for pid in self.helpers.named(helpers::NETWORK) {
            is_stopped |= helpers::is_stopped(pid).await;
        }
        let now = Instant::now();
        let change = if is_stopped { self.network.look(now) } else { self.network.heard(now) };
        self.tell(Part::Network, change);
    }

    async fn compare(&mut self, there: &[i32]) {
        for name in self.helpers.missing(there) {
            self.told.send(News::Died(name)).ok();
        }
        for pid in self.helpers.unknown(there) {
            self.helpers.learn(pid, helpers::role(pid).await);
        }
    }

    fn tell(&self, part: Part, change: Option<Change>) {
        let news = match change {
            Some(Change::Stalled { since }) => News::Stalled { part, since },
            Some(Change::Resumed { since, until }) => News::Resumed { part, since, until },
            None => return,
        };
        // The stage may be gone already.
        self.told.send(news).ok();
    }
}
