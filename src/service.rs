//! The service: recordings that others ask for, each in a process of its own.
//!
//! Who asks is either a person's program, over HTTP, with the egresses kept here and told to receivers; or livekit-server,
//! over psrpc. Both sides meet the rest in two traits: [`egresses::Egresses`] takes what is
//! asked, [`registry::Registry`] keeps what became of it.
//!
//! Nothing here touches GStreamer or a browser: what can crash is in the recorder.

pub mod egresses;
pub mod error;
pub mod keys;
pub mod registry;
