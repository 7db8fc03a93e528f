//! Output of `weir recover --json`: JSON lines, in this order for each work directory.
//!
//! ```text
//! {"kind":"found","dir":"/rec/.weir/EG_1","files":2,"bytes":1234567}
//! {"kind":"finished","dir":"/rec/.weir/EG_1","location":"/rec/talk.mp4"}
//! {"kind":"kept","dir":"/rec/.weir/EG_1","path":"/rec/.weir/EG_1/0/file-0.damaged.mp4","bytes":1234000}
//! {"kind":"problem","dir":"/rec/.weir/EG_1","error":"talk.mp4: the recorded file is damaged …"}
//! {"kind":"done","dir":"/rec/.weir/EG_1","is_whole":false}
//! ```
//!
//! Empty output: no work directory was found. Other keys and kinds may be added.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecoveryLine {
    /// Files with something recorded that a work directory had.
    Found { dir: String, files: usize, bytes: u64 },
    /// A file was finished, and is where it belongs.
    Finished { dir: String, location: String },
    /// A file was not turned into a finished one: it stays.
    Kept { dir: String, path: String, bytes: u64 },
    /// Why something is kept.
    Problem { dir: String, error: String },
    /// `is_whole`: nothing is kept, and the work directory is gone.
    Done { dir: String, is_whole: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_documented_and_may_have_more_keys() {
        let line = RecoveryLine::Kept { dir: "/w".into(), path: "/w/0/a".into(), bytes: 7 };
        let text = r#"{"kind":"kept","dir":"/w","path":"/w/0/a","bytes":7}"#;
        assert_eq!(serde_json::to_string(&line).unwrap(), text);
        let more = r#"{"kind":"kept","dir":"/w","path":"/w/0/a","bytes":7,"newer":1}"#;
        assert_eq!(serde_json::from_str::<RecoveryLine>(more).unwrap(), line);
    }
}
