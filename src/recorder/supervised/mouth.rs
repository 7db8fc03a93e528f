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
use crate::recording::{Progress, Reporter};
use crate::upload::UploadProgress;

/// A service that does not read for this long when all is over learns the end from the cell.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);

/// Says things in order, and never keeps the recording waiting: of reports that nobody has read yet the newest counts.
pub(super) struct Mouth {
    words: Words,
    info: watch::Sender<Option<proto::EgressInfo>>,
    progress: watch::Sender<ipc::Progress>,
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
        let report_waits = Arc::clone(&words.report_waits);
        let writer = Writer { pipe: Some(pipe), cell, infos, report_waits };
        let mut writing = JoinSet::new();
        writing.spawn(writer.run(from_turns, progresses));
        Self { words, info, progress, writing }
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
        let Self { words, info, progress, mut writing } = self;
        drop((words, progress));
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
        let Progress { elapsed, pictures, dropped, size, stored, outputs, .. } = progress;
        let waiting = |part: fn(&UploadProgress) -> u64| {
            outputs.iter().filter_map(|output| output.upload.as_ref()).map(part).sum()
        };
        self.progress.send_replace(ipc::Progress {
            seconds: elapsed.as_secs_f64(),
            pictures: *pictures,
            dropped: *dropped,
            bytes: *size,
            stored: *stored,
            waiting: waiting(|upload| upload.waiting),
            waiting_bytes: waiting(|upload| upload.waiting_bytes),
        });
    }
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
        mut progress: watch::Receiver<ipc::Progress>,
    ) {
        loop {
            tokio::select! {
                biased;
                turn = turns.recv() => match turn {
                    Some(Turn::Word(word)) => self.write(&word).await,
                    Some(Turn::Report) => self.report().await,
                    None => return,
                },
                Ok(()) = progress.changed() => {
                    let progress = *progress.borrow_and_update();
                    self.write(&FromRecorder::Progress(progress)).await;
                }
            }
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
