//! One recorder: brought up, spoken to, watched to its end.
//!
//! ```text
//! launch ──► Launched ──► attend: reports ──► registry      Handle: orders in, the latest report out
//!   │ job out, first word in       │ orders out
//!   └─ refused, silent: killed     └─ the end: the recorder's own last report, or that it died
//!
//! take_over ──► Launched           a recorder of a former run of the service, by the socket in its directory
//!   └─ Unreached: tried again, and given up when it has hung
//! ```

mod handle;
mod recorder;
mod silence;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol as proto;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::error::ServiceError;
use super::recovery::Death;
use super::registry::goes_on;
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::{
    self, FromRecorder, Incoming, Job, Lines, Outgoing, RecorderProgress, Refusal, RefusalKind, Taken,
    ToRecorder, socket,
};
use crate::process::{SelfExec, SelfExecSpec, Stdin};
use crate::psrpc::Code;
use crate::secret::Secret;
use crate::upload::UploadAttempt;
pub(super) use handle::Handle;
use handle::Order;
use recorder::Recorder;
pub(super) use silence::Silence;

/// From its start to its first word. livekit-server asks again after ten seconds.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(9);
/// From the end of its output to its exit.
const EXIT_WITHIN: Duration = Duration::from_secs(20);
/// A recorder reads at once; its pipe has room for far more than one order.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// A recorder that has said that it can record.
pub(super) struct Launched {
    recorder: Recorder,
    stdin: Outgoing,
    /// The last write may have ended in the middle of a line.
    is_torn: bool,
    lines: Lines<Incoming>,
    orders: mpsc::UnboundedReceiver<Order>,
    info: watch::Sender<proto::EgressInfo>,
    progress: watch::Sender<RecorderProgress>,
    pub(super) handle: Arc<Handle>,
}

/// State after a recorder is gone.
#[derive(Debug)]
pub(super) struct Departed {
    /// The last report that it made.
    pub(super) info: proto::EgressInfo,
    pub(super) death: Death,
}

/// Starts a recorder and gives it its job; `info` is what is reported of it so far.
///
/// # Errors
/// When it does not start or does not take the job. Nothing of it runs any more then.
pub(super) async fn launch(job: &Job, mut info: proto::EgressInfo) -> Result<Launched, ServiceError> {
    let failed =
        |error: &dyn std::fmt::Display| ServiceError::internal(format!("handler failed to start: {error}"));
    let spec = SelfExecSpec { args: vec!["recorder".into()], cwd: "/".into(), stdin: Stdin::Piped };
    let mut own = SelfExec::start(spec).await.map_err(|error| failed(&error))?;
    let pipes = (own.stdin.take(), own.stdout.take());
    let recorder = Recorder::Started(own);
    let (Some(stdin), Some(stdout)) = pipes else {
        recorder.kill(EXIT_WITHIN).await;
        return Err(failed(&"it has no pipes"));
    };
    let (mut stdin, stdout): (Outgoing, Incoming) = (Box::new(stdin), Box::new(stdout));
    let mut lines = Lines::new(stdout);
    let first_word = async {
        stdin.write_all(&ipc::line(job)).await.map_err(|error| failed(&error))?;
        match lines.next().await.map(|line| line.and_then(|line| ipc::parse(&line))) {
            Some(Ok(FromRecorder::Ready(info))) => Ok(info.read().ok()),
            Some(Ok(FromRecorder::Refused(refusal))) => Err(refused(refusal)),
            Some(Ok(_) | Err(_)) => Err(failed(&"it does not speak our words")),
            None => Err(failed(&"it ended before it said anything")),
        }
    };
    let said = timeout(FIRST_WORD_WITHIN, first_word).await;
    let silent = || failed(&format_args!("it said nothing within {} s", FIRST_WORD_WITHIN.as_secs()));
    match said.unwrap_or_else(|_| Err(silent())) {
        // Outputs may have got other names than those that were planned.
        Ok(Some(named)) if named.egress_id == info.egress_id => {
            info.file_results = named.file_results;
            info.segment_results = named.segment_results;
            info.image_results = named.image_results;
            info.result = named.result;
        }
        Ok(_) => tracing::warn!("first report of the recorder unreadable"),
        Err(error) => {
            recorder.kill(EXIT_WITHIN).await;
            return Err(error);
        }
    }
    Ok(Launched::new(recorder, stdin, lines, info))
}

/// Why a recorder of a former run was not taken over. It goes on all the same.
#[derive(Debug)]
pub(super) enum Unreached {
    /// Nobody listens: it is ending, or has no socket.
    Away(io::Error),
    /// It listens, and does not say in time how its recording stands.
    Silent(Silent),
}

/// A recorder of a former run that says nothing.
#[derive(Debug)]
pub(super) struct Silent {
    egress_dir: EgressDir,
    pid: i32,
}

