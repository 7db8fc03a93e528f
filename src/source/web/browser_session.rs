//! One display, one audio server, one browser with the page in it, and the captures of both.
//!
//! ```text
//! display ──────┐                     ┌─► captures
//!               ├─► browser ─► tab ─► page loaded ─► painted
//! audio server ─┘
//! ```
//!
//! A session is a value: dropping it ends everything that it started, in the order of its fields,
//! and removes its directory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::WebError;
use super::address::{Address, Addresses};
use super::audio_server::{AudioServer, MONITOR, SINK};
use super::browser::{Browser, BrowserError, Surroundings, emulated_size, has_password};
use super::capture::{AudioCapture, LatestFrame, ScreenArea, VideoCapture, alignment};
use super::cdp::{FailedNavigation, Tab, TabEvent, TabTerms};
use super::display::Display;
use super::health::{HealthMonitor, News, Part};
use super::page::{PageError, Signal, StartReport};
use super::ssrf_proxy::{Refusals, SsrfProxy};
use crate::plan::source::{StartRule, WebPlan};
use crate::source::SourceContext;

/// How long a page may take, and how often it is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) load: Duration,
    pub(super) attempts: u32,
}

impl Patience {
    /// For the first start.
    pub(super) const START: Self = Self { load: Duration::from_secs(30), attempts: 3 };
    /// For a restart, which is retried by the caller.
    pub(super) const AGAIN: Self = Self { load: Duration::from_secs(30), attempts: 1 };
}

#[derive(Debug)]
pub(super) struct BrowserSession {
    /// `None` while the page is loaded again.
    health: Option<HealthMonitor>,
    picture: Option<VideoCapture>,
    sound_capture: Option<AudioCapture>,
    tab: Tab,
    browser: Browser,
    proxy: Option<SsrfProxy>,
    sound: Option<AudioServer>,
    display: Display,
    /// Its page has still to say that it starts: what it does meanwhile may explain why it does
    /// not.
    awaits_start: bool,
    /// Last: what runs in it is killed before it is removed.
    _dir: SessionDir,
}

/// An event of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SessionEvent {
    Signal(Signal),
    /// The page says that it won't start.
    Refused(PageError),
    /// The page's renderer is gone; the rest stands.
    PageLost(String),
    /// The page wanted to go where nothing can be shown; it was kept as it is.
    NavigationFailed(FailedNavigation),
    /// Anything else is gone.
    StageLost(String),
    /// Something stands still, goes on, or was replaced by itself.
    News(News),
}

impl BrowserSession {
    /// Sets up stage number `number` of a recording and loads the page. Dropping the future leaves
    /// nothing behind.
    pub(super) async fn start(
        plan: &WebPlan,
        addresses: &Addresses,
        context: &SourceContext,
        slot: Option<LatestFrame>,
        number: u32,
        patience: Patience,
    ) -> Result<(Self, Vec<Signal>), WebError> {
        let begun = Instant::now();
        let dir = SessionDir::make(&context.run_dir, number)?;
        let path = dir.0.as_path();
        let log = |name: &str| context.report_dir.join(format!("{name}.log"));
        std::fs::create_dir_all(&context.report_dir)
            .map_err(|source| WebError::Directory { path: context.report_dir.clone(), source })?;

        // Waits for the audio server, too: a browser that does not find one at its start does not
        // look again.
        let display = async { Ok(Display::start(path, log("display"), plan.width, plan.height).await?) };
        let sound = async {
            match plan.has_audio {
                true => Ok::<_, WebError>(Some(AudioServer::start(path, log("sound")).await?)),
                false => Ok(None),
            }
        };
        let (display, sound) = tokio::try_join!(display, sound)?;
        let step = |what: &str| tracing::debug!(session = number, ms = begun.elapsed().as_millis(), "{what}");
        step("display and sound are up");

        let refusals = Refusals::of(&plan.browser);
        let proxy = match !refusals.is_empty() && !plan.browser.sets_proxy() {
            true => Some(SsrfProxy::open(refusals).await.map_err(WebError::SsrfProxy)?),
            false => None,
        };
        let captures = Captures::start(plan, context, slot, &display, sound.as_ref());
        let browser = async {
            let around = || Surroundings {
                dir: path,
                log: log("browser"),
                display: display.name(),
                sound: sound.as_ref().map(|sound| (sound.socket(), SINK)),
                way_out: proxy.as_ref().map(|proxy| proxy.flags().to_vec()).unwrap_or_default(),
            };
            open(plan, addresses, around, proxy.as_ref(), &context.report_dir, patience, step).await
        };
        let (captures, (browser, tab, signals)) = tokio::try_join!(captures, browser)?;
        step("the page is loaded");
        let mut session = Self {
            health: None,
            picture: captures.picture,
            sound_capture: captures.sound,
            tab,
            browser,
            proxy,
            sound,
            display,
            awaits_start: plan.start == StartRule::OnSignal && !signals.contains(&Signal::Start),
            _dir: dir,
        };
        session.tab.set_keeps_page(true);
        session.settle().await;
        session.watch();
        tracing::info!(session = number, ms = begun.elapsed().as_millis(), "the page is shown");
        Ok((session, signals))
    }

