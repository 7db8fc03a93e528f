//! The service: recordings that others ask for, each in a process of its own.
//!
//! Who asks is either a person's program, over HTTP ([`api`]), with the egresses kept here ([`store`]) and told to receivers
//! ([`webhook`]); or livekit-server, over psrpc. Both sides meet the rest in two traits: [`egresses::Egresses`] takes what is
//! asked, [`registry::Registry`] keeps what became of it.
//!
//! Nothing here touches GStreamer or a browser: what can crash is in the recorder.

pub mod api;
pub mod egresses;
pub mod error;
pub mod keys;
pub mod layout;
pub mod registry;
pub mod standalone;
pub mod store;
pub mod token;
pub mod webhook;
