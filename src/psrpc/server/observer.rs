//! Observes calls of servers and clients, for metrics.

use std::fmt::Debug;
use std::time::Duration;

use crate::psrpc::error::Code;

/// Identifies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rpc<'a> {
    /// The service's bare name.
    pub service: &'a str,
    pub method: &'a str,
}

/// Outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    Granted,
    /// To another.
    Lost,
    /// Nobody decided.
    TimedOut,
}

/// A call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Every server is asked.
    pub multi: bool,
    /// For a server from the decision to the answer, for a client from the request to it.
    pub took: Duration,
    /// `None`: it went well.
    pub error: Option<Code>,
    /// Bytes of what came, without its envelope: a server's request, a client's answer.
    pub received: usize,
    /// Bytes of what was sent, without its envelope.
    pub sent: usize,
}

/// Told in the midst of things: it must not wait.
pub trait Observer: Debug + Send + Sync {
    /// A frame came on a method's channel.
    fn received(&self, rpc: Rpc<'_>);
    /// A request's time was over when it came.
    fn expired(&self, rpc: Rpc<'_>);
    /// An offer was decided on, so long after it was made.
    fn claimed(&self, rpc: Rpc<'_>, outcome: ClaimOutcome, waited: Duration);
    /// A server has carried out a call.
    fn answered(&self, rpc: Rpc<'_>, call: Answered);
    /// A client's call is over. Each attempt is one.
    fn called(&self, rpc: Rpc<'_>, call: Answered);
}
