//! DevTools: the browser's one tab, its commands and its events.
//!
//! ```text
//! browser ◄══ two pipes ══► Connection ──► Watch: filters events ──► Inbox (bounded) ──► Tab::next
//! ```
//!
//! The pipes are the browser's descriptors 3 and 4, so that no other user or page can connect. A
//! tab without a renderer does not answer, so every call has a deadline. A separate task answers
//! the browser's questions (dialogs, paused requests and targets).

mod connection;
mod events;
mod failed_navigation;
mod framing;
mod inbox;
mod load;
mod params;
mod probe;
mod progress;
mod reply;
mod session;

use std::path::Path;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::address::Address;
use super::page::{PageError, Signal, StartReport};
use crate::files;
use crate::process::Pipes;
pub use connection::DevToolsError;
use connection::{Connection, Running};
use events::{PageEvent, Watch};
pub(super) use failed_navigation::FailedNavigation;
use inbox::Inbox;
pub(super) use probe::{Answer, HelperList, Probe};
use session::{Refusal, Session, within};

/// The first tab comes some time after the browser answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// When to attach again to pages that had no address yet.
const ATTACH_AGAIN: Duration = Duration::from_millis(500);
/// Pages of a browser that has just been started; it has one, and perhaps a few of its own.
const PAGES: usize = 16;
const SCREENSHOT_WITHIN: Duration = Duration::from_secs(2);
/// To end what only a start needs. A page that crashes meanwhile is noticed after this at the
/// latest.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// Two frames at the slowest painting, and a busy machine. A page that paints nothing is recorded
/// all the same.
const PAINTED_WITHIN: Duration = Duration::from_millis(500);

/// A DevTools connection without a tab yet. Dropping it ends the connection and so the browser.
#[derive(Debug)]
pub(super) struct DevTools {
    connection: Connection,
    inbox: Inbox,
    running: Running,
}

impl DevTools {
    /// Connects to a browser that was started with pipes.
    pub(super) fn open(Pipes { to, from }: Pipes) -> Self {
        let inbox = Inbox::default();
        let (connection, running) = Connection::open(from, to, Watch::new(inbox.clone()));
        Self { connection, inbox, running }
    }

    /// Waits until the browser answers.
    pub(super) async fn answers(&self) -> Result<(), DevToolsError> {
        self.connection.call::<IgnoredAny>(None, "Browser.getVersion", json!({})).await.map(drop)
    }
}

/// The browser's one tab. Dropping it ends the connection and so the browser.
#[derive(Debug)]
pub(super) struct Tab {
    page: Session,
    inbox: Inbox,
    report: StartReport,
    /// Address of the last loaded page; messages of the page may quote it.
    address: Option<Address>,
    document: Document,
    /// Requests that were still pending when the page was taken for loaded.
    pending: Option<String>,
    /// Where the page's own last request went: scheme, host and port.
    asked: Option<String>,
    _replies: AbortOnDropHandle<()>,
    _running: Running,
}

/// Settings of a tab before its first page.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TabTerms {
    /// The page's size in pixels, where the window can't be that small.
    pub(super) emulated: Option<(u32, u32)>,
    /// The page's address has a password in it.
    pub(super) has_password: bool,
}

/// The document in the page, as known from events.
#[derive(Debug, Default)]
struct Document {
    loader: Option<String>,
    is_parsed: bool,
    is_painted: bool,
    is_loaded: bool,
    /// It has said `START_RECORDING`.
    has_started: bool,
}

impl Document {
    fn note(&mut self, event: &PageEvent) {
        match event {
            PageEvent::Document(loader) => *self = Self { loader: Some(loader.clone()), ..Self::default() },
            PageEvent::Loading => self.is_loaded = false,
            PageEvent::Parsed => self.is_parsed = true,
            PageEvent::Painted => self.is_painted = true,
            PageEvent::Loaded => self.is_loaded = true,
            PageEvent::Signal(Signal::Start) => self.has_started = true,
            _ => {}
        }
    }
}

/// An event of a loaded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TabEvent {
    Signal(Signal),
    /// Why it won't start, in its words.
    Refused(PageError),
    /// The renderer is gone; the browser is not.
    Crashed,
    /// The page wanted to go where nothing can be shown; it was kept as it is.
    NavigationFailed(FailedNavigation),
    /// The renderer of a frame in the page, or of a worker, is gone; the page is not.
    PartCrashed,
    /// The connection is gone.
    Lost(String),
}

