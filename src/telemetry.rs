//! Logging.

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

/// Libraries that log secrets below `info`: credentials, signed requests, handshakes with tokens,
/// page addresses. Their events are dropped whatever `WEIR_LOG` says.
const LOG_SECRETS: [&str; 11] = [
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

/// The log level; `WEIR_LOG` (in `RUST_LOG`'s syntax) overrides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings, beside a live line that shows the rest.
    Beside,
    /// The lifecycle of a recording.
    Normal,
}

/// Sends logs to stderr, above a live line if one is shown.
pub fn init(verbosity: Verbosity, line: ProgressBar) {
    let default = match verbosity {
        Verbosity::Quiet => "error",
        Verbosity::Beside => "warn",
        Verbosity::Normal => "info",
    };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let layer = tracing_subscriber::fmt::layer()
        // Such an error would be written to the stream that failed, and end the program.
        .log_internal_errors(false)
        .with_writer(Around(line))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only if a subscriber is set already, as in tests; that one stays.
    tracing_subscriber::registry().with(layer.with_filter(without_secrets(filter))).try_init().ok();
}

/// Returns the log filter of a service and its recorders: `WEIR_LOG`, else `level`, with only
/// warnings of the SOCKS5 library.
#[must_use]
pub fn service_filter(level: &str) -> String {
    std::env::var("WEIR_LOG").unwrap_or_else(|_| format!("{level},fast_socks5=warn"))
}

/// Sends a service's or its recorders' logs to stderr, as text or as one JSON object per line.
/// `console` is a port on the loopback interface for tokio-console, in builds that have it.
pub fn init_service(filter: &str, json: bool, console: Option<u16>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = tracing_subscriber::fmt::layer()
        // stderr may be a pipe without a reader; the recorder goes on without logs.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        layer.with_target(false).with_ansi(io::stderr().is_terminal()).boxed()
    };
    let subscriber = tracing_subscriber::registry()
        .with(layer.with_filter(without_secrets(filter)))
        .with(watched(console));
    // As above.
    subscriber.try_init().ok();
}

/// Applies the filter, minus the events of libraries that log secrets.
fn without_secrets<S: Subscriber>(filter: EnvFilter) -> impl Filter<S> {
    filter.and(filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE))
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
        || !LOG_SECRETS.iter().any(|library| metadata.target().starts_with(library))
}

/// Serves the runtime's tasks to tokio-console, from a thread of its own.
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

/// Writes above a live line: hides it, writes, and shows it again.
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
    fn libraries_log_no_credentials_at_any_level() {
        for filter in ["debug", "trace", "aws_runtime=trace,tungstenite::handshake=debug,weir=debug"] {
            let written = Written::default();
            let writer = written.clone();
            let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
            let subscriber = tracing_subscriber::registry()
                .with(layer.with_filter(without_secrets(EnvFilter::new(filter))));
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
