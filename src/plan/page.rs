//! The page of a recording: an address, or a room's layout.

use std::fmt;

use url::Url;

use super::redact;
use super::room::RoomAccess;
use crate::secret::Secret;

/// The page to show.
#[derive(Clone, PartialEq, Eq)]
pub enum Page {
    /// http or https; the command line also takes `file:`, `data:`, `chrome:` and `about:`.
    Address(Url),
    /// The participants of a room. Its address is made each time it is opened: a token is in it.
    Room(Box<RoomPage>),
}

/// A layout that shows a room (docs/reference/page.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPage {
    pub room: RoomAccess,
    /// Identity in the room: the egress's id, through which layout changes reach the page.
    pub identity: String,
    /// The requested layout; the page interprets it. May be empty.
    pub layout: String,
    pub template: Template,
}

/// The page that shows the room.
#[derive(Clone, PartialEq, Eq)]
pub enum Template {
    /// Ours, which the recorder serves itself.
    Own,
    /// Somebody else's base address, http or https.
    At(Url),
}

impl Page {
    /// The given address; for a room's layout that of a foreign template, if there is one. A
    /// layout's query is added later.
    #[must_use]
    pub fn given(&self) -> Option<&Url> {
        match self {
            Self::Address(url) => Some(url),
            Self::Room(page) => match &page.template {
                Template::Own => None,
                Template::At(url) => Some(url),
            },
        }
    }

    /// [`Page::given`] as it may be shown.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.given().map(|url| redact::page_url(url.as_str()))
    }
}

impl RoomPage {
    /// The address that shows the room: the base with what a layout has to know
    /// (docs/reference/page.md). Parameters that the base has of its own stay. There is a token in
    /// it, so that it must not get anywhere but into the browser.
    #[must_use]
    pub fn address(&self, base: &Url, token: &Secret<String>) -> Secret<Url> {
        const OURS: [&str; 3] = ["layout", "token", "url"];
        let mut address = base.clone();
        let kept: Vec<(String, String)> =
            base.query_pairs().filter(|(name, _)| !OURS.contains(&name.as_ref())).map(owned).collect();
        address
            .query_pairs_mut()
            .clear()
            .extend_pairs(kept)
            .append_pair("layout", &self.layout)
            .append_pair("token", token.expose())
            .append_pair("url", self.room.server.as_str());
        Secret::new(address)
    }
}

fn owned((name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

impl fmt::Debug for Page {
    /// Addresses print without what may be secret in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(url) => f.debug_tuple("Address").field(&redact::page_url(url.as_str())).finish(),
            Self::Room(page) => page.fmt(f),
        }
    }
}

impl fmt::Debug for Template {
    /// Addresses print without what may be secret in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::At(url) => f.debug_tuple("At").field(&redact::page_url(url.as_str())).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
