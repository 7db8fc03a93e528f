//! Parameters of DevTools events, as far as they matter.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Target {
    #[serde(rename = "targetInfo")]
    pub(super) info: TargetInfo,
}

#[derive(Deserialize)]
pub(super) struct Attached {
    #[serde(rename = "sessionId")]
    pub(super) session: String,
    #[serde(rename = "targetInfo")]
    pub(super) info: TargetInfo,
    /// It is paused until it is resumed.
    #[serde(rename = "waitingForDebugger", default)]
    pub(super) is_paused: bool,
}

#[derive(Deserialize)]
pub(super) struct TargetInfo {
    #[serde(rename = "targetId")]
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) url: String,
}

impl TargetInfo {
    pub(super) fn is_page(&self) -> bool {
        self.r#type == "page"
    }

    /// Whether it is the page that the browser starts with.
    pub(super) fn is_first_page(&self) -> bool {
        self.is_page() && self.url == "about:blank"
    }
}

#[derive(Deserialize)]
pub(super) struct Detached {
    #[serde(rename = "sessionId")]
    pub(super) session: String,
}

#[derive(Deserialize)]
pub(super) struct Crash {
    #[serde(rename = "targetId")]
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct Console {
    pub(super) args: Vec<Remote>,
}

#[derive(Deserialize)]
pub(super) struct Thrown {
    #[serde(rename = "exceptionDetails")]
    pub(super) details: Details,
}

#[derive(Deserialize)]
pub(super) struct Details {
    pub(super) text: String,
    pub(super) exception: Option<Remote>,
}

/// A value in the page.
#[derive(Deserialize)]
pub(super) struct Remote {
    pub(super) value: Option<serde_json::Value>,
    pub(super) description: Option<String>,
}

impl Remote {
    /// Short text for the console.
    pub(super) fn text(&self) -> String {
        match (&self.value, &self.description) {
            (Some(serde_json::Value::String(text)), _) => text.clone(),
            (Some(value), _) => value.to_string(),
            (None, Some(description)) => description.clone(),
            (None, None) => "undefined".to_owned(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Lifecycle {
    #[serde(rename = "frameId")]
    pub(super) frame: String,
    #[serde(rename = "loaderId")]
    pub(super) loader: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Frame {
    #[serde(rename = "frameId")]
    pub(super) frame: String,
}

#[derive(Deserialize)]
pub(super) struct Request {
    #[serde(rename = "requestId")]
    pub(super) id: String,
    pub(super) request: Sent,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "frameId")]
    pub(super) frame: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Sent {
    pub(super) url: String,
}

#[derive(Deserialize)]
pub(super) struct Response {
    #[serde(rename = "requestId")]
    pub(super) id: String,
    pub(super) response: Answered,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "frameId")]
    pub(super) frame: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Answered {
    pub(super) url: String,
    pub(super) status: i64,
}

#[derive(Deserialize)]
pub(super) struct Failed {
    #[serde(rename = "requestId")]
    pub(super) id: String,
    #[serde(rename = "errorText")]
    pub(super) reason: String,
}

/// A request that got further, or to its end.
#[derive(Deserialize)]
pub(super) struct OfRequest {
    #[serde(rename = "requestId")]
    pub(super) id: String,
}

/// A dialog of the page's: `alert`, `confirm`, `prompt`, `beforeunload`.
#[derive(Deserialize)]
pub(super) struct Dialog {
    pub(super) r#type: String,
    #[serde(rename = "defaultPrompt")]
    pub(super) default: Option<String>,
}

impl Dialog {
    /// The default of `prompt`.
    pub(super) fn suggestion(self) -> Option<String> {
        self.default.filter(|_| self.r#type == "prompt")
    }
}

/// A request that waits for us, before it is sent or when its answer has come.
#[derive(Deserialize)]
pub(super) struct Paused {
    #[serde(rename = "requestId")]
    pub(super) id: String,
    pub(super) request: PausedRequest,
    #[serde(rename = "frameId")]
    pub(super) frame: String,
    /// Reason for a missing answer.
    #[serde(rename = "responseErrorReason")]
    pub(super) error: Option<String>,
    #[serde(rename = "responseStatusCode")]
    pub(super) status: Option<i64>,
    #[serde(rename = "responseHeaders", default)]
    pub(super) headers: Vec<Header>,
}

impl Paused {
    /// Whether the answer says that nothing follows.
    pub(super) fn is_empty(&self) -> bool {
        let is_length = |header: &&Header| header.name.eq_ignore_ascii_case("content-length");
        self.headers.iter().find(is_length).is_some_and(|header| header.value.trim() == "0")
    }
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct PausedRequest {
    pub(super) url: String,
    pub(super) method: String,
}
