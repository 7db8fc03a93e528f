//! Plans the page of a recording: a web page, or the layout of a room.

use url::Url;

use super::super::defaults::Defaults;
use super::super::egress_id::EgressId;
use super::super::error::PlanError;
use super::super::page::{Page, RoomPage, Template};
use super::super::redact;
use super::super::request::{RequestOrigin, RoomRequest, WebRequest};

/// The page that a request for one means. From afar only what is on the web; at a terminal also
/// what is on this machine.
pub(super) fn web(web: &WebRequest, origin: &RequestOrigin) -> Result<Page, PlanError> {
    const FIELD: &str = "web url";
    let (schemes, named): (&[&str], _) = match origin {
        RequestOrigin::CommandLine => (
            &["http", "https", "file", "data", "chrome", "about"],
            "http://, https://, file://, data:, chrome:// or about:",
        ),
        RequestOrigin::Wire(_) => (&["http", "https"], "http:// or https://"),
    };
    let text = &web.url;
    if text.is_empty() {
        return Err(PlanError::invalid(FIELD, "it is empty; give the address of the page to record"));
    }
    let url = Url::parse(text).map_err(|error| {
        let shown = redact::page_url(text);
        PlanError::invalid(FIELD, format!("{shown}: {error}; write it as https://example.com/page"))
    })?;
    if !schemes.contains(&url.scheme()) {
        let scheme = url.scheme();
        return Err(PlanError::invalid(FIELD, format!("{scheme}: pages can't be recorded; use {named}")));
    }
    Ok(Page::Address(url))
}

/// The page that shows the room of a request.
pub(super) fn room(
    request: &RoomRequest,
    defaults: &Defaults,
    egress_id: &EgressId,
) -> Result<Page, PlanError> {
    let room = defaults.rooms.access(&request.room)?;
    let base = match request.custom_base_url.as_str() {
        "" => &defaults.rooms.template_base,
        custom => custom,
    };
    let template = match base {
        "" => Template::Own,
        base => Template::At(template_base(base)?),
    };
    let identity = egress_id.as_str().to_owned();
    Ok(Page::Room(Box::new(RoomPage { room, identity, layout: request.layout.clone(), template })))
}

fn template_base(text: &str) -> Result<Url, PlanError> {
    const FIELD: &str = "template base url";
    let shown = redact::page_url(text);
    let wrong = |why: &str| {
        PlanError::invalid(FIELD, format!("{shown}: {why}; write it as https://example.com/layouts"))
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    Ok(url)
}
