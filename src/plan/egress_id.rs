//! The id of an egress.

use std::fmt;

/// Names one recording everywhere: `EG_` and twelve characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressId(String);

impl EgressId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EgressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
