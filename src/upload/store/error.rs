//! Why a store did not take a file.

use std::io;

/// Why a store did not take a file. Its text names the store's answer, and has no credentials in it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    kind: StoreErrorKind,
    text: String,
    #[source]
    source: Option<io::Error>,
}

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store says no, and will say it again: wrong credentials, no such bucket, a name it does not like.
    Refused,
    /// It can't just now: 5xx, 429, 409, 408.
    Busy,
    /// There is no connection, or it broke.
    Unreachable,
    /// It did not take the bytes in time.
    TooSlow,
    /// The file itself can't be read, or (local disk) written.
    File,
    /// A file on the local disk has the name already, and is to stay.
    Exists,
    /// The configuration makes no store: an address that is none, a key that is none.
    Unusable,
}

impl StoreErrorKind {
    /// Whether the same request may succeed when it is made again.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Busy | Self::Unreachable | Self::TooSlow => true,
            Self::Refused | Self::File | Self::Exists | Self::Unusable => false,
        }
    }

    /// What a status of HTTP (RFC 9110 §15) means. Of the server errors, the two that speak of the request pass no better
    /// the second time.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            501 | 505 => Self::Refused,
            408 | 409 | 425 | 429 | 500.. => Self::Busy,
            _ => Self::Refused,
        }
    }
}

impl StoreError {
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// A file of this machine can't be read or written.
    #[must_use]
    pub fn file(path: &std::path::Path, source: io::Error) -> Self {
        let text = format!("{}: {source}", path.display());
        let kind = match source.kind() {
            io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
            _ => StoreErrorKind::File,
        };
        Self { kind, text, source: Some(source) }
    }

    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The same with something said behind it.
    #[must_use]
    pub(in crate::upload) fn and(mut self, more: &str) -> Self {
        self.text.push_str(more);
        self
    }
}
