//! Weir records and streams web pages and LiveKit rooms.
//!
//! The modules stand in the order in which a recording passes through them. `ARCHITECTURE.md` holds
//! the table of allowed imports, which `tests/architecture.rs` checks.

pub mod disk;
pub mod files;
pub mod http_listener;
pub mod journal;
pub mod pages;
pub mod profile;
pub mod protocol;
pub mod psrpc;
pub mod secret;
pub mod tls;
pub mod token;

pub mod config;

pub mod bus;

pub mod outbound;
pub mod plan;

pub mod media;
pub mod process;

pub mod encode;
pub mod sink;
pub mod source;

pub mod control;
pub mod ipc;
pub mod report;
pub mod upload;

pub mod recording;

pub mod service;

pub mod cli;
pub mod doctor;
pub mod recorder;
pub mod recover;
pub mod serve;
pub mod telemetry;

#[cfg(test)]
#[path = "../tests/architecture.rs"]
mod architecture;

#[cfg(test)]
#[path = "../tests/support/ports.rs"]
mod ports;
