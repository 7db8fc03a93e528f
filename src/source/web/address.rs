//! Under which address the page is opened, and what of it nobody else may see.

use url::Url;

use super::WebError;
use super::page;
use super::templates::Templates;
use crate::pages;
use crate::plan::page::{Page, RoomPage, Template};
use crate::secret::Secret;

/// Makes the page's address, anew each time it is opened: a room's has a token in it.
#[derive(Debug)]
pub(super) struct Addresses {
    page: Page,
    /// Our own layouts, where they are shown.
    templates: Option<Templates>,
}

impl Addresses {
    /// For a layout of our own a server is started, which ends with this.
    pub(super) async fn open(page: &Page) -> Result<Self, WebError> {
        let is_ours = matches!(page, Page::Room(room) if room.template == Template::Own);
        if is_ours && !pages::ARE_BUILT {
            return Err(WebError::NoPages);
        }
        let templates =
            if is_ours { Some(Templates::serve().await.map_err(WebError::Templates)?) } else { None };
        Ok(Self { page: page.clone(), templates })
    }

    pub(super) fn next(&self) -> Result<Address, WebError> {
        match &self.page {
            Page::Address(url) => Ok(Address::plain(url.clone())),
            Page::Room(page) => self.room(page),
        }
    }

    fn room(&self, page: &RoomPage) -> Result<Address, WebError> {
        let base = match (&page.template, &self.templates) {
            (Template::At(url), _) => url,
            (Template::Own, Some(templates)) => templates.url(),
            (Template::Own, None) => {
                return Err(WebError::Templates(std::io::ErrorKind::NotConnected.into()));
            }
        };
        let token = page.room.token(&page.identity)?;
        Ok(Address { url: page.address(base, &token), token: Some(token) })
    }
}

/// An address with what must not be shown of it.
#[derive(Debug, Clone)]
pub(super) struct Address {
    url: Secret<Url>,
    token: Option<Secret<String>>,
}

impl Address {
    pub(super) fn plain(url: Url) -> Self {
        Self { url: Secret::new(url), token: None }
    }

    /// The address that this page navigates to. Secrets of this address stay secret there.
    pub(super) fn elsewhere(&self, url: &Secret<Url>) -> Self {
        Self { url: url.clone(), token: self.token.clone() }
    }

    /// For the browser alone.
    pub(super) fn expose(&self) -> &Url {
        self.url.expose()
    }

    /// Without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        page::redacted(self.url.expose())
    }

    /// A text of the page's, which may quote its address or use its token, without either.
    pub(super) fn scrub(&self, text: &str) -> String {
        let text = page::without_query(text, self.url.expose());
        let Some(token) = self.token.as_ref().map(Secret::expose).filter(|token| !token.is_empty()) else {
            return text;
        };
        // While the page is in its room, the server gives it other tokens.
        without_tokens(&text.replace(token.as_str(), HIDDEN))
    }
}

const HIDDEN: &str = "***";

/// A text without the JSON Web Tokens in it, which look alike: three parts in base64 for addresses
/// with dots between, the first of which begins an object.
fn without_tokens(text: &str) -> String {
    let is_of_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let end = from.find(|c| !is_of_one(c)).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        let is_token = word.split('.').filter(|part| !part.is_empty()).count() >= 3;
        shown.push_str(if is_token { HIDDEN } else { word });
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJFR18xIn0.c2lnbmF0dXJl-_9";

    #[test]
    fn what_a_page_says_of_its_token_is_not_shown() {
        let url: Url = format!("http://localhost:1/?layout=grid&token={TOKEN}&url=ws://a").parse().unwrap();
        let token = Some(Secret::new("a request's own".to_owned()));
        let address = Address { url: Secret::new(url.clone()), token };
        for (text, shown) in [
            (format!("at {url}:1:3"), "at http://localhost:1/:1:3".to_owned()),
            (
                format!("connecting to wss://a/rtc?access_token={TOKEN}&auto=1"),
                "connecting to wss://a/rtc?access_token=***&auto=1".to_owned(),
            ),
            (format!("token \"{TOKEN}\"."), "token \"***\".".to_owned()),
            ("with a request's own.".to_owned(), "with ***.".to_owned()),
            ("eyJ and eyJ.a are not tokens: eyJ".to_owned(), "eyJ and eyJ.a are not tokens: eyJ".to_owned()),
        ] {
            assert_eq!(address.scrub(&text), shown);
        }
        assert_eq!(address.shown(), "http://localhost:1/");
        assert!(!format!("{address:?}").contains("eyJ"));
    }
}
