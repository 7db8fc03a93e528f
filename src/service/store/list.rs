//! Lists of egresses: filter, order and pages. Pure.
//!
//! LiveKit's lists are unordered and have no pages. Here the newest come first, by start time and
//! id, and a truncated answer has a token for the next page. The token is a position in this order,
//! so that egresses that begin or end in between neither repeat nor hide others.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use livekit_protocol as proto;

use super::unknown;
use crate::service::error::ServiceError;
use crate::service::registry::is_over;

pub(super) fn list(
    infos: &BTreeMap<String, proto::EgressInfo>,
    request: &proto::ListEgressRequest,
    page: usize,
) -> Result<proto::ListEgressResponse, ServiceError> {
    let proto::ListEgressRequest { room_name, egress_id, active, page_token } = request;
    let is_asked_for = |info: &proto::EgressInfo| {
        (room_name.is_empty() || info.room_name == *room_name) && (!active || !is_over(info))
    };
    if !egress_id.is_empty() {
        let info = infos.get(egress_id).ok_or_else(unknown)?;
        let items = if is_asked_for(info) { vec![info.clone()] } else { Vec::new() };
        return Ok(proto::ListEgressResponse { items, next_page_token: None });
    }
    let after = match page_token {
        Some(token) if !token.token.is_empty() => Some(place_of(&token.token).ok_or_else(|| {
            ServiceError::invalid(
                "request has missing or invalid field: page_token: give the `next_page_token` of an earlier answer",
            )
        })?),
        Some(_) | None => None,
    };
    let mut found: Vec<&proto::EgressInfo> = infos
        .values()
        .filter(|info| is_asked_for(info))
        .filter(|info| after.as_ref().is_none_or(|(at, id)| place(info) < (*at, id.as_str())))
        .collect();
    found.sort_unstable_by_key(|info| std::cmp::Reverse(place(info)));
    let is_cut = found.len() > page;
    found.truncate(page);
    let next_page_token =
        found.last().filter(|_| is_cut).map(|last| proto::TokenPagination { token: token_of(last) });
    Ok(proto::ListEgressResponse { items: found.into_iter().cloned().collect(), next_page_token })
}

fn place(info: &proto::EgressInfo) -> (i64, &str) {
    (info.started_at, &info.egress_id)
}

fn token_of(info: &proto::EgressInfo) -> String {
    let (at, id) = place(info);
    BASE64_URL_SAFE_NO_PAD.encode(format!("{at} {id}"))
}

fn place_of(token: &str) -> Option<(i64, String)> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (at, id) = text.split_once(' ')?;
    Some((at.parse().ok()?, id.to_owned()))
}
