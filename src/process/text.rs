//! Sanitizes untrusted text (output of a child process, the console of a page) for logs, reports
//! and terminals. Pure.
//!
//! Escape sequences would control the terminal, and line breaks would forge lines of a log. So the
//! result is one line without control characters, of limited length.

/// Returns `text` as one line of at most `limit` bytes, plus a note of how many characters were
/// cut. `more`: characters that were cut before.
///
/// A line break becomes `\n`, a tab a space. Other control characters (C0, DEL, C1), bidirectional
/// controls and invisible characters are escaped: `\u{1b}`.
#[must_use]
pub fn shown(text: &str, limit: usize, more: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    let mut rest = text.chars();
    let mut left_out = more;
    while let Some(c) = rest.next() {
        let before = line.len();
        push(&mut line, c);
        if line.len() > limit {
            line.truncate(before);
            left_out += 1 + rest.count();
            break;
        }
    }
    if left_out > 0 {
        line.push_str(&format!("… ({left_out} more characters)"));
    }
    line
}

fn push(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\t' => line.push(' '),
        c if c.is_control() || is_invisible(c) => line.extend(c.escape_unicode()),
        c => line.push(c),
    }
}

/// Bidirectional controls, zero-width characters, line and paragraph separators.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// Returns the first `limit` bytes of a text, whole characters only, and the number of characters
/// after them.
#[must_use]
pub fn head(text: &str, limit: usize) -> (&str, usize) {
    let (head, rest) = text.split_at(text.floor_char_boundary(limit));
    (head, rest.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_as_its_number() {
        for (text, line) in [
            ("plain, naïve 漢字", "plain, naïve 漢字"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("a\nstatus: 200\r\tb", "a\\nstatus: 200\\u{d} b"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            ("abc\u{202e}fed\u{2028}\u{200b}", "abc\\u{202e}fed\\u{2028}\\u{200b}"),
        ] {
            assert_eq!(shown(text, 100, 0), line);
        }
    }

    #[test]
    fn a_cut_is_between_characters_and_says_how_much_is_missing() {
        assert_eq!(shown("äöü", 6, 0), "äöü");
        assert_eq!(shown("äöü", 5, 0), "äö… (1 more characters)");
        assert_eq!(shown("äöü", 1, 7), "… (10 more characters)");
        assert_eq!(shown("a", 10, 3), "a… (3 more characters)");
        // An escape is never split.
        assert_eq!(shown("ab\u{1b}c", 5, 0), "ab… (2 more characters)");
        let long = "\u{1b}".repeat(1 << 20);
        assert!(shown(&long, 4096, 0).len() < 4200);
    }

    #[test]
    fn a_head_holds_whole_characters() {
        assert_eq!(head("äöü", 3), ("ä", 2));
        assert_eq!(head("abc", 3), ("abc", 0));
        assert_eq!(head("", 3), ("", 0));
    }
}
