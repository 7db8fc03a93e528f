//! Coming back: a websocket that is opened again, a peer that is made anew, and when to give up.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::net::Protocol;

use super::super::reconnect_policy::{Attempts, Way};
use super::super::signal::{Entrance, Signal, SignalError, Welcome};
use super::{Flow, Link, MEDIA_WITHIN, Media, Room, RoomEnd, RoomError, RoomEvent, token};
use crate::plan::room::RoomEntry;

/// A way that broke is back by then, or is looked for anew.
const RESTORED_WITHIN: Duration = Duration::from_secs(10);
/// A server closes media before it says why (docs/reference/signaling.md).
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A session that lasts for so long is one; what ends sooner was a failed attempt.
const LASTING: Duration = Duration::from_secs(30);
/// Said where a server offers TURN, which `str0m` has not.
const TURN: &str = "; it offers TURN, which is not supported: open its UDP or TCP port to this machine";

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
                self.media.peer.need_key_frame(&sid, now);
            }
        }
    }

    pub(super) fn restoring_due(&self) -> Option<Instant> {
        let since = self.broken_since.filter(|_| !self.is_rejoining() && self.media.connected)?;
        Some(since + RESTORED_WITHIN)
    }

    /// Looks whether a connection takes too long to come up, or to come back.
    pub(super) async fn watch(&mut self, now: Instant) -> Flow {
        if self.restoring_due().is_some_and(|due| due <= now) {
            return self.rejoin("the way to the server did not come back");
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
                return self.rejoin("no media came through");
            }
            let turn = if self.offers_turn { TURN } else { "" };
            return Err(RoomEnd::Failed(RoomError::NoMedia { within: MEDIA_WITHIN, turn }));
        }
        tracing::debug!("UDP does not lead to the server: trying TCP");
        for (remote, candidate) in candidates {
            match self.media.transport.connect(remote).await {
                Ok(local) => {
                    self.send_candidate(Protocol::Tcp, local);
                    self.media.peer.remote_candidate(Instant::now(), candidate);
                }
                Err(error) => tracing::debug!(%error, %remote, "no way by TCP"),
            }
        }
        Ok(())
    }

    /// Media ended. What the server has still to say about it decides what to do.
    pub(super) async fn last_words(&mut self) -> Flow {
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        while let Link::Up(signal) = &mut self.link {
            match tokio::time::timeout_at(deadline, signal.next()).await {
                Ok(Some(Response::Leave(leave))) => return self.on_leave(&leave),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Comes into the room anew.
    pub(super) fn rejoin(&mut self, why: &'static str) -> Flow {
        if self.is_rejoining() {
            return Ok(());
        }
        tracing::info!(why, "coming into the room anew");
        self.on_link_lost(Instant::now(), why);
        self.dial(self.attempts(Way::Rejoin))
    }

    /// New attempts, unless the last ones led to something that did not last: then they go on.
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
                tracing::info!("signalling is back");
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
                self.ask_for_size(self.subscription.sids());
                Ok(())
            }
            Ok((signal, Welcome::Joined(join))) => {
                tracing::info!("in the room again");
                self.on_link_lost(Instant::now(), "the session began anew");
                self.media = Media::new(&signal).map_err(RoomEnd::Failed)?;
                self.announced.clear();
                self.link = Link::Up(signal);
                self.joined(*join);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "could not get back into the room");
                if matches!(error, SignalError::Left(_) | SignalError::Refused { .. }) {
                    attempts.give_up_resuming();
                }
                self.dial(attempts)
            }
        }
    }
}
