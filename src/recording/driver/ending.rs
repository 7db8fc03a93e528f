//! How a recording ends: emptied, finished, or abandoned.

use std::path::Path;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use gstreamer as gst;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::phase::Phase;
use super::uploading::not_stored;
use crate::control::EndReason;
use crate::encode::EncoderEvents;
use crate::media::Feed;
use crate::plan::source::{SourcePlan, StartRule};
use crate::recording::Ended;
use crate::recording::failure::{of_service, of_sink};
use crate::report::{Failure, Fault, Outcome};
use crate::source::web::StartReport;

/// Deadline of the encoders' flush. They hold less than a second; this is for an overloaded
/// machine.
const ENCODERS_WITHIN: Duration = Duration::from_secs(10);
/// From empty encoders to closed files, the rewrite of an MP4 not counted
/// (docs/reference/media.md).
const SINKS_WITHIN: Duration = Duration::from_secs(30);
/// Deadline of the small files written at the end. A service kills a recorder after 120 s of
/// silence.
const DISK_WITHIN: Duration = Duration::from_secs(30);
/// The same where somebody does not want to wait.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
/// Stray tasks (a stream that says goodbye, a log that is read to its end) get this long at the
/// end.
const TASKS_WITHIN: Duration = Duration::from_secs(2);

/// Why a recording ended whose egress another recorder has.
const EVICTED: &str = "another recorder of this egress came into the room; this one stopped, and its files stay on this machine";

/// How emptying encoders and sinks went.
pub(in crate::recording) struct Flushed {
    pub(super) failures: Vec<Failure>,
    /// Some sink could not finish: what it recorded is in the work directory.
    pub(super) left_behind: bool,
}

