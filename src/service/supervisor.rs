//! One recorder: brought up, spoken to, watched to its end.
//!
//! ```text
//! launch ──► Launched ──► attend: reports ──► registry      Handle: orders in, the latest report out
//!   │ job out, first word in       │ orders out
//!   └─ refused, silent: killed     └─ the end: the recorder's own last report, or that it died
//! ```

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol as proto;
use nix::sys::signal::Signal;
use proto::EgressStatus;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ServiceError;
use super::leftovers::Death;
use crate::ipc::{self, FromRecorder, Job, Lines, Progress, Refusal, RefusalKind, Taken, ToRecorder};
use crate::process::{Own, OwnSpec, Stdin};
use crate::profile::Length;
use crate::psrpc::Code;
use crate::secret::Secret;
use crate::upload::Tried;

/// From its start to its first word. livekit-server asks again after ten seconds.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(9);
/// A recorder speaks twice a second. One that says nothing for this long has hung.
const SILENCE: Duration = Duration::from_secs(120);
/// From the end of its output to its exit.
const EXIT_WITHIN: Duration = Duration::from_secs(20);
/// A recorder reads at once; its pipe has room for far more than one order.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// From an order to stop to the report of it.
const ENDING_WITHIN: Duration = Duration::from_millis(2500);
/// From the end of a profile to its arrival: names are looked up in the debug information.
const PROFILED_WITHIN: Duration = Duration::from_secs(60);
/// From an update of its streams to the answer. It waits for a recording that has not begun.
const UPDATED_WITHIN: Duration = Duration::from_secs(125);

/// From the wish for its pipelines to the drawing.
const DRAWN_WITHIN: Duration = Duration::from_secs(5);
/// From the wish for a picture to the picture.
const SHOWN_WITHIN: Duration = Duration::from_secs(6);

/// What may be asked of a recorder that lives, by anybody.
#[derive(Debug)]
pub(super) struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    info: watch::Receiver<proto::EgressInfo>,
    progress: watch::Receiver<Progress>,
    pid: i32,
}

#[derive(Debug)]
enum Order {
    Say(ToRecorder),
    UpdateStream { add: Vec<String>, remove: Vec<String>, answer: oneshot::Sender<Result<(), ServiceError>> },
    DumpGraph { answer: oneshot::Sender<String> },
    Picture { width: u32, answer: oneshot::Sender<Option<ipc::Picture>> },
    Profile { length: Length, answer: oneshot::Sender<Result<Vec<u8>, ServiceError>> },
}

impl Handle {
    /// Asks it to end gracefully. Gives its report when it says that it does.
    pub(super) async fn stop(&self) -> proto::EgressInfo {
        // It fails when the recorder is gone, and then the report says so.
        self.orders.send(Order::Say(ToRecorder::Stop { cause: ipc::Cause::Request })).ok();
        let mut info = self.info.clone();
        let is_ending = |info: &proto::EgressInfo| {
            !matches!(info.status(), EgressStatus::EgressStarting | EgressStatus::EgressActive)
        };
        drop(timeout(ENDING_WITHIN, info.wait_for(is_ending)).await);
        self.info()
    }

    /// Has it end and finish its files, and fail with a text.
    pub(super) fn kill(&self, error: &str) {
        self.orders.send(Order::Say(ToRecorder::Kill { error: error.to_owned() })).ok();
    }

    /// Has it cost less; its report says why.
    pub(super) fn degrade(&self, why: &str) {
        self.orders.send(Order::Say(ToRecorder::Degrade { why: why.to_owned() })).ok();
    }

    /// Adds and removes addresses.
    ///
    /// # Errors
    /// What could not be done; the rest is.
    pub(super) async fn update_stream(
        &self,
        add: Vec<String>,
        remove: Vec<String>,
    ) -> Result<proto::EgressInfo, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| ServiceError::egress_not_found();
        self.orders.send(Order::UpdateStream { add, remove, answer }).map_err(|_| gone(()))?;
        match timeout(UPDATED_WITHIN, answered).await {
            Ok(Ok(done)) => done.map(|()| self.info()),
            Ok(Err(_)) => Err(gone(())),
            Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
        }
    }

    /// Its pipelines, in Graphviz's language.
    ///
    /// # Errors
    /// `not_found` when it is gone, `deadline_exceeded` when it does not answer.
    pub(super) async fn graph(&self) -> Result<String, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::DumpGraph { answer }).map_err(|_| ServiceError::egress_not_found())?;
        match timeout(DRAWN_WITHIN, answered).await {
            Ok(drawn) => drawn.map_err(|_| ServiceError::egress_not_found()),
            Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
        }
    }

    /// What it records, as a JPEG of at most this width; `None`: nothing can be seen.
    ///
    /// # Errors
    /// `not_found` when it is gone, `deadline_exceeded` when it does not answer.
    pub(super) async fn picture(&self, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| ServiceError::egress_not_found();
        self.orders.send(Order::Picture { width, answer }).map_err(|_| gone(()))?;
        let picture = match timeout(SHOWN_WITHIN, answered).await {
            Ok(Ok(picture)) => picture,
            Ok(Err(_)) => return Err(gone(())),
            Err(_) => return Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
        };
        let picture = picture.map(|picture| picture.read()).transpose();
        picture.map_err(|_| ServiceError::internal("the recorder's picture can't be read"))
    }

    /// Where it spends its CPU time: pprof's protobuf in gzip.
    ///
    /// # Errors
    /// `not_found` when it is gone, `already_exists` when one is being taken, `deadline_exceeded` when it does not answer.
    pub(super) async fn profile(&self, length: Length) -> Result<Vec<u8>, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| ServiceError::egress_not_found();
        self.orders.send(Order::Profile { length, answer }).map_err(|_| gone(()))?;
        match timeout(length.get() + PROFILED_WITHIN, answered).await {
            Ok(taken) => taken.map_err(|_| gone(()))?,
            Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
        }
    }

    /// Its latest report.
    pub(super) fn info(&self) -> proto::EgressInfo {
        self.info.borrow().clone()
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }
}

