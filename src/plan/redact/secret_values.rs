//! Redacts values of an address whose names are secret: `?token=…` and the like. The rest stays, so
//! that the page remains recognizable.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

use super::url::user_info;

const HIDDEN: &str = "{...}";
/// How often a name or a value may be percent-encoded; an address in an address is, once more each
/// time.
const ENCODED: usize = 4;

/// Words that alone make a name that of a secret: `key`, `api-key`, `apiKey`, `auth[key]`.
const WORDS: [&str; 33] = [
    "token",
    "tokens",
    "jwt",
    "bearer",
    "key",
    "keys",
    "secret",
    "secrets",
    "sig",
    "sign",
    "signature",
    "hmac",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "pw",
    "pin",
    "otp",
    "auth",
    "oauth",
    "authorization",
    "authentication",
    "credential",
    "credentials",
    "cred",
    "creds",
    "session",
    "sessionid",
    "cookie",
    "ticket",
];
/// Endings of names that are written as one word: `accesstoken`, `streamkey`.
const ENDINGS: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "signature",
    "credential",
    "credentials",
    "key",
    "sessionid",
    "sessid",
];
/// Beginnings of the names of signed addresses, of which every value belongs to the signature.
const BEGINNINGS: [&str; 2] = ["xamz", "xgoog"];
/// Names of the same whose words say nothing.
const NAMES: [&str; 5] = ["awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "keypairid", "jsessionid"];

/// A page's address without its user and password, and without the values of what is named as a
/// secret, in path, query and fragment. Takes any text.
#[must_use]
pub fn page_secrets(text: &str) -> String {
    // A browser passes over these, wherever they stand.
    let text: Cow<'_, str> = match text.contains(['\t', '\n', '\r']) {
        true => text.replace(['\t', '\n', '\r'], "").into(),
        false => text.into(),
    };
    // However a user is written into it: `https:me:pass@host`, with backslashes.
    let text = match Url::parse(&text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => url.to_string().into(),
        Ok(_) | Err(_) => text,
    };
    let text = user_info(&text);
    let (rest, fragment) = split(&text, '#');
    let (rest, query) = split(rest, '?');
    // What has no host is all path.
    let path_at = rest.find("://").map_or(0, |at| {
        let host = at + "://".len();
        rest[host..].find('/').map_or(rest.len(), |at| host + at)
    });
    let (before, path) = rest.split_at(path_at);
    let mut shown = before.to_owned() + &pieces(path, &['/', ';']);
    for (mark, part) in [('?', query), ('#', fragment)] {
        if let Some(part) = part {
            shown.push(mark);
            shown.push_str(&pieces(part, &['&']));
        }
    }
    shown
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// The parts between marks, each redacted.
fn pieces(text: &str, marks: &[char]) -> String {
    text.split_inclusive(marks)
        .map(|piece| {
            let bare = piece.trim_end_matches(marks);
            let (shown, mark) = (piece_without_secret(bare), &piece[bare.len()..]);
            format!("{shown}{mark}")
        })
        .collect()
}

fn piece_without_secret(piece: &str) -> Cow<'_, str> {
    match piece.split_once('=') {
        Some((_, "")) => piece.into(),
        Some((name, value)) if is_secret_name(name) || has_secret(value) => format!("{name}={HIDDEN}").into(),
        None if has_secret(piece) => HIDDEN.into(),
        Some(_) | None => piece.into(),
    }
}

/// Whether a name is one that secrets are known by, in any spelling.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    decoded(name).any(|name| {
        let bare: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        words(&name).any(|word| WORDS.contains(&word.as_str()))
            || ENDINGS.iter().any(|ending| bare.ends_with(ending))
            || BEGINNINGS.iter().any(|beginning| bare.starts_with(beginning))
            || NAMES.contains(&bare.as_str())
    })
}

/// `apiKey`, `api-key`, `API_KEY` → `api`, `key`.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && was_lower);
        if begins {
            words.push(String::new());
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Whether a value has a secret inside: an address with one, JSON with one, a JSON Web Token.
fn has_secret(value: &str) -> bool {
    decoded(value).any(|text| has_token(&text) || has_user(&text) || names_secret(&text))
}

/// A text, and what it is when it is decoded, as long as that changes anything.
fn decoded(text: &str) -> impl Iterator<Item = String> {
    let decode = |text: &String| {
        let decoded = percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        (decoded != *text).then_some(decoded)
    };
    std::iter::successors(Some(text.to_owned()), decode).take(ENCODED)
}

/// Three parts in base64 for addresses with dots between, the first of which begins a JSON object.
fn has_token(text: &str) -> bool {
    let is_of_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut words = text.split(|c| !is_of_one(c));
    words.any(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() >= 3 && parts[0].starts_with("eyJ") && !parts[1].is_empty()
    })
}

/// An address with a user in it.
fn has_user(text: &str) -> bool {
    text.match_indices("://").any(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())].contains('@')
    })
}

