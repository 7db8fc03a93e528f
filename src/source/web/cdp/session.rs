//! Calls of the page's session.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::{Connection, DevToolsError};

pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Largest screenshot in bytes of base64. Noise in 4K takes some 40 MB.
const LARGEST_SCREENSHOT: usize = 64 << 20;

/// Reads the text of a `div.error`: its first 8192 UTF-16 units and the number of the others.
const TEMPLATE_ERROR: &str = "(() => {
    const text = document.querySelector('div.error')?.innerText;
    return text === undefined ? null : [text.slice(0, 8192).toWellFormed(), Math.max(0, text.length - 8192)];
})()";

/// The script of [`Session::refusal`]. It ends within less than [`ANSWER_WITHIN`].
const REFUSAL: &str = "new Promise((done) => {
    const said = () => document.querySelector('div.error')?.innerText;
    const look = () => { if (said() !== undefined) end(); };
    const watch = new MutationObserver(look);
    const timer = setTimeout(() => end(), 3000);
    const end = () => {
        watch.disconnect();
        clearTimeout(timer);
        const text = said();
        done(text === undefined ? null : [text.slice(0, 8192).toWellFormed(), Math.max(0, text.length - 8192)]);
    };
    watch.observe(document, { subtree: true, childList: true, attributes: true });
    look();
})";

/// The DevTools session of a page. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) id: String,
}

/// Result of `Page.navigate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Navigated {
    /// `None`: a navigation within the document.
    pub(super) loader_id: Option<String>,
    pub(super) error_text: Option<String>,
}

/// The text of a `div.error`, and how many characters of it were cut.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal(pub(super) String, pub(super) usize);

impl Session {
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, DevToolsError> {
        self.connection.call(Some(&self.id), method, params).await
    }

    pub(super) async fn post(&self, method: &'static str, params: Value) -> Result<(), DevToolsError> {
        self.connection.post(Some(&self.id), method, params).await
    }

    /// Evaluates an expression; a promise is awaited.
    pub(super) async fn value<T: DeserializeOwned>(&self, expression: &str) -> Result<T, DevToolsError> {
        #[derive(Deserialize)]
        struct Evaluated {
            result: Remote,
        }
        #[derive(Deserialize)]
        struct Remote {
            #[serde(default)]
            value: Value,
        }
        let method = "Runtime.evaluate";
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let Evaluated { result: Remote { value } } = self.call(method, params).await?;
        serde_json::from_value(value).map_err(|source| DevToolsError::Unreadable { method, source })
    }

    /// Takes a screenshot, as PNG; `None`: it is not base64.
    pub(super) async fn screenshot(&self) -> Result<Option<Vec<u8>>, DevToolsError> {
        #[derive(Deserialize)]
        struct Screenshot {
            data: String,
        }
        let (method, params) = ("Page.captureScreenshot", json!({"format": "png"}));
        let shot = self.connection.call_for(LARGEST_SCREENSHOT, Some(&self.id), method, params);
        let Screenshot { data } = shot.await?;
        Ok(STANDARD.decode(data).ok())
    }

    /// Reads the page's `div.error`; `None`: the page has none.
    pub(super) async fn template_error(&self) -> Result<Option<Refusal>, DevToolsError> {
        within("template", ANSWER_WITHIN, self.value(TEMPLATE_ERROR)).await
    }

    /// Waits some seconds for a `div.error`; `None`: the page has none.
    pub(super) async fn refusal(&self) -> Result<Option<Refusal>, DevToolsError> {
        within("refusal", ANSWER_WITHIN, self.value(REFUSAL)).await
    }
}

pub(super) async fn within<T>(
    asked: &'static str,
    within: Duration,
    answer: impl Future<Output = Result<T, DevToolsError>>,
) -> Result<T, DevToolsError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(DevToolsError::NoAnswer { asked, within }),
    }
}
