//! Where a stream goes: `rtmp(s)://`, `srt://`, and the short forms `mux://` and `twitch://`.

use crate::secret::Secret;

/// A stream's address, parsed. It prints redacted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamUrl {
    address: Secret<String>,
    redacted: String,
}

impl StreamUrl {
    /// An address and how it prints.
    #[cfg(test)]
    pub(crate) fn new(address: impl Into<String>, redacted: impl Into<String>) -> Self {
        Self { address: Secret::new(address.into()), redacted: redacted.into() }
    }

    /// The address to connect to, with its key.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.address.expose()
    }

    /// The address with its key or query values blotted out (media.md §6.2).
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.redacted
    }
}

impl std::fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl std::fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted)
    }
}
