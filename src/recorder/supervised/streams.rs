//! `UpdateStream`: addresses that come and go while a recording runs.

use std::sync::Arc;
use std::time::Duration;

use livekit_protocol as proto;
use proto::EgressStatus;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::report_writer::Words;
use crate::control::{Command, CommandError};
use crate::ipc::{FromRecorder, Refusal, RefusalKind};
use crate::outbound::Guard;
use crate::plan::link_local;
use crate::plan::stream_url::StreamUrl;
use crate::secret::Secret;

/// How long an update waits for the recording to begin. Who asked has stopped waiting long before, and still gets it.
const BEGINS_WITHIN: Duration = Duration::from_secs(120);
/// The recording's task answers within one turn.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The way to the recording's streams.
pub(super) struct Streams {
    commands: mpsc::UnboundedSender<Command>,
    words: Words,
    infos: watch::Receiver<Option<proto::EgressInfo>>,
    has_streams: bool,
    /// One update after the other, in the order in which they came.
    turn: Mutex<()>,
}

impl Streams {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command>,
        words: Words,
        infos: watch::Receiver<Option<proto::EgressInfo>>,
        has_streams: bool,
    ) -> Arc<Self> {
        Arc::new(Self { commands, words, infos, has_streams, turn: Mutex::new(()) })
    }

    /// Does all of an update that can be done, and answers it.
    pub(super) async fn update(&self, id: u64, add: &Secret<Vec<String>>, remove: &Secret<Vec<String>>) {
        let _turn = self.turn.lock().await;
        let refusal = self.apply(add, remove).await.err();
        self.words.say(FromRecorder::Reply { id, refusal });
    }

    async fn apply(&self, add: &Secret<Vec<String>>, remove: &Secret<Vec<String>>) -> Result<(), Refusal> {
        if !self.has_streams {
            return Err(refusal(RefusalKind::Invalid, "UpdateStream called on non-streaming egress"));
        }
        let mut infos = self.infos.clone();
        let begun = infos
            .wait_for(|info| info.as_ref().is_some_and(|info| info.status() != EgressStatus::EgressStarting));
        match tokio::time::timeout(BEGINS_WITHIN, begun).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => {
                return Err(refusal(RefusalKind::Unavailable, "the recording has not begun"));
            }
        }
        let mut refusals = Vec::new();
        for url in add.expose() {
            if StreamUrl::parse(url, None).is_ok_and(|url| refuses(&url)) {
                let why = "stream url: it is a link-local address, which this service does not connect to (`allow_link_local`)";
                let message = format!("request has missing or invalid field: {why}");
                refusals.push(refusal(RefusalKind::Invalid, message));
                continue;
            }
            let done = self.one(url, |url, reply| Command::AddStream { url, reply }).await;
            refusals.extend(done.err());
        }
        for url in remove.expose() {
            let done = self.one(url, |url, reply| Command::RemoveStream { url, reply }).await;
            refusals.extend(done.err());
        }
        let Some(first) = refusals.first() else { return Ok(()) };
        let messages: Vec<&str> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
        Err(refusal(first.kind, messages.join("; ")))
    }

    async fn one(
        &self,
        url: &str,
        command: impl FnOnce(StreamUrl, crate::control::Reply) -> Command,
    ) -> Result<(), Refusal> {
        let url = StreamUrl::parse(url, None)
            .map_err(|error| refusal(RefusalKind::Invalid, format!("{error} (field stream url)")))?;
        let (reply, answer) = oneshot::channel();
        let ending = || refusal(RefusalKind::Ending, CommandError::Ending.to_string());
        self.commands.send(command(url, reply)).map_err(|_| ending())?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(refusal(kind(&error), error.to_string())),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(refusal(RefusalKind::Internal, "the recording does not answer")),
        }
    }
}

fn refuses(url: &StreamUrl) -> bool {
    Guard::of_process().refuses_link_local() && link_local::stream_names_link_local(url)
}

const fn kind(error: &CommandError) -> RefusalKind {
    match error {
        CommandError::NoStreamOutput(_)
        | CommandError::DuplicateStream(_)
        | CommandError::AmbiguousStream(_) => RefusalKind::Invalid,
        CommandError::UnknownStream(_) => RefusalKind::NotFound,
        CommandError::Ending => RefusalKind::Ending,
    }
}

fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into() }
}
