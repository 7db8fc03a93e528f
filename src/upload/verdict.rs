//! Consequences of a failed upload, for the file itself and for those behind it.

use std::fmt;

/// Consequence for the next attempt, the most hopeful first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The storage is away; the same request may succeed later.
    Passing,
    /// It was refused, for its own sake or as everything is: whether other files are taken tells.
    Unclear,
    /// This file will never be taken.
    Permanent,
}

/// Short description of the problem of a storage that an output waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// With this status of HTTP.
    Answers(u16),
    Unreachable,
    Silent,
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(status) => write!(f, "storage answers {status}"),
            Self::Unreachable => f.write_str("storage can't be reached"),
            Self::Silent => f.write_str("storage does not answer in time"),
            Self::Other => f.write_str("storage takes nothing"),
        }
    }
}