impl Silent {
    /// Kills it: it has hung.
    pub(super) async fn give_up(self) -> Death {
        let Self { egress_dir, pid } = self;
        give_up(&Recorder::TakenOver { egress_dir, pid }).await
    }
}

/// Takes over a recorder that a former run of the service has started, and that lives without one
/// now. The `orders` are in its socket before anything is heard of it: one that stands still
/// carries them out when it goes on, whatever has become of the service by then.
///
/// # Errors
/// When it can't be reached, or does not say in time how its recording stands.
pub(super) async fn take_over(egress_dir: &EgressDir, orders: &[ToRecorder]) -> Result<Launched, Unreached> {
    let deadline = Instant::now() + FIRST_WORD_WITHIN;
    let connected = timeout_at(deadline, socket::connect(egress_dir)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (stream, pid) = connected.map_err(Unreached::Away)?;
    let taking = async {
        let (incoming, mut outgoing) = stream.into_split();
        for order in orders {
            outgoing.write_all(&ipc::line(order)).await?;
        }
        let mut lines: Lines<Incoming> = Lines::new(Box::new(incoming));
        // How its recording stands comes first, in whatever words follow.
        loop {
            let line = lines.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
            let Ok(FromRecorder::Info(info)) = line.and_then(|line| ipc::parse(&line)) else { continue };
            if let Ok(info) = info.read()
                && info.egress_id == egress_dir.egress_id()
            {
                return Ok::<_, io::Error>((outgoing, lines, info));
            }
        }
    };
    match timeout_at(deadline, taking).await {
        Ok(Ok((outgoing, lines, info))) => {
            let recorder = Recorder::TakenOver { egress_dir: egress_dir.clone(), pid };
            Ok(Launched::new(recorder, Box::new(outgoing), lines, info))
        }
        Ok(Err(error)) => Err(Unreached::Away(error)),
        Err(_) => Err(Unreached::Silent(Silent { egress_dir: egress_dir.clone(), pid })),
    }
}

/// Kills a recorder that has said nothing for too long.
async fn give_up(recorder: &Recorder) -> Death {
    let silence = silence::LONGEST.as_secs();
    tracing::error!(silence, "recorder hangs; killing it");
    recorder.kill(EXIT_WITHIN).await;
    Death::Sudden(format!("the recorder died: it said nothing for {silence} s and was killed"))
}

impl Launched {
    fn new(recorder: Recorder, stdin: Outgoing, lines: Lines<Incoming>, info: proto::EgressInfo) -> Self {
        let (give_orders, orders) = mpsc::unbounded_channel();
        let info = watch::Sender::new(info);
        let progress = watch::Sender::new(RecorderProgress::default());
        let handle = Handle {
            orders: give_orders,
            info: info.subscribe(),
            progress: progress.subscribe(),
            pid: recorder.pid(),
        };
        Self { recorder, stdin, is_torn: false, lines, orders, info, progress, handle: Arc::new(handle) }
    }

    /// Watches it to its end. Each report goes to `tell` in its order, the last one excepted: what
    /// it means is decided by who knows how the recorder ended. Each upload goes to `count`.
    pub(super) async fn attend(
        mut self,
        tell: impl Fn(&proto::EgressInfo),
        count: impl Fn(&UploadAttempt),
    ) -> Departed {
        let (mut updates, mut graphs) = (Questions::new(), Questions::new());
        let (mut pictures, mut profiles) = (Questions::new(), Questions::new());
        let (mut ended, mut is_evicted, mut is_understood) = (false, false, true);
        let mut silence = Silence::begin(Instant::now());
        let mut looks = interval(silence::LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hung = loop {
            tokio::select! {
                // What it has said counts before that it has said nothing; and orders, each of
                // which may take a while, come last.
                biased;
                line = self.lines.next() => {
                    silence.end(Instant::now());
                    let Some(line) = line else { break false };
                    match line.and_then(|line| ipc::parse(&line)) {
                        Ok(FromRecorder::Info(info)) => match info.read() {
                            Ok(info) => self.on_info(info, &tell),
                            Err(error) => tracing::warn!(%error, "report unreadable"),
                        },
                        Ok(FromRecorder::Progress(progress)) => {
                            self.progress.send_replace(progress);
                        }
                        Ok(FromRecorder::Uploaded(tried)) => count(&tried),
                        Ok(FromRecorder::Reply { id, refusal }) => {
                            updates.answer(id, refusal.map_or(Ok(()), |refusal| Err(refused(refusal))));
                        }
                        Ok(FromRecorder::Graph { id, dot }) => graphs.answer(id, dot),
                        Ok(FromRecorder::Picture { id, jpeg }) => pictures.answer(id, jpeg),
                        Ok(FromRecorder::Profile { id, taken }) => profiles.answer(id, read_profile(taken)),
                        Ok(FromRecorder::Ended { kept }) => {
                            ended = true;
                            if let Some(kept) = kept {
                                tracing::warn!(kept = %kept.display(), "unfinished files kept");
                            }
                        }
                        Ok(FromRecorder::Evicted { kept }) => {
                            is_evicted = true;
                            tracing::warn!(?kept, "another recorder has its egress");
                        }
                        Ok(word @ (FromRecorder::Ready(_) | FromRecorder::Refused(_))) => {
                            tracing::warn!(?word, "unexpected message from the recorder");
                        }
                        // A recorder of another version may say it twice a second.
                        Err(error) if std::mem::take(&mut is_understood) => {
                            tracing::warn!(%error, "invalid message from the recorder");
                        }
                        Err(error) => tracing::debug!(%error, "invalid message from the recorder"),
                    }
                }
                _ = looks.tick() => {
                    if silence.look(Instant::now()) {
                        break true;
                    }
                }
                Some(order) = self.orders.recv() => {
                    let order = match order {
                        Order::Say(order) => order,
                        Order::UpdateStream { add, remove, answer } => ToRecorder::UpdateStream {
                            id: updates.note(answer),
                            add: Secret::new(add),
                            remove: Secret::new(remove),
                        },
                        Order::DumpGraph { answer } => ToRecorder::DumpGraph { id: graphs.note(answer) },
                        Order::Picture { width, answer } => {
                            ToRecorder::Picture { id: pictures.note(answer), width }
                        }
                        Order::Profile { length, answer } => ToRecorder::Profile {
                            id: profiles.note(answer),
                            seconds: length.get().as_secs(),
                        },
                    };
                    self.write(&order).await;
                }
            }
        };
        let death = if hung {
            give_up(&self.recorder).await
        } else if let Ok(exit) = timeout(EXIT_WITHIN, self.recorder.exit()).await {
            exit.death()
        } else {
            tracing::error!(ended, "recorder does not exit; killing it");
            self.recorder.kill(EXIT_WITHIN).await;
            Death::Sudden("the recorder died: it closed its output, did not end, and was killed".to_owned())
        };
        // Who has said that all is over has nothing more to lose.
        let death = match (is_evicted, ended) {
            (true, _) => Death::Evicted,
            (false, true) => Death::Natural,
            (false, false) => death,
        };
        Departed { info: self.info.borrow().clone(), death }
    }

    /// Ends it at once, before it has recorded anything.
    pub(super) async fn abort(self) {
        self.recorder.kill(EXIT_WITHIN).await;
    }

    fn on_info(&self, info: proto::EgressInfo, tell: &impl Fn(&proto::EgressInfo)) {
        if info.egress_id != self.info.borrow().egress_id {
            tracing::warn!("report of another egress ignored");
            return;
        }
        // A limit that was reached, and a failure, are reported when the recording is over, not
        // while its files are finished.
        if goes_on(&info) {
            tell(&info);
        }
        self.info.send_replace(info);
    }

    async fn write(&mut self, order: &ToRecorder) {
        let mut line = ipc::line(order);
        if self.is_torn {
            // Half an order takes no other with it.
            line.insert(0, b'\n');
        }
        let written = timeout(WRITE_WITHIN, self.stdin.write_all(&line)).await;
        self.is_torn = written.is_err();
        match written {
            Ok(Ok(())) => {}
            // Its output ends, too, and there something is done about it.
            Ok(Err(error)) => tracing::debug!(%error, "order not sent to the recorder"),
            Err(_) => tracing::warn!("recorder does not read its orders"),
        }
    }
}

/// Questions of one kind that are not answered yet.
#[derive(Debug)]
struct Questions<T> {
    last: u64,
    open: Vec<(u64, oneshot::Sender<T>)>,
}

impl<T> Questions<T> {
    /// Numbers begin somewhere: a recorder that is taken over may still answer what its former
    /// service has asked.
    fn new() -> Self {
        Self { last: rand::random::<u32>().into(), open: Vec::new() }
    }

    /// A question's number.
    fn note(&mut self, answer: oneshot::Sender<T>) -> u64 {
        self.open.retain(|(_, answer)| !answer.is_closed());
        self.last += 1;
        self.open.push((self.last, answer));
        self.last
    }

    fn answer(&mut self, id: u64, said: T) {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == id) {
            // Who asked may have gone.
            self.open.swap_remove(at).1.send(said).ok();
        }
    }
}

fn read_profile(taken: Taken) -> Result<Vec<u8>, ServiceError> {
    match taken {
        Taken::Profile(profile) => {
            profile.read().map_err(|_| ServiceError::internal("the recorder's profile can't be read"))
        }
        Taken::Refused(refusal) => Err(refused(refusal)),
    }
}

fn refused(refusal: Refusal) -> ServiceError {
    let code = match refusal.kind {
        RefusalKind::Busy | RefusalKind::NameTaken => Code::AlreadyExists,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Unavailable => Code::Unavailable,
        RefusalKind::Ending => Code::FailedPrecondition,
        RefusalKind::Internal => Code::Internal,
    };
    ServiceError::new(code, refusal.message)
}

#[cfg(test)]
mod tests;
