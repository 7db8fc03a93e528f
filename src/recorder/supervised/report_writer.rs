//! Writes a recorder's messages to its service. Its directory, for the next service, is written
//! separately (`directory`).
//!
//! ```text
//!                 ┌─► directory ──► info           the newest report, on a thread of its own
//! recording ──► report
//!                 └─► Writer ──► pipe or socket    messages in order; reports and progress: the newest
//! ```
//!
//! A service that does not read, or a disk that hangs, holds up neither the recording nor the
//! other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use livekit_protocol as proto;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::directory;
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::{self, FromRecorder, Info, Outgoing};
use crate::recording::progress::OutputProgress;
use crate::recording::{Progress, Reporter};
use crate::upload::{UploadAttempt, UploadProgress};

/// A service that does not read for this long when all is over learns the end from the directory.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);
/// From the end to a last report in the directory, where a service has heard it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// The same where none has: the directory alone has it.
const WRITTEN_UNHEARD_WITHIN: Duration = Duration::from_secs(300);

/// Maximum number of unsent upload attempts. Further ones, which a service does not read, are not
/// counted.
const UPLOADS: usize = 1024;

/// Says things in order, and never keeps the recording waiting: of reports that nobody has read yet
/// the newest counts.
pub(super) struct ReportWriter {
    words: Words,
    info: watch::Sender<Option<proto::EgressInfo>>,
    progress: watch::Sender<ipc::RecorderProgress>,
    uploads: mpsc::Sender<UploadAttempt>,
    /// Gives whether a service has heard everything.
    saying: JoinSet<bool>,
    writing: JoinSet<()>,
}

/// One thing to say, in its turn.
enum Turn {
    Word(FromRecorder),
    /// The newest report.
    Report,
}

/// The way to say something. Clones are the same.
#[derive(Clone)]
pub(super) struct Words {
    turns: mpsc::UnboundedSender<Turn>,
    listeners: mpsc::UnboundedSender<Outgoing>,
    /// The newest report has its turn already.
    report_waits: Arc<AtomicBool>,
}

impl Words {
    /// Says it after everything that was said and reported before.
    pub(super) fn say(&self, word: FromRecorder) {
        // The writer lives as long as this.
        self.turns.send(Turn::Word(word)).ok();
    }

    /// Says everything to another service from now on, which first hears the newest report.
    pub(super) fn switch_to(&self, service: Outgoing) {
        self.listeners.send(service).ok();
    }

    fn report(&self) {
        if !self.report_waits.swap(true, Ordering::AcqRel) {
            self.turns.send(Turn::Report).ok();
        }
    }
}

impl ReportWriter {
    pub(super) fn open(service: Outgoing, egress_dir: EgressDir) -> Self {
        let (turns, from_turns) = mpsc::unbounded_channel();
        let (listeners, from_listeners) = mpsc::unbounded_channel();
        let words = Words { turns, listeners, report_waits: Arc::default() };
        let (info, infos) = watch::channel(None);
        let (progress, progresses) = watch::channel(ipc::RecorderProgress::default());
        let (uploads, tries) = mpsc::channel(UPLOADS);
        let mut writing = JoinSet::new();
        writing.spawn(directory::keep(egress_dir, infos.clone()));
        let report_waits = Arc::clone(&words.report_waits);
        let writer = Writer { service: Some(service), listeners: from_listeners, infos, report_waits };
        let mut saying = JoinSet::new();
        saying.spawn(writer.run(from_turns, tries, progresses));
        Self { words, info, progress, uploads, saying, writing }
    }

    /// Says it after everything that was said and reported before.
    pub(super) fn say(&self, word: FromRecorder) {
        self.words.say(word);
    }

    pub(super) fn words(&self) -> Words {
        self.words.clone()
    }

    pub(super) fn infos(&self) -> watch::Receiver<Option<proto::EgressInfo>> {
        self.info.subscribe()
    }

    /// Waits until everything is said and written down, or it is certain enough that it can't be.
    pub(super) async fn close(self) {
        let Self { words, info, progress, uploads, mut saying, mut writing } = self;
        drop((words, info, progress, uploads));
        let heard = timeout(LAST_WORDS_WITHIN, saying.join_next()).await;
        let is_heard = matches!(heard, Ok(Some(Ok(true))));
        if !is_heard {
            tracing::warn!("no service listens: the end is in the directory for the next one");
        }
        let within = if is_heard { WRITTEN_WITHIN } else { WRITTEN_UNHEARD_WITHIN };
        if timeout(within, writing.join_next()).await.is_err() {
            tracing::error!(is_heard, "the last report can't be written down");
        }
    }
}

