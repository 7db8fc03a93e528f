//! The texts in `EgressInfo.details`.

use std::cmp::Reverse;
use std::path::PathBuf;

/// Directories of this machine that texts may name. A path that begins with one of them is
/// recognized whatever characters it has; any other path ends at a blank, a comma or a bracket.
#[derive(Debug, Clone, Default)]
pub struct LocalDirs(Vec<String>);

impl LocalDirs {
    /// Relative ones are left out.
    #[must_use]
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let texts = dirs.into_iter().map(|dir| dir.to_string_lossy().trim_end_matches('/').to_owned());
        let mut dirs: Vec<String> = texts.filter(|dir| dir.starts_with('/')).collect();
        // The inner ones first.
        dirs.sort_unstable_by_key(|dir| Reverse(dir.len()));
        Self(dirs)
    }

    /// A text without paths of this machine: of each path its last component stays, of one in these
    /// directories the part below the directory. Web addresses stay as they are.
    ///
    /// Callers of an API can't use such a path, and it shows how the machine is set up. Logs have
    /// the paths.
    #[must_use]
    pub fn names_only(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        let mut before: Option<char> = None;
        while let Some(next) = rest.chars().next() {
            let path = rest.strip_prefix("file://").unwrap_or(rest);
            let consumed = if path.starts_with('/') && before.is_none_or(may_precede_path) {
                let (name, length) = self.known(path).unwrap_or_else(|| {
                    let length = end_of_path(path);
                    (last_component(&path[..length]), length)
                });
                shown.push_str(name);
                rest.len() - path.len() + length
            } else {
                shown.push(next);
                next.len_utf8()
            };
            before = rest[..consumed].chars().next_back();
            rest = &rest[consumed..];
        }
        shown
    }

    /// For a text that begins with one of the directories: what is shown of the directory, and how
    /// long its path is.
    fn known<'a>(&'a self, text: &str) -> Option<(&'a str, usize)> {
        self.0.iter().find_map(|dir| {
            let behind = text.strip_prefix(dir.as_str())?;
            let inside = behind.trim_start_matches('/');
            if inside.len() == behind.len() && end_of_path(behind) > 0 {
                // Another directory, whose name is longer.
                return None;
            }
            let name = if end_of_path(inside) == 0 { last_component(dir) } else { "" };
            Some((name, text.len() - inside.len()))
        })
    }
}

/// `/` has none, and is shown as it is.
fn last_component(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    }
}

/// Whether a path may begin behind this character. Behind a letter or a colon a `/` is part of
/// something else: `https://`, `and/or`.
fn may_precede_path(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | '[' | '{' | '<' | '=' | ',' | ';')
}

/// The length of the path that a text begins with. A colon ends it where a word ends there, as in
/// `/a/b: permission denied`.
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
            ("30 frames/s and/or 1/2, GET / failed", "30 frames/s and/or 1/2, GET / failed"),
            ("", ""),
        ] {
            let dirs = LocalDirs::default();
            assert_eq!(dirs.names_only(text), shown);
            assert_eq!(dirs.names_only(shown), shown, "it is taken out once");
        }
    }

    #[test]
    fn in_known_directories_names_have_any_characters() {
        let dirs =
            ["/srv/my recs", "/srv/my recs/team", "/out/a, b/", "/w/EG_x", "/w/EG_x/0", "no/path", "/"];
        let dirs = LocalDirs::new(dirs.map(PathBuf::from));
        for (text, shown) in [
            ("recovered: /srv/my recs/team/a.mp4", "recovered: a.mp4"),
            ("recovered: file:///srv/my recs/team/a.mp4", "recovered: a.mp4"),
            ("upload failed: /out/a, b/c (1); d.mp4: not found", "upload failed: c (1); d.mp4: not found"),
            ("(kept at /w/EG_x/0/file-0.mp4: see to it)", "(kept at file-0.mp4: see to it)"),
            ("can't read /srv/my recs//x y.ts", "can't read x y.ts"),
            ("the disk of /srv/my recs: 12 MB free", "the disk of my recs: 12 MB free"),
            ("can't open \"/out/a, b/\"", "can't open \"a, b\""),
            ("/srv/my recs/team", "team"),
            // Others are found as ever.
            ("/w/EG_xy/1 and /", "1 and /"),
            ("https://b.example/srv/my recs/a.mp4", "https://b.example/srv/my recs/a.mp4"),
        ] {
            assert_eq!(dirs.names_only(text), shown);
            assert_eq!(dirs.names_only(shown), shown, "it is taken out once");
        }
    }
}
