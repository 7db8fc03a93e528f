//! Who counts what a server does, call by call.

use std::fmt::Debug;
use std::time::Duration;

use crate::psrpc::error::Code;

/// What a call is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rpc<'a> {
    /// The service's bare name.
    pub service: &'a str,
    pub method: &'a str,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    Granted,
    /// To another.
    Lost,
    /// Nobody decided.
    TimedOut,
}

/// A call that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Every server is asked.
    pub multi: bool,
    /// From the decision to the answer.
    pub took: Duration,
    /// `None`: it went well.
    pub error: Option<Code>,
    /// Bytes of the request, without its envelope.
    pub received: usize,
    /// Bytes of the answer, without its envelope.
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
    fn answered(&self, rpc: Rpc<'_>, call: Answered);
}
