//! Commands: from the service that started the recorder, and when that is gone from the next one.
//!
//! ```text
//! stdin ──┐ its end: the service is gone             commands ──► recording
//!         ├──────────────────────────► Orders ──►    answers ───► mouth
//! socket ─┘ a service at a time, when none is there
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::report_writer::Words;
use super::streams::Streams;
use crate::control::Command;
use crate::ipc::socket::RecorderSocket;
use crate::ipc::{self, FromRecorder, Incoming, IpcError, Lines, Refusal, RefusalKind, Taken, ToRecorder};
use crate::media;
use crate::profile::{self, Length, ProfileError};

/// Deadline of a preview.
const PICTURE_WITHIN: Duration = Duration::from_secs(5);
/// From a connection that could not be taken, as where no file descriptor is left, to the next
/// attempt.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Takes commands, and has them carried out.
pub(super) struct Orders {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) streams: Arc<Streams>,
    pub(super) words: Words,
    /// `None`: no other service can take over.
    pub(super) socket: Option<RecorderSocket>,
    /// How long the recording goes on without a service.
    pub(super) orphan_timeout: Duration,
}

impl Orders {
    /// Takes commands from `service`, and from those that come after it, until it is dropped.
    pub(super) async fn take(self, service: Incoming) {
        let mut lines = Some(Lines::new(service));
        let mut alone_until = None;
        let mut work = JoinSet::new();
        loop {
            tokio::select! {
                line = next(lines.as_mut()) => match line {
                    Some(line) => self.on_order(line.and_then(|line| ipc::parse(&line)), &mut work),
                    None => {
                        let left = self.orphan_timeout;
                        tracing::warn!(seconds = left.as_secs(), "the service is gone; the recording goes on");
                        (lines, alone_until) = (None, Instant::now().checked_add(left));
                    }
                },
                // One that is there has nobody beside it.
                service = accept(self.socket.as_ref()), if lines.is_none() => {
                    tracing::info!("another service has taken over");
                    let (incoming, outgoing) = service.into_split();
                    self.words.switch_to(Box::new(outgoing));
                    (lines, alone_until) = (Some(Lines::new(Box::new(incoming) as Incoming)), None);
                }
                () = until(alone_until) => {
                    alone_until = None;
                    let seconds = self.orphan_timeout.as_secs();
                    let error = format!("the service was gone, and no other came within {seconds} s (orphan_timeout)");
                    tracing::error!("{error}");
                    // It fails when the recording is over, and then there is nothing to end.
                    self.commands.send(Command::Kill { error }).ok();
                }
                Some(_) = work.join_next() => {}
            }
        }
    }

    fn on_order(&self, order: Result<ToRecorder, IpcError>, work: &mut JoinSet<()>) {
        let (commands, words) = (self.commands.clone(), self.words.clone());
        match order {
            Ok(ToRecorder::Stop { cause }) => drop(commands.send(Command::Stop(cause.into()))),
            Ok(ToRecorder::Degrade { why }) => drop(commands.send(Command::Degrade { why })),
            Ok(ToRecorder::Kill { error }) => drop(commands.send(Command::Kill { error })),
            Ok(ToRecorder::UpdateStream { id, add, remove }) => {
                let streams = Arc::clone(&self.streams);
                // It may wait for the recording to begin, and a stop must not wait for it.
                work.spawn(async move { streams.update(id, &add, &remove).await });
            }
            Ok(ToRecorder::DumpGraph { id }) => {
                // It waits for elements that may be at work.
                work.spawn_blocking(move || words.say(FromRecorder::Graph { id, dot: media::graph::dot() }));
            }
            Ok(ToRecorder::Picture { id, width }) => {
                work.spawn(async move {
                    let jpeg = picture(&commands, width).await;
                    words.say(FromRecorder::Picture { id, jpeg });
                });
            }
            Ok(ToRecorder::Profile { id, seconds }) => {
                work.spawn(async move {
                    let taken = profiled(seconds).await;
                    words.say(FromRecorder::Profile { id, taken });
                });
            }
            Err(error) => tracing::warn!(%error, "invalid command from the service"),
        }
    }
}

async fn next(lines: Option<&mut Lines<Incoming>>) -> Option<Result<Vec<u8>, IpcError>> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

async fn accept(socket: Option<&RecorderSocket>) -> UnixStream {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        match socket.accept().await {
            Ok(service) => return service,
            Err(error) => {
                tracing::warn!(%error, "a service can't take over now");
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The current frame for a preview; `None` without video.
async fn picture(commands: &mpsc::UnboundedSender<Command>, width: u32) -> Option<ipc::Picture> {
    let (reply, shown) = oneshot::channel();
    commands.send(Command::Picture { width, reply }).ok()?;
    let jpeg = timeout(PICTURE_WITHIN, shown).await.ok()?.ok()??;
    ipc::Picture::new(&jpeg)
}

/// A CPU profile of this process, or the reason for its absence.
async fn profiled(seconds: u64) -> Taken {
    let refused = |kind, message: String| Taken::Refused(Refusal { kind, message });
    let Some(length) = Length::seconds(seconds) else {
        return refused(RefusalKind::Invalid, format!("seconds: 1 to {}", Length::LONGEST));
    };
    match profile::take(length).await {
        Ok(profile) => Taken::Profile(ipc::Profile::new(&profile)),
        Err(error @ ProfileError::Taken) => refused(RefusalKind::Busy, error.to_string()),
        Err(error) => refused(RefusalKind::Internal, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
