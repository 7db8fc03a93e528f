//! What Weir does, measured: the recorder as a program, its results as media.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(clippy::print_stderr, reason = "tests say what they saw, which is shown where one fails")]

mod clients;
mod comings;
mod composite;
mod console;
mod crashes;
mod decoded;
mod deployment;
mod doors;
mod endings;
mod everything;
mod field_pages;
mod full_disk;
mod half_open;
mod harness;
mod harness_livekit;
mod harness_stores;
mod kills;
mod licences;
mod livekit;
mod lossy;
mod measuring;
mod mixes;
mod names;
mod participants;
mod reconnects;
mod refusals;
mod remux;
mod room_ends;
mod rooms;
mod sdks;
mod server_restarts;
mod service;
mod soak;
mod stalls;
mod stillness;
mod storage;
mod storage_faults;
mod stream_faults;
mod streams;
#[path = "../support/support.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod support;
mod three;
mod tracks;
mod unprintable;
mod variants;
mod web;
mod websockets;
