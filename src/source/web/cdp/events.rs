//! Filters the browser's events: DevTools events → [`PageEvent`].

use std::collections::HashMap;

use url::Url;

use super::connection::{Event, Listener, Said};
use super::failed_navigation::FailedNavigation;
use super::framing::{LIMIT, paused_request};
use super::inbox::Inbox;
use super::params::{
    Attached, Console, Crash, Detached, Details, Dialog, Failed, Frame, Lifecycle, OfRequest, Paused, Remote,
    Request, Response, Target, Thrown,
};
use super::reply::Reply;
use crate::process::text::head;
use crate::source::web::page::{self, Signal};

/// Bytes that are kept of a console line: twice what is shown ([`page::LINE`]), as hiding secrets
/// shortens it.
const LINE: usize = 2 * page::LINE;
/// Requests without an answer that are remembered.
const REQUESTS: usize = 4096;
/// How the event of an open dialog begins. A page decides how long it is, by its address and by
/// what `prompt` suggests.
const DIALOG: &[u8] = b"{\"method\":\"Page.javascriptDialogOpening\"";

/// An event of a page or its browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageEvent {
    /// A console call or an uncaught exception. `more`: characters that were cut.
    Said {
        line: String,
        more: usize,
    },
    Signal(Signal),
    /// The page's own request was answered.
    Response {
        status: u16,
    },
    /// The page's own request was sent: the first, or where a script or a redirection leads.
    /// Scheme, host and port of its address.
    Requested {
        origin: String,
    },
    /// Any request of the page failed, or was answered with an error status. Its address has no
    /// query.
    RequestFailed {
        url: String,
        reason: String,
        whose: Whose,
    },
    /// A navigation of the page ended nowhere, and the page was kept.
    NavigationFailed(FailedNavigation),
    /// Another document was committed; its loader's id.
    Document(String),
    /// The document is read to its end (`DOMContentLoaded`).
    Parsed,
    /// Something of the document was painted.
    Painted,
    /// The document began to load.
    Loading,
    /// The document is loaded.
    Loaded,
    Crashed,
    /// Something else in the browser crashed: a frame of the page, a worker.
    PartCrashed,
    /// The browser has another page; its target's id.
    Appeared(String),
    /// Attached to the empty page that the browser starts with. From now on its events are
    /// reported.
    Attached {
        session: String,
    },
    /// The connection is gone.
    Gone(String),
}

/// The purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The page itself.
    Page,
    /// Something in it.
    Part,
}

impl PageEvent {
    /// Whether older ones may be dropped when there are too many.
    pub(super) const fn is_talk(&self) -> bool {
        matches!(self, Self::Said { .. } | Self::RequestFailed { whose: Whose::Part, .. } | Self::PartCrashed)
    }

    /// Whether a repetition may be dropped.
    pub(super) const fn is_once(&self) -> bool {
        // Of ids a page can make any number.
        matches!(self, Self::Signal(Signal::Start | Signal::End | Signal::Evicted) | Self::Crashed)
    }

    /// Length of its texts.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Said { line, .. } => line.len(),
            Self::RequestFailed { url, reason, .. } => url.len() + reason.len(),
            Self::Signal(Signal::InRoom(id)) => id.len(),
            Self::NavigationFailed(failed) => failed.bytes(),
            _ => 0,
        }
    }
}

/// The half of a failed request that is known.
#[derive(Debug)]
enum Half {
    Url(String, Whose),
    Reason(String),
}

/// Puts the events that matter into an inbox.
#[derive(Debug)]
pub(super) struct Watch {
    inbox: Inbox,
    /// Target and session of the page.
    page: Option<(String, String)>,
    /// By request id.
    requests: HashMap<String, Half>,
}

