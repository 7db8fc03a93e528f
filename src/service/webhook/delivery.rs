//! The events of one egress on their way to one receiver.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::Rng;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;

use super::receipt::Receipt;
use super::{Event, LaneKey, Limits, Shared, Target};
use crate::outbound::{self, SendError};

/// The type that receivers' libraries ask for.
const WEBHOOK_JSON: &str = "application/webhook+json";

/// One event for one receiver.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) event: Event,
    pub(super) body: Bytes,
    /// When it is given up.
    pub(super) expires: Instant,
    pub(super) receipt: Receipt,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Another attempt may succeed.
    #[error("{0}")]
    Passing(String),
    #[error("{0}")]
    Final(String),
}

/// Delivers, one after the other, until nothing waits.
pub(super) async fn run(shared: Arc<Shared>, key: LaneKey, target: Target) {
    while let Some(delivery) = shared.next(&key) {
        let (event, egress_id, receiver) = (delivery.event.name(), key.0.as_str(), target.host());
        let outcome = tokio::select! {
            outcome = deliver(&shared, &target, &delivery) => outcome,
            () = shared.given_up.cancelled() => {
                tracing::warn!(event, egress_id, receiver, "webhook not delivered; the service is shutting down");
                continue;
            }
        };
        match outcome {
            Ok(()) => tracing::debug!(event, egress_id, receiver, "webhook delivered"),
            Err(why) => tracing::warn!(event, egress_id, receiver, why, "webhook given up"),
        }
        delivery.receipt.settle();
    }
}

async fn deliver(shared: &Shared, target: &Target, delivery: &Delivery) -> Result<(), String> {
    let limits = &shared.options.limits;
    let mut failures = 0;
    loop {
        let failed = match attempt(shared, target, delivery).await {
            Ok(()) => return Ok(()),
            Err(Failure::Final(why)) => return Err(why),
            Err(Failure::Passing(why)) => why,
        };
        let pause = pause(limits, failures);
        failures += 1;
        if Instant::now() + pause >= delivery.expires {
            return Err(format!("{failed} (attempt {failures}, and its time is over)"));
        }
        tokio::time::sleep(pause).await;
    }
}

/// Doubles, up to a limit; a quarter more or less, so that many do not come back all at once.
fn pause(limits: &Limits, failures: u32) -> Duration {
    let doubled = limits.pause.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    doubled.min(limits.longest_pause).mul_f64(rand::rng().random_range(0.75..1.25))
}

async fn attempt(shared: &Shared, target: &Target, delivery: &Delivery) -> Result<(), Failure> {
    // A host that is slow has only its own; neither is closed.
    let _to_host = target.host_connections.acquire().await;
    let _to_any = shared.connections.acquire().await;
    let digest = BASE64_STANDARD.encode(Sha256::digest(&delivery.body));
    // A token for each attempt: it is good for minutes, a delivery may take longer.
    let token = target.signer.body(&digest).map_err(|error| Failure::Final(error.to_string()))?;
    let request = shared
        .http
        .post(without_user(target.url.expose().clone()))
        .header(AUTHORIZATION, token.expose())
        .header(CONTENT_TYPE, WEBHOOK_JSON)
        .body(delivery.body.clone());
    let answer = shared.guard.send(request).await.map_err(|error| match error {
        SendError::LinkLocal(error) => Failure::Final(error.to_string()),
        SendError::Http(error) => match outbound::refusal_in(&error) {
            Some(refusal) => Failure::Final(refusal.to_string()),
            // The error's address may hold a receiver's secret.
            None => Failure::Passing(causes(&error.without_url())),
        },
    })?;
    let status = answer.status();
    let text = format!("the receiver answers with status {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 429 | 500.. => Err(Failure::Passing(text)),
        _ => Err(Failure::Final(text)),
    }
}

/// The address without a user and a password: they would be sent where the signature is. (LiveKit
/// does not send them either.)
fn without_user(mut url: Url) -> Url {
    // It fails for an address without a host, which has none of them.
    if url.set_username("").is_ok() {
        url.set_password(None).ok();
    }
    url
}

/// An error and what it came from: the first text alone says no more than that sending failed.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let limits = Limits::default();
        for (failures, milliseconds) in [(0, 500), (1, 1000), (3, 4000), (6, 30_000), (u32::MAX, 30_000)] {
            let pause = pause(&limits, failures).as_millis();
            assert!((milliseconds * 3 / 4..=milliseconds * 5 / 4).contains(&pause), "{failures}: {pause} ms");
        }
    }
}
