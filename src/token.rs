//! LiveKit access tokens (docs/reference/signaling.md).
//!
//! They are JSON Web Tokens, signed with HMAC-SHA256 by the secret of an API key; the key's name is
//! the issuer.

use std::time::Duration;

use livekit_token::{AccessToken, AccessTokenError, VideoGrants};
use serde::{Deserialize, Serialize};

use crate::secret::{Secret, exposed};

/// How long a recorder may stay in a room with its token.
const ROOM: Duration = Duration::from_hours(24);
/// How long the token of an API call is valid.
const CALL: Duration = Duration::from_mins(5);

/// An API key's name and secret. Serializing it exposes the secret: only for a pipe that its owner
/// alone can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    pub key: String,
    #[serde(with = "exposed")]
    pub secret: Secret<String>,
}

impl Signer {
    /// Returns `None` if key or secret is empty.
    #[must_use]
    pub fn new(key: &str, secret: &Secret<String>) -> Option<Self> {
        let is_one = !key.is_empty() && !secret.expose().is_empty();
        is_one.then(|| Self { key: key.to_owned(), secret: secret.clone() })
    }

    /// Returns the token with which a recorder joins a room: hidden, not counted, and subscribing
    /// only. Its identity is the egress id, by which layouts are changed.
    ///
    /// # Errors
    /// When key, secret, room or id are empty.
    pub fn recorder(&self, room: &str, egress_id: &str) -> Result<Secret<String>, AccessTokenError> {
        let grants = VideoGrants {
            room_join: true,
            room: room.to_owned(),
            can_subscribe: Some(true),
            can_publish: Some(false),
            can_publish_data: Some(false),
            hidden: true,
            recorder: true,
            ..VideoGrants::default()
        };
        self.sign(|token| {
            token.with_identity(egress_id).with_kind("egress").with_grants(grants).with_ttl(ROOM)
        })
    }

    /// Returns the token for a call of LiveKit's `RoomService` about one room.
    ///
    /// # Errors
    /// When key or secret are empty.
    pub fn room_admin(&self, room: &str) -> Result<Secret<String>, AccessTokenError> {
        let grants = VideoGrants { room_admin: true, room: room.to_owned(), ..VideoGrants::default() };
        self.sign(|token| token.with_grants(grants).with_ttl(CALL))
    }

    /// Returns the token that authenticates a webhook's body; `sha256` is the base64 of the body's
    /// digest.
    ///
    /// # Errors
    /// When key or secret are empty.
    pub fn body(&self, sha256: &str) -> Result<Secret<String>, AccessTokenError> {
        self.sign(|token| token.with_sha256(sha256).with_ttl(CALL))
    }

    fn sign(
        &self,
        claim: impl FnOnce(AccessToken) -> AccessToken,
    ) -> Result<Secret<String>, AccessTokenError> {
        claim(AccessToken::with_api_key(&self.key, self.secret.expose())).to_jwt().map(Secret::new)
    }
}
