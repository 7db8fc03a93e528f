//! Tools of the tests and the bench: media, processes, pages, peers.
//!
//! Every wait here has a deadline and panics with its observations; a test that can't continue has
//! failed.

pub(crate) mod barcode;
pub(crate) mod disturbance;
pub(crate) mod fault_proxy;
pub(crate) mod forward_proxy;
pub(crate) mod http1;
pub(crate) mod layout;
pub(crate) mod leftovers;
pub(crate) mod livekit;
pub(crate) mod lossy_link;
pub(crate) mod measure;
pub(crate) mod page_server;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod processes;
pub(crate) mod publisher;
pub(crate) mod python;
pub(crate) mod recorder;
pub(crate) mod room;
pub(crate) mod service;
pub(crate) mod shared;
pub(crate) mod signal_proxy;
pub(crate) mod slots;
pub(crate) mod stores;
pub(crate) mod synthetic;
pub(crate) mod three_people;
pub(crate) mod tls;
pub(crate) mod tool;
pub(crate) mod webhook_receiver;
pub(crate) mod websocket;
