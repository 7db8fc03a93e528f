//! psrpc, LiveKit's way of calling one another over publish and subscribe (docs/reference/psrpc.md).
//!
//! ```text
//! Client ──► Envelope ──► MessageBus ──► Envelope ──► Server ──► Handler
//!    ▲     (who answers: Selection, Offers: pure)        │
//!    └─────────────────── Response ◄─────────────────────┘
//! ```
//!
//! A service has methods, a method may have topics. Who answers a call is settled by a **claim** (servers offer themselves, the
//! client chooses), by a **queue** (whoever sets a lock first) or not at all (every server answers). Nothing is delivered
//! twice on purpose and nothing for certain: a call that was lost ends when its time is over.
//!
//! This module knows nothing of recordings, and must import nothing of ours but `secret`. Bytes from the bus are never
//! trusted: whatever they are, they are counted and dropped, and the server goes on.

pub mod channel;
pub mod claim;
pub mod envelope;

mod bus;
mod client;
mod clock;
mod error;
mod id;
mod memory;
mod method;
mod redis;
mod server;

pub use bus::{BusError, LinkState, MessageBus, Standing, Subscription};
pub use claim::{Offer, SelectionRules};
pub use client::{Answer, CallOptions, Client, Retry};
pub use error::{Code, Error, NO_RESPONSE, TIMED_OUT};
pub use memory::MemoryBus;
pub use method::{Claiming, Delivery, Method};
pub use redis::{RedisBus, RedisOptions, TlsOptions, Topology};
pub use server::{
    Answered, Call, ClaimOutcome, Handler, Observer, Registration, Rpc, Server, ServerOptions, ServerStats,
    typed,
};

#[cfg(test)]
mod tests;
