//! A web page as a source: Chromium on a private display with a private audio server.
//!
//! ```text
//! WebSource ── supervisor task ── BrowserSession: display · audio server · browser · tab · captures
//!     │              │                              │
//!     │              └── SourceEvents               ▼
//!     └── Pacer ◄─────────────────────────── newest frame
//! ```
//!
//! A session dies as a whole or loses its page. Both are restarted behind the pacer, which holds
//! the last frame meanwhile, so that encoders and outputs only see an event.

mod address;
mod audio_server;
mod browser;
mod browser_session;
pub mod capture;
mod cdp;
mod display;
mod health;
mod helpers;
mod outage;
mod page;
mod restart_budget;
mod ssrf_proxy;
mod supervisor;
mod templates;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use livekit_token::AccessTokenError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{SourceContext, SourceEvent};
use crate::media::Feed;
use crate::plan::source::{StartRule, WebPlan};
use address::Addresses;
pub use audio_server::AudioServerError;
pub use browser::BrowserError;
use browser_session::{BrowserSession, Patience};
use capture::{CaptureError, Pacer};
pub use cdp::DevToolsError;
pub use display::DisplayError;
use page::Signal;
pub use page::{PageError, StartReport};
use supervisor::{Question, Supervisor};

/// Maximum time from a painted page to its captured frame, on a busy machine. A black page uses all
/// of it.
const FIRST_PICTURE_WITHIN: Duration = Duration::from_millis(500);
/// A screenshot, on a busy machine.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(3);
/// Children are killed, not asked.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Why a page can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("the directory {path} could not be made")]
    Directory { path: PathBuf, source: io::Error },
    #[error("this build of Weir has no layouts: run `make web` and build again")]
    NoPages,
    #[error("the layouts can't be served: {0}")]
    Templates(#[source] io::Error),
    #[error("the room's token could not be made: {0}")]
    Token(#[from] AccessTokenError),
    #[error(transparent)]
    Display(#[from] DisplayError),
    #[error(transparent)]
    AudioServer(#[from] AudioServerError),
    #[error(transparent)]
    Browser(#[from] BrowserError),
    #[error("the page's way out, which refuses link-local addresses, can't be opened: {0}")]
    SsrfProxy(#[source] io::Error),
    #[error(transparent)]
    DevTools(#[from] DevToolsError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("a capture could not be started: {0}")]
    CapturePanicked(String),
    /// An error of the page or its server. The page's own messages follow on further lines.
    #[error("{error}{report}")]
    Page { error: PageError, report: Box<StartReport> },
    /// A part was lost, and bringing it back failed, or it was lost again and again.
    #[error("given up after {attempts} attempts to bring the page back: {why}")]
    GaveUp { attempts: usize, why: String },
}

/// A page being shown and captured. Dropping it ends all that it started.
#[derive(Debug)]
pub struct WebSource {
    stop: CancellationToken,
    questions: mpsc::Sender<Question>,
    supervisor: AbortOnDropHandle<()>,
    pacer: Option<Pacer>,
    audio: Option<Feed>,
}

impl WebSource {
    /// Shows the page and begins to capture it. Sends [`SourceEvent::Loaded`] and, now or at the
    /// page's signal, [`SourceEvent::Ready`]. Dropping the future leaves no process, socket or lock
    /// behind.
    ///
    /// # Errors
    ///
    /// When a part can't start, or the page can't be loaded.
    pub async fn start(plan: &WebPlan, context: SourceContext) -> Result<Self, WebError> {
        Self::start_with(plan, context, Patience::START).await
    }

    async fn start_with(
        plan: &WebPlan,
        context: SourceContext,
        patience: Patience,
    ) -> Result<Self, WebError> {
        let pacer = match plan.has_video {
            true => Some(Pacer::start(&context, plan.width, plan.height)?),
            false => None,
        };
        let slot = pacer.as_ref().map(Pacer::slot);
        let addresses = Arc::new(Addresses::open(&plan.page).await?);
        let (mut session, signals) =
            BrowserSession::start(plan, &addresses, &context, slot.clone(), 0, patience).await?;
        if let Some(pacer) = &pacer
            && tokio::time::timeout(FIRST_PICTURE_WITHIN, pacer.first_frame()).await.is_err()
        {
            // A page that is as black as the screen was is never seen to draw; it is recorded as
            // what it is.
            tracing::debug!("nothing was drawn yet");
        }

        let audio = context.audio.clone();
        let mut supervisor = Supervisor::new(plan.clone(), addresses, context, slot);
        supervisor.tell(SourceEvent::Loaded);
        supervisor.on_pending(session.take_pending());
        if plan.start == StartRule::OnLoad {
            supervisor.on_signal(Signal::Start);
        }
        for signal in signals {
            supervisor.on_signal(signal);
        }
        let stop = CancellationToken::new();
        let (questions, asked) = mpsc::channel(1);
        let task = TaskTracker::new().spawn(supervisor.run(session, stop.clone(), asked));
        Ok(Self { stop, questions, supervisor: AbortOnDropHandle::new(task), pacer, audio })
    }

    /// Events of the page since it was loaded, with a screenshot in the report's directory: for a
    /// page that never logs `START_RECORDING`. `None` if the page does not answer.
    pub async fn explain(&self) -> Option<StartReport> {
        let (question, answer) = oneshot::channel();
        let asked = async {
            self.questions.send(question).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(EXPLAIN_WITHIN, asked).await.ok().flatten()
    }

    /// Ends the page and the captures, and the feeds after their last sample. To be called after
    /// [`Timeline::end`](crate::media::Timeline::end).
    pub async fn close(self) {
        let Self { stop, questions: _, supervisor, pacer, audio } = self;
        // While the capture still runs: its last frames are in transit.
        if let Some(pacer) = pacer {
            pacer.finish().await;
        }
        stop.cancel();
        if tokio::time::timeout(CLOSE_WITHIN, supervisor).await.is_err() {
            tracing::warn!("the page's processes took too long to end");
        }
        // The stage's sound capture has ended it, if there was one at the end.
        if let Some(feed) = audio {
            feed.end();
        }
    }
}

#[cfg(test)]
mod tests;
