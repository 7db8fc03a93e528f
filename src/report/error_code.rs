//! The fault of a failure, and its number in an `EgressInfo` (docs/reference/egress.md,
//! docs/reference/media.md).

/// The side at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request can't be fulfilled: the page does not load, a value is wrong.
    User,
    /// The recorded thing does not exist.
    NotFound,
    /// Where the recording goes does not take it: a server, a full disk.
    Destination,
    /// A storage does not take what was recorded. LiveKit calls that the request's fault, too
    /// (docs/reference/egress.md).
    Storage,
    /// The operator ended it.
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
