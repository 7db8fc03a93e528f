//! Integration tests: they run the recorder as a program, and measure its media.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(clippy::print_stderr, reason = "tests say what they saw, which is shown where one fails")]

mod all_outputs;
mod console;
mod crashes;
mod decoded_tracks;
mod deployment;
mod field_pages;
mod full_disk;
mod harness;
mod harness_livekit;
mod harness_stores;
mod idle_connections;
mod invalid_requests;
mod kill_recovery;
mod late_publishers;
mod licenses;
mod listeners;
mod livekit_clients;
mod livekit_reconnect;
mod livekit_restart;
mod livekit_sdks;
mod livekit_server;
mod measurement;
mod output_names;
mod output_variants;
mod packet_loss;
mod participant;
mod recording_end;
mod remuxed_tracks;
mod room_audio;
mod room_composite;
mod room_connection;
mod room_end;
mod service;
mod soak;
mod stalls;
mod static_pages;
mod stdout_and_secrets;
mod storage;
mod storage_failures;
mod stream_changes;
mod stream_failures;
#[path = "../support/support.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod support;
mod three_participants;
mod track_passthrough;
mod web_pages;
mod websocket_output;
