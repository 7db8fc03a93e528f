//! Values that must never be printed: stream keys, passphrases, credentials.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A value that prints as `***` in every format. [`Secret::expose`] is the only access to its
/// content, so a search for that word finds every place that handles a secret.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value, for the code that has to send it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reading a secret reveals nothing.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self)
    }
}

/// Removes a token, and parts of it, from a text by someone who saw it, such as a server's refusal:
/// servers quote what they refuse, and truncate it.
#[must_use]
pub fn without_token(text: &str, token: &Secret<String>) -> String {
    /// The shortest part of a token, in bytes, that is replaced.
    const PART: usize = 8;
    let token = token.expose().as_str();
    let text = if token.is_empty() { text.to_owned() } else { text.replace(token, "***") };
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_part = |word: &str| {
        let word = word.trim_matches('.');
        let mut parts = word.as_bytes().windows(PART);
        // Other tokens begin alike: with the base64 of a JSON object.
        (word.len() >= PART && word.starts_with("eyJ"))
            || parts.any(|part| token.as_bytes().windows(PART).any(|of_token| of_token == part))
    };
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(begin) = rest.find(is_of_word) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.find(|c| !is_of_word(c)).unwrap_or(from.len()));
        shown.push_str(before);
        shown.push_str(if is_part(word) { "***" } else { word });
        rest = after;
    }
    shown + rest
}

/// For `#[serde(with = "exposed")]`: serializes the secret in plain text, for a file or a pipe that
/// only its owner can read. `Secret` has no other `Serialize`, so that none reaches a log or a
/// report as a part of something else.
pub mod exposed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(secret: &Secret<T>, to: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret<T>, D::Error> {
        Secret::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_no_part_of_its_value() {
        let key = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "*** *** Some(***)");
        assert_eq!(key.expose(), "hunter2");
    }

    #[test]
    fn a_refusal_contains_no_part_of_the_token() {
        let token = Secret::new("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJFR18xIn0.c2lnbmF0dXJl-_9".to_owned());
        for (text, shown) in [
            (format!("invalid token: {}, error: bad", token.expose()), "invalid token: ***, error: bad"),
            ("invalid token: eyJhbGciOiJIUzI1NiJ9.eyJzdWIi...".to_owned(), "invalid token: ***"),
            ("token=c2lnbmF0dXJl rejected".to_owned(), "token=*** rejected"),
            ("\"...EG_1. In0.c2lnbmF0d\"".to_owned(), "\"...EG_1. ***\""),
            ("eyJvdGhlciI6MX0.x.y is not better".to_owned(), "*** is not better"),
            ("no permissions to access the room".to_owned(), "no permissions to access the room"),
            (String::new(), ""),
        ] {
            assert_eq!(without_token(&text, &token), shown);
        }
        let own = Secret::new("correct-horse-battery".to_owned());
        assert_eq!(without_token("unknown: correct-horse", &own), "unknown: ***");
        assert_eq!(without_token("a ä b", &Secret::default()), "a ä b");
    }
}