    /// Loads the page again in the same browser, where it is lost.
    pub(super) async fn reload(&mut self, address: &Address) -> Result<Vec<Signal>, PageError> {
        self.health = None;
        // The browser's own error says why it can't be loaded.
        self.tab.set_keeps_page(false);
        let loaded = self.tab.load(address, Patience::AGAIN.load).await;
        let signals = loaded.map_err(|error| explained(error, self.proxy.as_ref(), &self.tab))?;
        self.tab.set_keeps_page(true);
        self.settle().await;
        self.watch();
        Ok(signals)
    }

    /// Retries a failed navigation. The shown page stays until there is a new one.
    pub(super) async fn retry(&mut self, address: &Address) -> Result<Vec<Signal>, PageError> {
        self.health = None;
        let loaded = self.tab.load(address, Patience::AGAIN.load).await;
        self.settle().await;
        self.watch();
        loaded.map_err(|error| explained(error, self.proxy.as_ref(), &self.tab))
    }

    /// The document that is shown; another one has another id.
    pub(super) fn document(&self) -> Option<&str> {
        self.tab.document()
    }

    /// The requests that were still pending when the page was taken for loaded; `None`: it was
    /// loaded.
    pub(super) const fn take_pending(&mut self) -> Option<String> {
        self.tab.take_pending()
    }

    fn watch(&mut self) {
        let video = self.picture.as_ref().and_then(VideoCapture::beat).map(|beat| (Part::Video, beat));
        let audio = self.sound_capture.as_ref().map(|capture| (Part::Audio, capture.beat()));
        let captures = video.into_iter().chain(audio).collect();
        self.health = Some(HealthMonitor::start(self.tab.probe(), captures));
    }

    async fn settle(&self) {
        let quieten = async {
            if !self.awaits_start {
                self.tab.quieten().await;
            }
        };
        tokio::join!(quieten, self.tab.painted());
    }

    /// The recording has begun: from now on only signals of the page matter.
    pub(super) async fn started(&mut self) {
        if std::mem::take(&mut self.awaits_start) {
            self.tab.quieten().await;
        }
    }

    /// Events of the page since it was loaded, with a screenshot in `directory` if possible.
    pub(super) async fn report(&mut self, directory: &Path) -> StartReport {
        self.tab.report(directory).await
    }

    /// The next event. Cancel safe.
    pub(super) async fn next(&mut self) -> SessionEvent {
        let lost = |what: &str| SessionEvent::StageLost(format!("the {what} ended"));
        let sound = self.sound.as_ref().map(AudioServer::exit);
        let picture = self.picture.as_ref().map(VideoCapture::failure);
        let listening = self.sound_capture.as_ref().map(AudioCapture::failure);
        // In the order of cause and effect: a display that dies takes the browser and the capture
        // along.
        tokio::select! {
            biased;
            status = self.display.exit().wait() => lost(&format!("display ({status})")),
            status = maybe(sound.map(|exit| exit.wait())) => lost(&format!("audio server ({status})")),
            status = self.browser.exit().wait() => lost(&format!("browser ({status})")),
            why = maybe(picture.map(failed)) => SessionEvent::StageLost(format!("video capture failed: {why}")),
            why = maybe(listening.map(failed)) => SessionEvent::StageLost(format!("the sound was lost: {why}")),
            event = self.tab.next(self.awaits_start) => match event {
                TabEvent::Signal(signal) => SessionEvent::Signal(signal),
                TabEvent::Refused(error) => SessionEvent::Refused(error),
                TabEvent::Crashed => SessionEvent::PageLost("the page's renderer crashed".to_owned()),
                TabEvent::NavigationFailed(failed) => SessionEvent::NavigationFailed(failed),
                TabEvent::PartCrashed => SessionEvent::News(News::Died("a frame or worker of the page")),
                TabEvent::Lost(why) => SessionEvent::StageLost(format!("the browser was lost: {why}")),
            },
            news = maybe(self.health.as_mut().map(HealthMonitor::next)) => SessionEvent::News(news),
        }
    }

    /// Pending observations of the watch. Ends the watch.
    pub(super) fn last_news(&mut self) -> Vec<News> {
        self.health.as_mut().map(|health| health.last_news(Instant::now())).unwrap_or_default()
    }

