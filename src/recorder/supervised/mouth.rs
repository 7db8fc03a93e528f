//! What a recorder says to its service, and writes into its cell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use livekit_protocol as proto;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ipc::cell::Cell;
use crate::ipc::{self, FromRecorder, Info};
use crate::recording::progress::OutputProgress;
use crate::recording::{Progress, Reporter};
use crate::upload::{Tried, UploadProgress};

/// A service that does not read for this long when all is over learns the end from the cell.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);

/// Uploads that wait to be told. More of them, that a service does not read, are not counted.
const UPLOADS: usize = 1024;

/// Says things in order, and never keeps the recording waiting: of reports that nobody has read yet the newest counts.
pub(super) struct Mouth {
    words: Words,
    info: watch::Sender<Option<proto::EgressInfo>>,
    progress: watch::Sender<ipc::Progress>,
    uploads: mpsc::Sender<Tried>,
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
    /// The newest report has its turn already.
    report_waits: Arc<AtomicBool>,
}

impl Words {
    /// Says it after everything that was said and reported before.
    pub(super) fn say(&self, word: FromRecorder) {
        // The writer lives as long as this.
        self.turns.send(Turn::Word(word)).ok();
    }

    fn report(&self) {
        if !self.report_waits.swap(true, Ordering::AcqRel) {
            self.turns.send(Turn::Report).ok();
        }
    }
}

impl Mouth {
    pub(super) fn open(pipe: pipe::Sender, cell: Cell) -> Self {
        let (turns, from_turns) = mpsc::unbounded_channel();
        let words = Words { turns, report_waits: Arc::default() };
        let (info, infos) = watch::channel(None);
        let (progress, progresses) = watch::channel(ipc::Progress::default());
        let (uploads, tries) = mpsc::channel(UPLOADS);
        let report_waits = Arc::clone(&words.report_waits);
        let writer = Writer { pipe: Some(pipe), cell, infos, report_waits };
        let mut writing = JoinSet::new();
        writing.spawn(writer.run(from_turns, tries, progresses));
        Self { words, info, progress, uploads, writing }
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

    /// Waits until everything is said and written down.
    pub(super) async fn close(self) {
        let Self { words, info, progress, uploads, mut writing } = self;
        drop((words, progress, uploads));
        if tokio::time::timeout(LAST_WORDS_WITHIN, writing.join_next()).await.is_err() {
            tracing::warn!("the service does not listen");
        }
        drop(info);
    }
}

impl Reporter for Mouth {
    fn changed(&mut self, info: &proto::EgressInfo) {
        self.info.send_replace(Some(info.clone()));
        self.words.report();
    }

    fn progress(&mut self, progress: &Progress) {
        let Progress { elapsed, pictures, dropped, audio_lead, size, stored, outputs, .. } = progress;
        let waiting = |part: fn(&UploadProgress) -> u64| {
            outputs.iter().filter_map(|output| output.upload.as_ref()).map(part).sum()
        };
        self.progress.send_replace(ipc::Progress {
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

    fn tried(&mut self, tried: Tried) {
        if self.uploads.try_send(tried).is_err() {
            tracing::debug!("the service does not listen: an upload is not counted");
        }
    }
}

/// What waits of the outputs that are made of segments, if any are.
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
    /// `None`: nobody reads any more.
    pipe: Option<pipe::Sender>,
    cell: Cell,
    infos: watch::Receiver<Option<proto::EgressInfo>>,
    report_waits: Arc<AtomicBool>,
}

impl Writer {
    async fn run(
        mut self,
        mut turns: mpsc::UnboundedReceiver<Turn>,
        mut uploads: mpsc::Receiver<Tried>,
        mut progress: watch::Receiver<ipc::Progress>,
    ) {
        loop {
            tokio::select! {
                biased;
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
    }

    async fn report(&mut self) {
        // Before it is read: what comes after that has a turn of its own.
        self.report_waits.store(false, Ordering::Release);
        let Some(info) = self.infos.borrow().clone() else { return };
        if let Err(error) = self.cell.write_info(&info) {
            tracing::warn!(%error, "the report can't be written down");
        }
        self.write(&FromRecorder::Info(Info::new(&info))).await;
    }

    async fn write(&mut self, word: &FromRecorder) {
        let Some(pipe) = &mut self.pipe else { return };
        if let Err(error) = pipe.write_all(&ipc::line(word)).await {
            // The other pipe says so, too, and there something is done about it.
            tracing::debug!(%error, "nobody reads");
            self.pipe = None;
        }
    }
}
