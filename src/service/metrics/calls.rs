//! Counts calls over the bus (docs/reference/egress.md).

use std::time::Duration;

use prometheus::{CounterVec, HistogramOpts, HistogramVec, Opts};

use super::{Page, labelled, number};
use crate::psrpc::{Answered, ClaimOutcome, Observer, Rpc};

/// Upper bounds, in milliseconds.
const CALLS: [f64; 10] = [10.0, 50.0, 100.0, 300.0, 500.0, 1000.0, 1500.0, 2000.0, 5000.0, 10_000.0];
const CLAIMS: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 3000.0];
/// The counting side of a call.
#[derive(Debug, Clone, Copy)]
enum Role {
    Server,
    Client,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Counts what servers and clients do.
#[derive(Debug)]
pub(super) struct Calls {
    received: CounterVec,
    expired: CounterVec,
    claims: CounterVec,
    waits: HistogramVec,
    times: HistogramVec,
    errors: CounterVec,
    bytes: CounterVec,
}

impl Calls {
    pub(super) fn new(node_id: &str) -> prometheus::Result<Self> {
        let of_node = [("node_id", node_id.to_owned()), ("node_type", "EGRESS".to_owned())];
        let opts = |name, help| labelled(Opts::new(name, help), &of_node);
        let counters = |name, help, by: &[&str]| CounterVec::new(opts(name, help), by);
        let times = |name, help, buckets: &[f64], by: &[&str]| {
            let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
            HistogramVec::new(opts, by)
        };
        let of_method = ["service", "method"];
        let of_claim = ["service", "method", "outcome"];
        Ok(Self {
            received: counters("livekit_psrpc_requests_received_total", "Requests that came", &of_method)?,
            expired: counters(
                "livekit_psrpc_requests_expired_total",
                "Requests that came too late",
                &of_method,
            )?,
            claims: counters("livekit_psrpc_claim_total", "Offers that were made", &of_claim)?,
            waits: times(
                "livekit_psrpc_claim_wait_time_ms",
                "How long offers wait for their decision",
                &CLAIMS,
                &of_claim,
            )?,
            times: times(
                "livekit_psrpc_request_time_ms",
                "How long calls take that go well",
                &CALLS,
                &["role", "kind", "service", "method"],
            )?,
            errors: counters(
                "livekit_psrpc_error_total",
                "Calls that were answered with an error",
                &["role", "kind", "service", "method", "error_code"],
            )?,
            bytes: counters(
                "livekit_psrpc_bytes_total",
                "Bytes of requests and answers",
                &["role", "kind", "service", "method", "direction"],
            )?,
        })
    }

    pub(super) fn show(&self, page: &Page) -> prometheus::Result<()> {
        for counters in [&self.received, &self.expired, &self.claims, &self.errors, &self.bytes] {
            page.register(counters.clone())?;
        }
        page.register(self.waits.clone())?;
        page.register(self.times.clone())
    }
}

impl Observer for Calls {
    fn received(&self, Rpc { service, method }: Rpc<'_>) {
        self.received.with_label_values(&[service, method]).inc();
    }

    fn expired(&self, Rpc { service, method }: Rpc<'_>) {
        self.expired.with_label_values(&[service, method]).inc();
    }

    fn claimed(&self, Rpc { service, method }: Rpc<'_>, outcome: ClaimOutcome, waited: Duration) {
        let outcome = match outcome {
            ClaimOutcome::Granted => "granted",
            ClaimOutcome::Lost => "lost_to_peer",
            ClaimOutcome::TimedOut => "timed_out",
        };
        let labels = [service, method, outcome];
        self.claims.with_label_values(&labels).inc();
        self.waits.with_label_values(&labels).observe(millis(waited));
    }

    fn answered(&self, rpc: Rpc<'_>, call: Answered) {
        self.count(Role::Server, rpc, call);
    }

    fn called(&self, rpc: Rpc<'_>, call: Answered) {
        self.count(Role::Client, rpc, call);
    }
}

impl Calls {
    fn count(&self, role: Role, Rpc { service, method }: Rpc<'_>, call: Answered) {
        let role = role.as_str();
        let Answered { multi, took, error, received, sent } = call;
        let kind = if multi { "multirpc" } else { "rpc" };
        for (direction, bytes) in [("rx", received), ("tx", sent)] {
            let counter = self.bytes.with_label_values(&[role, kind, service, method, direction]);
            counter.inc_by(number(bytes as u64));
        }
        match error {
            Some(code) => {
                self.errors.with_label_values(&[role, kind, service, method, code.as_str()]).inc();
            }
            None => self.times.with_label_values(&[role, kind, service, method]).observe(millis(took)),
        }
    }
}

/// Whole ones, as LiveKit has them.
fn millis(time: Duration) -> f64 {
    number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
