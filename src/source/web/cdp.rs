//! The DevTools connection: one tab, what is asked of it, and what it tells.
//!
//! ```text
//! browser ◄── websocket ──► handler task ──► one stream for each kind of event ──► watch task ──► Tab::next
//! ```
//!
//! A tab whose renderer is gone answers nothing, so every question has a deadline.

mod events;

use std::path::Path;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::browser::{SetDownloadBehaviorBehavior, SetDownloadBehaviorParams};
use chromiumoxide::cdp::browser_protocol::network;
use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotFormat, CrashParams, NavigateParams};
use chromiumoxide::cdp::browser_protocol::target::EventAttachedToTarget;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::error::CdpError;
use chromiumoxide::handler::HandlerConfig;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, Command, Handler, Page};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::address::Address;
use super::page::{PageError, Signal, StartReport};
use events::{PageEvent, Whose};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const SCREENSHOT_WITHIN: Duration = Duration::from_secs(2);
/// How long the page of a refusal may take to be shown, once its status is known; for the screenshot's sake.
const REFUSAL_SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// To end what only a start needs. A page that crashes meanwhile is noticed after this at the latest.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// Two frames at the slowest painting, and a busy machine. A page that paints nothing is recorded all the same.
const PAINTED_WITHIN: Duration = Duration::from_millis(500);

/// The page that crashes its renderer.
const CRASH: &str = "chrome://crash";

/// What [`refusal`] has the page wait for; shorter than an answer may take.
const REFUSAL: &str = "new Promise((done) => {
    const said = () => document.querySelector('div.error')?.innerText;
    const look = () => { if (said() !== undefined) end(); };
    const watch = new MutationObserver(look);
    const timer = setTimeout(() => end(), 3000);
    const end = () => { watch.disconnect(); clearTimeout(timer); done(said() ?? null); };
    watch.observe(document, { subtree: true, childList: true, attributes: true });
    look();
})";

