//! What children write: into their log, to who waits for a line, and remembered for errors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{ProcessError, Spec};

/// A log is for reading: what says more than this says the same again and again.
const LOG_LIMIT: usize = 4 << 20;
const REMEMBERED_LINES: usize = 12;

/// The tasks that read a child's output; they end when it does, or when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Output {
    _readers: Vec<AbortOnDropHandle<()>>,
}

impl Output {
    pub(super) fn start(
        spec: &Spec,
        pipes: [Option<OwnedFd>; 2],
        lines: &mpsc::UnboundedSender<String>,
        last_words: &LastWords,
    ) -> Result<Self, ProcessError> {
        let in_log = |source| ProcessError::Log { path: spec.log.clone(), source };
        let file = File::options().create(true).append(true).open(&spec.log).map_err(in_log)?;
        let log = Arc::new(Mutex::new(Log { file, room: LOG_LIMIT }));
        let tasks = TaskTracker::new();
        let readers = pipes
            .into_iter()
            .flatten()
            .map(|pipe| {
                let reader = pipe::Receiver::from_owned_fd(pipe).map_err(in_log)?;
                let tap = Tap {
                    log: Arc::clone(&log),
                    noise: spec.noise,
                    lines: lines.clone(),
                    last: last_words.clone(),
                };
                Ok(AbortOnDropHandle::new(tasks.spawn(tap.run(reader))))
            })
            .collect::<Result<_, ProcessError>>()?;
        Ok(Self { _readers: readers })
    }
}

/// The last lines a child wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    pub(super) fn get(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "(nothing)".to_owned();
        }
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

#[derive(Debug)]
struct Log {
    file: File,
    /// Bytes that may still be written.
    room: usize,
}

struct Tap {
    log: Arc<Mutex<Log>>,
    noise: &'static [&'static str],
    lines: mpsc::UnboundedSender<String>,
    last: LastWords,
}

impl Tap {
    async fn run(self, pipe: pipe::Receiver) {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        // An error on a pipe is its end.
        while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if !line.is_empty() && !self.noise.iter().any(|noise| line.contains(noise)) {
                self.keep(&line);
                self.last.add(&line);
            }
            // Nobody waits for a line any more: the output is read on, or the child would block on a full pipe.
            drop(self.lines.send(line));
        }
    }

    fn keep(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(room) = log.room.checked_sub(line.len() + 1) else { return };
        log.room = room;
        if let Err(error) = writeln!(log.file, "{line}") {
            log.room = 0;
            tracing::warn!(%error, "a child's log can't be written any more");
        }
    }
}
