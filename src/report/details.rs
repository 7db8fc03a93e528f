//! The texts in `EgressInfo.details`.

/// A text without paths of this machine: of each path its last component stays. Web addresses stay as they are.
///
/// Callers of an API can't use such a path, and it shows how the machine is set up. Logs have the paths.
pub(super) fn without_local_paths(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let mut before: Option<char> = None;
    while let Some(next) = rest.chars().next() {
        let path = rest.strip_prefix("file://").unwrap_or(rest);
        if path.starts_with('/') && before.is_none_or(may_precede_path) {
            let path = &path[..end_of_path(path)];
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            shown.push_str(if name.is_empty() { "/" } else { name });
            let consumed = rest.len() - rest.strip_prefix("file://").unwrap_or(rest).len() + path.len();
            before = rest[..consumed].chars().next_back();
            rest = &rest[consumed..];
        } else {
            shown.push(next);
            before = Some(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    shown
}

/// Whether a path may begin behind this character. Behind a letter or a colon a `/` is part of something else: `https://`, `and/or`.
fn may_precede_path(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | '[' | '{' | '<' | '=' | ',' | ';')
}

/// The length of the path that a text begins with. A colon ends it where a word ends there, as in `/a/b: permission denied`.
fn end_of_path(text: &str) -> usize {
    let ends = |&(at, c): &(usize, char)| match c {
        '"' | '\'' | '`' | ')' | ']' | '}' | '>' | ',' | ';' => true,
        ':' => text[at + 1..].chars().next().is_none_or(char::is_whitespace),
        c => c.is_whitespace(),
    };
    text.char_indices().find(ends).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_local_path_only_the_last_component_is_shown() {
        for (text, shown) in [
            ("kept: /var/lib/weir/recordings/EG_x/EG_x", "kept: EG_x"),
            ("not stored: /out/a.mp4, /out/b.mp4 and 5 more", "not stored: a.mp4, b.mp4 and 5 more"),
            ("write /w/0/file-0.mp4: permission denied", "write file-0.mp4: permission denied"),
            ("(kept at /w/EG_x: run `weir recover`)", "(kept at EG_x: run `weir recover`)"),
            ("recovered: file:///out/a.mp4", "recovered: a.mp4"),
            ("can't open \"/dev/shm/weir-0/run-1/\"", "can't open \"run-1\""),
            ("/tmp", "tmp"),
            ("dir=/a/ü", "dir=ü"),
            // Neither of these is a path of this machine.
            ("recovered: https://b.example/a/b.mp4", "recovered: https://b.example/a/b.mp4"),
            ("rtmp://host/app/{...}: refused", "rtmp://host/app/{...}: refused"),
            ("not stored: hls/a_00001.ts", "not stored: hls/a_00001.ts"),
            ("30 pictures/s and/or 1/2, GET / failed", "30 pictures/s and/or 1/2, GET / failed"),
            ("", ""),
        ] {
            assert_eq!(without_local_paths(text), shown);
            assert_eq!(without_local_paths(shown), shown, "it is taken out once");
        }
    }
}
