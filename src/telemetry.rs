//! Logs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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

/// Sends logs to stderr.
pub fn init(verbosity: Verbosity) {
    let default = match verbosity {
        Verbosity::Quiet => "error",
        // What Chromium's messages do not fit is chromiumoxide's to know, and nobody's to read.
        Verbosity::Beside => "warn,chromiumoxide=error",
        Verbosity::Normal => "info,chromiumoxide=error",
    };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when one is set already, as in tests; that one stands.
    subscriber.try_init().ok();
}
