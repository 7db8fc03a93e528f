//! Takes an address's secrets out of what others say about it.
//!
//! GStreamer's elements put the location they were given into their error texts, servers repeat
//! keys in theirs. Every text that leaves a stream goes through here.

use super::srt_uri::srt_uri;
use crate::plan::redact::is_harmless_srt_option;
use crate::plan::stream_url::StreamUrl;

/// Below this many characters a secret is only replaced where it stands as a word of its own: a key
/// `a` would else make every text unreadable.
const SHORT: usize = 4;

/// Knows what must not be read in texts about one address.
#[derive(Clone)]
pub(super) struct Redactor {
    /// Replacements, the longest first.
    secrets: Vec<(String, String)>,
}

impl Redactor {
    /// `resolved` is the address that is really connected to, where it differs (Twitch).
    pub(super) fn new(url: &StreamUrl, resolved: Option<&str>) -> Self {
        let mut secrets = Vec::new();
        // GStreamer quotes the address in its own form.
        let escaped = url.expose().starts_with("srt://").then(|| srt_uri(url.expose()));
        for address in [Some(url.expose()), escaped.as_deref(), resolved].into_iter().flatten() {
            secrets.push((address.to_owned(), url.redacted().to_owned()));
            for part in secret_parts(address) {
                if let Some(plain) = percent_decoded(part) {
                    secrets.push((plain, "***".to_owned()));
                }
                secrets.push((part.to_owned(), "***".to_owned()));
            }
        }
        secrets.retain(|(secret, _)| !secret.is_empty());
        secrets.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without the address's secrets. One pass from left to right, so that nothing is
    /// looked for in what was put in its place.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut cleaned = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            match self.secrets.iter().find(|(secret, _)| stands_here(&cleaned, rest, secret)) {
                Some((secret, instead)) => {
                    cleaned.push_str(instead);
                    rest = &rest[secret.len()..];
                }
                None => {
                    cleaned.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        cleaned
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

fn stands_here(before: &str, rest: &str, secret: &str) -> bool {
    let Some(after) = rest.strip_prefix(secret) else { return false };
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    secret.chars().count() >= SHORT || !(is_word(before.chars().next_back()) || is_word(after.chars().next()))
}

/// The stream key (all that follows the last `/` of the path), the query's values, and the password
/// of the authority.
fn secret_parts(address: &str) -> Vec<&str> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (before_query, query) =
        rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let mut parts = Vec::new();
    match before_query.split_once('/') {
        Some((_, path)) if !matches!(scheme, "srt") => {
            let after_slash = path.rsplit_once('/').map_or(path, |(_, key)| key);
            parts.extend([after_slash, after_slash.split(' ').next().unwrap_or_default()]);
            if let Some(query) = query {
                // A key with a query is one secret, `key?auth=…`, wherever it is printed whole.
                parts.push(&address[address.len() - after_slash.len() - 1 - query.len()..]);
            }
        }
        None if matches!(scheme, "twitch" | "mux") => parts.push(before_query),
        Some(_) | None => {}
    }
    let marks: &[char] = if scheme == "srt" { &['&'] } else { &['&', ' '] };
    let values = query.into_iter().flat_map(|query| query.split(marks));
    // Connection options in an SRT query are not secret, and are useful in messages.
    let is_plain = |(name, value): &(&str, &str)| scheme == "srt" && is_harmless_srt_option(name, value);
    parts.extend(
        values.filter_map(|pair| pair.split_once('=')).filter(|pair| !is_plain(pair)).map(|(_, v)| v),
    );
    let authority = before_query.split('/').next().unwrap_or_default();
    if let Some((login, _)) = authority.rsplit_once('@') {
        parts.push(login.split_once(':').map_or(login, |(_, password)| password));
    }
    parts
}

/// `None` where there is nothing to decode.
fn percent_decoded(part: &str) -> Option<String> {
    part.contains('%').then(|| {
        // The form parser also reads `+` as a space; addresses here hold a plus as itself.
        let pair = format!("x={}", part.replace('+', "%2B").replace('&', "%26"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(address: &str, redacted: &str, text: &str) -> String {
        Redactor::new(&StreamUrl::for_tests(address, redacted), None).clean(text)
    }

    #[test]
    fn the_address_its_key_and_its_query_are_gone() {
        let address = "rtmp://live.example.com/app/hunter2secret?token=tok-12345&a=b%40c%2Fd";
        let redacted = "rtmp://live.example.com/app/{hun...ret}";
        assert_eq!(
            clean(address, redacted, &format!("could not open {address}: refused")),
            format!("could not open {redacted}: refused")
        );
        assert_eq!(clean(address, redacted, "bad name hunter2secret!"), "bad name ***!");
        assert_eq!(clean(address, redacted, "token tok-12345, b@c/d, b%40c%2Fd"), "token ***, ***, ***");
        assert_eq!(
            clean(address, redacted, "publish hunter2secret?token=tok-12345&a=b%40c%2Fd"),
            "publish ***"
        );
        assert_eq!(clean(address, redacted, "live.example.com refused"), "live.example.com refused");
    }

    #[test]
    fn srt_keeps_what_is_no_secret() {
        let address = "srt://host:9000?mode=caller&latency=200&streamid=publish:room&passphrase=correcthorse";
        let redacted = "srt://host:9000?mode={...}";
        let text = "mode caller, latency 200, id publish:room, phrase correcthorse, host";
        assert_eq!(clean(address, redacted, text), "mode caller, latency 200, id ***, phrase ***, host");
        assert_eq!(clean(address, redacted, &format!("<{address}>")), format!("<{redacted}>"));
    }

    #[test]
    fn an_srt_address_is_gone_in_the_form_that_gstreamer_has_of_it() {
        let address = "srt://host:9000?streamid=#!::r=live/room,m=publish&passphrase=correct#horse 1";
        let escaped = "srt://host:9000?streamid=%23!::r=live/room,m=publish&passphrase=correct%23horse%201";
        for text in [address, escaped] {
            assert_eq!(clean(address, "R", &format!("<{text}>")), "<R>");
        }
        // The host may be another by then.
        let text = "srt://10.0.0.1:9000?streamid=%23!::r=live/room,m=publish&passphrase=correct%23horse%201";
        assert_eq!(clean(address, "R", text), "srt://10.0.0.1:9000?streamid=***&passphrase=***");
        assert_eq!(clean(address, "R", "id #!::r=live/room,m=publish"), "id ***");
    }

    #[test]
    fn short_forms_passwords_and_short_keys() {
        assert_eq!(
            clean("twitch://live_42_abc", "twitch://{liv...abc}", "live_42_abc refused"),
            "*** refused"
        );
        assert_eq!(
            clean("rtmp://me:pass@h/app/k", "R", "wrong pass for k of k8s"),
            "wrong *** for *** of k8s"
        );
        assert_eq!(clean("rtmp://h/app/key1 live=1", "R", "key1 live=1 and key1"), "*** and ***");
    }

    #[test]
    fn the_resolved_address_is_taken_out_too() {
        let url = StreamUrl::for_tests("twitch://live_42", "twitch://{...}");
        let redactor = Redactor::new(&url, Some("rtmps://ingest.example/app/live_42?x=yyyy"));
        assert_eq!(redactor.clean("open rtmps://ingest.example/app/live_42?x=yyyy"), "open twitch://{...}");
    }

    proptest::proptest! {
        #[test]
        fn no_key_survives(key in "[a-zA-Z0-9_%?=&/ äß-]{4,20}", before in ".{0,20}", after in ".{0,20}") {
            let url = StreamUrl::for_tests(format!("rtmp://host/app/{key}"), "redacted");
            let last = key.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
            let cleaned = Redactor::new(&url, None).clean(&format!("{before}|{last}|{after}"));
            if last.len() >= SHORT && !before.contains(&last) && !after.contains(&last) {
                proptest::prop_assert!(!cleaned.contains(&format!("|{last}|")), "{cleaned}");
            }
        }
    }
}