impl Watch {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self { inbox, page: None, requests: HashMap::new() }
    }

    fn tell(&self, event: PageEvent) {
        self.inbox.push(event);
    }

    /// Events of the browser.
    fn on_target(&mut self, event: &Event<'_>) {
        match event.method {
            "Target.targetCreated" => {
                if let Some(Target { info }) = event.params()
                    && info.is_page()
                    && self.page.is_none()
                {
                    self.tell(PageEvent::Appeared(info.id));
                }
            }
            // It was created without an address.
            "Target.targetInfoChanged" => {
                if let Some(Target { info }) = event.params()
                    && info.is_first_page()
                    && self.page.is_none()
                {
                    self.tell(PageEvent::Appeared(info.id));
                }
            }
            "Target.attachedToTarget" => {
                if let Some(Attached { session, info, .. }) = event.params()
                    && info.is_first_page()
                    && self.page.is_none()
                {
                    self.page = Some((info.id, session.clone()));
                    self.tell(PageEvent::Attached { session });
                }
            }
            // It closed itself, and another window keeps the browser alive.
            "Target.detachedFromTarget" => {
                if let Some(Detached { session }) = event.params()
                    && self.page.as_ref().is_some_and(|(_, own)| *own == session)
                {
                    self.tell(PageEvent::Gone("the page was closed".to_owned()));
                }
            }
            "Target.targetCrashed" => {
                if let Some(Crash { id }) = event.params()
                    && let Some((page, _)) = &self.page
                {
                    self.tell(if *page == id { PageEvent::Crashed } else { PageEvent::PartCrashed });
                }
            }
            _ => {}
        }
    }

    /// Events of the page.
    fn on_page(&mut self, event: &Event<'_>, page: &str) {
        match event.method {
            "Runtime.consoleAPICalled" => {
                if let Some(Console { args }) = event.params() {
                    self.on_console(&args);
                }
            }
            "Runtime.exceptionThrown" => {
                if let Some(Thrown { details: Details { text, exception } }) = event.params() {
                    let text = exception.and_then(|exception| exception.description).unwrap_or(text);
                    self.tell(line("exception", &[text]));
                }
            }
            "Page.javascriptDialogOpening" => {
                let text = event.params().and_then(Dialog::suggestion);
                self.inbox.reply(Reply::Dialog { text });
            }
            "Page.lifecycleEvent" => {
                if let Some(Lifecycle { frame, loader, name }) = event.params()
                    && frame == page
                {
                    match name.as_str() {
                        "init" => self.tell(PageEvent::Document(loader)),
                        "DOMContentLoaded" => self.tell(PageEvent::Parsed),
                        "firstPaint" => self.tell(PageEvent::Painted),
                        "load" => self.tell(PageEvent::Loaded),
                        _ => {}
                    }
                }
            }
            "Page.frameStartedLoading" | "Page.frameStoppedLoading" => {
                if let Some(Frame { frame }) = event.params()
                    && frame == page
                {
                    let is_over = event.method == "Page.frameStoppedLoading";
                    self.tell(if is_over { PageEvent::Loaded } else { PageEvent::Loading });
                }
            }
            "Network.requestWillBeSent" => {
                if let Some(request) = event.params() {
                    self.on_request(request, page);
                }
            }
            "Network.responseReceived" => {
                if let Some(response) = event.params() {
                    self.on_response(response, page);
                }
            }
            "Network.loadingFailed" => {
                if let Some(Failed { id, reason }) = event.params() {
                    self.inbox.progress().ended(&id);
                    self.meet(id, Half::Reason(head(&reason, page::REASON).0.to_owned()));
                }
            }
            "Network.dataReceived" => {
                if let Some(OfRequest { id }) = event.params() {
                    self.inbox.progress().moved(&id);
                }
            }
            "Network.loadingFinished" => {
                if let Some(OfRequest { id }) = event.params() {
                    self.inbox.progress().ended(&id);
                }
            }
            "Fetch.requestPaused" => {
                if let Some(paused) = event.params() {
                    self.on_paused(paused, page);
                } else if let Some(OfRequest { id }) = event.params() {
                    self.inbox.reply(Reply::Continue { request: id });
                }
            }
            "Fetch.authRequired" => {
                if let Some(OfRequest { id }) = event.params() {
                    self.inbox.reply(Reply::CancelAuth { request: id });
                }
            }
            _ => {}
        }
    }

    fn on_console(&self, args: &[Remote]) {
        let texts: Vec<String> = args.iter().map(Remote::text).collect();
        for signal in page::signals(&texts) {
            self.tell(PageEvent::Signal(signal));
        }
        self.tell(line("log", &texts));
    }

    fn on_request(&mut self, Request { id, request, kind, frame }: Request, page: &str) {
        let whose = whose(kind.as_deref(), frame.as_deref(), page);
        let url = page::redacted_text(&request.url);
        let progress = self.inbox.progress();
        match whose {
            Whose::Page => {
                progress.reset();
                let origin = Url::parse(&request.url).map(|url| url.origin().ascii_serialization());
                self.tell(PageEvent::Requested { origin: origin.unwrap_or_default() });
            }
            Whose::Part => progress.sent(&id, &url, kind.as_deref()),
        }
        self.meet(id, Half::Url(url, whose));
    }

    /// A request that is paused goes on, unless it is a navigation of the page that would show the
    /// browser's error page.
    fn on_paused(&self, paused: Paused, page: &str) {
        let is_kept = self.inbox.keeps_page() && paused.frame == page;
        match FailedNavigation::of(&paused).filter(|_| is_kept) {
            Some(failed) => {
                self.inbox.reply(Reply::Abort { request: paused.id });
                self.tell(PageEvent::NavigationFailed(failed));
            }
            None => self.inbox.reply(Reply::Continue { request: paused.id }),
        }
    }

    /// Whatever the browser attached us to, it has to run.
    fn resume(&self, event: &Event<'_>) {
        if event.method == "Target.attachedToTarget"
            && let Some(Attached { session, is_paused: true, .. }) = event.params()
        {
            self.inbox.reply(Reply::Resume { session });
        }
    }

    fn on_response(&mut self, Response { id, response, kind, frame }: Response, page: &str) {
        self.requests.remove(&id);
        self.inbox.progress().moved(&id);
        let status = u16::try_from(response.status).unwrap_or_default();
        match whose(Some(&kind), frame.as_deref(), page) {
            Whose::Page => {
                // Kept: it may still turn out to be a download.
                let half = Half::Url(page::redacted_text(&response.url), Whose::Page);
                self.remember(id, half);
                self.tell(PageEvent::Response { status });
            }
            Whose::Part if status >= 400 => {
                let (url, reason) = (page::redacted_text(&response.url), status.to_string());
                self.tell(PageEvent::RequestFailed { url, reason, whose: Whose::Part });
            }
            Whose::Part => {}
        }
    }

    /// A request is reported when both its address and its failure are known.
    fn meet(&mut self, id: String, half: Half) {
        match (self.requests.remove(&id), half) {
            (Some(Half::Url(url, whose)), Half::Reason(reason))
            | (Some(Half::Reason(reason)), Half::Url(url, whose)) => {
                self.tell(PageEvent::RequestFailed { url, reason, whose });
            }
            (_, half) => self.remember(id, half),
        }
    }

    fn remember(&mut self, id: String, half: Half) {
        if self.requests.len() >= REQUESTS {
            self.requests.clear();
        }
        self.requests.insert(id, half);
    }
}

