//! LiveKit's access tokens, as they are made here (docs/reference/egress.md).
//!
//! They are JSON Web Tokens, signed with HMAC-SHA256 by the secret of an API key, whose name is their issuer.

use std::time::Duration;

use livekit_token::{AccessToken, AccessTokenError, VideoGrants};
use serde::{Deserialize, Serialize};

use crate::secret::{Secret, exposed};

/// How long a recorder may stay in a room with its token.
const ROOM: Duration = Duration::from_hours(24);
/// How long a signed call of ours is good for.
const CALL: Duration = Duration::from_mins(5);

/// An API key by its name, with its secret. Written down, the secret is in it: for a pipe that only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    pub key: String,
    #[serde(with = "exposed")]
    pub secret: Secret<String>,
}

impl Signer {
    /// `None`: one of both is empty.
    #[must_use]
    pub fn new(key: &str, secret: &Secret<String>) -> Option<Self> {
        let is_one = !key.is_empty() && !secret.expose().is_empty();
        is_one.then(|| Self { key: key.to_owned(), secret: secret.clone() })
    }

    /// The token with which a recorder joins a room: it is not counted, not seen, and only listens. Its identity is the egress's
    /// id, which is how a layout reaches it.
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

    /// The token for a call about one room to LiveKit's `RoomService`.
    ///
    /// # Errors
    /// When key or secret are empty.
    pub fn room_admin(&self, room: &str) -> Result<Secret<String>, AccessTokenError> {
        let grants = VideoGrants { room_admin: true, room: room.to_owned(), ..VideoGrants::default() };
        self.sign(|token| token.with_grants(grants).with_ttl(CALL))
    }

    /// The token that vouches for a webhook's body; `sha256` is the base64 of the body's digest.
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