/// `…token=x…`, `…"token": "x"…`.
pub(super) fn names_secret(text: &str) -> bool {
    text.match_indices(['=', ':']).any(|(at, _)| {
        let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        let is_of_name =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '[' | ']' | '%');
        let name = before.rsplit(|c| !is_of_name(c)).next().unwrap_or_default();
        let is_followed = text[at + 1..].chars().next().is_some_and(|c| !matches!(c, '&' | '#'));
        is_followed && is_secret_name(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_names_are_gone_and_all_else_stays() {
        for (text, shown) in [
            (
                "https://a.example/b?x=1&token=hunter2&y=2#part",
                "https://a.example/b?x=1&token={...}&y=2#part",
            ),
            ("https://a.example/?room=a&layout=grid", "https://a.example/?room=a&layout=grid"),
            ("https://a.example/?empty&token=&b", "https://a.example/?empty&token=&b"),
            ("https://a.example/#access_token=hunter2&x=1", "https://a.example/#access_token={...}&x=1"),
            ("https://a.example/#/room?token=hunter2", "https://a.example/#/room?token={...}"),
            ("https://a.example/#/slides/3", "https://a.example/#/slides/3"),
            ("https://me:hunter2@a.example/b", "https://{...}@a.example/b"),
            ("https://a.example/b;jsessionid=hunter2/c", "https://a.example/b;jsessionid={...}/c"),
            ("https://a.example/?token=hun=ter2/hunter2?hunter2", "https://a.example/?token={...}"),
            ("https://a.example", "https://a.example"),
            ("not an address?token=hunter2", "not an address?token={...}"),
            ("", ""),
        ] {
            assert_eq!(page_secrets(text), shown);
        }
    }

    #[test]
    fn every_spelling_of_a_secrets_name_is_known() {
        for name in [
            "token",
            "TOKEN",
            "access_token",
            "accessToken",
            "id-token",
            "refresh.token",
            "accesstoken",
            "key",
            "api_key",
            "apiKey",
            "x-api-key",
            "apikey",
            "streamKey",
            "secret",
            "client_secret",
            "clientSecret",
            "sig",
            "Signature",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "x-amz-date",
            "X-Goog-Signature",
            "AWSAccessKeyId",
            "Key-Pair-Id",
            "password",
            "passwd",
            "user[password]",
            "pwd",
            "auth",
            "Authorization",
            "credential",
            "jwt",
            "session_id",
            "PHPSESSID",
            "ticket",
            "t%6Fken",
            "%74oken",
            "t%256Fken",
            "api%5Fkey",
            "+token",
            "to\tken",
        ] {
            let shown = page_secrets(&format!("https://a.example/?a=b&{name}=hunter2&c=d"));
            assert!(
                !shown.contains("hunter2") && shown.contains("a=b") && shown.ends_with("&c=d"),
                "{name}: {shown}"
            );
        }
        for name in [
            "room",
            "layout",
            "keyboard",
            "author",
            "signal",
            "design",
            "passenger",
            "q",
            "tokenizer",
            "secretary",
            "id",
        ] {
            let text = format!("https://a.example/?{name}=hunter2");
            assert_eq!(page_secrets(&text), text);
        }
    }

    #[test]
    fn secrets_inside_of_values_are_gone_too() {
        for value in [
            "https%3A%2F%2Fb.example%2F%3Ftoken%3Dhunter2",
            "https%253A%252F%252Fb.example%252F%253Ftoken%253Dhunter2",
            "https%3A%2F%2Fme%3Ahunter2%40b.example%2F",
            "https://me:hunter2@b.example/",
            "%7B%22token%22%3A%22hunter2%22%7D",
            "1;token=hunter2",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
        ] {
            let shown = page_secrets(&format!("https://a.example/?next={value}&c=d"));
            assert_eq!(shown, "https://a.example/?next={...}&c=d");
        }
        let jwt = "https://a.example/join/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.hunter2";
        assert_eq!(page_secrets(jwt), "https://a.example/join/{...}");
        assert_eq!(page_secrets("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.hunter2"), "{...}");
        for text in [
            "https:me:hunter2@a.example/b",
            "https:\\\\me:hunter2@a.example\\b",
            "https:///me:hunter2@a.example/b",
            "https://a.example/?hunter=1&to\nken=hunter2",
            "https://a.example/?x=https%3A%2F%2Fb.example%3Fu%3Dhttps%253A%252F%252Fc.example%253Ftoken%253Dhunter2",
        ] {
            assert!(!page_secrets(text).contains("hunter2"), "{text}");
        }
        let plain = "https://a.example/?next=https%3A%2F%2Fb.example%2F%3Froom%3Da&t=12:30";
        assert_eq!(page_secrets(plain), plain);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,60}") {
            drop(page_secrets(&text));
        }

        #[test]
        fn no_value_survives(before in "[a-z/?&=#;]{0,12}", value in "[A-Z]{8,20}", after in "(&[a-z=]{0,8})?") {
            let text = format!("https://a.example/{before}?token={value}{after}");
            proptest::prop_assert!(!page_secrets(&text).contains(&value), "{}", page_secrets(&text));
            let text = format!("https://a.example/?{before}&token={value}{after}");
            proptest::prop_assert!(!page_secrets(&text).contains(&value), "{}", page_secrets(&text));
        }
    }
}
