//! The service: takes requests, has each recorded by a process of its own, and tells how it goes.
//!
//! ```text
//! bus, api ──► Service ──► admission ──► supervisor ══ stdin, stdout ══► recorder (a process)
//!                                             └──► Registry (livekit-server, or the store and its webhooks)
//! ```
//!
//! No media code is in here: whatever a recording does, the service goes on.

pub mod egresses;
pub mod error;
pub mod registry;
