//! The API keys that callers sign with, and that webhooks are signed with; what callers' tokens say
//! (docs/reference/egress.md).

use std::collections::BTreeMap;
use std::sync::Arc;

use livekit_token::{Claims, TokenVerifier};

use crate::secret::Secret;
use crate::token::Signer;

/// Why a token is not accepted. Nothing of the token is in it but the name of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("invalid authorization token")]
    Malformed,
    #[error("invalid API key: {0}")]
    UnknownKey(String),
    /// Wrongly signed, over, or not yet good.
    #[error("invalid token: it is not signed with the secret of its API key, or its time is over")]
    Invalid,
}

/// API keys, by name, with their secrets. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Arc<BTreeMap<String, Secret<String>>>);

impl ApiKeys {
    /// The secret of a key. An empty secret counts as missing: it would let everybody in.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret<String>> {
        self.0.get(name).filter(|secret| !secret.expose().is_empty())
    }

    /// The key with this name, to sign with.
    #[must_use]
    pub fn signer(&self, name: &str) -> Option<Signer> {
        self.secret(name).map(|secret| Signer { key: name.to_owned(), secret: secret.clone() })
    }

    /// The claims of a token that is signed with one of the keys and valid now (tolerance: a
    /// minute).
    ///
    /// # Errors
    ///
    /// [`TokenError`]
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let unproven = Claims::from_unverified(token).map_err(|_| TokenError::Malformed)?;
        let Some(secret) = self.secret(&unproven.iss) else {
            return Err(TokenError::UnknownKey(unproven.iss.chars().take(64).collect()));
        };
        TokenVerifier::with_api_key(&unproven.iss, secret.expose())
            .verify(token)
            .map_err(|_| TokenError::Invalid)
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

#[cfg(test)]
mod tests;
