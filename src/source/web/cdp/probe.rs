//! Asks a browser whether it still works, beside everything else that it is asked.

use std::sync::Arc;

use chromiumoxide::cdp::browser_protocol::system_info::GetProcessInfoParams;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::error::CdpError;
use chromiumoxide::{Browser, Page};

/// The page's next frame. Browser, renderer and GPU process all have a part in it, and a page that shows nothing new has
/// frames, too.
const NEXT_FRAME: &str = "new Promise(done => requestAnimationFrame(() => done(0)))";

/// A tab, to be asked by somebody who does not own it.
#[derive(Debug, Clone)]
pub(in crate::source::web) struct Probe {
    pub(super) page: Page,
    pub(super) browser: Arc<Browser>,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::web) enum Answer {
    Alive,
    /// There was none in all the time that the connection waits for one.
    Silent,
    /// There is no connection any more.
    Gone,
}

impl Probe {
    /// Waits for the page's next frame. A page that goes elsewhere meanwhile is alive.
    pub(in crate::source::web) async fn frame(self) -> Answer {
        let mut evaluate = EvaluateParams::new(NEXT_FRAME);
        evaluate.await_promise = Some(true);
        match self.page.execute(evaluate).await {
            Ok(_) | Err(CdpError::Chrome(_) | CdpError::ChromeMessage(_)) => Answer::Alive,
            Err(CdpError::Timeout) => Answer::Silent,
            Err(error) => {
                tracing::debug!(%error, "the page can't be asked for a frame");
                Answer::Gone
            }
        }
    }

    /// The browser's helpers: its processes but for itself and the renderers. `None`: it does not tell.
    pub(in crate::source::web) async fn helpers(self) -> Option<Vec<i32>> {
        let told = self.browser.execute(GetProcessInfoParams::default()).await;
        let told =
            told.inspect_err(|error| tracing::debug!(%error, "the browser's processes are unknown")).ok()?;
        let is_helper = |kind: &str| kind != "browser" && kind != "renderer";
        let helpers = told.result.process_info.iter().filter(|process| is_helper(&process.r#type));
        Some(helpers.filter_map(|process| i32::try_from(process.id).ok()).collect())
    }
}
