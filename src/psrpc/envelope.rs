//! Frames on a channel: a type name and a message (docs/reference/psrpc.md).
//!
//! ```text
//! Frame { type_url, value } ── value is one of ──► Request, Response, ClaimRequest, ClaimResponse
//!                                                     └── raw_request, raw_response: the application's message
//! ```
//!
//! [`Envelope::decode`] accepts any bytes, and returns a message or [`MalformedFrame`].

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::error::{Code, Error};

/// Longest frame that is read, in bytes. The longest that LiveKit sends are some kilobytes.
pub const MAX_FRAME: usize = 4 << 20;

const TYPE_PREFIX: &str = "type.googleapis.com/internal.";

/// The outermost message, `google.protobuf.Any` on the wire. (Its third field, a channel, is for
/// other buses than Redis.)
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// A call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(string, tag = "2")]
    pub client_id: String,
    /// Nanoseconds since 1970, by the sender's clock.
    #[prost(int64, tag = "3")]
    pub sent_at: i64,
    /// Nanoseconds since 1970, by the sender's clock. Servers leave a request alone from then on.
    #[prost(int64, tag = "4")]
    pub expiry: i64,
    /// Every server answers.
    #[prost(bool, tag = "5")]
    pub multi: bool,
    /// Trace context, by the names of W3C. Not used here.
    #[prost(btree_map = "string, string", tag = "7")]
    pub metadata: BTreeMap<String, String>,
    /// The application's message.
    #[prost(bytes = "bytes", tag = "8")]
    pub raw_request: Bytes,
}

/// An answer. Without an error text it is a success, also when it is empty.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Response {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(string, tag = "2")]
    pub server_id: String,
    /// Nanoseconds since 1970, by the sender's clock.
    #[prost(int64, tag = "3")]
    pub sent_at: i64,
    #[prost(string, tag = "5")]
    pub error: String,
    #[prost(string, tag = "6")]
    pub code: String,
    /// The application's message.
    #[prost(bytes = "bytes", tag = "7")]
    pub raw_response: Bytes,
    #[prost(message, repeated, tag = "8")]
    pub error_details: Vec<Any>,
}

/// A server's offer to take a request.
#[derive(Clone, PartialEq, Message)]
pub struct ClaimRequest {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(string, tag = "2")]
    pub server_id: String,
    #[prost(float, tag = "3")]
    pub affinity: f32,
}

/// A client's decision for one of the servers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ClaimResponse {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(string, tag = "2")]
    pub server_id: String,
}

impl Response {
    /// The answer of `server_id` to a request.
    pub fn new(
        request_id: impl Into<String>,
        server_id: impl Into<String>,
        sent_at: i64,
        outcome: Result<Bytes, Error>,
    ) -> Self {
        let mut response =
            Self { request_id: request_id.into(), server_id: server_id.into(), sent_at, ..Self::default() };
        match outcome {
            Ok(result) => response.raw_response = result,
            Err(error) => {
                error.text().clone_into(&mut response.error);
                error.code().as_str().clone_into(&mut response.code);
                response.error_details = error.details().to_vec();
            }
        }
        response
    }

    /// The result of the call.
    ///
    /// # Errors
    ///
    /// The server's.
    pub fn into_outcome(self) -> Result<Bytes, Error> {
        if self.error.is_empty() {
            return Ok(self.raw_response);
        }
        let error = Error::new(Code::from_wire(&self.code), self.error);
        Err(error.with_details(self.error_details).of_server())
    }
}

/// One message of the protocol. (Streams exist in it, too; no service that is spoken here has one.)
#[derive(Debug, Clone, PartialEq)]
pub enum Envelope {
    Request(Request),
    Response(Response),
    ClaimRequest(ClaimRequest),
    ClaimResponse(ClaimResponse),
}

/// Reasons why bytes are not a message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedFrame {
    #[error("a frame of {0} bytes is longer than {MAX_FRAME}")]
    TooLong(usize),
    #[error("not a frame: {0}")]
    Frame(prost::DecodeError),
    #[error("unknown type {0:?}")]
    Type(String),
    #[error("not a {1}: {0}")]
    Message(prost::DecodeError, &'static str),
}

impl Envelope {
    /// Reads what came in on a channel.
    ///
    /// # Errors
    /// [`MalformedFrame`] for everything that is not one of the four messages.
    pub fn decode(frame: &Bytes) -> Result<Self, MalformedFrame> {
        if frame.len() > MAX_FRAME {
            return Err(MalformedFrame::TooLong(frame.len()));
        }
        let Any { type_url, value } = Any::decode(frame.clone()).map_err(MalformedFrame::Frame)?;
        match type_url.strip_prefix(TYPE_PREFIX) {
            Some("Request") => read(value, "request").map(Self::Request),
            Some("Response") => read(value, "response").map(Self::Response),
            Some("ClaimRequest") => read(value, "claim").map(Self::ClaimRequest),
            Some("ClaimResponse") => read(value, "decision").map(Self::ClaimResponse),
            _ => Err(MalformedFrame::Type(type_url.chars().take(80).collect())),
        }
    }

    /// The bytes for a channel.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (name, value) = match self {
            Self::Request(message) => ("Request", message.encode_to_vec()),
            Self::Response(message) => ("Response", message.encode_to_vec()),
            Self::ClaimRequest(message) => ("ClaimRequest", message.encode_to_vec()),
            Self::ClaimResponse(message) => ("ClaimResponse", message.encode_to_vec()),
        };
        Any { type_url: format!("{TYPE_PREFIX}{name}"), value: value.into() }.encode_to_vec().into()
    }
}

fn read<M: Message + Default>(value: Bytes, name: &'static str) -> Result<M, MalformedFrame> {
    M::decode(value).map_err(|error| MalformedFrame::Message(error, name))
}

/// The key by which servers that compete for a frame agree on the one that handles it: the frame's
/// SHA-256, in base64.
#[must_use]
pub fn lock_key(frame: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(frame))
}
