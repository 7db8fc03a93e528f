//! Logs.

use std::io::{self, IsTerminal, Write};

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How much is logged; `WEIR_LOG` (in `RUST_LOG`'s syntax) overrides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// Warnings: beside a live line, which tells the rest.
    Beside,
    /// What happens to a recording.
    Normal,
}

/// Sends logs to stderr, around a live line that may be there.
pub fn init(verbosity: Verbosity, line: ProgressBar) {
    let default = match verbosity {
        Verbosity::Quiet => "error",
        // What Chromium's messages do not fit is chromiumoxide's to know, and nobody's to read.
        Verbosity::Beside => "warn,chromiumoxide=error",
        Verbosity::Normal => "info,chromiumoxide=error",
    };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Around(line))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when one is set already, as in tests; that one stands.
    subscriber.try_init().ok();
}

/// What is logged of a service and its recorders, where `WEIR_LOG` says nothing: `level` of ours, and nothing of what Chromium's
/// messages do not fit.
#[must_use]
pub fn service_filter(level: &str) -> String {
    std::env::var("WEIR_LOG").unwrap_or_else(|_| format!("{level},chromiumoxide=error"))
}

/// Sends a service's logs, or those of its recorders, to stderr: as text, or as one JSON object a line.
pub fn init_service(filter: &str, json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It may be a pipe whose reader is gone; a recorder goes on all the same.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    // As above.
    if json {
        builder.json().flatten_event(true).with_current_span(false).try_init().ok();
    } else {
        builder.with_target(false).with_ansi(io::stderr().is_terminal()).try_init().ok();
    }
}

/// Writes above a live line: takes it away, writes, and puts it back.
#[derive(Debug, Clone)]
struct Around(ProgressBar);

impl<'a> MakeWriter<'a> for Around {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Around {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
