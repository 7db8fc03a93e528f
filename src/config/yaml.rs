//! YAML as Go's configurations are written: places for every key, and what is empty is not said.
//!
//! A text becomes a tree whose nodes know where they stand ([`Tree`]); a value is read out of the tree (`read`). Where the
//! usual way, a deserialiser on the text itself, would not do: a section whose keys are all commented out is no error, a key
//! that nobody knows is no error either but is to be told with its line, all of them and not the first, and no message may
//! quote a text that could be a secret.

mod build;
mod read;
mod scalar;

use std::cell::RefCell;
use std::fmt;

use serde::de::DeserializeOwned;

/// Where something stands in a text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// What is to be said about a configuration. It quotes no value that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `None`: it is about what is not in the text.
    pub place: Option<Place>,
    /// The key and those above it: `storage.s3.bucket`; empty: it is about the whole text.
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

/// Why a text is no configuration. At least one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    /// One line for each.
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

/// A text, taken apart.
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
    /// For what is no YAML, has a key twice, or is more than one document.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(Self { root: build::root(text)? })
    }

    /// Reads a value, and tells the keys it does not know.
    ///
    /// # Errors
    /// At the first value that can't be one.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<(T, Vec<Finding>), ConfigError> {
        let unknown = RefCell::default();
        let value =
            T::deserialize(read::Reader::new(&self.root, &unknown)).map_err(read::Problem::finding)?;
        Ok((value, unknown.into_inner()))
    }

    /// Whether a finding is about a key with none above it.
    pub(super) fn is_top(&self, finding: &Finding) -> bool {
        matches!(&self.root.kind, Kind::Map(entries) if entries.iter().any(|entry| entry.key == finding.key))
    }

    /// Where a key stands: `webhook.urls`.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.entry(key).map(|entry| entry.place)
    }

    /// The text of a key's value, if it is one.
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
