//! Why a store did not take a file.

use std::io;

/// Why a store did not take a file. Its text names the store's answer, and has no credentials in
/// it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    kind: StoreErrorKind,
    scope: Scope,
    status: Option<u16>,
    text: String,
    #[source]
    source: Option<io::Error>,
}

/// Consequence of an error for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store says no, and will say it again: wrong credentials, no such bucket, a key that is
    /// too long.
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
    /// The configuration is unusable: an invalid address or key.
    Unusable,
}

/// Scope of a permanent error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This object alone: its key is too long, its file can't be read. Trying again is pointless,
    /// and others are not affected.
    Object,
    /// The answer does not say: a 403 may be about one key or about the whole bucket. Whether the
    /// store takes other objects tells.
    Unclear,
}

/// Codes of S3, Google, Azure and OSS that are about one key or one body.
const OBJECT_CODES: [&str; 10] = [
    "KeyTooLongError",
    "KeyTooLong",
    "InvalidObjectName",
    "XMinioInvalidObjectName",
    "InvalidURI",
    "InvalidUri",
    "EntityTooLarge",
    "RequestBodyTooLarge",
    "BlobImmutableDueToPolicy",
    "InvalidBlobType",
];

impl Scope {
    /// Scope by an answer's error code and status. Status: content or address too large (RFC 9110
    /// §15.5.14, §15.5.15).
    fn of_answer(code: &str, status: Option<u16>) -> Self {
        if OBJECT_CODES.contains(&code) || matches!(status, Some(413 | 414)) {
            Self::Object
        } else {
            Self::Unclear
        }
    }

    /// Scope of an error of reading a local file. A machine without free descriptors or memory
    /// fails for every file.
    fn of_read(error: &io::Error) -> Self {
        use nix::errno::Errno;
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR) => Self::Unclear,
            Some(_) | None => Self::Object,
        }
    }

    /// Scope of an error of writing to a local disk: the name, or the disk.
    fn of_write(error: &io::Error) -> Self {
        use io::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidFilename
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::AlreadyExists => Self::Object,
            _ => Self::Unclear,
        }
    }
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

    /// Kind by HTTP status (RFC 9110 §15). The two server errors about the request are permanent.
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
        Self { kind, scope: Scope::Unclear, status: None, text: text.into(), source: None }
    }

    /// A file of this machine can't be read.
    #[must_use]
    pub fn file(path: &std::path::Path, source: io::Error) -> Self {
        let scope = Scope::of_read(&source);
        Self { scope, ..Self::of_disk(path, source) }
    }

    /// A file of this machine can't be written.
    #[must_use]
    pub fn unwritable(path: &std::path::Path, source: io::Error) -> Self {
        let scope = Scope::of_write(&source);
        Self { scope, ..Self::of_disk(path, source) }
    }

    fn of_disk(path: &std::path::Path, source: io::Error) -> Self {
        let text = format!("{}: {source}", path.display());
        let kind = match source.kind() {
            io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
            _ => StoreErrorKind::File,
        };
        Self { source: Some(source), ..Self::new(kind, text) }
    }

    /// The same of an answer with this error code (empty: it had none) and status.
    #[must_use]
    pub(in crate::upload) fn answered(self, code: &str, status: Option<u16>) -> Self {
        Self { scope: Scope::of_answer(code, status), status, ..self }
    }

    /// The same about this object alone.
    #[must_use]
    pub(super) fn of_object(self) -> Self {
        Self { scope: Scope::Object, ..self }
    }

    /// The same in other words; the source is left out.
    #[must_use]
    pub(in crate::upload) fn reworded(&self, text: impl Into<String>) -> Self {
        let Self { kind, scope, status, .. } = *self;
        Self { kind, scope, status, text: text.into(), source: None }
    }

    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// The answer's status of HTTP; `None` where there was no answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// The same with something said behind it.
    #[must_use]
    pub(in crate::upload) fn and(mut self, more: &str) -> Self {
        self.text.push_str(more);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_object_are_told_from_others() {
        let refused = |code: &str, status| {
            StoreError::new(StoreErrorKind::Refused, code).answered(code, Some(status)).scope()
        };
        for (code, status) in [("KeyTooLongError", 400), ("InvalidObjectName", 400), ("", 413), ("", 414)] {
            assert_eq!(refused(code, status), Scope::Object, "{code} {status}");
        }
        for (code, status) in
            [("AccessDenied", 403), ("NoSuchBucket", 404), ("", 400), ("", 401), ("InvalidArgument", 400)]
        {
            assert_eq!(refused(code, status), Scope::Unclear, "{code} {status}");
        }
        let path = std::path::Path::new("/f");
        let errno = |errno: nix::errno::Errno| io::Error::from_raw_os_error(errno as i32);
        for error in [nix::errno::Errno::ENOENT, nix::errno::Errno::EACCES, nix::errno::Errno::EIO] {
            assert_eq!(StoreError::file(path, errno(error)).scope(), Scope::Object, "{error}");
        }
        assert_eq!(StoreError::file(path, errno(nix::errno::Errno::EMFILE)).scope(), Scope::Unclear);
        let unwritable = |error| StoreError::unwritable(path, errno(error)).scope();
        assert_eq!(unwritable(nix::errno::Errno::ENAMETOOLONG), Scope::Object);
        assert_eq!(unwritable(nix::errno::Errno::EISDIR), Scope::Object);
        assert_eq!(unwritable(nix::errno::Errno::ENOSPC), Scope::Unclear);
        assert_eq!(unwritable(nix::errno::Errno::ENOTDIR), Scope::Unclear);
    }
}
