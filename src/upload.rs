//! Uploads finished files to their storage. Nothing is deleted before it is uploaded.
//!
//! ```text
//!            ┌─ queue of output 0: backlog ─► primary storage, or backup ─┐
//! Upload ────┼─ queue of output 1: …                                      ├──► UploadEvent
//! Growing    └─ …                                                         ┘
//! ```
//!
//! Each output has a queue, whose uploads run one after another in the order of their requests: a
//! playlist follows its segments, and a slow storage holds up no other output. While a storage is
//! unavailable, finished files wait on the disk and are retried, until the end of the recording and
//! for [`LaneSetup::patience`] after it. A refused file is set aside (`schedule`), so that it holds
//! up no file behind it. At the end, each remaining file has one more attempt, is reported, and
//! stays for `weir recover`.

mod attempt;
mod backlog;
pub mod mime;
mod multipart;
mod off_worker;
mod panic_guard;
mod patience;
mod queue;
mod queue_view;
pub mod recovery;
mod schedule;
mod silence;
pub mod store;
mod targets;
pub mod upload_journal;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::attempt::{Status, UploadAttempt};
use self::off_worker::off_worker;
use self::queue::{Message, UploadQueue};
pub use self::queue_view::{PatienceLeft, QueueView, UploadProgress};
use self::store::Head;
use self::targets::Stores;
pub use self::targets::{Place, UploadError};
pub use self::verdict::Trouble;
use crate::plan::output::OutputId;
use crate::plan::storage::Storage;

/// A file to be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upload<T> {
    pub output: OutputId,
    pub local: PathBuf,
    /// Its name in the storage, without the storage's prefix.
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub versions: Versions,
    pub if_taken: IfTaken,
    /// Data of the caller, returned with the result.
    pub subject: T,
}

/// Whether others of the same name follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versions {
    One,
    /// Only the newest counts: an older one that still waits may be left out.
    NewestCounts,
}

/// Treatment of an existing local file with the name. Other storages replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfTaken {
    Replace,
    /// The file there stays, and this one gets another name.
    Rename(String),
}

/// A file that has begun and only grows; the finished one will be asked to be stored by
/// [`Uploader::store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growing {
    pub output: OutputId,
    /// Its current location.
    pub local: PathBuf,
    pub name: String,
    pub head: Head,
}

/// Result of an upload.
#[derive(Debug)]
pub enum UploadEvent<T> {
    /// It is at `location`, by the name that it got, and no longer where it was.
    Uploaded { upload: Upload<T>, location: String, place: Place },
    /// The store does not take it now. It waits, with everything behind it, and is tried again.
    Delayed { output: OutputId, error: Arc<UploadError> },
    /// The store takes files again.
    Resumed { output: OutputId },
    /// The file is still at `upload.local`, and is not retried. Only the newest version of a file
    /// is kept: older ones are removed then, and when a newer one is uploaded.
    Kept { upload: Upload<T>, error: Arc<UploadError> },
    /// Files of an output were not uploaded, and their list is lost. They stay where they are, and
    /// are not retried.
    LeftBehind { output: OutputId, error: String },
}

/// Configuration of a queue.
#[derive(Debug, Clone)]
pub struct LaneSetup {
    pub output: OutputId,
    pub storage: Storage,
    /// The output's directory, which outlives a crash.
    pub dir: PathBuf,
    /// How long the lane waits for a storage that is away when nothing more comes.
    pub patience: Duration,
}

/// Data that an upload carries; it must be serializable, as it may be spilled to the disk.
pub trait Subject: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Subject for T {}

/// Stores files, those of one output one after the other.
#[derive(Debug)]
pub struct Uploader<T> {
    lanes: BTreeMap<OutputId, (mpsc::UnboundedSender<Message<T>>, Arc<QueueView>)>,
    /// Where there are no lanes, results end with the uploader all the same, and not before.
    _results: mpsc::UnboundedSender<UploadEvent<T>>,
}

impl<T: Subject> Uploader<T> {
    /// Starts a lane for each output that keeps something. Results come through the receiver, which
    /// closes when the uploader is dropped and every lane has come to an end. `base` is what
    /// relative local names are relative to; `abandon` ends everything at once.
    #[must_use]
    pub fn start(
        lanes: Vec<LaneSetup>,
        base: &std::path::Path,
        tasks: &TaskTracker,
        abandon: &CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<UploadEvent<T>>) {
        Self::start_with(lanes, &Stores::new(base), tasks, abandon)
    }

    fn start_with(
        lanes: Vec<LaneSetup>,
        stores: &Stores,
        tasks: &TaskTracker,
        abandon: &CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<UploadEvent<T>>) {
        let (results, events) = mpsc::unbounded_channel();
        let lanes = lanes
            .into_iter()
            .map(|setup| {
                let (sender, receiver) = mpsc::unbounded_channel();
                let (output, view) = (setup.output, Arc::new(QueueView::default()));
                let lane = UploadQueue::new(setup, stores, Arc::clone(&view), results.clone());
                let (abandoned, results) = (abandon.clone().cancelled_owned(), results.clone());
                tasks.spawn(async move {
                    let mut running = JoinSet::new();
                    running.spawn(off_worker(lane.run(receiver)));
                    tokio::select! {
                        biased;
                        // What is left is for `weir recover`.
                        () = abandoned => running.shutdown().await,
                        ended = running.join_next() => if let Some(Err(panic)) = ended {
                            let error = format!("uploads ended unexpectedly: {panic}; some files were not uploaded");
                            // Where nobody listens, the work directory says it.
                            results.send(UploadEvent::LeftBehind { output, error }).ok();
                        },
                    }
                });
                (output, (sender, view))
            })
            .collect();
        (Self { lanes, _results: results }, events)
    }

    /// Asks for a file to be stored.
    pub fn store(&self, upload: Upload<T>) {
        self.send(upload.output, Message::Store(upload));
    }

    /// Says that a file has begun to grow. Where the store can take it in parts, it does so from
    /// now on.
    pub fn grow(&self, growing: Growing) {
        self.send(growing.output, Message::Grow(growing));
    }

    /// To be called now and then: growing files are looked at.
    pub fn look(&self) {
        for (sender, _) in self.lanes.values() {
            // A lane that is gone has said so.
            sender.send(Message::Look).ok();
        }
    }

    /// The progress of each output, also after the uploader is gone.
    #[must_use]
    pub fn views(&self) -> BTreeMap<OutputId, Arc<QueueView>> {
        self.lanes.iter().map(|(output, (_, view))| (*output, Arc::clone(view))).collect()
    }

    fn send(&self, output: OutputId, message: Message<T>) {
        let sent = self.lanes.get(&output).is_some_and(|(lane, _)| lane.send(message).is_ok());
        if !sent {
            tracing::error!(
                output = output.0,
                "nobody stores for this output: a file stays in the work directory"
            );
        }
    }
}

/// Removes a file that is stored. The local disk has moved it; elsewhere it is a copy that has done
/// its work.
fn forget(local: &std::path::Path) {
    match std::fs::remove_file(local) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %local.display(), "could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
