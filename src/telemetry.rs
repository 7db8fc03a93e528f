//! Logs.

use std::io::{self, IsTerminal, Write};

use indicatif::ProgressBar;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
#[cfg(not(feature = "console"))]
use tracing_subscriber::layer::Identity;
use tracing_subscriber::layer::{Filter, SubscriberExt};
#[cfg(feature = "console")]
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries that log what they send below `info`: credentials, signed requests, handshakes with tokens, a page's address. Nothing that
/// somebody asks for in `WEIR_LOG` shows it.
const INDISCREET: [&str; 11] = [
    "aws_",
    "fast_socks5",
    "h2::",
    "hyper",
    "opendal",
    "redis",
    "reqsign",
    "reqwest",
    "rustls",
    "tokio_tungstenite",
    "tungstenite",
];

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
        Verbosity::Beside => "warn",
        Verbosity::Normal => "info",
    };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let layer = tracing_subscriber::fmt::layer()
        // It would be said where nothing can be written, which ends the program.
        .log_internal_errors(false)
        .with_writer(Around(line))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when one is set already, as in tests; that one stands.
    tracing_subscriber::registry().with(layer.with_filter(discreet(filter))).try_init().ok();
}

/// What is logged of a service and its recorders, unless `WEIR_LOG` is set: `level`, and only warnings of the SOCKS5
/// library.
#[must_use]
pub fn service_filter(level: &str) -> String {
    std::env::var("WEIR_LOG").unwrap_or_else(|_| format!("{level},fast_socks5=warn"))
}

/// Sends a service's logs, or those of its recorders, to stderr: as text, or as one JSON object a line. `console`: a port of the
/// loopback interface for tokio-console, in builds that have it.
pub fn init_service(filter: &str, json: bool, console: Option<u16>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = tracing_subscriber::fmt::layer()
        // It may be a pipe whose reader is gone; a recorder goes on all the same.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        layer.with_target(false).with_ansi(io::stderr().is_terminal()).boxed()
    };
    let subscriber =
        tracing_subscriber::registry().with(layer.with_filter(discreet(filter))).with(watched(console));
    // As above.
    subscriber.try_init().ok();
}

/// What is asked for, but for what libraries would tell of secrets.
fn discreet<S: Subscriber>(asked: EnvFilter) -> impl Filter<S> {
    asked.and(filter_fn(is_discreet).with_max_level_hint(LevelFilter::TRACE))
}

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
        || !INDISCREET.iter().any(|library| metadata.target().starts_with(library))
}

/// What tells tokio-console of the runtime's tasks. Its server has a thread of its own.
#[cfg(feature = "console")]
fn watched<S>(port: Option<u16>) -> Option<impl Layer<S>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let address = |port| (std::net::Ipv4Addr::LOCALHOST, port);
    port.map(|port| console_subscriber::ConsoleLayer::builder().server_addr(address(port)).spawn())
}

#[cfg(not(feature = "console"))]
const fn watched(_: Option<u16>) -> Option<Identity> {
    None
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_log_no_credentials_whatever_is_asked_for() {
        for filter in ["debug", "trace", "aws_runtime=trace,tungstenite::handshake=debug,weir=debug"] {
            let written = Written::default();
            let writer = written.clone();
            let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
            let subscriber =
                tracing_subscriber::registry().with(layer.with_filter(discreet(EnvFilter::new(filter))));
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!(target: "aws_runtime::auth::sigv4", "AKIAPLANTED");
                tracing::trace!(target: "aws_runtime::auth::sigv4", "AKIAPLANTED");
                tracing::debug!(target: "tungstenite::handshake::client", "eyJPLANTED");
                tracing::debug!(target: "weir::upload", "of ours");
                tracing::warn!(target: "aws_runtime::auth::sigv4", "of theirs");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert!(
                !text.contains("PLANTED") && text.contains("of ours") && text.contains("of theirs"),
                "{text}"
            );
        }
    }
}
