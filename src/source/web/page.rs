//! Signals and failures of a page. Pure: values in, values out.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::process::text::{head, shown};

/// Bytes that are shown of a console line.
pub(super) const LINE: usize = 4 << 10;
/// Bytes that are shown of a failed request's reason, and of its address.
pub(super) const REASON: usize = 256;
pub(super) const ADDRESS: usize = 512;
/// Bytes that are shown of a `div.error`.
const TEMPLATE_ERROR: usize = 2 << 10;

/// A signal of a page: it logs exactly this text. The last two apply to room pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signal {
    /// `START_RECORDING`
    Start,
    /// `END_RECORDING`
    End,
    /// `WEIR_ROOM_ID RM_…`: it is in the room of this id.
    InRoom(String),
    /// `WEIR_EVICTED`: another participant came into the room under its identity.
    Evicted,
}

/// Bytes of a room's id. Real ones have some fifteen.
const ROOM_ID: usize = 64;

/// The signals among the arguments of one console call, whichever method it was.
pub(super) fn signals(arguments: &[String]) -> impl Iterator<Item = Signal> + '_ {
    arguments.iter().filter_map(|argument| match argument.as_str() {
        "START_RECORDING" => Some(Signal::Start),
        "END_RECORDING" => Some(Signal::End),
        "WEIR_EVICTED" => Some(Signal::Evicted),
        text => {
            let id = text.strip_prefix("WEIR_ROOM_ID ")?;
            let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            (is_plain && (1..=ROOM_ID).contains(&id.len())).then(|| Signal::InRoom(id.to_owned()))
        }
    })
}

/// Why a page can't be recorded, as far as it is the page's or its server's doing. Addresses in it
/// have no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("page load error: {url} answered {status} {}", reason(*.status))]
    Status { url: String, status: u16 },
    #[error("page load error: the host of {url} was not found: is its name right, and does DNS know it?")]
    NotFound { url: String },
    #[error("page load error: {url} refused the connection: is a server running there?")]
    Refused { url: String },
    #[error("page load error: the certificate of {url} is not valid ({code})")]
    Certificate { url: String, code: String },
    #[error("page load error: timed out: {url} was not loaded within {seconds} s")]
    TimedOut { url: String, seconds: u64 },
    /// Chromium stopped, as it does when the address is of something to download.
    #[error("page load error: {url} is not a page to show (a download?)")]
    NotAPage { url: String },
    #[error(
        "page load error: {url} leads to a link-local address, which pages of this service do not reach (`allow_link_local`)"
    )]
    LinkLocal { url: String },
    #[error(
        "page load error: {url} leads to a port of the service that records it (API, console, health, metrics, debug), \
         which its pages do not reach"
    )]
    OwnPort { url: String },
    #[error("page load error: {url}: {code}")]
    Network { url: String, code: String },
    /// The page holds a `div.error`.
    #[error("template error: {0}")]
    Template(String),
    #[error("page load error: the renderer crashed on {url}")]
    Crashed { url: String },
    /// The browser was lost while it loaded.
    #[error("page load error: the browser was lost while it loaded {url} ({why})")]
    BrowserLost { url: String, why: String },
}

impl PageError {
    /// The error of a page with a `div.error`. `more`: characters that were cut from its text
    /// before.
    pub(super) fn of_template(text: &str, more: usize) -> Self {
        Self::Template(shown(text.trim(), TEMPLATE_ERROR, more))
    }

    /// Describes Chromium's `net::ERR_…` in our words.
    pub(super) fn of_network(url: &Url, code: &str) -> Self {
        let url = redacted(url);
        // Some texts have more around the code.
        let code = code.strip_prefix("page load error ").unwrap_or(code).trim();
        match code.strip_prefix("net::ERR_").unwrap_or(code) {
            "NAME_NOT_RESOLVED" | "NAME_RESOLUTION_FAILED" => Self::NotFound { url },
            "CONNECTION_REFUSED" => Self::Refused { url },
            "CERT_VERIFIER_CHANGED" => Self::Network { url, code: code.to_owned() },
            certificate if certificate.starts_with("CERT_") => {
                Self::Certificate { url, code: code.to_owned() }
            }
            "ABORTED" => Self::NotAPage { url },
            _ => Self::Network { url, code: code.to_owned() },
        }
    }

    /// An HTTP status that is not a page to show.
    pub(super) fn of_status(url: &Url, status: i64) -> Self {
        Self::Status { url: redacted(url), status: u16::try_from(status).unwrap_or_default() }
    }

    /// Whether it may be another time.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::BrowserLost { .. } => true,
            Self::Network { code, .. } => {
                ["ERR_CERT_VERIFIER_CHANGED", "ERR_CONNECTION_CLOSED", "ERR_NETWORK_CHANGED"]
                    .iter()
                    .any(|passing| code.contains(passing))
            }
            Self::Status { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Certificate { .. }
            | Self::NotAPage { .. }
            | Self::LinkLocal { .. }
            | Self::OwnPort { .. }
            | Self::Template(_)
            | Self::Crashed { .. } => false,
        }
    }
}