impl Tab {
    /// Attaches to the first tab of a browser that has just been started.
    pub(super) async fn open(devtools: DevTools, terms: TabTerms) -> Result<Self, DevToolsError> {
        within("connect", CONNECT_WITHIN, Self::open_unbounded(devtools, terms)).await
    }

    async fn open_unbounded(
        DevTools { connection, inbox, running }: DevTools,
        TabTerms { emulated, has_password }: TabTerms,
    ) -> Result<Self, DevToolsError> {
        // `Watch` listens already, so the tab's events are not missed.
        let browser =
            async |method, params: Value| connection.call::<IgnoredAny>(None, method, params).await.map(drop);
        browser("Target.setDiscoverTargets", json!({"discover": true})).await?;
        let id = attach(&connection, &inbox).await?;
        browser("Browser.setDownloadBehavior", json!({"behavior": "deny", "eventsEnabled": false})).await?;
        let page = Session { connection, id };
        let replies = TaskTracker::new().spawn(reply::answer(page.clone(), inbox.clone()));
        let replies = AbortOnDropHandle::new(replies);
        for (method, params) in [
            ("Page.enable", json!({})),
            ("Page.setLifecycleEventsEnabled", json!({"enabled": true})),
            ("Runtime.enable", json!({})),
            ("Network.enable", json!({})),
            ("Fetch.enable", reply::interception(has_password)),
        ] {
            page.call::<IgnoredAny>(method, params).await?;
        }
        for (method, params) in [
            // The page is shown as to a person who has clicked on it: some pages stop without
            // focus.
            ("Emulation.setFocusEmulationEnabled", json!({"enabled": true})),
            // A browser without an authenticator, and without a dialog about it.
            ("WebAuthn.enable", json!({"enableUI": false})),
        ] {
            match page.call::<IgnoredAny>(method, params).await {
                // A recording does without it.
                Err(error @ DevToolsError::Refused { .. }) => tracing::warn!(%error, "not set"),
                done => done.map(drop)?,
            }
        }
        if let Some((width, height)) = emulated {
            let size = json!({
                "width": width, "height": height, "screenWidth": width, "screenHeight": height,
                "deviceScaleFactor": 1, "mobile": false,
            });
            page.call::<IgnoredAny>("Emulation.setDeviceMetricsOverride", size).await?;
        }
        Ok(Self {
            page,
            inbox,
            report: StartReport::default(),
            address: None,
            document: Document::default(),
            pending: None,
            asked: None,
            _replies: replies,
            _running: running,
        })
    }

    /// For whoever watches that the tab works.
    pub(super) fn probe(&self) -> Probe {
        Probe { page: self.page.clone() }
    }

    /// The document that is shown; another one has another id.
    pub(super) fn document(&self) -> Option<&str> {
        self.document.loader.as_deref()
    }

    /// Where the page's own last request went: scheme, host and port.
    pub(super) fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// Keeps what is shown when a navigation of the page fails, or has Chromium show its error
    /// page.
    pub(super) fn set_keeps_page(&self, keeps_page: bool) {
        self.inbox.set_keeps_page(keeps_page);
    }

    /// The requests that were still pending when the page was taken for loaded; `None`: it was
    /// loaded.
    pub(super) const fn take_pending(&mut self) -> Option<String> {
        self.pending.take()
    }

