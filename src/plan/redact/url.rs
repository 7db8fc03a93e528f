//! Redacts the common parts of addresses: user and password, query values, keys.

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
pub(super) fn key(key: &str) -> String {
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

pub(super) fn query_values(query: &str) -> String {
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