/// An address without what may be secret in it: name and password, query, fragment; of `data:` the
/// scheme alone.
pub(super) fn redacted(url: &Url) -> String {
    if url.scheme() == "data" {
        return "data:…".to_owned();
    }
    let mut shown = url.clone();
    // This fails only without a host, and then there is no user either.
    if shown.set_username("").is_err() || shown.set_password(None).is_err() {
        tracing::trace!("an address without a host");
    }
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

/// A text of the page's, which may quote the page's address, without what may be secret in that.
pub(super) fn without_query(text: &str, url: &Url) -> String {
    let parts = [(url.query(), '?'), (url.fragment(), '#')];
    parts.into_iter().fold(text.to_owned(), |text, (part, mark)| match part {
        Some(part) if !part.is_empty() => text.replace(&format!("{mark}{part}"), ""),
        _ => text,
    })
}

/// An address from the browser, which may be anything, without secrets, cut at [`ADDRESS`] bytes.
pub(super) fn redacted_text(url: &str) -> String {
    let url = Url::parse(url).map_or_else(|_| "(not an address)".to_owned(), |url| redacted(&url));
    shown(&url, ADDRESS, 0)
}

/// Length of a cut text without a split secret at its end: half a query or half a token would not
/// be recognized and hidden.
pub(super) fn whole_words(text: &str) -> usize {
    let begins = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    // Some of them are longer than a byte.
    let before = text.char_indices().rfind(|(_, c)| begins(*c));
    let word = before.map_or(0, |(at, c)| at + c.len_utf8());
    let secret = [text[word..].find(['?', '#']), text[word..].find("eyJ")].into_iter().flatten().min();
    secret.map_or(text.len(), |at| word + at)
}

const CONSOLE_LINES: usize = 20;
const FAILED_REQUESTS: usize = 20;
/// Bytes that are kept of each list.
const KEPT: usize = 32 << 10;

/// Evidence from inside the page for the error's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartReport {
    /// The last lines of the page's console.
    pub console: VecDeque<String>,
    /// The last requests that failed, with the reason. Addresses have no query.
    pub failed_requests: VecDeque<String>,
    /// Status of the page's own request, when it got an answer.
    pub status: Option<u16>,
    /// A screenshot.
    pub screenshot: Option<PathBuf>,
}

impl StartReport {
    /// Adds a console line without secrets. `more`: characters that were cut before.
    pub(super) fn logged(&mut self, line: &str, more: usize) {
        keep(&mut self.console, shown(line, LINE, more), CONSOLE_LINES);
    }

    /// Adds a failed request. `url` has no query.
    pub(super) fn failed(&mut self, url: &str, reason: &str) {
        let reason = shown(head(reason, REASON).0, REASON, 0);
        keep(&mut self.failed_requests, format!("{url} {reason}"), FAILED_REQUESTS);
    }
}

impl fmt::Display for StartReport {
    /// Lines to follow an error's first; empty when there is nothing to tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "\n  status: {status} {}", reason(status))?;
        }
        for request in &self.failed_requests {
            write!(f, "\n  failed request: {request}")?;
        }
        for line in &self.console {
            write!(f, "\n  console: {line}")?;
        }
        if let Some(path) = &self.screenshot {
            write!(f, "\n  screenshot: {}", path.display())?;
        }
        Ok(())
    }
}

fn keep(list: &mut VecDeque<String>, line: String, limit: usize) {
    list.push_back(line);
    while list.len() > limit || list.iter().map(String::len).sum::<usize>() > KEPT {
        list.pop_front();
    }
}

