//! Where an output is kept.

/// Where an output is kept. Local disk is the one kind there is today; the others become variants of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageTarget {
    /// Relative names are relative to the directory the command was started in.
    Local,
}

/// A name in a [`StorageTarget`]: cleaned, without `..`, never empty; `/` separates directories. For
/// [`StorageTarget::Local`] it may begin with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredName(String);

impl StoredName {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StoredName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