    /// Waits until the loaded page has been painted, or has had its time for it.
    pub(super) async fn painted(&self) {
        let two_frames =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))";
        // Either it is painted or it won't be: both are fine.
        let painted = tokio::time::timeout(PAINTED_WITHIN, self.page.value::<IgnoredAny>(two_frames)).await;
        tracing::debug!(painted = painted.is_ok(), "first frame of the page");
    }

    /// Ends what only a start needs: each request of the page would cost two messages all through
    /// the recording.
    pub(super) async fn quieten(&self) {
        let quiet = self.page.call::<IgnoredAny>("Network.disable", json!({}));
        let quiet = tokio::time::timeout(QUIET_WITHIN, quiet).await;
        if !matches!(quiet, Ok(Ok(_))) {
            tracing::debug!(?quiet, "the page goes on telling of its requests");
        }
    }

    /// The page's next event. Cancel safe. `awaits_start`: the page may still report a failure.
    pub(super) async fn next(&mut self, awaits_start: bool) -> TabEvent {
        let page = self.page.clone();
        let refusal = || awaits_start.then(|| Box::pin(page.refusal()));
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
                event = self.inbox.next() => event,
                said = asked => match said {
                    Ok(Some(said)) => return TabEvent::Refused(self.refused(&said)),
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
                PageEvent::Crashed => return TabEvent::Crashed,
                PageEvent::NavigationFailed(failed) => return TabEvent::NavigationFailed(failed),
                PageEvent::PartCrashed => return TabEvent::PartCrashed,
                PageEvent::Gone(why) => return TabEvent::Lost(why),
                event => {
                    let mut signals = Vec::new();
                    self.note(event, &mut signals);
                    if let Some(signal) = signals.into_iter().next() {
                        return TabEvent::Signal(signal);
                    }
                }
            }
        }
    }

    /// Events of the page since it was loaded, with a screenshot in `directory` if the page still
    /// answers.
    pub(super) async fn report(&mut self, directory: &Path) -> StartReport {
        let shot = tokio::time::timeout(SCREENSHOT_WITHIN, self.page.screenshot()).await;
        // The screenshot gave the page's last messages time to arrive.
        while let Some(event) = self.inbox.try_next() {
            if matches!(event, PageEvent::Gone(_)) {
                break;
            }
            self.note(event, &mut Vec::new());
        }
        let mut report = std::mem::take(&mut self.report);
        if let Ok(Ok(Some(png))) = shot {
            let path = directory.join("screenshot.png");
            let file = path.clone();
            let write = move || files::replace_unsynced(&file, &png, 0o666);
            let written = tokio::task::spawn_blocking(write).await;
            match written.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
                Ok(()) => report.screenshot = Some(path),
                Err(error) => tracing::warn!(%error, path = %path.display(), "no screenshot"),
            }
        }
        report
    }

    fn note(&mut self, event: PageEvent, signals: &mut Vec<Signal>) {
        self.document.note(&event);
        match event {
            PageEvent::Said { line, more } => self.report.logged(&self.scrubbed(&line), more),
            PageEvent::Signal(signal) => {
                // The first of a kind counts, however often a page repeats it.
                let is_known =
                    |known: &Signal| std::mem::discriminant(known) == std::mem::discriminant(&signal);
                if !signals.iter().any(is_known) {
                    signals.push(signal);
                }
            }
            PageEvent::Response { status } => self.report.status = Some(status),
            PageEvent::RequestFailed { url, reason, .. } => self.report.failed(&url, &reason),
            PageEvent::Requested { origin } => self.asked = Some(origin),
            PageEvent::NavigationFailed(_)
            | PageEvent::Document(_)
            | PageEvent::Parsed
            | PageEvent::Painted
            | PageEvent::Loading
            | PageEvent::Loaded
            | PageEvent::PartCrashed => {}
            // Only of interest while connecting.
            PageEvent::Appeared(_) | PageEvent::Attached { .. } => {}
            // The caller has seen to them.
            PageEvent::Crashed | PageEvent::Gone(_) => {}
        }
    }

    /// Removes the secrets of the page's address from a text.
    fn scrubbed(&self, text: &str) -> String {
        self.address.as_ref().map_or_else(|| text.to_owned(), |address| address.scrub(text))
    }

    fn refused(&self, Refusal(text, more): &Refusal) -> PageError {
        let text = if *more > 0 { &text[..super::page::whole_words(text)] } else { text };
        PageError::of_template(&self.scrubbed(text), *more)
    }

    /// The contract of LiveKit's templates: an element `div.error` says why they can't show a room.
    async fn template_error(&self) -> Option<PageError> {
        let said = self.page.template_error().await.ok()??;
        Some(self.refused(&said))
    }

    /// The value of an expression in the page.
    #[cfg(test)]
    pub(super) async fn evaluate(&self, expression: &str) -> Result<Value, DevToolsError> {
        within("evaluate", session::ANSWER_WITHIN, self.page.value(expression)).await
    }
}

/// Attaches to the first page; returns the session's id.
async fn attach(connection: &Connection, inbox: &Inbox) -> Result<String, DevToolsError> {
    let mut pages: Vec<String> = Vec::new();
    loop {
        match tokio::time::timeout(ATTACH_AGAIN, inbox.next()).await {
            Ok(PageEvent::Appeared(target)) => {
                attach_to(connection, &target).await?;
                if !pages.contains(&target) && pages.len() < PAGES {
                    pages.push(target);
                }
            }
            Ok(PageEvent::Attached { session }) => return Ok(session),
            Ok(PageEvent::Gone(why)) => return Err(DevToolsError::Ended(why)),
            Ok(_) => {}
            // A page that was attached to before it was at `about:blank` is there now.
            Err(_) => {
                for target in &pages {
                    attach_to(connection, target).await?;
                }
            }
        }
    }
}

async fn attach_to(connection: &Connection, target: &str) -> Result<(), DevToolsError> {
    connection.post(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true})).await
}

#[cfg(test)]
mod tests;