    /// Ends everything, and waits until it has ended.
    pub(super) async fn close(self) {
        let Self {
            health,
            picture,
            sound_capture,
            tab,
            browser,
            proxy,
            sound,
            display,
            awaits_start: _,
            _dir,
        } = self;
        drop((health, tab));
        let last_sound = async {
            if let Some(capture) = sound_capture {
                capture.finish().await;
            }
        };
        // Bringing a pipeline down may take a moment.
        let captures = tokio::task::spawn_blocking(move || drop(picture));
        last_sound.await;
        let sound = async {
            if let Some(sound) = sound {
                sound.close().await;
            }
        };
        // The captures first: to them, a display that goes is a failure.
        if let Err(error) = captures.await {
            tracing::warn!(%error, "a capture did not close cleanly");
        }
        tokio::join!(browser.close(), sound);
        drop(proxy);
        display.close().await;
    }

    #[cfg(test)]
    pub(super) fn tab(&self) -> &Tab {
        &self.tab
    }

    #[cfg(test)]
    pub(super) fn audio_heartbeat(&self) -> Option<super::capture::Heartbeat> {
        self.sound_capture.as_ref().map(AudioCapture::beat)
    }
}

/// A browser with the page in it. Each attempt has a new one: what kept the first from loading may
/// be its own.
async fn open<'a>(
    plan: &WebPlan,
    addresses: &Addresses,
    around: impl Fn() -> Surroundings<'a>,
    proxy: Option<&SsrfProxy>,
    report_dir: &Path,
    patience: Patience,
    step: impl Fn(&str),
) -> Result<(Browser, Tab, Vec<Signal>), WebError> {
    let mut attempt = 1;
    loop {
        let mut browser = Browser::start(around(), plan).await?;
        step("the browser is up");
        let devtools = browser.take_devtools().ok_or(BrowserError::NoPipes)?;
        let terms = TabTerms { emulated: emulated_size(plan), has_password: has_password(plan) };
        let mut tab = Tab::open(devtools, terms).await?;
        step("the browser listens");
        match tab.load(&addresses.next()?, patience.load).await {
            Ok(signals) => return Ok((browser, tab, signals)),
            Err(error) if error.is_passing() && attempt < patience.attempts => {
                tracing::warn!(%error, attempt, "the page is loaded again");
                attempt += 1;
                browser.close().await;
            }
            Err(error) => {
                let error = explained(error, proxy, &tab);
                let report = Box::new(tab.report(report_dir).await);
                return Err(WebError::Page { error, report });
            }
        }
    }
}

/// An error in the words of who stood in the way.
fn explained(error: PageError, proxy: Option<&SsrfProxy>, tab: &Tab) -> PageError {
    match proxy {
        Some(proxy) => proxy.explain(error, tab.asked()),
        None => error,
    }
}

#[derive(Debug)]
struct Captures {
    picture: Option<VideoCapture>,
    sound: Option<AudioCapture>,
}

impl Captures {
    /// Starts them on a thread that may wait for it.
    async fn start(
        plan: &WebPlan,
        context: &SourceContext,
        slot: Option<LatestFrame>,
        display: &Display,
        sound: Option<&AudioServer>,
    ) -> Result<Self, WebError> {
        let screen = ScreenArea {
            display: display.name().to_owned(),
            framebuffer: display.framebuffer().to_owned(),
            width: plan.width,
            height: plan.height,
            fps: plan.fps,
        };
        let heard = sound.map(|sound| sound.socket().to_owned()).zip(context.audio.clone());
        let (kind, timeline) = (plan.capture, context.timeline.clone());
        let earlier = alignment::sound(&plan.page);
        let start = move || {
            let picture = slot.map(|slot| VideoCapture::start(kind, &screen, slot, &timeline)).transpose()?;
            let sound = heard
                .map(|(socket, feed)| AudioCapture::start(&socket, MONITOR, earlier, feed, &timeline))
                .transpose()?;
            Ok(Self { picture, sound })
        };
        match tokio::task::spawn_blocking(start).await {
            Ok(captures) => captures,
            Err(error) => Err(WebError::CapturePanicked(error.to_string())),
        }
    }
}

/// A stage's private directory, removed when dropped.
#[derive(Debug)]
struct SessionDir(PathBuf);

impl SessionDir {
    fn make(run_dir: &Path, number: u32) -> Result<Self, WebError> {
        use std::os::unix::fs::DirBuilderExt;
        // Short: a socket's name holds 107 bytes.
        let path = run_dir.join(number.to_string());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| WebError::Directory { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for SessionDir {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Somebody who is being killed has written once more; the run directory goes as a
                // whole later.
                tracing::debug!(%error, path = %self.0.display(), "not removed yet");
            }
            Err(_) | Ok(()) => {}
        }
    }
}

/// The result of `future`; pending for ever without one.
async fn maybe<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn failed(mut failure: watch::Receiver<Option<String>>) -> String {
    let why = failure.wait_for(Option::is_some).await.map(|why| why.clone());
    match why {
        Ok(why) => why.unwrap_or_default(),
        // The capture is gone without having failed: its owner dropped it.
        Err(_) => std::future::pending().await,
    }
}
