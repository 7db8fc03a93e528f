//! Blots keys, passwords and query values out of addresses. These functions take any text.
//!
//! Errors and logs show a page's address without any value of its query ([`page_url`]); reports show it with those that are no
//! secrets by their names ([`page_secrets`]).

mod secret_values;
mod srt;

pub use secret_values::{is_secret_name, page_secrets};
pub use srt::is_harmless_srt_option;

/// A stream's address without its secrets: an RTMP key keeps its ends (`{str...key}`), the short forms and an SRT stream id likewise;
/// options of SRT that are no secrets stay. All other schemes lose their query values. Text without a scheme is taken for a key.
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

/// A page's address without the password and the query values in it; a long `data:` address is cut.
#[must_use]
pub fn page_url(text: &str) -> String {
    if let Some(data) = text.strip_prefix("data:") {
        let shown: String = data.chars().take(40).collect();
        let rest = if shown.len() < data.len() { "…" } else { "" };
        return format!("data:{shown}{rest}");
    }
    let (text, fragment) = match text.split_once('#') {
        // A page's own place stays (`#/slides/3`); values in it may be what a sign-in left.
        Some((before, fragment)) if fragment.contains('=') => (before, "#{...}".to_owned()),
        Some((before, fragment)) => (before, format!("#{fragment}")),
        None => (text, String::new()),
    };
    match text.split_once('?') {
        Some((before, query)) => format!("{}?{}{fragment}", user_info(before), query_values(query)),
        None => user_info(text) + &fragment,
    }
}

/// An address with the password in it blotted out, and all else as it is.
#[must_use]
pub fn user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{{...}}@{host}{path}"),
        None => text.to_owned(),
    }
}

/// As many characters at each end of a key as its length allows.
fn key(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let kept = match chars.len() {
        9.. => 3,
        6.. => 2,
        3.. => 1,
        _ => return "{...}".to_owned(),
    };
    let start: String = chars[..kept].iter().collect();
    let end: String = chars[chars.len() - kept..].iter().collect();
    format!("{{{start}...{end}}}")
}

/// What stands after `rtmp://`. The key is what follows the last slash; one that has a query with slashes in it begins
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

fn query_values(query: &str) -> String {
    // A slash ends the query of an RTMP application.
    let (query, slash) = match query.strip_suffix('/') {
        Some(query) => (query, "/"),
        None => (query, ""),
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}={{...}}"),
            // A value without a name may be a secret too.
            None if pair.is_empty() => String::new(),
            None => "{...}".to_owned(),
        })
        .collect();
    format!("{}{slash}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        for (text, shown) in [
            ("https://example.com/a?token=x&b=&c", "https://example.com/a?token={...}&b={...}&{...}"),
            ("https://user:pass@example.com/?a=b#/slide/3", "https://{...}@example.com/?a={...}#/slide/3"),
            ("https://example.com/#access_token=x", "https://example.com/#{...}"),
            ("file:///srv/page.html", "file:///srv/page.html"),
            ("data:text/html,hi", "data:text/html,hi"),
            ("mail@example.com", "mail@example.com"),
        ] {
            assert_eq!(page_url(text), shown);
        }
        assert!(page_url(&format!("data:{}", "x".repeat(100))).chars().count() < 60);
    }
}
