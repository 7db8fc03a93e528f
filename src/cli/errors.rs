//! What is said about a command line that can't be understood, without the keys and tokens in it.

use crate::plan::redact;

/// So much of an argument is looked for without quotation marks around it, too.
const LONG: usize = 6;

/// The text of an error in which no argument is quoted that may be a secret; `None`: there is none among the arguments.
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
    // One may be part of another.
    secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
    let mut text = error.render().to_string();
    for (secret, shown) in secrets {
        text = text.replace(&format!("'{secret}'"), &format!("'{shown}'"));
        if secret.len() >= LONG {
            text = text.replace(&secret, &shown);
        }
    }
    Some(text)
}

/// What of an argument may be a secret, and how it is shown. `before`: the argument before it.
fn secret_of(before: &str, argument: &str) -> Option<(String, String)> {
    let option = |argument: &str| argument.starts_with('-') && redact::is_secret_name(argument);
    match argument.split_once('=') {
        Some((name, value)) if name.starts_with('-') => {
            if value.is_empty() {
                return None;
            }
            if option(name) { Some((value.to_owned(), "***".to_owned())) } else { shown_otherwise(value) }
        }
        _ if option(before) && !before.contains('=') && !argument.is_empty() => {
            Some((argument.to_owned(), "***".to_owned()))
        }
        _ => shown_otherwise(argument),
    }
}

fn shown_otherwise(word: &str) -> Option<(String, String)> {
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

    /// What is said about a line that is wrong; it is, of course.
    fn said(line: &str) -> Option<String> {
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
            let said = said(line).unwrap();
            assert!(said.contains("error") && !said.contains("HUNTER2KEY"), "{line}: {said}");
        }
    }

    #[test]
    fn other_errors_are_as_they_are() {
        for line in ["record web", "record web https://a.example --size big", "recrod", "record room a b"] {
            assert_eq!(said(line), None, "{line}");
        }
        let said = said("record room a --token a").unwrap();
        assert!(said.contains("--token"), "short words leave the text alone: {said}");
    }
}
