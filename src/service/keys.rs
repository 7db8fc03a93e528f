//! The API keys that callers sign with, and that webhooks are signed with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::secret::Secret;

/// API keys, by name, with their secrets. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Arc<BTreeMap<String, Secret<String>>>);

impl ApiKeys {
    /// The secret of the key with this name. An empty secret is none: it would let everybody in.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret<String>> {
        self.0.get(name).filter(|secret| !secret.expose().is_empty())
    }
}

impl FromIterator<(String, Secret<String>)> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = (String, Secret<String>)>>(keys: I) -> Self {
        Self(Arc::new(keys.into_iter().collect()))
    }
}
