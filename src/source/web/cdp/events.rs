//! The page's events, out of one stream for each kind into one channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::network::{
    EventLoadingFailed, EventRequestWillBeSent, EventResponseReceived, ResourceType,
};
use chromiumoxide::cdp::browser_protocol::page::{
    EventJavascriptDialogOpening, FrameId, HandleJavaScriptDialogParams,
};
use chromiumoxide::cdp::browser_protocol::target::EventTargetCrashed;
use chromiumoxide::cdp::js_protocol::runtime::{EventConsoleApiCalled, EventExceptionThrown, RemoteObject};
use chromiumoxide::error::CdpError;
use chromiumoxide::{Browser, Page};
use futures::StreamExt;
use futures::stream::select_all;
use tokio::sync::mpsc;

/// What a page and its browser tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageEvent {
    /// A call of a console method, or an exception that nobody caught.
    Console {
        kind: &'static str,
        arguments: Vec<String>,
    },
    /// The page's own request was answered.
    Response {
        status: u16,
    },
    /// The page's own request was sent: the first, or where a script or a redirection leads.
    Requested,
    /// Any request of the page failed, or was answered with an error status.
    RequestFailed {
        url: String,
        reason: String,
        whose: Whose,
    },
    Crashed,
    /// Something else in the browser crashed: a frame of the page, a worker.
    PartCrashed,
    /// The connection is gone.
    Gone(String),
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The page itself.
    Page,
    /// Something in it.
    Part,
}

/// Which of the two halves of a failed request is known. The streams are not in step with one another.
#[derive(Debug)]
enum Half {
    Url(String, Whose),
    Reason(String),
}

/// Subscribes to a page's events; the future that comes back puts them into `out` for as long as the page is there.
pub(super) async fn watch(
    browser: &Browser,
    page: &Page,
    out: mpsc::UnboundedSender<PageEvent>,
) -> Result<impl Future<Output = ()> + Send + use<>, CdpError> {
    let console = page.event_listener::<EventConsoleApiCalled>().await?.map(Seen::Console);
    let exceptions = page.event_listener::<EventExceptionThrown>().await?.map(Seen::Exception);
    let dialogs = page.event_listener::<EventJavascriptDialogOpening>().await?.map(|_| Seen::Dialog);
    let requests = page.event_listener::<EventRequestWillBeSent>().await?.map(Seen::Request);
    let responses = page.event_listener::<EventResponseReceived>().await?.map(Seen::Response);
    let failures = page.event_listener::<EventLoadingFailed>().await?.map(Seen::Failed);
    // Of the browser, and of every tab and worker: told apart by the target.
    let crashes = browser.event_listener::<EventTargetCrashed>().await?.map(Seen::Crashed);
    let mut seen = select_all([
        console.boxed(),
        exceptions.boxed(),
        dialogs.boxed(),
        requests.boxed(),
        responses.boxed(),
        failures.boxed(),
        crashes.boxed(),
    ]);
    let mut watch = Watch { page: page.clone(), requests: HashMap::new(), out };
    Ok(async move {
        while let Some(event) = seen.next().await {
            watch.on(event).await;
        }
    })
}

/// How many requests without an answer are remembered; a page with more has other troubles.
const REQUESTS: usize = 4096;

enum Seen {
    Console(Arc<EventConsoleApiCalled>),
    Exception(Arc<EventExceptionThrown>),
    Dialog,
    Request(Arc<EventRequestWillBeSent>),
    Response(Arc<EventResponseReceived>),
    Failed(Arc<EventLoadingFailed>),
    Crashed(Arc<EventTargetCrashed>),
}

struct Watch {
    page: Page,
    /// By request id.
    requests: HashMap<String, Half>,
    out: mpsc::UnboundedSender<PageEvent>,
}

impl Watch {
    async fn on(&mut self, event: Seen) {
        match event {
            Seen::Console(call) => {
                let arguments = call.args.iter().map(text_of).collect();
                self.tell(PageEvent::Console { kind: "log", arguments });
            }
            Seen::Exception(thrown) => {
                let details = &thrown.exception_details;
                let description =
                    details.exception.as_ref().and_then(|exception| exception.description.clone());
                let text = description.unwrap_or_else(|| details.text.clone());
                self.tell(PageEvent::Console { kind: "exception", arguments: vec![text] });
            }
            Seen::Dialog => self.answer_dialog().await,
            Seen::Request(request) => {
                if self.requests.len() == REQUESTS {
                    self.requests.clear();
                }
                let whose = self.whose(request.r#type.as_ref(), request.frame_id.as_ref());
                if whose == Whose::Page {
                    self.tell(PageEvent::Requested);
                }
                let half = Half::Url(request.request.url.clone(), whose);
                self.meet(request.request_id.inner().clone(), half);
            }
            Seen::Response(response) => {
                self.requests.remove(response.request_id.inner());
                let status = u16::try_from(response.response.status).unwrap_or_default();
                match self.whose(Some(&response.r#type), response.frame_id.as_ref()) {
                    Whose::Page => {
                        // Kept: it may still turn out not to be a page.
                        let half = Half::Url(response.response.url.clone(), Whose::Page);
                        self.requests.insert(response.request_id.inner().clone(), half);
                        self.tell(PageEvent::Response { status });
                    }
                    Whose::Part if status >= 400 => {
                        let (url, reason) = (response.response.url.clone(), status.to_string());
                        self.tell(PageEvent::RequestFailed { url, reason, whose: Whose::Part });
                    }
                    Whose::Part => {}
                }
            }
            Seen::Failed(failed) => {
                let half = Half::Reason(failed.error_text.clone());
                self.meet(failed.request_id.inner().clone(), half);
            }
            Seen::Crashed(crashed) => {
                let is_page = crashed.target_id == *self.page.target_id();
                self.tell(if is_page { PageEvent::Crashed } else { PageEvent::PartCrashed });
            }
        }
    }

    /// A request is told of when both its address and its failure are known.
    fn meet(&mut self, id: String, half: Half) {
        match (self.requests.remove(&id), half) {
            (Some(Half::Url(url, whose)), Half::Reason(reason))
            | (Some(Half::Reason(reason)), Half::Url(url, whose)) => {
                self.tell(PageEvent::RequestFailed { url, reason, whose });
            }
            (_, half) => {
                self.requests.insert(id, half);
            }
        }
    }

    /// The main frame has the target's id.
    fn whose(&self, kind: Option<&ResourceType>, frame: Option<&FrameId>) -> Whose {
        let main = frame.is_some_and(|frame| frame.inner() == self.page.target_id().inner());
        if main && kind == Some(&ResourceType::Document) { Whose::Page } else { Whose::Part }
    }

    /// Nobody is there to answer, and the page stands still until somebody does.
    async fn answer_dialog(&self) {
        let answer = self.page.execute(HandleJavaScriptDialogParams::new(true));
        let answered = tokio::time::timeout(Duration::from_secs(2), answer).await;
        if !matches!(answered, Ok(Ok(_))) {
            tracing::debug!("a dialog of the page could not be answered");
        }
    }

    fn tell(&self, event: PageEvent) {
        // The tab may be gone already.
        drop(self.out.send(event));
    }
}

/// What a console shows of a value, in short.
fn text_of(value: &RemoteObject) -> String {
    match (&value.value, &value.description) {
        (Some(serde_json::Value::String(text)), _) => text.clone(),
        (Some(value), _) => value.to_string(),
        (None, Some(description)) => description.clone(),
        (None, None) => "undefined".to_owned(),
    }
}