/// Why there is no talking to a browser.
#[derive(Debug, thiserror::Error)]
pub enum DevToolsError {
    #[error("the browser's DevTools: {0}")]
    Protocol(#[from] CdpError),
    #[error("the browser's DevTools: no answer within {} s ({asked})", .within.as_secs_f32())]
    NoAnswer { asked: &'static str, within: Duration },
}

/// The browser's one tab. Dropping it ends the connection, not the browser.
#[derive(Debug)]
pub(super) struct Tab {
    page: Page,
    events: mpsc::UnboundedReceiver<PageEvent>,
    report: StartReport,
    /// Of the page that was loaded last; what the page says may quote it.
    address: Option<Address>,
    /// The handler ends when the last of its senders is gone.
    _browser: Browser,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// What a loaded page tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TabEvent {
    Signal(Signal),
    /// Why it won't start, in its words.
    Refused(String),
    /// The renderer is gone; the browser is not.
    Crashed,
    /// The connection is gone.
    Lost(String),
}

impl Tab {
    /// Connects to a browser that has just been started, and takes its first tab.
    pub(super) async fn connect(devtools: &str) -> Result<Self, DevToolsError> {
        within("connect", CONNECT_WITHIN, Self::connect_unbounded(devtools)).await
    }

    async fn connect_unbounded(devtools: &str) -> Result<Self, DevToolsError> {
        let settings = HandlerConfig {
            ignore_https_errors: false,
            // The window has its size already; to "emulate" one would paint into a part of it.
            viewport: None,
            // Ours are shorter, each for its purpose.
            request_timeout: Duration::from_secs(60),
            ..HandlerConfig::default()
        };
        let (browser, handler) = Browser::connect_with_config(devtools, settings).await?;
        // Asked for before the handler runs, so that the tab can't come before we listen.
        let mut attached = browser.event_listener::<EventAttachedToTarget>().await?;
        let (gone, events) = mpsc::unbounded_channel();
        let tasks = TaskTracker::new();
        let handler = AbortOnDropHandle::new(tasks.spawn(drive(handler, gone.clone())));

        let target = loop {
            let event = attached.next().await.ok_or(CdpError::NoResponse)?;
            if event.target_info.r#type == "page" && event.target_info.url == "about:blank" {
                break event.target_info.target_id.clone();
            }
        };
        let page = browser.get_page(target).await?;
        let watch = events::watch(&browser, &page, gone).await?;
        let watch = AbortOnDropHandle::new(tasks.spawn(watch));

        let mut no_downloads = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
        no_downloads.events_enabled = Some(false);
        browser.execute(no_downloads).await?;
        Ok(Self {
            page,
            events,
            report: StartReport::default(),
            address: None,
            _browser: browser,
            _tasks: [handler, watch],
        })
    }

    /// Loads a page and answers with the signals it gave meanwhile.
    pub(super) async fn load(
        &mut self,
        address: &Address,
        deadline: Duration,
    ) -> Result<Vec<Signal>, PageError> {
        let url = address.expose();
        let lost = |why: String| PageError::BrowserLost { url: address.shown(), why };
        self.report = StartReport::default();
        self.address = Some(address.clone());
        let page = self.page.clone();
        // A page that is loaded again finds its network events off. A crashed renderer takes note of that only when the
        // navigation has brought a new one, so the one does not wait for the other; but it is sent first.
        let enable = page.execute(network::EnableParams::default());
        let navigate = page.goto(NavigateParams::new(url.as_str()));
        let navigate = async {
            if url.as_str() == CRASH {
                // Chromium goes there for a person who types it alone. There is no answer from the one that crashed.
                drop(page.execute(CrashParams::default()).await);
            }
            tokio::join!(enable, navigate).1
        };
        tokio::pin!(navigate);
        let last = Instant::now() + deadline;
        let give_up = tokio::time::sleep_until(last);
        tokio::pin!(give_up);
        let (mut signals, mut refusal) = (Vec::new(), None);
        let navigated = loop {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(PageEvent::Crashed) => return Err(PageError::Crashed { url: address.shown() }),
                    Some(PageEvent::Gone(why)) => return Err(lost(why)),
                    None => return Err(lost("the connection ended".to_owned())),
                    Some(PageEvent::Response { status, .. }) if status >= 400 => {
                        self.report.status = Some(status);
                        give_up.as_mut().reset(last.min(Instant::now() + REFUSAL_SHOWN_WITHIN));
                    }
                    // What is not a page to show never ends its navigation.
                    Some(PageEvent::RequestFailed { reason, whose: Whose::Page, .. }) => {
                        refusal = Some(reason);
                        give_up.as_mut().reset(last.min(Instant::now() + REFUSAL_SHOWN_WITHIN));
                    }
                    // A script went elsewhere.
                    Some(PageEvent::Requested) if refusal.take().is_some() => give_up.as_mut().reset(last),
                    Some(event) => self.note(event, &mut signals),
                },
                done = &mut navigate => break Some(done.map(drop)),
                () = &mut give_up => break None,
            }
        };
        // What came with the end of the load.
        while let Ok(event) = self.events.try_recv() {
            match event {
                PageEvent::Crashed => return Err(PageError::Crashed { url: address.shown() }),
                PageEvent::Gone(why) => return Err(lost(why)),
                event => self.note(event, &mut signals),
            }
        }
        if let Some(status) = self.report.status.filter(|status| *status >= 400) {
            return Err(PageError::Status { url: address.shown(), status });
        }
        let timed_out = || PageError::TimedOut { url: address.shown(), seconds: deadline.as_secs() };
        match navigated {
            Some(Ok(())) => {}
            None if refusal.is_some() => {
                return Err(PageError::of_network(url, &refusal.unwrap_or_default()));
            }
            None | Some(Err(CdpError::Timeout)) => return Err(timed_out()),
            Some(Err(CdpError::ChromeMessage(code))) => return Err(PageError::of_network(url, &code)),
            Some(Err(error)) => return Err(lost(error.to_string())),
        }
        if let Some(text) = self.template_error().await {
            return Err(PageError::Template(address.scrub(&text)));
        }
        Ok(signals)
    }

    /// Waits until the loaded page has been painted, or has had its time for it.
    pub(super) async fn painted(&self) {
        let two_frames =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))";
        let mut wait = EvaluateParams::new(two_frames);
        wait.await_promise = Some(true);
        // Either it is painted or it won't be: both are fine.
        let painted = tokio::time::timeout(PAINTED_WITHIN, self.page.execute(wait)).await;
        tracing::debug!(painted = painted.is_ok(), "the page's first picture");
    }

    /// Ends what only a start needs: each request of the page would cost two messages all through the recording.
    pub(super) async fn quieten(&self) {
        use chromiumoxide::cdp::browser_protocol::{log, performance};
        let quiet = async {
            self.ask("network", network::DisableParams::default()).await?;
            self.ask("log", log::DisableParams::default()).await?;
            self.ask("performance", performance::DisableParams::default()).await
        };
        let quiet = tokio::time::timeout(QUIET_WITHIN, quiet).await;
        if !matches!(quiet, Ok(Ok(_))) {
            tracing::debug!(?quiet, "the page goes on telling of its requests");
        }
    }

    /// What the page tells next. Nothing is lost when the future is dropped. `awaits_start`: it may still say that it can't.
    pub(super) async fn next(&mut self, awaits_start: bool) -> TabEvent {
        let page = self.page.clone();
        let refusal = || awaits_start.then(|| Box::pin(refusal(&page)));
        let mut refused = refusal();
        loop {
            let asked = async {
                match refused.as_mut() {
                    Some(refused) => refused.await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                biased;
                event = self.events.recv() => event,
                said = asked => match said {
                    Ok(Some(text)) => {
                        let text = self.address.as_ref().map(|address| address.scrub(&text)).unwrap_or(text);
                        return TabEvent::Refused(text);
                    }
                    Ok(None) => {
                        refused = refusal();
                        continue;
                    }
                    // It goes elsewhere, or is gone: there will be an event.
                    Err(_) => {
                        refused = None;
                        continue;
                    }
                },
            };
            if refused.is_none() {
                refused = refusal();
            }
            match event {
                Some(PageEvent::Crashed) => return TabEvent::Crashed,
                Some(PageEvent::Gone(why)) => return TabEvent::Lost(why),
                None => return TabEvent::Lost("the connection ended".to_owned()),
                Some(event) => {
                    let mut signals = Vec::new();
                    self.note(event, &mut signals);
                    if let Some(signal) = signals.first() {
                        return TabEvent::Signal(*signal);
                    }
                }
            }
        }
    }

    /// What the page did since it was loaded last, with a picture of it in `directory` if the page can still be asked for one.
    pub(super) async fn report(&mut self, directory: &Path) -> StartReport {
        let format = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).build();
        let shot = tokio::time::timeout(SCREENSHOT_WITHIN, self.page.screenshot(format)).await;
        // The screenshot gave the page's last messages time to arrive.
        while let Ok(event) = self.events.try_recv() {
            self.note(event, &mut Vec::new());
        }
        let mut report = std::mem::take(&mut self.report);
        if let Ok(Ok(png)) = shot {
            let path = directory.join("screenshot.png");
            match tokio::fs::write(&path, png).await {
                Ok(()) => report.screenshot = Some(path),
                Err(error) => tracing::warn!(%error, path = %path.display(), "no screenshot"),
            }
        }
        report
    }

    fn note(&mut self, event: PageEvent, signals: &mut Vec<Signal>) {
        match event {
            PageEvent::Console { arguments, kind } => {
                signals.extend(super::page::signals(&arguments));
                let line = format!("{kind}: {}", arguments.join(" "));
                self.report.logged(match &self.address {
                    Some(address) => address.scrub(&line),
                    None => line,
                });
            }
            PageEvent::Response { status, .. } => self.report.status = Some(status),
            PageEvent::RequestFailed { url, reason, .. } => self.report.failed(&url, &reason),
            PageEvent::Requested => {}
            // The caller has seen to them.
            PageEvent::Crashed | PageEvent::Gone(_) => {}
        }
    }

    /// The contract of LiveKit's templates: an element `div.error` says why they can't show a room.
    async fn template_error(&self) -> Option<String> {
        let text = self.evaluate("document.querySelector('div.error')?.innerText ?? null").await.ok()?;
        Some(text.as_str()?.trim().to_owned())
    }

    /// The value of an expression in the page.
    pub(super) async fn evaluate(&self, expression: &str) -> Result<serde_json::Value, DevToolsError> {
        let mut evaluate = EvaluateParams::new(expression);
        evaluate.return_by_value = Some(true);
        evaluate.await_promise = Some(true);
        let answer = self.ask("evaluate", evaluate).await?;
        Ok(answer.result.value.unwrap_or_default())
    }

    async fn ask<C: Command>(&self, asked: &'static str, command: C) -> Result<C::Response, DevToolsError> {
        let answer = async { Ok(self.page.execute(command).await?.result) };
        within(asked, ANSWER_WITHIN, answer).await
    }
}

