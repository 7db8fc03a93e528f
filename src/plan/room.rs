//! A LiveKit room as a plan knows it: where it is, and with what one gets in.

use url::Url;

use crate::secret::Secret;
use crate::token::Signer;

/// A room of a LiveKit server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomAccess {
    pub name: String,
    /// As the server gave it; empty: not known.
    pub id: String,
    /// `ws://` or `wss://`; what is behind its path is the server's affair.
    pub server: Url,
    pub entry: RoomEntry,
}

/// With what a recorder gets into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEntry {
    /// Came with the request.
    Token(Secret<String>),
    /// Makes a token for each time it joins, good for a day.
    Key(Signer),
}
