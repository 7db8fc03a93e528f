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

    /// A name from outside, cleaned; `None` where nothing of it is left, or it names a directory.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let clean = super::filename::clean(name);
        let is_name = !clean.is_empty() && !clean.ends_with('/') && !clean.contains('\0');
        is_name.then_some(Self(clean))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_is_cleaned() {
        for (name, expected) in [
            ("a/../b.mp4", Some("b.mp4")),
            ("../../b.mp4", Some("b.mp4")),
            ("/a//b.mp4", Some("/a/b.mp4")),
            ("..", None),
            ("", None),
            ("a/", None),
            ("a\0b", None),
        ] {
            assert_eq!(StoredName::parse(name).as_ref().map(StoredName::as_str), expected, "{name:?}");
        }
    }
}
