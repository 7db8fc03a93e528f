//! Handles the server's signalling messages.

use std::net::SocketAddr;
use std::time::Instant;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::Candidate;
use str0m::net::{Protocol, TcpType};

use super::super::peer::PeerError;
use super::super::reconnect_policy::Way;
use super::super::transport::route_to;
use super::{Flow, Room, RoomEnd, RoomError, RoomEvent, failed};
use crate::secret::Secret;

impl Room {
    pub(super) async fn on_message(&mut self, message: Response) -> Flow {
        match message {
            Response::Offer(offer) => self.on_offer(&offer).map_err(failed),
            Response::Trickle(trickle) => {
                self.on_candidate(&trickle).await;
                Ok(())
            }
            Response::Update(update) => {
                let changes = self.subscription.update(&update.participants);
                self.on_changes(changes);
                Ok(())
            }
            Response::SubscriptionResponse(response) => {
                let why = match response.err() {
                    proto::SubscriptionError::SeCodecUnsupported => "its codec is not supported",
                    proto::SubscriptionError::SeTrackNotfound => "the server did not find it",
                    proto::SubscriptionError::SeUnknown => return Ok(()),
                };
                self.listener.on_event(RoomEvent::Refused { track: response.track_sid, why });
                Ok(())
            }
            Response::RoomUpdate(update) => {
                self.report_room_id(update.room.as_ref());
                Ok(())
            }
            Response::RefreshToken(token) => {
                self.refreshed = Some(Secret::new(token));
                Ok(())
            }
            Response::Leave(leave) => self.on_leave(&leave),
            // Speakers, connection quality, our own tracks: a recording needs none of them.
            _ => Ok(()),
        }
    }

    pub(super) fn on_leave(&mut self, leave: &proto::LeaveRequest) -> Flow {
        tracing::info!(reason = leave.reason().as_str_name(), "server ended the session");
        match (leave.action(), leave.can_reconnect) {
            (Action::Resume, _) => self.dial(self.attempts(Way::Resume)),
            (Action::Reconnect, _) | (Action::Disconnect, true) => self.rejoin("server moved the recorder"),
            (Action::Disconnect, false) => Err(match leave.reason() {
                proto::DisconnectReason::DuplicateIdentity => RoomEnd::Duplicate,
                proto::DisconnectReason::JoinFailure
                | proto::DisconnectReason::SignalClose
                | proto::DisconnectReason::StateMismatch => RoomEnd::Failed(RoomError::Lost),
                reason => RoomEnd::Closed(reason),
            }),
        }
    }

    fn on_offer(&mut self, offer: &proto::SessionDescription) -> Result<(), PeerError> {
        let now = Instant::now();
        let before = self.media.peer.tracks();
        let answer = self.media.peer.accept(now, offer)?;
        self.last_answer = Some(answer.clone());
        self.media.answered.get_or_insert(now);
        self.send(Request::Answer(answer));
        let tracks = self.media.peer.tracks();
        self.announced.retain(|track| tracks.contains(track) && before.contains(track));
        for track in tracks {
            let known = self.subscription.track(&track).cloned();
            if let Some(known) = known.filter(|_| self.announced.insert(track)) {
                self.listener.on_event(RoomEvent::Started(known));
            }
        }
        Ok(())
    }

    async fn on_candidate(&mut self, trickle: &proto::TrickleRequest) {
        let json: Result<serde_json::Value, _> = serde_json::from_str(&trickle.candidate_init);
        let line = json.ok().and_then(|init| init.get("candidate")?.as_str().map(str::to_owned));
        let parsed = line.as_deref().filter(|line| !line.is_empty()).map(Candidate::from_sdp_string);
        let Some(Ok(candidate)) = parsed else {
            tracing::debug!(candidate = trickle.candidate_init, "invalid ICE candidate");
            return;
        };
        match (candidate.proto(), candidate.tcptype()) {
            (Protocol::Udp, _) => self.add_remote(candidate).await,
            (Protocol::Tcp, Some(TcpType::Passive)) => {
                self.media.tcp.push((candidate.addr(), candidate));
            }
            _ => {}
        }
    }

    /// Adds a server's UDP address, and a socket on our route to it.
    async fn add_remote(&mut self, candidate: Candidate) {
        let Ok(ip) = route_to(candidate.addr()).await else { return };
        match self.media.transport.bind(ip) {
            Ok(Some(local)) => self.send_candidate(Protocol::Udp, local),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, %ip, "media socket could not be opened"),
        }
        self.media.peer.add_remote(Instant::now(), candidate);
    }

    pub(super) fn send_candidate(&mut self, protocol: Protocol, local: SocketAddr) {
        match self.media.peer.add_local(protocol, local) {
            Ok(Some(candidate)) => {
                let candidate = candidate.trim_start_matches("a=").trim_end().to_owned();
                let init = serde_json::json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0 });
                self.send(Request::Trickle(proto::TrickleRequest {
                    candidate_init: init.to_string(),
                    target: proto::SignalTarget::Subscriber.into(),
                    r#final: false,
                }));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "local ICE candidate refused"),
        }
    }
}
