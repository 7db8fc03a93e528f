//! Reads YAML with the rules of Go's configurations: every value knows its place, and empty means
//! "not set".
//!
//! A text becomes a [`Tree`] whose nodes know their line; a value is read from the tree (`read`). A
//! deserializer on the text itself would not do: a section whose keys are all commented out is
//! valid, all unknown keys are reported with their lines, and no message may quote a possible
//! secret.

mod build;
mod read;
mod scalar;

use std::cell::RefCell;
use std::fmt;

use serde::de::DeserializeOwned;

/// A position in a text; line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A problem in a configuration. It quotes no possible secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `None` if it is about something missing from the text.
    pub place: Option<Place>,
    /// The full path of the key, such as `storage.s3.bucket`; empty for the whole text.
    pub key: String,
    pub problem: String,
}

impl Finding {
    pub(super) fn new(place: Option<Place>, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place, key: key.into(), problem: problem.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Why a text is not a configuration. At least one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    /// One line per finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Finding> for ConfigError {
    fn from(finding: Finding) -> Self {
        Self { findings: vec![finding] }
    }
}

/// A parsed text.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Debug, Clone)]
struct Node {
    place: Place,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `is_plain`: written without quotes, so that it may be a number.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
struct Entry {
    key: String,
    place: Place,
    value: Node,
}

impl Tree {
    /// # Errors
    /// For invalid YAML, a repeated key, or more than one document.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(Self { root: build::root(text)? })
    }

    /// Reads a value, and returns the keys that it does not know.
    ///
    /// # Errors
    /// The first invalid value.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<(T, Vec<Finding>), ConfigError> {
        let unknown = RefCell::default();
        let value =
            T::deserialize(read::Reader::new(&self.root, &unknown)).map_err(read::Problem::finding)?;
        Ok((value, unknown.into_inner()))
    }

    /// Returns whether a finding is about a top-level key.
    pub(super) fn is_top(&self, finding: &Finding) -> bool {
        matches!(&self.root.kind, Kind::Map(entries) if entries.iter().any(|entry| entry.key == finding.key))
    }

    /// Returns the position of a key such as `webhook.urls`.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.entry(key).map(|entry| entry.place)
    }

    /// Returns the text of a key's value, if it is a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.value.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        let mut node = &self.root;
        let mut found = None;
        for part in key.split('.') {
            let Kind::Map(entries) = &node.kind else { return None };
            let entry = entries.iter().find(|entry| entry.key == part)?;
            node = &entry.value;
            found = Some(entry);
        }
        found
    }
}

#[cfg(test)]
mod tests;
