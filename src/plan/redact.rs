//! Redacts keys, passwords and query values of addresses. These functions accept any text.
//!
//! Errors and logs show a page's address without query values ([`page_url`]); reports show it with
//! values whose names are not secret ([`page_secrets`]).

mod secret_values;
mod srt;
mod url;

pub use secret_values::{is_secret_name, page_secrets};
pub use srt::is_harmless_srt_option;
use url::{key, query_values};
pub use url::{page_url, user_info};

/// A stream's address without its secrets: an RTMP key keeps its ends (`{str...key}`), and so do
/// short forms and an SRT stream id; SRT options that are not secret stay. All other schemes lose
/// their query values. Text without a scheme counts as a key.
#[must_use]
pub fn stream_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return if text.is_empty() { String::new() } else { key(text) };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "rtmp" | "rtmps" => format!("{scheme}://{}", rtmp(rest)),
        "mux" | "twitch" => format!("{scheme}://{}", key(rest)),
        "srt" => format!("{scheme}://{}", srt::address(rest)),
        _ => page_url(text),
    }
}

/// The part after `rtmp://`. The key follows the last slash; with slashes in its query it begins
/// earlier.
fn rtmp(rest: &str) -> String {
    let rest = rest.strip_suffix(" live=1").unwrap_or(rest);
    let stem = rest.split('?').next().unwrap_or(rest);
    let key_at = if stem.matches('/').count() >= 2 { stem.rfind('/') } else { rest.rfind('/') };
    let (before, stream_key) = match key_at {
        Some(slash) => rest.split_at(slash + 1),
        None => return format!("{{...}}{}", if rest.is_empty() { "" } else { "/" }),
    };
    let before = match before.split_once('?') {
        Some((path, query)) => format!("{path}?{}", query_values(query)),
        None => before.to_owned(),
    };
    // `user_info` wants an address; the scheme is cut off again.
    let before = user_info(&format!("rtmp://{before}"));
    format!("{}{}", before.trim_start_matches("rtmp://"), key(stream_key))
}
