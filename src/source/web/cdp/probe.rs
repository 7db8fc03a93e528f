//! Asks a browser whether it still works, beside everything else that it is asked.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::connection::DevToolsError;
use super::session::{Session, within};

/// How long a frame is waited for before it is asked for again.
const FRAME_WITHIN: Duration = Duration::from_secs(60);

/// Deadline of the list of processes; it is requested again afterwards.
const LIST_WITHIN: Duration = Duration::from_secs(10);

/// The page's next frame. Browser, renderer and GPU process all have a part in it, and a page that
/// shows nothing new has frames, too.
const NEXT_FRAME: &str = "new Promise(done => requestAnimationFrame(() => done(0)))";

/// A tab, to be asked by somebody who does not own it.
#[derive(Debug, Clone)]
pub(in crate::source::web) struct Probe {
    pub(super) page: Session,
}

/// Result of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::web) enum Answer {
    Alive,
    /// No answer in time.
    Silent,
    /// The connection has ended.
    Gone,
}

/// The process ids of a browser's helpers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::web) enum HelperList {
    Known(Vec<i32>),
    /// The browser did not answer in time; a busy one may answer the next question.
    Unknown,
    /// The connection has ended.
    Gone,
}

#[derive(Deserialize)]
struct Processes {
    #[serde(rename = "processInfo")]
    list: Vec<Process>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(rename = "type")]
    kind: String,
    id: i64,
}

impl Probe {
    /// Waits for the page's next frame. A page that goes elsewhere meanwhile is alive.
    pub(in crate::source::web) async fn frame(self) -> Answer {
        let frame = self.page.value::<IgnoredAny>(NEXT_FRAME);
        match within("frame", FRAME_WITHIN, frame).await {
            Err(
                DevToolsError::Refused { .. }
                | DevToolsError::TooLong { .. }
                | DevToolsError::Unreadable { .. },
            )
            | Ok(_) => Answer::Alive,
            Err(DevToolsError::NoAnswer { .. }) => Answer::Silent,
            Err(DevToolsError::Ended(_)) => Answer::Gone,
        }
    }

    /// Lists the browser's helpers: its processes except for itself and the renderers.
    pub(in crate::source::web) async fn helpers(self) -> HelperList {
        let answer = self.page.connection.call(None, "SystemInfo.getProcessInfo", json!({}));
        let list = match within("processes", LIST_WITHIN, answer).await {
            Ok(Processes { list }) => list,
            Err(DevToolsError::Ended(_)) => return HelperList::Gone,
            Err(error) => {
                tracing::debug!(%error, "browser processes unknown");
                return HelperList::Unknown;
            }
        };
        let helpers = list.iter().filter(|process| process.kind != "browser" && process.kind != "renderer");
        HelperList::Known(helpers.filter_map(|process| i32::try_from(process.id).ok()).collect())
    }
}
