//! psrpc, LiveKit's RPC over publish and subscribe (docs/reference/psrpc.md).
//!
//! ```text
//! Client ──► Envelope ──► MessageBus ──► Envelope ──► Server ──► Handler
//!    ▲      (server selection: Selection, Offers: pure)  │
//!    └─────────────────── Response ◄─────────────────────┘
//! ```
//!
//! A service has methods; a method may have topics. The server of a call is selected by a **claim**
//! (servers claim, the client chooses), by a **queue** (the first server to set a lock), or all
//! servers answer. Delivery is neither duplicated on purpose nor guaranteed: a lost call ends with
//! its timeout.
//!
//! This module is independent of recordings and may import only `secret`. Bytes from the bus are
//! untrusted: invalid ones are counted and dropped.

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
