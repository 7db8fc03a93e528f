//! A LiveKit room as a plan knows it: where it is, and with what one gets in.

use std::fmt;

use livekit_token::AccessTokenError;
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::PlanError;
use super::redact;
use crate::secret::Secret;
use crate::token::Signer;

/// A server's access to rooms, for requests without their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// LiveKit's server: `ws://`, `wss://`, `http://` or `https://`. Empty: not known.
    pub ws_url: String,
    /// The key whose tokens open rooms; `None`: only requests that bring a token get in.
    pub signer: Option<Signer>,
    /// Base address of the layouts' pages. Empty: our own.
    pub template_base: String,
}

/// The room that a request is about, and what it brings along to get in (docs/reference/media.md).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RoomTicket {
    pub name: String,
    /// Looked up by livekit-server; empty if unknown.
    pub id: String,
    /// Empty: the server's own key makes one.
    pub token: Secret<String>,
    /// Address of the room's server; empty: the configured one.
    pub ws_url: String,
}

impl fmt::Debug for RoomTicket {
    /// The server's address prints without what may be secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id, token, ws_url } = self;
        f.debug_struct("RoomTicket")
            .field("name", name)
            .field("id", id)
            .field("token", token)
            .field("ws_url", &redact::page_url(ws_url))
            .finish()
    }
}

/// A room whose recording it is, where a page that joins no room is recorded for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomLabel {
    pub name: String,
    /// Looked up by livekit-server; empty if unknown.
    pub id: String,
}

impl RoomTicket {
    /// Room name and id; `None` without a name.
    #[must_use]
    pub(super) fn label(&self) -> Option<RoomLabel> {
        let Self { name, id, .. } = self;
        (!name.is_empty()).then(|| RoomLabel { name: name.clone(), id: id.clone() })
    }

    /// The same ticket for the room that a request names; an envelope's name counts where the
    /// request has none.
    #[must_use]
    pub(super) fn named(self, name: String) -> Self {
        if name.is_empty() { self } else { Self { name, ..self } }
    }
}

impl Rooms {
    /// The way into a room: what the request brings along counts, then what the server has.
    ///
    /// # Errors
    /// [`PlanError`], where neither says it, with LiveKit's names of what is missing.
    pub fn access(&self, ticket: &RoomTicket) -> Result<RoomAccess, PlanError> {
        let RoomTicket { name, id, token, ws_url } = ticket;
        if name.is_empty() {
            let words = "token or api key/secret";
            return Err(PlanError::worded(words, "room_name", "it is empty; name the room to record"));
        }
        let entry = match (token.expose().as_str(), &self.signer) {
            ("", Some(signer)) if !signer.key.is_empty() && !signer.secret.expose().is_empty() => {
                RoomEntry::Key(signer.clone())
            }
            ("", _) => {
                return Err(PlanError::invalid(
                    "token or api key/secret",
                    "there is neither; give the key and the secret of the room's server (LIVEKIT_API_KEY and \
                     LIVEKIT_API_SECRET)",
                ));
            }
            _ => RoomEntry::Token(token.clone()),
        };
        let server = if ws_url.is_empty() { &self.ws_url } else { ws_url };
        Ok(RoomAccess { name: name.clone(), id: id.clone(), server: server_address(server)?, entry })
    }
}

/// LiveKit's server as its clients speak to it.
fn server_address(text: &str) -> Result<Url, PlanError> {
    const FIELD: &str = "ws_url";
    if text.is_empty() {
        return Err(PlanError::invalid(
            FIELD,
            "it is not known where the room is; give the address of LiveKit's server, wss://…",
        ));
    }
    let wrong =
        |why: &str| PlanError::invalid(FIELD, format!("{why}; write it as wss://livekit.example.com"));
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    let scheme = match url.scheme() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        other => return Err(wrong(&format!("{other}: is not how LiveKit's server is reached"))),
    };
    url.set_scheme(scheme).map_err(|()| wrong("invalid address"))?;
    Ok(url)
}

/// A room of a LiveKit server.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomAccess {
    pub name: String,
    /// Given by the server; empty if unknown.
    pub id: String,
    /// `ws://` or `wss://`; what is behind its path is the server's affair.
    pub server: Url,
    pub entry: RoomEntry,
}

impl fmt::Debug for RoomAccess {
    /// The server's address prints without what may be secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id, server, entry } = self;
        f.debug_struct("RoomAccess")
            .field("name", name)
            .field("id", id)
            .field("server", &redact::page_url(server.as_str()))
            .field("entry", entry)
            .finish()
    }
}

impl RoomAccess {
    /// A token to join with, as a recorder whose identity is its egress's id. One that came with
    /// the request is given again each time.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn token(&self, egress_id: &str) -> Result<Secret<String>, AccessTokenError> {
        match &self.entry {
            RoomEntry::Token(token) => Ok(token.clone()),
            RoomEntry::Key(signer) => signer.recorder(&self.name, egress_id),
        }
    }
}

/// With what a recorder gets into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEntry {
    /// Came with the request.
    Token(Secret<String>),
    /// Makes a token for each time it joins, good for a day.
    Key(Signer),
}

#[cfg(test)]
mod tests;
