//! Whose fault a failure is, and the number that stands for it in an `EgressInfo` (docs/reference/egress.md, docs/reference/media.md).

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was asked for can't be done: the page does not load, a value is wrong.
    User,
    /// What was to be recorded is not there.
    NotFound,
    /// Where the recording goes does not take it: a server, a full disk.
    Destination,
    /// A storage does not take what was recorded. LiveKit calls that the request's fault, too (docs/reference/egress.md).
    Storage,
    /// Whoever runs the service did not want it to go on.
    Killed,
    /// Ours.
    Service,
}

impl Fault {
    /// The HTTP status in `EgressInfo.error_code`.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::User | Self::Storage => 400,
            Self::Killed => 403,
            Self::NotFound => 404,
            Self::Destination => 503,
            Self::Service => 500,
        }
    }
}
