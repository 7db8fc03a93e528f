//! Output of child processes: written to their log, scanned for an awaited line, and kept for
//! errors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::text::shown;
use super::{ProcessError, Spec};
use crate::files;

/// A log is for reading: what says more than this says the same again and again.
const LOG_LIMIT: usize = 4 << 20;
const REMEMBERED_LINES: usize = 12;
/// Bytes that are kept of one line. The rest of a longer line is dropped.
const LINE_LIMIT: usize = 4 << 10;
/// Lines that wait for a caller of `says`. Further lines are dropped for it.
pub(super) const WAITING_LINES: usize = 1024;

/// The tasks that read a child's output; they end when it does, or when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Output {
    _readers: Vec<AbortOnDropHandle<()>>,
}

impl Output {
    pub(super) fn start(
        spec: &Spec,
        pipes: [Option<OwnedFd>; 2],
        lines: &mpsc::Sender<String>,
        last_words: &LastWords,
    ) -> Result<Self, ProcessError> {
        let in_log = |source| ProcessError::Log { path: spec.log.clone(), source };
        let file = files::open(&spec.log, files::options().create(true).append(true)).map_err(in_log)?;
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
    lines: mpsc::Sender<String>,
    last: LastWords,
}

impl Tap {
    async fn run(self, pipe: pipe::Receiver) {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        // An error on a pipe is its end.
        while let Ok(Some(cut)) = read_line(&mut reader, &mut bytes).await {
            let line = shown(String::from_utf8_lossy(&bytes).trim_end(), LINE_LIMIT, cut);
            if !line.is_empty() && !self.noise.iter().any(|noise| line.contains(noise)) {
                self.keep(&line);
                self.last.add(&line);
            }
            // The caller may be gone or slow. Reading goes on all the same: the child would block
            // on a full pipe.
            drop(self.lines.try_send(line));
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

/// Reads one line to its end. `line` gets at most [`LINE_LIMIT`] bytes of it, whole characters
/// only. Returns the number of characters that were cut; `None` at the end of the stream.
async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    line.clear();
    let (mut cut, mut is_there) = (0, false);
    loop {
        let read = reader.fill_buf().await?;
        if read.is_empty() {
            return Ok(is_there.then_some(cut));
        }
        is_there = true;
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = &read[..end.unwrap_or(read.len())];
        // After a cut the rest of the line is dropped.
        let room = if cut == 0 { LINE_LIMIT.saturating_sub(line.len()) } else { 0 };
        let (kept, dropped) = part.split_at(part.len().min(room));
        line.extend_from_slice(kept);
        if cut == 0 && dropped.first().is_some_and(|byte| continues(*byte)) {
            // The cut splits a character: drop all of it.
            while line.pop().is_some_and(continues) {}
            cut += 1;
        }
        cut += dropped.iter().filter(|byte| !continues(**byte)).count();
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(cut));
        }
    }
}

/// Whether a byte is a continuation byte of UTF-8.
const fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], buffer: usize) -> Vec<(String, usize)> {
        let (mut reader, mut line) = (BufReader::with_capacity(buffer, text), Vec::new());
        let mut found = Vec::new();
        while let Some(cut) = read_line(&mut reader, &mut line).await.unwrap() {
            assert!(line.len() <= LINE_LIMIT && line.capacity() < 4 * LINE_LIMIT);
            found.push((String::from_utf8(line.clone()).unwrap(), cut));
        }
        found
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_kept_whole() {
        let long = "x".repeat(1 << 20);
        for buffer in [7, 4096, 1 << 16] {
            assert_eq!(
                lines(b"a\n\nb", buffer).await,
                [("a".into(), 0), (String::new(), 0), ("b".into(), 0)]
            );
            let found = lines(format!("{long}\nnext\n").as_bytes(), buffer).await;
            assert_eq!(found[0], ("x".repeat(LINE_LIMIT), (1 << 20) - LINE_LIMIT));
            assert_eq!(found[1], ("next".into(), 0));
        }
    }

    #[tokio::test]
    async fn a_line_is_cut_between_characters() {
        for (before, buffer) in [(0, 5), (1, 6), (2, 7), (3, 1 << 16)] {
            let text = format!("{}{}", "x".repeat(before), "漢".repeat(2000));
            let found = lines(text.as_bytes(), buffer).await;
            let [(line, cut)] = found.as_slice() else { panic!("{found:?}") };
            assert!(text.starts_with(line.as_str()) && line.len() > LINE_LIMIT - 3, "{}", line.len());
            assert_eq!(line.chars().count() + cut, text.chars().count(), "{before}");
        }
    }
}
