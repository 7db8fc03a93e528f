//! Replies to the browser's questions, sent at once, independent of the tab's other tasks.

use serde_json::{Value, json};

use super::inbox::Inbox;
use super::session::Session;

/// A reply to a waiting browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Accepts a dialog: the page would wait for an answer. `text`: what `prompt` suggests.
    Dialog { text: Option<String> },
    /// Lets a target run that is paused: a worker, a frame of another site, a page to come.
    Resume { session: String },
    /// Lets a request go on as it is.
    Continue { request: String },
    /// Ends a navigation, as a page does that changes its mind: what is shown stays.
    Abort { request: String },
    /// Leaves a request without the password that its server wants.
    CancelAuth { request: String },
}

impl Reply {
    /// The call: its session, where that is not the page's, its method and its parameters.
    fn call(self) -> (Option<String>, &'static str, Value) {
        match self {
            Self::Dialog { text: None } => (None, "Page.handleJavaScriptDialog", json!({"accept": true})),
            Self::Dialog { text: Some(text) } => {
                (None, "Page.handleJavaScriptDialog", json!({"accept": true, "promptText": text}))
            }
            Self::Resume { session } => (Some(session), "Runtime.runIfWaitingForDebugger", json!({})),
            Self::Continue { request } => (None, "Fetch.continueRequest", json!({"requestId": request})),
            Self::Abort { request } => {
                (None, "Fetch.failRequest", json!({"requestId": request, "errorReason": "Aborted"}))
            }
            Self::CancelAuth { request } => {
                let response = json!({"response": "CancelAuth"});
                (
                    None,
                    "Fetch.continueWithAuth",
                    json!({"requestId": request, "authChallengeResponse": response}),
                )
            }
        }
    }
}

/// Replies for as long as the connection lasts.
pub(super) async fn answer(page: Session, inbox: Inbox) {
    loop {
        let (session, method, params) = inbox.next_reply().await.call();
        let session = session.as_deref().unwrap_or(&page.id);
        if page.connection.post(Some(session), method, params).await.is_err() {
            return;
        }
    }
}

/// Requests that the browser should pause. `has_password`: the page's address contains a password.
/// Chromium then supports password schemes, and each request is paused, as the dialog would hold up
/// the page; otherwise only documents.
pub(super) fn interception(has_password: bool) -> Value {
    let mut patterns =
        vec![json!({"urlPattern": "http*", "resourceType": "Document", "requestStage": "Response"})];
    patterns.extend(has_password.then(|| json!({"urlPattern": "*", "requestStage": "Request"})));
    json!({"patterns": patterns, "handleAuthRequests": has_password})
}
