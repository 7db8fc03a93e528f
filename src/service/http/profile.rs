//! `/pprof/…`: CPU profiles of the service, and of its recorders (docs/reference/egress.md).

use axum::extract::{Path, RawQuery, State as With};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::{View, refused};
use crate::profile::{self, Length, ProfileError};

/// Go's name for it, and LiveKit Egress's.
const NAMES: [&str; 2] = ["profile", "cpu"];

/// `/pprof/profile?seconds=N`, of the service.
pub(super) async fn of_service(Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    if !NAMES.contains(&name.as_str()) {
        return unknown();
    }
    let length = match length(query.as_deref().unwrap_or_default()) {
        Ok(length) => length,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    match profile::take(length).await {
        Ok(profile) => answer(profile),
        Err(error @ ProfileError::Taken) => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// `/pprof/profile/{egress id}?seconds=N`, of a recorder; LiveKit Egress has the two words the
/// other way around.
pub(super) async fn of_recorder(
    With(view): With<View>,
    Path((one, other)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let egress_id = match NAMES {
        names if names.contains(&one.as_str()) => other,
        names if names.contains(&other.as_str()) => one,
        _ => return unknown(),
    };
    match length(query.as_deref().unwrap_or_default()) {
        Ok(length) => match view.profile(&egress_id, length).await {
            Ok(profile) => answer(profile),
            Err(error) => refused(&error),
        },
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

fn answer(profile: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], profile).into_response()
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "no such profile; there is /pprof/profile\n").into_response()
}

/// How long: `seconds`, as Go's tools say it, or `timeout`, as LiveKit does, where 0 is what
/// nothing is.
fn length(query: &str) -> Result<Length, String> {
    let mut length = Length::DEFAULT;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if key != "seconds" && key != "timeout" {
            continue;
        }
        let seconds = value.parse::<u64>().map_err(|_| format!("{key}: must be a whole number\n"))?;
        if seconds != 0 || key == "seconds" {
            length = Length::seconds(seconds).ok_or(format!("{key}: 1 to {}\n", Length::LONGEST))?;
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_gos_tools_and_livekit_write_them() {
        let seconds = |query| length(query).map(|length| length.get().as_secs());
        for (query, expected) in
            [("", 30), ("seconds=5", 5), ("timeout=7&debug=0", 7), ("timeout=0&debug=1", 30), ("other=x", 30)]
        {
            assert_eq!(seconds(query), Ok(expected), "{query}");
        }
        for query in ["seconds=0", "seconds=121", "seconds=-1", "timeout=soon", "seconds="] {
            assert!(seconds(query).is_err(), "{query}");
        }
    }
}
