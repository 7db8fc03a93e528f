//! The API keys that callers sign with, and that webhooks are signed with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::token::Signer;
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

    /// The key with this name, to sign with.
    #[must_use]
    pub fn signer(&self, name: &str) -> Option<Signer> {
        self.secret(name).map(|secret| Signer { key: name.to_owned(), secret: secret.clone() })
    }

    /// The first key by name, where any will do.
    #[must_use]
    pub fn first(&self) -> Option<Signer> {
        self.0.keys().find_map(|name| self.signer(name))
    }
}

impl FromIterator<(String, Secret<String>)> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = (String, Secret<String>)>>(keys: I) -> Self {
        Self(Arc::new(keys.into_iter().collect()))
    }
}
