//! Command-line errors, without the keys and tokens in them.

use crate::plan::redact;

/// Arguments of at least this many bytes are replaced wherever they occur; shorter ones only
/// between quotation marks.
const MIN_UNQUOTED_BYTES: usize = 6;

/// Returns the error's text with secrets replaced, or `None` if no argument may be a secret.
#[must_use]
pub fn without_secrets(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let mut secrets = Vec::new();
    let mut before = "";
    for argument in arguments {
        secrets.extend(secret_of(before, argument));
        before = argument;
    }
    if secrets.is_empty() {
        return None;
    }
    // Longest first: a secret may contain another.
    secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
    let mut text = error.render().to_string();
    for (secret, shown) in secrets {
        text = text.replace(&format!("'{secret}'"), &format!("'{shown}'"));
        if secret.len() >= MIN_UNQUOTED_BYTES {
            text = text.replace(&secret, &shown);
        }
    }
    Some(text)
}

/// Returns the part of an argument that may be a secret, and its replacement. `before` is the
/// previous argument.
fn secret_of(before: &str, argument: &str) -> Option<(String, String)> {
    let option = |argument: &str| argument.starts_with('-') && redact::is_secret_name(argument);
    match argument.split_once('=') {
        Some((name, value)) if name.starts_with('-') => {
            if value.is_empty() {
                return None;
            }
            if option(name) { Some((value.to_owned(), "***".to_owned())) } else { redacted_if_secret(value) }
        }
        _ if option(before) && !before.contains('=') && !argument.is_empty() => {
            Some((argument.to_owned(), "***".to_owned()))
        }
        _ => redacted_if_secret(argument),
    }
}

fn redacted_if_secret(word: &str) -> Option<(String, String)> {
    let shown = match word.contains("://") {
        true => redact::stream_url(word),
        false => redact::page_secrets(word),
    };
    (shown != word).then(|| (word.to_owned(), shown))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    /// Returns the error of an invalid line.
    fn error_for(line: &str) -> Option<String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let error =
            Cli::try_parse_from(std::iter::once("weir".to_owned()).chain(arguments.clone())).unwrap_err();
        without_secrets(&error, &arguments)
    }

    #[test]
    fn an_error_quotes_no_key_and_no_token() {
        for line in [
            "record web https://a.example rtmp://b.example/app/HUNTER2KEY",
            "record web https://a.example twitch://HUNTER2KEY",
            "record web https://a.example --strem rtmp://b.example/app/HUNTER2KEY",
            "record web https://a.example --strem=rtmp://b.example/app/HUNTER2KEY",
            "record web https://a.example --size rtmp://b.example/app/HUNTER2KEY",
            "record web https://a.example https://b.example/?token=HUNTER2KEY",
            "record room a --token HUNTER2KEY",
            "record room a --token=HUNTER2KEY",
            "record room a --api-secret HUNTER2KEY HUNTER2KEY",
            "record room a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.HUNTER2KEY",
            "record room a --fps eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.HUNTER2KEY",
            "record track a TR_a --secret HUNTER2KEY",
            "rtmp://b.example/app/HUNTER2KEY",
        ] {
            let shown = error_for(line).unwrap();
            assert!(shown.contains("error") && !shown.contains("HUNTER2KEY"), "{line}: {shown}");
        }
    }

    #[test]
    fn errors_without_secrets_are_unchanged() {
        for line in ["record web", "record web https://a.example --size big", "recrod", "record room a b"] {
            assert_eq!(error_for(line), None, "{line}");
        }
        let shown = error_for("record room a --token a").unwrap();
        assert!(shown.contains("--token"), "short words are not replaced: {shown}");
    }
}
