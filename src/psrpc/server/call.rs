//! One request, from its arrival to its answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handler::Call;
use super::observer::Answered;
use super::{Registered, Undecided, clock};
use crate::psrpc::channel;
use crate::psrpc::claim::{NoOffer, Offer};
use crate::psrpc::envelope::{ClaimRequest, Envelope, Request, Response, lock_key};
use crate::psrpc::error::{Code, Error};
use crate::psrpc::method::{Claiming, Delivery};

/// How long a frame's lock stays, from docs/reference/psrpc.md.
const LOCK: Duration = Duration::from_secs(5);

impl Registered {
    pub(super) async fn call(
        &self,
        request: Request,
        frame: &Bytes,
        deadline: Instant,
        undecided: Undecided,
    ) {
        let Request { request_id, client_id, raw_request, multi, .. } = request;
        match self.method.delivery {
            Delivery::Queue if !self.is_ours(frame).await => return,
            Delivery::Queue | Delivery::Everyone => {}
        }
        let affinity = match self.handler.offer(&raw_request) {
            Ok(Offer::Affinity(affinity)) if affinity >= 0.0 => affinity,
            Ok(Offer::Affinity(_) | Offer::Silence) => return,
            Err(error) => return self.respond(&request_id, &client_id, Err(error)).await,
        };
        match self.method.claiming {
            Claiming::Required if !self.claim(&request_id, &client_id, affinity, deadline).await => return,
            Claiming::Required | Claiming::None => {}
        }
        drop(undecided);
        let (since, received) = (Instant::now(), raw_request.len());
        let call = Call { request: raw_request, deadline };
        // A bug in a handler costs its call, not the caller's patience.
        let outcome =
            AssertUnwindSafe(self.handler.answer(call)).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(service = self.shared.service, method = %self.method.name, "the handler panicked");
                Err(Error::new(Code::Internal, "the request made its handler panic"))
            });
        self.shared.counters.answered.add();
        let answered = Answered {
            multi,
            took: since.elapsed(),
            error: outcome.as_ref().err().map(Error::code),
            received,
            sent: outcome.as_ref().map_or(0, Bytes::len),
        };
        self.observe(|observer, rpc| observer.answered(rpc, answered));
        self.respond(&request_id, &client_id, outcome).await;
    }

    /// Whether this server got the frame's lock.
    async fn is_ours(&self, frame: &Bytes) -> bool {
        let acquired = self.shared.bus.acquire(&lock_key(frame), LOCK).await;
        match acquired {
            Ok(true) => true,
            Ok(false) => {
                self.shared.counters.elsewhere.add();
                false
            }
            Err(error) => {
                tracing::warn!(method = %self.method.name, %error, "request lock failed, left to other servers");
                false
            }
        }
    }

    /// Offers to take a request, and waits for the decision.
    async fn claim(&self, request_id: &str, client_id: &str, affinity: f32, deadline: Instant) -> bool {
        let (chosen, decision) = oneshot::channel();
        // A statement of its own, so that the lock is not held any longer.
        let noted = self.offers().open(request_id, chosen);
        match noted {
            Ok(()) => {}
            Err(NoOffer::Twice) => return false,
            Err(NoOffer::Full) => {
                self.shared.counters.overloaded.add();
                return false;
            }
        }
        let offer = Envelope::ClaimRequest(ClaimRequest {
            request_id: request_id.to_owned(),
            server_id: self.shared.id.clone(),
            affinity,
        });
        self.publish(&channel::claim(&self.shared.service, client_id), &offer).await;
        let chosen = self.is_chosen(request_id, decision, deadline).await;
        if !chosen {
            self.shared.counters.elsewhere.add();
        }
        chosen
    }

    async fn respond(&self, request_id: &str, client_id: &str, outcome: Result<Bytes, Error>) {
        if let Err(error) = &outcome {
            tracing::debug!(method = %self.method.name, request_id, code = %error.code(), %error, "answered with an error");
        }
        let response = Response::new(request_id, &self.shared.id, clock::unix_nanos(), outcome);
        let channel = channel::response(&self.shared.service, client_id);
        self.publish(&channel, &Envelope::Response(response)).await;
    }

    /// Sends a frame; one that the bus does not take is the caller's to miss.
    async fn publish(&self, channel: &str, envelope: &Envelope) {
        if let Err(error) = self.shared.bus.publish(channel, envelope.encode()).await {
            tracing::warn!(channel, %error, "an answer can't be sent");
        }
    }
}
