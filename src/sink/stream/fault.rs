//! Connection errors in helpful words, and whether a retry may help.
//!
//! The texts are not redacted here: they go through [`Redactor`](super::redact::Redactor) before
//! anybody reads them.

use std::error::Error;
use std::time::Duration;

use super::lifecycle::Loss;
use super::pipeline::ConnectError;
use super::twitch::TwitchError;
use crate::media::PipelineError;
use crate::plan::stream_url::Transport;

/// A failure of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) loss: Loss,
}

/// Errors that say nothing of the address: the way there is disturbed. `rtmp2sink` puts its cause's
/// domain and code into the details. GIO: 24 timed out, 37 host and 38 network unreachable;
/// resolver: 1 temporary failure.
const INTERRUPTIONS: &[&str] = &[
    "domain g-io-error-quark, code 24",
    "domain g-io-error-quark, code 37",
    "domain g-io-error-quark, code 38",
    "domain g-resolver-error-quark, code 1",
];
/// GIO's message without an installed TLS library.
const NO_TLS: &str = "TLS support is not available";
/// `srtsink`'s message when its call was not answered within 3 s, or rejected.
const SRT_UNANSWERED: &str = "Connection does not exist";

/// Interprets a pipeline's error for an address that has worked, or not.
pub(super) fn of_pipeline(error: &PipelineError, protocol: Transport, has_worked: bool) -> Fault {
    let PipelineError::Element { text, debug, .. } = error else {
        return Fault { text: error.to_string(), loss: Loss::Refused };
    };
    let debug = debug.as_deref().unwrap_or_default();
    let is_interruption = INTERRUPTIONS.iter().any(|known| ends_a_line(debug, known));
    let loss = if is_interruption { Loss::Interrupted } else { Loss::Refused };
    Fault { text: words(text, debug, protocol, has_worked), loss }
}

fn words(text: &str, debug: &str, protocol: Transport, has_worked: bool) -> String {
    if text.contains(NO_TLS) {
        return format!("{text}: install it with `apt-get install glib-networking`");
    }
    if protocol == Transport::Srt && text.contains(SRT_UNANSWERED) {
        return "the SRT server does not answer, or turns the stream away (port, streamid, passphrase)"
            .to_owned();
    }
    if protocol == Transport::Srt && has_worked {
        return format!("the SRT connection broke: {text}");
    }
    // `srtsink` has its reason in the details alone.
    match debug.lines().last().and_then(|line| line.split_once("Failed to open SRT: ")) {
        Some((_, reason)) => reason.to_owned(),
        None => text.to_owned(),
    }
}

/// `code 3` must not be found in `code 37`.
fn ends_a_line(text: &str, what: &str) -> bool {
    text.lines().any(|line| line.trim_end().ends_with(what))
}

/// Interprets the error of a connection that could not be set up.
pub(super) fn of_outlet(error: &ConnectError, protocol: Transport) -> Fault {
    match error {
        ConnectError::Pipeline(error) => of_pipeline(error, protocol, false),
        ConnectError::Address(_) => Fault { text: error.to_string(), loss: Loss::Refused },
    }
}

pub(super) fn of_twitch(error: &TwitchError) -> Fault {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Fault { text, loss: Loss::Interrupted }
}

/// The pipeline's messages ended, which only happens when it is torn down.
pub(super) fn of_silence() -> Fault {
    Fault { text: "the stream's pipeline is gone".to_owned(), loss: Loss::Interrupted }
}

pub(super) fn not_connected(within: Duration) -> Fault {
    Fault { text: format!("no connection within {} s", within.as_secs_f32()), loss: Loss::Interrupted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::pipeline::ErrorKind;

    fn fault(text: &str, debug: &str, protocol: Transport) -> Fault {
        let error = PipelineError::Element {
            pipeline: "p".into(),
            element: "e".into(),
            text: text.into(),
            debug: Some(debug.into()),
            kind: ErrorKind::Other,
        };
        of_pipeline(&error, protocol, false)
    }

    #[test]
    fn a_refusal_is_told_from_an_interruption() {
        let loss = |debug: &str| fault("Failed to connect", debug, Transport::Rtmp).loss;
        let at = "../gst/rtmp2/gstrtmp2sink.c(1117): send_connect_error (): /GstPipeline:p/GstRtmp2Sink:s:\n";
        assert_eq!(loss(&format!("{at}domain g-io-error-quark, code 24")), Loss::Interrupted);
        assert_eq!(loss(&format!("{at}domain g-resolver-error-quark, code 1")), Loss::Interrupted);
        assert_eq!(loss(&format!("{at}domain g-resolver-error-quark, code 0")), Loss::Refused);
        assert_eq!(loss(&format!("{at}domain g-io-error-quark, code 44")), Loss::Refused);
        assert_eq!(loss(at), Loss::Refused);
    }

    #[test]
    fn texts_name_the_next_step() {
        let text = fault("Failed to connect: TLS support is not available", "", Transport::Rtmp).text;
        assert!(text.ends_with("apt-get install glib-networking`"), "{text}");
        let debug = "gstsrtsink.c(1): start (): /p/s:\nFailed to open SRT: Failed to resolve host 'nowhere'";
        let text = fault("Could not open resource for writing.", debug, Transport::Srt).text;
        assert_eq!(text, "Failed to resolve host 'nowhere'");
    }
}
