//! Loads a page, and decides when it is loaded.
//!
//! ```text
//! navigate ─► document ─► START_RECORDING, or `load`                                      ─► loaded
//!                     └─► DOMContentLoaded and a first paint, then QUIET without progress ─► loaded, pending requests are named
//!                     └─► a first paint, then the deadline                                ─► the same
//! ```

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::Tab;
use super::events::{PageEvent, Whose};
use super::session::{ANSWER_WITHIN, Navigated, within};
use crate::source::web::address::Address;
use crate::source::web::page::{PageError, Signal, StartReport};

/// How long the page of a refusal may take to be shown, once its status is known; for the
/// screenshot's sake.
const REFUSAL_SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// How long no request may get further before a page that is painted counts as loaded.
const QUIET: Duration = Duration::from_secs(5);

/// The page that crashes its renderer.
const CRASH: &str = "chrome://crash";

/// How the wait for a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Loaded,
    /// It is painted, and something of it does not come.
    Quiet,
    GivenUp,
}

impl Tab {
    /// Loads a page and answers with the signals it gave meanwhile.
    pub(in crate::source::web) async fn load(
        &mut self,
        address: &Address,
        deadline: Duration,
    ) -> Result<Vec<Signal>, PageError> {
        let url = address.expose();
        let lost = |why: String| PageError::BrowserLost { url: address.shown(), why };
        let crashed = || PageError::Crashed { url: address.shown() };
        let (mut signals, mut refusal, mut failed) = (Vec::new(), None, None);
        // Events of the previous document. A crash among them is the reason for this load.
        while let Some(event) = self.inbox.try_next() {
            match event {
                PageEvent::Gone(why) => return Err(lost(why)),
                event => self.note(event, &mut signals),
            }
        }
        self.report = StartReport::default();
        self.address = Some(address.clone());
        self.pending = None;
        self.asked = None;
        self.inbox.progress().reset();
        let before = self.document.loader.clone();
        // A page that is loaded again finds its network events off. A crashed renderer takes note
        // of that only when the navigation has brought a new one, so commands are sent first and
        // their answers are not awaited.
        let page = self.page.clone();
        let prepared = async {
            page.post("Network.enable", json!({})).await?;
            page.post("WebAuthn.enable", json!({"enableUI": false})).await
        };
        within("Network.enable", ANSWER_WITHIN, prepared).await.map_err(|error| lost(error.to_string()))?;
        let navigate = async {
            if url.as_str() == CRASH {
                // Chromium opens this address only for a user. The crashed renderer does not
                // answer.
                page.post("Page.crash", json!({})).await?;
                std::future::pending::<()>().await;
            }
            page.call::<Navigated>("Page.navigate", json!({"url": url.as_str()})).await
        };
        tokio::pin!(navigate);
        let last = Instant::now() + deadline;
        let give_up = tokio::time::sleep_until(last);
        tokio::pin!(give_up);
        let mut navigated: Option<Navigated> = None;
        // When the document itself got further last.
        let mut moved = Instant::now();
        let outcome = loop {
            let is_another = self.document.loader != before;
            let is_loaded = self.document.is_loaded || self.document.has_started;
            match &navigated {
                Some(Navigated { loader_id: None, error_text: None }) => break Outcome::Loaded,
                Some(_) if is_another && is_loaded => break Outcome::Loaded,
                // The page that was there is there still.
                Some(_) if failed.is_some() => break Outcome::GivenUp,
                Some(_) | None => {}
            }
            let is_shown = is_another && self.document.is_parsed && self.document.is_painted;
            let is_good = refusal.is_none() && self.report.status.is_none_or(|status| status < 400);
            let quiet_at = (navigated.is_some() && is_shown && is_good)
                .then(|| self.inbox.progress().last().map_or(moved, |at| at.max(moved)) + QUIET);
            if quiet_at.is_some_and(|at| at <= Instant::now()) {
                break Outcome::Quiet;
            }
            let soon = || last.min(Instant::now() + REFUSAL_SHOWN_WITHIN);
            tokio::select! {
                biased;
                event = self.inbox.next() => match event {
                    PageEvent::Crashed => return Err(crashed()),
                    PageEvent::Gone(why) => return Err(lost(why)),
                    PageEvent::Response { status } if status >= 400 => {
                        self.report.status = Some(status);
                        give_up.as_mut().reset(soon());
                    }
                    // What is not a page to show never ends its navigation.
                    PageEvent::RequestFailed { url, reason, whose: Whose::Page }
                        if !is_for_another_program(&url) =>
                    {
                        refusal = Some(reason);
                        give_up.as_mut().reset(soon());
                    }
                    PageEvent::NavigationFailed(navigation) if self.inbox.keeps_page() => {
                        failed = Some(navigation.error);
                        give_up.as_mut().reset(soon());
                    }
                    // A script went elsewhere.
                    PageEvent::Requested { origin } => {
                        self.asked = Some(origin);
                        if refusal.take().is_some() {
                            give_up.as_mut().reset(last);
                        }
                    }
                    event => {
                        if matches!(event, PageEvent::Document(_) | PageEvent::Parsed | PageEvent::Painted) {
                            moved = Instant::now();
                        }
                        self.note(event, &mut signals);
                    }
                },
                done = &mut navigate, if navigated.is_none() => match done {
                    Ok(done) => {
                        if done.error_text.is_some() {
                            give_up.as_mut().reset(soon());
                        }
                        navigated = Some(done);
                    }
                    Err(error) => return Err(lost(error.to_string())),
                },
                // A request may have got further meanwhile.
                () = until(quiet_at) => {}
                () = &mut give_up => break Outcome::GivenUp,
            }
        };
        // What came with the end of the load.
        while let Some(event) = self.inbox.try_next() {
            match event {
                PageEvent::Crashed => return Err(crashed()),
                PageEvent::Gone(why) => return Err(lost(why)),
                event => self.note(event, &mut signals),
            }
        }
        let is_painted = navigated.is_some() && self.document.is_painted && self.document.loader != before;
        // It explains the others. What is shown still has said what it has said.
        if let Some(error) = failed {
            signals.into_iter().for_each(|signal| self.inbox.push(PageEvent::Signal(signal)));
            return Err(error);
        }
        if let Some(status) = self.report.status.filter(|status| *status >= 400) {
            return Err(PageError::Status { url: address.shown(), status });
        }
        if let Some(code) = navigated.and_then(|done| done.error_text) {
            return Err(PageError::of_network(url, &code));
        }
        match (outcome, refusal) {
            (Outcome::Loaded, _) => {}
            (Outcome::GivenUp, Some(code)) => return Err(PageError::of_network(url, &code)),
            (Outcome::GivenUp, None) if !is_painted => {
                return Err(PageError::TimedOut { url: address.shown(), seconds: deadline.as_secs() });
            }
            (Outcome::Quiet | Outcome::GivenUp, _) => {
                self.pending = Some(self.inbox.progress().pending());
            }
        }
        if let Some(error) = self.template_error().await {
            return Err(error);
        }
        Ok(signals)
    }
}

/// Whether another program handles an address: `zoommtg:`, `mailto:`. The page stays where it is.
fn is_for_another_program(url: &str) -> bool {
    const SHOWN: [&str; 9] =
        ["http", "https", "file", "data", "blob", "about", "chrome", "chrome-error", "filesystem"];
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !SHOWN.iter().any(|shown| scheme.eq_ignore_ascii_case(shown)))
}

/// Waits for a moment; `None`: for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