/// Waits for a page to say in a `div.error` why it can't start. `None`: it has not said so for a while.
async fn refusal(page: &Page) -> Result<Option<String>, DevToolsError> {
    let mut evaluate = EvaluateParams::new(REFUSAL);
    evaluate.return_by_value = Some(true);
    evaluate.await_promise = Some(true);
    let answer = async { Ok(page.execute(evaluate).await?.result) };
    let said = within("refusal", ANSWER_WITHIN, answer).await?.result.value;
    Ok(said.as_ref().and_then(serde_json::Value::as_str).map(|text| text.trim().to_owned()))
}

async fn within<T>(
    asked: &'static str,
    within: Duration,
    answer: impl Future<Output = Result<T, DevToolsError>>,
) -> Result<T, DevToolsError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(DevToolsError::NoAnswer { asked, within }),
    }
}

/// Runs the connection until it ends.
async fn drive(mut handler: Handler, gone: mpsc::UnboundedSender<PageEvent>) {
    let why = loop {
        match handler.next().await {
            Some(Ok(())) => {}
            // A killed browser ends as an error, a closed one without.
            Some(Err(error)) => break error.to_string(),
            None => break "the browser closed the connection".to_owned(),
        }
    };
    // Nobody listens any more when the tab is dropped.
    drop(gone.send(PageEvent::Gone(why)));
}