impl Reporter for ReportWriter {
    fn changed(&mut self, info: &proto::EgressInfo) {
        self.info.send_replace(Some(info.clone()));
        self.words.report();
    }

    fn progress(&mut self, progress: &Progress) {
        let Progress { elapsed, pictures, dropped, audio_lead, size, stored, outputs, .. } = progress;
        let waiting = |part: fn(&UploadProgress) -> u64| {
            outputs.iter().filter_map(|output| output.upload.as_ref()).map(part).sum()
        };
        self.progress.send_replace(ipc::RecorderProgress {
            seconds: elapsed.as_secs_f64(),
            pictures: *pictures,
            dropped: *dropped,
            audio_lead: *audio_lead,
            bytes: *size,
            stored: *stored,
            waiting: waiting(|upload| upload.waiting),
            waiting_bytes: waiting(|upload| upload.waiting_bytes),
            queues: queues(outputs),
        });
    }

    fn tried(&mut self, tried: UploadAttempt) {
        if self.uploads.try_send(tried).is_err() {
            tracing::debug!("the service does not listen: an upload is not counted");
        }
    }
}

/// Waiting uploads of the segment outputs, if there are any.
fn queues(outputs: &[OutputProgress]) -> Option<ipc::Queues> {
    let of_segments = outputs.iter().filter(|output| output.is_segments);
    of_segments.fold(None, |sum, output| {
        let ipc::Queues { segments, playlists } = sum.unwrap_or_default();
        let upload = output.upload.unwrap_or_default();
        Some(ipc::Queues {
            segments: segments + upload.waiting.saturating_sub(upload.waiting_versions),
            playlists: playlists + upload.waiting_versions,
        })
    })
}

struct Writer {
    /// `None`: nobody listens.
    service: Option<Outgoing>,
    /// Services that listen from then on.
    listeners: mpsc::UnboundedReceiver<Outgoing>,
    infos: watch::Receiver<Option<proto::EgressInfo>>,
    report_waits: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until nothing more will be said. Gives whether somebody heard the last of it.
    async fn run(
        mut self,
        mut turns: mpsc::UnboundedReceiver<Turn>,
        mut uploads: mpsc::Receiver<UploadAttempt>,
        mut progress: watch::Receiver<ipc::RecorderProgress>,
    ) -> bool {
        loop {
            tokio::select! {
                biased;
                Some(service) = self.listeners.recv() => {
                    self.service = Some(service);
                    self.report().await;
                }
                turn = turns.recv() => match turn {
                    Some(Turn::Word(word)) => self.write(&word).await,
                    Some(Turn::Report) => self.report().await,
                    None => break,
                },
                Some(tried) = uploads.recv() => self.write(&FromRecorder::Uploaded(tried)).await,
                Ok(()) = progress.changed() => {
                    let progress = *progress.borrow_and_update();
                    self.write(&FromRecorder::Progress(progress)).await;
                }
            }
        }
        while let Ok(tried) = uploads.try_recv() {
            self.write(&FromRecorder::Uploaded(tried)).await;
        }
        self.service.is_some()
    }

    async fn report(&mut self) {
        // Before it is read: what comes after that has a turn of its own.
        self.report_waits.store(false, Ordering::Release);
        if let Some(word) = self.newest() {
            self.write(&word).await;
        }
    }

    fn newest(&self) -> Option<FromRecorder> {
        self.infos.borrow().as_ref().map(|info| FromRecorder::Info(Info::new(info)))
    }

    async fn write(&mut self, word: &FromRecorder) {
        let mut line = ipc::line(word);
        while let Some(service) = &mut self.service {
            let next = tokio::select! {
                biased;
                Some(next) = self.listeners.recv() => next,
                written = service.write_all(&line) => {
                    if let Err(error) = written {
                        // Its commands end, too, and there something is done about it.
                        tracing::debug!(%error, "nobody reads");
                        self.service = None;
                    }
                    return;
                }
            };
            self.service = Some(next);
            line = self.newest().as_ref().map(ipc::line).unwrap_or_default();
            line.extend(ipc::line(word));
        }
    }
}

#[cfg(test)]
mod tests;
