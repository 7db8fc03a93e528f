//! Rooms as a page shows them: a real livekit-server, real participants, real recordings, read back.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::pictures::Still;
use crate::support::measure::{Probe, assert_decodable, sound};
use crate::support::page_server::PageServer;
use crate::support::recorder::Recorder;
use crate::support::room::{self, Publishers};

const SIZE: (f64, f64) = (1280.0, 720.0);

/// What every recording of a room gets.
fn record(dir: &std::path::Path, livekit: &LiveKitServer, arguments: &[&str]) -> Recorder {
    let all = [&["room"], arguments].concat();
    Recorder::start_with(dir, &all, |weir| {
        weir.env("LIVEKIT_URL", livekit.ws_url())
            .env("LIVEKIT_API_KEY", &livekit.keys().key)
            .env("LIVEKIT_API_SECRET", &livekit.keys().secret);
    })
}

#[test]
fn four_in_a_grid_are_seen_and_heard() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start(&redis);
    let _publishers =
        Publishers::join(&livekit, &pages, "four", &["ann", "ben", "cem", "dea"], "simulcast=1");
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = record(dir.path(), &livekit, &["four", "--file", "{room_name}.mp4"]);
    recorder.until_written(1 << 20);
    recorder.runs_for(Duration::from_secs(5));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(Duration::from_secs(30)).complete();
    let file = ended.path("four.mp4");
    assert_decodable(&file);
    let length = Probe::of(&file).duration;
    let still = Still::at(&file, length - 1.5);
    let seen: Vec<_> = room::grid(2, 2, SIZE, 8.0).into_iter().map(|tile| room::who(&still, tile)).collect();
    assert_eq!(seen, [Some(1), Some(2), Some(3), Some(4)]);
    let samples = sound::samples(&file);
    assert_eq!(room::heard(&samples, length - 2.5, length - 1.0, 6), [1, 2, 3, 4]);
    assert_eq!(ended.info["roomName"], "four");
}
