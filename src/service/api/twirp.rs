//! Twirp: routes, the two forms of a message, and errors (the specification of Twirp, version 7).

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::Answer;
use crate::service::error::{ServiceError, twirp_status};

const SERVICE: &str = "livekit.Egress";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

macro_rules! calls {
    ($($name:ident,)*) => {
        /// The methods of `livekit.Egress`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Call { $($name,)* }

        impl Call {
            fn of(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

calls! {
    StartEgress,
    UpdateLayout,
    UpdateStream,
    ListEgress,
    StopEgress,
    StartRoomCompositeEgress,
    StartWebEgress,
    StartParticipantEgress,
    StartTrackCompositeEgress,
    StartTrackEgress,
}

/// The method that a request calls.
///
/// # Errors
///
/// `bad_route`
pub(super) fn method(http: &Method, path: &str) -> Result<Call, TwirpError> {
    let route = path.trim_start_matches('/').strip_prefix("twirp/").and_then(|rest| rest.split_once('/'));
    let call = route.filter(|(service, _)| *service == SERVICE).and_then(|(_, name)| Call::of(name));
    let Some(call) = call else {
        return Err(TwirpError::bad_route(format!("no handler for path {path:?}"), http, path));
    };
    if http != Method::POST {
        let text = format!("unsupported method {:?} (only POST is allowed)", http.as_str());
        return Err(TwirpError::bad_route(text, http, path));
    }
    Ok(call)
}

/// How a caller writes messages, and wants to have them written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Protobuf,
}

impl Format {
    /// # Errors
    /// `bad_route`, for another content type.
    pub(super) fn of(headers: &HeaderMap, http: &Method, path: &str) -> Result<Self, TwirpError> {
        let said = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
        let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            JSON => Ok(Self::Json),
            PROTOBUF => Ok(Self::Protobuf),
            _ => Err(TwirpError::bad_route(format!("unexpected Content-Type: {said:?}"), http, path)),
        }
    }
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) format: Format,
    pub(super) bytes: Bytes,
}

impl Incoming {
    /// The message. Of JSON, names in camel case and in snake case are read, and what nobody knows
    /// is skipped, as Twirp's servers do.
    ///
    /// # Errors
    /// `malformed`
    pub(super) fn read<M: Message + Default + DeserializeOwned>(&self) -> Result<M, TwirpError> {
        match self.format {
            // The errors of both libraries tell of places and types. What was sent, a value that is
            // of no use included, may be a secret.
            Format::Json => serde_json::from_slice(&self.bytes).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                let text = format!("the json request could not be decoded (line {line}, column {column})");
                TwirpError::malformed(text)
            }),
            Format::Protobuf => M::decode(self.bytes.clone())
                .map_err(|_| TwirpError::malformed("the protobuf request could not be decoded")),
        }
    }
}

pub(super) fn response(format: Format, answer: &impl Answer) -> Response {
    let (content_type, bytes) = match format {
        Format::Protobuf => (PROTOBUF, answer.shown().encode_to_vec()),
        Format::Json => (JSON, answer.json().to_string().into_bytes()),
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], bytes).into_response()
}

/// An error as Twirp's clients read it.
#[derive(Debug, Serialize)]
pub(super) struct TwirpError {
    code: &'static str,
    msg: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<&'static str, String>,
}

impl TwirpError {
    fn bad_route(msg: String, http: &Method, path: &str) -> Self {
        let meta = [("twirp_invalid_route", format!("{http} {path}"))].into();
        Self { code: "bad_route", msg, meta }
    }

    pub(super) fn malformed(msg: impl Into<String>) -> Self {
        Self { code: "malformed", msg: msg.into(), meta: BTreeMap::new() }
    }
}

impl From<ServiceError> for TwirpError {
    fn from(error: ServiceError) -> Self {
        Self { code: error.code.twirp(), msg: error.message, meta: BTreeMap::new() }
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(twirp_status(self.code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Errors are JSON, whatever the request was.
        (status, axum::Json(self)).into_response()
    }
}