impl Driver<'_> {
    /// Ends the recording's media, and gives the work of emptying everything: source, encoders,
    /// sinks, in this order.
    pub(in crate::recording) fn drain(&mut self, events: EncoderEvents) -> BoxFuture<'static, Flushed> {
        self.phase = Phase::Ending;
        let reason = self.lifecycle.reason().unwrap_or(EndReason::Failure);
        let asked = self.setup.plan.limits.duration.filter(|_| reason == EndReason::DurationReached);
        let asked = asked.and_then(|length| gst::ClockTime::try_from(length).ok());
        let length = Duration::from(self.timeline.end_by(asked.unwrap_or(gst::ClockTime::MAX)));
        self.report.ending(reason, length, Timestamp::now());
        let dropped = self.dropped();
        match dropped {
            0 => {}
            1 => self.report.note("1 frame dropped".to_owned()),
            _ => self.report.note(format!("{dropped} frames dropped")),
        }
        self.reporter.changed(self.report.info());
        let (source, encoders) = (self.source.take(), self.encoders.take());
        let outputs = std::mem::take(&mut self.outputs);
        let published = [&self.published.video, &self.published.audio];
        let feeds: Vec<Feed> =
            self.raw_video.iter().chain(&self.raw_audio).chain(published).cloned().collect();
        Box::pin(async move {
            let mut closing = None;
            match source {
                // It ends the feeds after their last sample; its processes take longer to go.
                Some(source) => closing = Some(source.close()),
                None => feeds.iter().for_each(Feed::end),
            }
            let emptied = async {
                let mut failures = Vec::new();
                if let Some(encoders) = encoders {
                    let finished = encoders.finish(events, ENCODERS_WITHIN).await;
                    failures.extend(finished.err().map(|error| of_service(&error)));
                }
                let unfinished = outputs.finish(SINKS_WITHIN).await;
                let left_behind = !unfinished.is_empty();
                failures.extend(unfinished.iter().map(|(_, error)| of_sink(error)));
                Flushed { failures, left_behind }
            };
            let (emptied, _) = futures::join!(emptied, OptionFuture::from(closing));
            emptied
        })
    }

    /// Accepts no further uploads.
    pub(in crate::recording) fn close_uploader(&mut self) {
        self.uploader = None;
    }

    /// Waits for the end of `Limits::duration`; for ever without one.
    pub(in crate::recording) fn duration_reached(&self) -> impl Future<Output = ()> + 'static {
        until(self.phase.deadline())
    }

    /// Waits for the end of `Limits::session`; for ever without one.
    pub(in crate::recording) fn session_over(&self) -> impl Future<Output = ()> + 'static {
        until(self.phase.session_deadline())
    }

    /// Closes what is left, and tells how it went.
    pub(in crate::recording) async fn finish(mut self) -> Ended {
        let explanation = self.explain().await;
        // A recording that never began has a source and encoders still.
        if let Some(source) = self.source.take() {
            source.close().await;
        }
        self.abandon.cancel();
        drop((self.encoders.take(), std::mem::take(&mut self.outputs), self.uploader.take()));
        self.tasks.close();
        if tokio::time::timeout(TASKS_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some task of the recording did not end in time");
        }
        self.report_attempts();
        let outcome = self
            .lifecycle
            .outcome()
            .unwrap_or_else(|| Outcome::Failed(Failure::new("the recording was given up", Fault::Service)));
        let outcome = self.unless_nothing_was_sent(outcome);
        let reason = self.lifecycle.reason().unwrap_or(EndReason::Failure);
        if !self.kept.is_empty() {
            self.report.note(not_stored(&self.kept));
        }
        let (work, unstored) = (self.setup.work, std::mem::take(&mut self.kept));
        // What the browser logged says nothing about a disk or a server.
        let is_the_source = self
            .lifecycle
            .failure()
            .is_some_and(|failure| !matches!(failure.fault, Fault::Destination | Fault::Storage));
        let (left_behind, is_explained) = (self.left_behind, is_the_source || explanation.is_some());
        let root = work.root().to_owned();
        let tidied = off_task(move || {
            if !unstored.is_empty() {
                tracing::error!(files = unstored.len(), dir = %work.root().display(), "kept for `weir recover`");
                if let Err(error) = work.list_kept(unstored) {
                    tracing::warn!(%error, "what is kept could not be listed");
                }
            }
            if left_behind || (is_explained && work.has_report()) {
                return Some(work.keep());
            }
            // It looks for itself: what it finds was not stored, whatever was heard of it.
            work.discard().err().map(|remains| remains.root)
        });
        // What could not be looked at is still there.
        let kept = tidied.await.unwrap_or(Some(root));
        if let Some(kept) = &kept {
            tracing::warn!(dir = %kept.display(), "kept");
            self.report.note(format!("kept: {}", name_of(kept)));
        }
        self.incidents.rest().into_iter().for_each(|note| self.report.note(note));
        // Who reads that it has ended may record by its names at once.
        self.setup.names.release();
        self.report.end(&outcome, reason, Timestamp::now());
        self.reporter.changed(self.report.info());
        Ended { outcome, info: self.report.info().clone(), kept, explanation, is_evicted: false }
    }

    /// A recording that went to streams alone, and to none of them, has failed. Mostly a stream's
    /// own last event says so before; this is for those that had no time left for one.
    fn unless_nothing_was_sent(&mut self, outcome: Outcome) -> Outcome {
        if !matches!(outcome, Outcome::Complete | Outcome::LimitReached) || self.writes_files() {
            return outcome;
        }
        self.report.end_streams(Timestamp::now());
        match self.report.unsent() {
            Some(why) => Outcome::Failed(Failure::new(why, Fault::Destination)),
            None => outcome,
        }
    }

    /// Evidence of a page that never started.
    async fn explain(&self) -> Option<StartReport> {
        let waits = match &self.setup.plan.source {
            SourcePlan::Web(web) => web.start == StartRule::OnSignal,
            SourcePlan::Tracks(_) => false,
        };
        let never_began = matches!(self.lifecycle.outcome(), Some(Outcome::Aborted { .. }));
        match &self.source {
            Some(source) if never_began && waits => source.explain().await,
            _ => None,
        }
    }

    /// Lets everything go at once: what is on the disk stays there for `weir recover`.
    pub(in crate::recording) async fn abandon(mut self) -> Ended {
        self.release();
        let began = self.timeline.elapsed().is_some();
        let abandoned = Failure::new("abandoned before it was finished", Fault::User);
        self.report.fail(&abandoned);
        // What failed before is still what it failed of.
        let failure = self.lifecycle.failure().cloned().unwrap_or(abandoned);
        let work = self.setup.work;
        let root = work.root().to_owned();
        let tidied = off_task_within(LET_GO_WITHIN, move || match began {
            true => Some(work.keep()),
            false => work.discard().err().map(|remains| remains.root),
        });
        let kept = tidied.await.unwrap_or(Some(root));
        if let Some(kept) = &kept {
            self.report.note(kept_for_recovery(kept));
        }
        self.setup.names.release();
        self.report.end(&Outcome::Failed(failure.clone()), EndReason::Killed, Timestamp::now());
        self.reporter.changed(self.report.info());
        let info = self.report.info().clone();
        Ended { outcome: Outcome::Failed(failure), info, kept, explanation: None, is_evicted: false }
    }

    /// Ends at once without a report: another recorder of this egress is in the room, and owns the
    /// egress and its output names. Uploads stop. The recorded media stays on the disk, and `weir
    /// recover` needs a person to name a target.
    pub(in crate::recording) async fn end_evicted(mut self) -> Ended {
        self.release();
        // A storage that takes a file at this moment is waited for: the file is moved or kept then.
        self.tasks.close();
        if tokio::time::timeout(TASKS_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some task of the evicted recording did not end in time");
        }
        let failure = Failure::new(EVICTED, Fault::Destination);
        self.report.fail(&failure);
        let work = self.setup.work;
        let root = work.root().to_owned();
        let tidied = off_task(move || {
            work.forget_storage();
            work.discard().err().map(|remains| remains.root)
        });
        let kept = tidied.await.unwrap_or(Some(root));
        tracing::warn!(kept = ?kept, "evicted: another recorder of this egress is in the room");
        if let Some(kept) = &kept {
            self.report.note(kept_for_recovery(kept));
        }
        self.setup.names.release();
        self.report.end(&Outcome::Failed(failure.clone()), EndReason::Failure, Timestamp::now());
        let info = self.report.info().clone();
        Ended { outcome: Outcome::Failed(failure), info, kept, explanation: None, is_evicted: true }
    }

    /// Drops all that works for the recording.
    fn release(&mut self) {
        self.abandon.cancel();
        drop((
            self.source.take(),
            self.encoders.take(),
            std::mem::take(&mut self.outputs),
            self.uploader.take(),
        ));
    }
}

/// Where files are kept, for a report: the name of their directory. Its path is logged.
fn kept_for_recovery(kept: &Path) -> String {
    format!("kept for `weir recover`: {}", name_of(kept))
}

/// The last component of a path.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Does on another thread what waits for a file system; `None`: it hangs, and is left to itself.
pub(super) async fn off_task<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    off_task_within(DISK_WITHIN, job).await
}

async fn off_task_within<T: Send + 'static>(
    within: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match tokio::time::timeout(within, tokio::task::spawn_blocking(job)).await {
        Ok(done) => done.inspect_err(|error| tracing::error!(%error, "work on the disk")).ok(),
        Err(_) => {
            tracing::error!(seconds = within.as_secs(), "the disk does not answer");
            None
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_is_left_to_itself() {
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let hangs = move || may_go_on.recv().is_ok();
        assert_eq!(off_task_within(Duration::from_millis(50), hangs).await, None);
        drop(go_on);
        assert_eq!(off_task(|| 7).await, Some(7));
    }
}
