//! Reconnects: reopens the websocket, restarts the session, and gives up in the end.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::net::Protocol;

use super::super::reconnect_policy::{Attempts, Way};
use super::super::signal::{Entrance, Signal, SignalError, Welcome};
use super::{Flow, Link, MEDIA_WITHIN, Media, Room, RoomEnd, RoomError, RoomEvent, token};
use crate::plan::room::RoomEntry;

/// An interrupted media connection that is not back by this time is replaced by a new session.
const RESTORED_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for the reason: a server closes media before it sends it
/// (docs/reference/signaling.md).
const REASON_WITHIN: Duration = Duration::from_secs(1);
/// A session that ends sooner counts as a failed attempt.
const LASTING: Duration = Duration::from_secs(30);
/// Hint for a server that offers TURN, which `str0m` does not support.
const TURN: &str = "; TURN is not supported, so open the server's UDP or TCP port to this machine";

impl Room {
    pub(super) fn is_rejoining(&self) -> bool {
        matches!(&self.link, Link::Dialling { attempts, .. } if attempts.way() == Way::Rejoin)
    }

    pub(super) fn on_link_lost(&mut self, now: Instant, why: &'static str) {
        if self.broken_since.is_none() {
            self.broken_since = Some(now);
            self.listener.on_event(RoomEvent::Reconnecting { why });
        }
    }

    pub(super) fn on_link_restored(&mut self, now: Instant) {
        if let Some(since) = self.broken_since.take() {
            let gap = now.saturating_duration_since(since);
            self.listener.on_event(RoomEvent::Reconnected { gap });
            for sid in self.subscription.sids() {
                self.media.peer.request_key_frame(&sid, now);
            }
        }
    }

    pub(super) fn restoring_due(&self) -> Option<Instant> {
        let since = self.broken_since.filter(|_| !self.is_rejoining() && self.media.connected)?;
        Some(since + RESTORED_WITHIN)
    }

    /// Acts on a media connection that takes too long to come up, or to come back.
    pub(super) async fn watch(&mut self, now: Instant) -> Flow {
        if self.restoring_due().is_some_and(|due| due <= now) {
            return self.rejoin("media connection did not come back");
        }
        if self.is_rejoining() || self.media.due(self.is_second).is_none_or(|due| due > now) {
            return Ok(());
        }
        let candidates = std::mem::take(&mut self.media.tcp);
        if candidates.is_empty() {
            if self.media.peer.was_connected() {
                return Ok(());
            }
            if !std::mem::replace(&mut self.is_second, true) {
                return self.rejoin("no media arrived");
            }
            let turn = if self.offers_turn { TURN } else { "" };
            return Err(RoomEnd::Failed(RoomError::NoMedia { within: MEDIA_WITHIN, turn }));
        }
        tracing::debug!("no media over UDP; trying TCP");
        for (remote, candidate) in candidates {
            match self.media.transport.connect(remote).await {
                Ok(local) => {
                    self.send_candidate(Protocol::Tcp, local);
                    self.media.peer.add_remote(Instant::now(), candidate);
                }
                Err(error) => tracing::debug!(%error, %remote, "media not reachable over TCP"),
            }
        }
        Ok(())
    }

    /// Waits for the server's reason after media was closed, and acts on it.
    pub(super) async fn await_reason(&mut self) -> Flow {
        let deadline = tokio::time::Instant::now() + REASON_WITHIN;
        while let Link::Up(signal) = &mut self.link {
            match tokio::time::timeout_at(deadline, signal.next()).await {
                Ok(Some(Response::Leave(leave))) => return self.on_leave(&leave),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Joins the room again, in a new session.
    pub(super) fn rejoin(&mut self, why: &'static str) -> Flow {
        if self.is_rejoining() {
            return Ok(());
        }
        tracing::info!(why, "rejoining room");
        self.on_link_lost(Instant::now(), why);
        self.dial(self.attempts(Way::Rejoin))
    }

    /// New attempts; the former ones continue if the session that they reached did not last.
    pub(super) fn attempts(&self, way: Way) -> Attempts {
        match &self.came_back {
            Some((at, attempts)) if at.elapsed() < LASTING => attempts.again(way),
            Some(_) | None => Attempts::new(way),
        }
    }

    pub(super) fn dial(&mut self, mut attempts: Attempts) -> Flow {
        let Some((way, wait)) = attempts.next() else { return Err(RoomEnd::Failed(RoomError::Lost)) };
        let token = match (&self.refreshed, &self.access.entry) {
            (Some(token), RoomEntry::Token(_)) => Ok(token.clone()),
            _ => token(&self.access, &self.identity),
        };
        let token = token.map_err(RoomEnd::Failed)?;
        let (server, participant) = (self.access.server.clone(), self.participant.clone());
        let reason = match self.broken_since {
            Some(_) => proto::ReconnectReason::RrSubscriberFailed,
            None => proto::ReconnectReason::RrSignalDisconnected,
        };
        let dialled = Box::pin(async move {
            tokio::time::sleep(wait).await;
            let entrance = match way {
                Way::Resume => Entrance::Resume { participant: &participant, reason },
                Way::Rejoin => Entrance::Join,
            };
            Signal::open(&server, &token, entrance).await
        });
        self.link = Link::Dialling { attempts, dialled };
        Ok(())
    }

    pub(super) async fn on_dialled(&mut self, dialled: Result<(Signal, Welcome), SignalError>) -> Flow {
        let Link::Dialling { attempts, .. } = &self.link else { return Ok(()) };
        let mut attempts = *attempts;
        if dialled.is_ok() {
            self.came_back = Some((Instant::now(), attempts));
        }
        match dialled {
            Ok((signal, Welcome::Resumed)) => {
                tracing::info!("signalling resumed");
                self.link = Link::Up(signal);
                self.send(Request::SyncState(proto::SyncState {
                    answer: self.last_answer.clone(),
                    subscription: Some(proto::UpdateSubscription {
                        track_sids: self.subscription.sids(),
                        subscribe: true,
                        ..proto::UpdateSubscription::default()
                    }),
                    ..proto::SyncState::default()
                }));
                self.request_size(self.subscription.sids());
                Ok(())
            }
            Ok((signal, Welcome::Joined(join))) => {
                tracing::info!("room rejoined");
                self.on_link_lost(Instant::now(), "session restarted");
                self.media = Media::new(&signal).map_err(RoomEnd::Failed)?;
                self.announced.clear();
                self.link = Link::Up(signal);
                self.joined(*join);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "reconnect attempt failed");
                if matches!(error, SignalError::Left(_) | SignalError::Refused { .. }) {
                    attempts.give_up_resuming();
                }
                self.dial(attempts)
            }
        }
    }
}