fn reason(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_signal_is_the_whole_text_of_any_argument() {
        let found = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            signals(&arguments).collect::<Vec<_>>()
        };
        assert_eq!(found(&["START_RECORDING"]), [Signal::Start]);
        assert_eq!(found(&["now:", "END_RECORDING"]), [Signal::End]);
        assert_eq!(found(&["START_RECORDING", "END_RECORDING"]), [Signal::Start, Signal::End]);
        assert_eq!(found(&["START_RECORDING "]), []);
        assert_eq!(found(&["WEIR_ROOM_ID RM_x1"]), [Signal::InRoom("RM_x1".to_owned())]);
        let long = format!("WEIR_ROOM_ID {}", "x".repeat(65));
        assert_eq!(found(&["WEIR_ROOM_ID ", "WEIR_ROOM_ID ../x", long.as_str()]), []);
        assert_eq!(found(&["WEIR_EVICTED"]), [Signal::Evicted]);
        assert_eq!(found(&["start_recording", "\"START_RECORDING\""]), []);
    }

    #[test]
    fn network_errors_in_our_words() {
        let at = url("https://user:pass@example.com/talk?token=s3cret#x");
        let shown = "https://example.com/talk";
        let of = |code| PageError::of_network(&at, code);
        assert_eq!(of("net::ERR_NAME_NOT_RESOLVED"), PageError::NotFound { url: shown.into() });
        assert_eq!(of("net::ERR_CONNECTION_REFUSED"), PageError::Refused { url: shown.into() });
        assert_eq!(
            of("net::ERR_CERT_AUTHORITY_INVALID"),
            PageError::Certificate { url: shown.into(), code: "net::ERR_CERT_AUTHORITY_INVALID".into() }
        );
        assert_eq!(of("net::ERR_ABORTED"), PageError::NotAPage { url: shown.into() });
        assert_eq!(
            of("net::ERR_EMPTY_RESPONSE"),
            PageError::Network { url: shown.into(), code: "net::ERR_EMPTY_RESPONSE".into() }
        );
    }

    #[test]
    fn only_passing_errors_are_tried_again() {
        let at = url("https://example.com");
        let passing = |code| PageError::of_network(&at, code).is_passing();
        assert!(passing("net::ERR_CERT_VERIFIER_CHANGED"));
        assert!(passing("net::ERR_CONNECTION_CLOSED"));
        assert!(!passing("net::ERR_CONNECTION_REFUSED"));
        assert!(!passing("net::ERR_CERT_DATE_INVALID"));
        assert!(PageError::TimedOut { url: String::new(), seconds: 30 }.is_passing());
        assert!(!PageError::Status { url: String::new(), status: 503 }.is_passing());
    }

    #[test]
    fn texts_name_the_thing_and_hold_no_secret() {
        let error = PageError::Status { url: redacted(&url("http://a.example/b?key=1")), status: 404 };
        assert_eq!(error.to_string(), "page load error: http://a.example/b answered 404 Not Found");
        assert_eq!(redacted(&url("data:text/html,secret")), "data:…");
        assert_eq!(redacted(&url("file:///srv/page.html?x#y")), "file:///srv/page.html");
        assert_eq!(redacted(&url("chrome://crash")), "chrome://crash");
        let quoted = "boom\n  at http://a.example/b?key=1:1:80";
        assert_eq!(
            without_query(quoted, &url("http://a.example/b?key=1")),
            "boom\n  at http://a.example/b:1:80"
        );
    }

    #[test]
    fn a_report_keeps_the_last_lines() {
        let mut report = StartReport::default();
        assert_eq!(report.to_string(), "");
        for line in 0..50 {
            report.logged(&format!("line {line}"), 0);
        }
        report.failed(&redacted_text("https://cdn.example/app.js?v=secret"), "net::ERR_FAILED");
        let text = report.to_string();
        assert!(text.starts_with("\n  failed request: https://cdn.example/app.js net::ERR_FAILED"), "{text}");
        assert!(!text.contains("line 29\n") && text.ends_with("line 49"), "{text}");
    }

    #[test]
    fn a_report_is_for_reading_however_much_a_page_says() {
        let mut report = StartReport::default();
        for line in 0..50 {
            report.logged(&format!("{line}\n  status: 200\u{1b}[2J{}", "x".repeat(1 << 20)), 3);
            report.failed(&redacted_text(&format!("https://a.example/{}", "y".repeat(1 << 20))), "why\u{1b}");
        }
        let text = report.to_string();
        assert!(text.len() < 66 << 10, "{}", text.len());
        assert!(text.contains("console: 49\\n  status: 200\\u{1b}[2Jxxx"), "{text:.300}");
        assert!(text.lines().all(|line| line.len() < LINE + 100 && !line.contains('\u{1b}')));
        // The note counts everything beyond 4 KiB, and what was cut before.
        let left =
            (1 << 20) + "49\n  status: 200\u{1b}[2J".len() + 3 - (LINE - "\\n".len() - "\\u{1b}".len() + 2);
        assert!(text.contains(&format!("… ({left} more characters)")), "{left}");
    }

    #[test]
    fn a_template_has_two_kilobytes_for_its_error() {
        let PageError::Template(text) = PageError::of_template(" no\tsuch\u{7} room\n", 0) else { panic!() };
        assert_eq!(text, "no such\\u{7} room");
        let long = PageError::of_template(&"ü".repeat(3 << 20), 5).to_string();
        assert!(long.len() < 2200 && long.ends_with("ü… (3144709 more characters)"), "{}", long.len());
    }

    #[test]
    fn a_cut_leaves_no_beginning_of_a_secret() {
        for (text, kept) in [
            ("all of it", "all of it"),
            ("at https://a.example/b", "at https://a.example/b"),
            ("at https://a.example/?token=ab", "at https://a.example/"),
            ("at https://a.example/?token=ab, then", "at https://a.example/?token=ab, then"),
            ("token \"eyJhbGci", "token \""),
            ("eyJ", ""),
            ("at\u{3000}https://a.example/?token=ab", "at\u{3000}https://a.example/"),
            ("all of it\u{a0}", "all of it\u{a0}"),
            ("", ""),
        ] {
            assert_eq!(&text[..whole_words(text)], kept);
        }
    }
}