/// A recorder that has said that it can record.
#[derive(Debug)]
pub(super) struct Launched {
    own: Own,
    stdin: pipe::Sender,
    lines: Lines<pipe::Receiver>,
    orders: mpsc::UnboundedReceiver<Order>,
    info: watch::Sender<proto::EgressInfo>,
    progress: watch::Sender<Progress>,
    pub(super) handle: Arc<Handle>,
}

/// What is left when a recorder is gone.
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
    let spec = OwnSpec { args: vec!["recorder".into()], cwd: "/".into(), stdin: Stdin::Piped };
    let mut own = Own::start(spec).await.map_err(|error| failed(&error))?;
    let (Some(mut stdin), Some(stdout)) = (own.stdin.take(), own.stdout.take()) else {
        kill(&own).await;
        return Err(failed(&"it has no pipes"));
    };
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
        }
        Ok(_) => tracing::warn!("the recorder's first report can't be read"),
        Err(error) => {
            kill(&own).await;
            return Err(error);
        }
    }
    let (give_orders, orders) = mpsc::unbounded_channel();
    let info = watch::Sender::new(info);
    let progress = watch::Sender::new(Progress::default());
    let handle = Handle {
        orders: give_orders,
        info: info.subscribe(),
        progress: progress.subscribe(),
        pid: own.pid(),
    };
    Ok(Launched { own, stdin, lines, orders, info, progress, handle: Arc::new(handle) })
}

impl Launched {
    /// Watches it to its end. Each report goes to `tell` in its order, the last one excepted: what it means is decided by
    /// who knows how the recorder ended. Each upload goes to `count`.
    pub(super) async fn attend(
        mut self,
        tell: impl Fn(&proto::EgressInfo),
        count: impl Fn(&Tried),
    ) -> Departed {
        let (mut updates, mut graphs) = (Questions::new(), Questions::new());
        let (mut pictures, mut profiles) = (Questions::new(), Questions::new());
        let mut ended = false;
        let mut silent_at = Instant::now() + SILENCE;
        let hung = loop {
            tokio::select! {
                line = self.lines.next() => {
                    silent_at = Instant::now() + SILENCE;
                    let Some(line) = line else { break false };
                    match line.and_then(|line| ipc::parse(&line)) {
                        Ok(FromRecorder::Info(info)) => match info.read() {
                            Ok(info) => self.on_info(info, &tell),
                            Err(error) => tracing::warn!(%error, "a report can't be read"),
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
                                tracing::warn!(kept = %kept.display(), "something is left of it");
                            }
                        }
                        Ok(word @ (FromRecorder::Ready(_) | FromRecorder::Refused(_))) => {
                            tracing::warn!(?word, "unexpected of a recorder");
                        }
                        Err(error) => tracing::warn!(%error, "the recorder says something that is no message"),
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
                () = tokio::time::sleep_until(silent_at) => break true,
            }
        };
        let how = if hung {
            let silence = SILENCE.as_secs();
            tracing::error!(silence, "the recorder hangs, and is killed");
            kill(&self.own).await;
            format!("it said nothing for {silence} s and was killed")
        } else {
            match timeout_at(Instant::now() + EXIT_WITHIN, self.own.exit().wait()).await {
                Ok(status) => how(status),
                Err(_) => {
                    if !ended {
                        tracing::error!("the recorder does not end, and is killed");
                    }
                    kill(&self.own).await;
                    "it closed its output, did not end, and was killed".to_owned()
                }
            }
        };
        let death = if ended { Death::Natural } else { Death::Sudden(format!("the recorder died: {how}")) };
        Departed { info: self.info.borrow().clone(), death }
    }

    /// Ends it at once, before it has recorded anything.
    pub(super) async fn abort(self) {
        kill(&self.own).await;
    }

    fn on_info(&self, info: proto::EgressInfo, tell: &impl Fn(&proto::EgressInfo)) {
        if info.egress_id != self.info.borrow().egress_id {
            tracing::warn!("the recorder reports of another egress");
            return;
        }
        // A limit that was reached is told when the recording is over, not while its files are finished.
        let goes_on = matches!(
            info.status(),
            EgressStatus::EgressStarting | EgressStatus::EgressActive | EgressStatus::EgressEnding
        );
        if goes_on {
            tell(&info);
        }
        self.info.send_replace(info);
    }

    async fn write(&mut self, order: &ToRecorder) {
        let written = timeout(WRITE_WITHIN, self.stdin.write_all(&ipc::line(order))).await;
        match written {
            Ok(Ok(())) => {}
            // Its output ends, too, and there something is done about it.
            Ok(Err(error)) => tracing::debug!(%error, "an order does not reach the recorder"),
            Err(_) => tracing::warn!("the recorder does not read its orders"),
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
    const fn new() -> Self {
        Self { last: 0, open: Vec::new() }
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

/// Kills a recorder; its children die with it. Waits until it is gone.
async fn kill(own: &Own) {
    own.signal(Signal::SIGKILL);
    if timeout(EXIT_WITHIN, own.exit().wait()).await.is_err() {
        tracing::error!(pid = own.pid(), "killed, and still there");
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("it was killed by {}", signal.as_str()),
            Err(_) => format!("it was killed by signal {signal}"),
        },
        (None, None) => "it ended".to_owned(),
    }
}
