//! kill -9 of recorder and service at random moments.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::support::measure::assert_decodable;
use crate::support::page_server::PageServer;
use crate::support::processes::{self, Seen};
use crate::support::service::Serve;
use crate::support::slots;

/// Number of kills of each of the two.
const KILLS: usize = 3;
/// Deadline for the report on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than a start takes, and than a short recording.
const WITHIN_MS: u64 = 4500;

fn recorders(service: i32) -> Vec<Seen> {
    let of_it = |seen: &Seen| seen.arguments.iter().any(|word| word == "recorder");
    processes::family(service).into_iter().filter(of_it).collect()
}

/// After each kill: a true report within a minute, no orphaned process, and no unfinished file that
/// is not reported.
#[track_caller]
fn check_kills(kills_service: bool) {
    let (dir, pages) = (tempfile::tempdir().unwrap(), PageServer::start());
    // Printed on failure, so that it can be reproduced.
    let seed: u64 = rand::random();
    let mut chance = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..KILLS {
        let file = dir.path().join(format!("{round}.mp4"));
        let mut service = Serve::start(dir.path(), "");
        let id = service.callers().start(&json!({
            "url": pages.url("/pages/clock.html"),
            "advanced": { "width": 320, "height": 180, "framerate": 15, "videoBitrate": 400 },
            "file_outputs": [{ "filepath": file.display().to_string() }],
        }));
        let moment = Duration::from_millis(chance.random_range(0..WITHIN_MS));
        std::thread::park_timeout(moment);
        let mut recorder = recorders(service.pid());
        let end = Instant::now() + PATIENCE;
        // A busy machine may not have started it yet; then there is nothing to kill.
        while recorder.is_empty() && !kills_service {
            assert!(Instant::now() < end, "seed {seed}, {moment:?}: no recorder is started");
            std::thread::park_timeout(Duration::from_millis(5));
            recorder = recorders(service.pid());
        }
        let info = if kills_service {
            let watch = service.kill();
            service = Serve::start(dir.path(), "");
            // Its recorder continues under the next service, and ends there on request.
            let info = service.until("it is over", PATIENCE, |callers| {
                let info = callers.info(&id);
                if info["ended_at"].as_str().is_some_and(|at| at != "0") {
                    return Some(info);
                }
                callers.stop(&id).ok();
                None
            });
            let end = Instant::now() + PATIENCE;
            while recorder
                .iter()
                .any(|seen| processes::all().iter().any(|now| now.pid == seen.pid && now.start == seen.start))
            {
                assert!(Instant::now() < end, "seed {seed}, {moment:?}: a recorder stays");
                std::thread::park_timeout(Duration::from_millis(20));
            }
            watch.assert_nothing_left(|| {});
            info
        } else {
            for seen in &recorder {
                kill(Pid::from_raw(seen.pid), Signal::SIGKILL).ok();
            }
            service.until_over(&id, PATIENCE)
        };
        let status = info["status"].as_str().unwrap();
        if !kills_service {
            assert_eq!(status, "EGRESS_FAILED", "seed {seed}, {moment:?}: {info}");
        }
        // The recorded media is in a finalized file, or nothing was recorded.
        if file.exists() {
            assert_decodable(&file);
        }
        let active = service.callers().list(&json!({ "active": true })).unwrap();
        assert!(active.is_empty(), "seed {seed}, {moment:?}: {active:?}");
        let done = service.end();
        assert_eq!(done.status.code(), Some(0), "seed {seed}, {moment:?}: {}", done.stderr);
        let left: Vec<_> = std::fs::read_dir(dir.path().join("work"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        let left: Vec<_> =
            left.into_iter().filter(|name| name.to_string_lossy().starts_with("EG_")).collect();
        assert!(left.is_empty(), "seed {seed}, {moment:?}: {left:?}");
    }
}

#[test]
fn a_recorder_killed_at_any_moment_is_reported_truly_and_leaves_nothing() {
    let _slot = slots::browser();
    check_kills(false);
}

#[test]
fn a_service_killed_at_any_moment_reports_truly_and_leaves_nothing() {
    let _slot = slots::browser();
    check_kills(true);
}