/// Whatever ended the reading task, the tab gets to know.
impl Drop for Watch {
    fn drop(&mut self) {
        self.tell(PageEvent::Gone("it was closed".to_owned()));
    }
}

impl Listener for Watch {
    fn on(&mut self, said: Said<'_>) {
        match said {
            Said::Event(event) => {
                self.resume(&event);
                match (event.session, self.page.take()) {
                    (None, page) => {
                        self.page = page;
                        self.on_target(&event);
                    }
                    (Some(session), Some((target, own))) => {
                        if session == own {
                            self.on_page(&event, &target);
                        }
                        self.page = Some((target, own));
                    }
                    (Some(_), None) => {}
                }
            }
            // A page that waits for an answer would wait for ever.
            Said::TooLong { head, .. } if head.starts_with(DIALOG) => {
                self.inbox.reply(Reply::Dialog { text: None });
            }
            // So would a request.
            Said::TooLong { head, .. } if head.starts_with(b"{\"method\":\"Fetch.") => {
                if let Some(request) = paused_request(head, "requestPaused") {
                    self.inbox.reply(Reply::Continue { request });
                } else if let Some(request) = paused_request(head, "authRequired") {
                    self.inbox.reply(Reply::CancelAuth { request });
                }
            }
            // Only console calls, exceptions and data addresses get that long.
            Said::TooLong { bytes, .. } => {
                let line = format!("(left out: a message of {bytes} bytes, which is more than {LIMIT})");
                self.tell(PageEvent::Said { line, more: 0 });
            }
            Said::Ended(why) => self.tell(PageEvent::Gone(why.to_owned())),
        }
    }
}

/// One line of all arguments, cut at [`LINE`] bytes.
fn line(kind: &str, texts: &[String]) -> PageEvent {
    let mut line = format!("{kind}:");
    let mut more = 0;
    for text in texts {
        if more == 0 {
            line.push(' ');
        }
        let (kept, cut) = head(text, if more == 0 { LINE.saturating_sub(line.len()) } else { 0 });
        line.push_str(kept);
        more += cut;
    }
    if more > 0 {
        // Half a secret would not be recognized and hidden.
        line.truncate(page::whole_words(&line));
    }
    PageEvent::Said { line, more }
}

/// The main frame has the target's id.
fn whose(kind: Option<&str>, frame: Option<&str>, page: &str) -> Whose {
    if frame == Some(page) && kind == Some("Document") { Whose::Page } else { Whose::Part }
}

#[cfg(test)]
mod tests;
