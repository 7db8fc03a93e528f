//! Has the page of a recording show another layout.
//!
//! The page is a participant of its room, and looks at its own metadata. So the word goes through
//! LiveKit's server, which is asked to change that (docs/reference/egress.md).

use std::time::Duration;

use livekit_protocol as proto;
use prost::Message;
use serde::Deserialize;
use url::Url;

use super::error::{Code, ServiceError};
use crate::plan::room::Rooms;
use crate::secret::without_token;
use crate::token::Signer;

/// How long LiveKit may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The error for an egress that is in no room: what LiveKit says.
pub(super) const NOT_THERE: &str = "participant does not exist";
/// Error text without a configured server.
pub(super) const NO_SERVER: &str =
    "ws_url, api_key and api_secret of LiveKit's server are needed to change a layout; configure them";

/// LiveKit's `RoomService`, as far as it is needed.
#[derive(Debug, Clone)]
pub struct Layouts {
    endpoint: Url,
    signer: Signer,
    http: reqwest::Client,
}

/// A Twirp error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
    msg: String,
}

impl Layouts {
    /// Uses the server of the room settings. `None` without a server or a key.
    #[must_use]
    pub fn of(rooms: &Rooms) -> Option<Self> {
        let signer = rooms.signer.clone().filter(|_| !rooms.ws_url.is_empty())?;
        let no_one = |error: &dyn std::fmt::Display| tracing::warn!(%error, "layouts can't be changed");
        let http = reqwest::Client::builder().connect_timeout(PATIENCE).build();
        let http = http.inspect_err(|error| no_one(error)).ok()?;
        Self::new(&rooms.ws_url, signer, http).inspect_err(|error| no_one(error)).ok()
    }

    /// `server`: LiveKit's address, `ws://`, `wss://`, `http://` or `https://`.
    ///
    /// # Errors
    ///
    /// An invalid address.
    pub fn new(server: &str, signer: Signer, http: reqwest::Client) -> Result<Self, ServiceError> {
        let invalid = |why: &str| ServiceError::invalid(format!("ws_url: {why}"));
        let mut address = Url::parse(server).map_err(|error| invalid(&error.to_string()))?;
        let scheme = match address.scheme() {
            "ws" | "http" => "http",
            "wss" | "https" => "https",
            _ => return Err(invalid("it has to begin with ws://, wss://, http:// or https://")),
        };
        address.set_scheme(scheme).map_err(|()| invalid("it is not an address"))?;
        let path =
            format!("{}/twirp/livekit.RoomService/UpdateParticipant", address.path().trim_end_matches('/'));
        address.set_path(&path);
        address.set_query(None);
        Ok(Self { endpoint: address, signer, http })
    }

    /// Has the page of `info`'s recording show `layout`. An egress that is in no room has no page
    /// that would: the answer is what LiveKit's is.
    ///
    /// # Errors
    /// `not_found` when it is not in its room, else what LiveKit or the network says.
    pub async fn update(&self, info: &proto::EgressInfo, layout: &str) -> Result<(), ServiceError> {
        if info.room_name.is_empty() {
            return Err(ServiceError::not_found(NOT_THERE));
        }
        let token = self.signer.room_admin(&info.room_name).map_err(|_| {
            ServiceError::invalid("request has missing or invalid field: token or api key/secret")
        })?;
        let request = proto::UpdateParticipantRequest {
            room: info.room_name.clone(),
            identity: info.egress_id.clone(),
            metadata: serde_json::json!({ "layout": layout }).to_string(),
            ..proto::UpdateParticipantRequest::default()
        };
        let call = self
            .http
            .post(self.endpoint.clone())
            .bearer_auth(token.expose())
            .header(reqwest::header::CONTENT_TYPE, "application/protobuf")
            .body(request.encode_to_vec())
            .timeout(PATIENCE);
        let unreachable =
            |error: reqwest::Error| ServiceError::unavailable(format!("LiveKit: {}", error.without_url()));
        let answer = call.send().await.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let refusal: Refusal = answer.json().await.unwrap_or_default();
        Err(match refusal.code.as_str() {
            "" => ServiceError::unavailable(format!("LiveKit answers with status {}", status.as_u16())),
            code => ServiceError::new(Code::from_wire(code), without_token(&refusal.msg, &token)),
        })
    }
}

#[cfg(test)]
mod tests;
