//! Authentication: a token with the grant `roomRecord`.

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::service::error::ServiceError;
use crate::service::keys::ApiKeys;

const SCHEME: &str = "Bearer ";
/// For callers that can't set headers.
const PARAMETER: &str = "access_token";

/// # Errors
/// `unauthenticated`, in LiveKit's words.
pub(super) fn may_record(keys: &ApiKeys, head: &Parts) -> Result<(), ServiceError> {
    let header = match head.headers.get(AUTHORIZATION).map(|value| value.to_str()) {
        None | Some(Ok("")) => None,
        Some(Ok(value)) => Some(value.strip_prefix(SCHEME).ok_or_else(no_scheme)?),
        Some(Err(_)) => return Err(no_scheme()),
    };
    let shown = match header {
        Some(token) => token.to_owned(),
        None => parameter(head).unwrap_or_default(),
    };
    if shown.is_empty() {
        return Err(denied());
    }
    let claims = keys.verify(&shown).map_err(|error| ServiceError::unauthenticated(error.to_string()))?;
    if claims.video.room_record { Ok(()) } else { Err(denied()) }
}

fn parameter(head: &Parts) -> Option<String> {
    let query = head.uri.query()?.as_bytes();
    url::form_urlencoded::parse(query)
        .find_map(|(name, value)| (name == PARAMETER).then(|| value.into_owned()))
}

fn no_scheme() -> ServiceError {
    ServiceError::unauthenticated("invalid authorization header. Must start with Bearer ")
}

fn denied() -> ServiceError {
    ServiceError::unauthenticated("permissions denied")
}
