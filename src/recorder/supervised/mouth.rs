//! What a recorder says to its service, and writes into its cell.

use std::time::Duration;

use livekit_protocol as proto;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ipc::cell::Cell;
use crate::ipc::{self, FromRecorder, Info};
use crate::recording::{Progress, Reporter};

/// A service that does not read for this long when all is over learns the end from the cell.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);

/// Says things in order, and never keeps the recording waiting: of reports that nobody has read yet the newest counts.
pub(super) struct Mouth {
    words: mpsc::UnboundedSender<FromRecorder>,
    info: watch::Sender<Option<proto::EgressInfo>>,
    progress: watch::Sender<ipc::Progress>,
    writing: JoinSet<()>,
}

impl Mouth {
    pub(super) fn open(pipe: pipe::Sender, cell: Cell) -> Self {
        let (words, from_words) = mpsc::unbounded_channel();
        let (info, infos) = watch::channel(None);
        let (progress, progresses) = watch::channel(ipc::Progress::default());
        let mut writing = JoinSet::new();
        writing.spawn(Writer { pipe: Some(pipe), cell }.run(from_words, infos, progresses));
        Self { words, info, progress, writing }
    }

    /// Says it after every report that was made before.
    pub(super) fn say(&self, word: FromRecorder) {
        // The writer lives as long as this.
        self.words.send(word).ok();
    }

    pub(super) fn words(&self) -> mpsc::UnboundedSender<FromRecorder> {
        self.words.clone()
    }

    pub(super) fn infos(&self) -> watch::Receiver<Option<proto::EgressInfo>> {
        self.info.subscribe()
    }

    /// Waits until everything is said and written down.
    pub(super) async fn close(self) {
        let Self { words, info, progress, mut writing } = self;
        drop((words, info, progress));
        if tokio::time::timeout(LAST_WORDS_WITHIN, writing.join_next()).await.is_err() {
            tracing::warn!("the service does not listen");
        }
    }
}

impl Reporter for Mouth {
    fn changed(&mut self, info: &proto::EgressInfo) {
        self.info.send_replace(Some(info.clone()));
    }

    fn progress(&mut self, progress: &Progress) {
        let Progress { elapsed, pictures, dropped, size, .. } = progress;
        self.progress.send_replace(ipc::Progress {
            seconds: elapsed.as_secs_f64(),
            pictures: *pictures,
            dropped: *dropped,
            bytes: *size,
        });
    }
}

struct Writer {
    /// `None`: nobody reads any more.
    pipe: Option<pipe::Sender>,
    cell: Cell,
}

impl Writer {
    async fn run(
        mut self,
        mut words: mpsc::UnboundedReceiver<FromRecorder>,
        mut infos: watch::Receiver<Option<proto::EgressInfo>>,
        mut progress: watch::Receiver<ipc::Progress>,
    ) {
        loop {
            tokio::select! {
                biased;
                Ok(()) = infos.changed() => self.report(&mut infos).await,
                Some(word) = words.recv() => {
                    // What was reported before was reported before.
                    if infos.has_changed().unwrap_or(true) {
                        self.report(&mut infos).await;
                    }
                    self.write(&word).await;
                }
                Ok(()) = progress.changed() => {
                    let progress = *progress.borrow_and_update();
                    self.write(&FromRecorder::Progress(progress)).await;
                }
                else => return,
            }
        }
    }

    async fn report(&mut self, infos: &mut watch::Receiver<Option<proto::EgressInfo>>) {
        let Some(info) = infos.borrow_and_update().clone() else { return };
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
