//! An overloaded machine: the recording continues at a lower frame rate.

use std::time::Duration;

use serde_json::json;

use super::PATIENCE;
use super::details;
use crate::support::layout;
use crate::support::measure::assert_decodable;
use crate::support::measure::frames::frames;
use crate::support::measure::timing::percentile;
use crate::support::page_server::PageServer;
use crate::support::room::Hearing;
use crate::support::service::{Serve, cell};
use crate::support::slots;

/// If other programs fill the machine, nothing is done to a recording until the recording itself is
/// the cause.
const PRESSED_WITHIN: Duration = Duration::from_secs(300);

#[test]
fn an_overloaded_machine_halves_the_frame_rate_and_continues() {
    let _slot = slots::machine();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    // A fifth of a core is full at once. Only one measure, so that only one change is visible.
    let costs = "cpu_cost: {cpu_kill_grace_sec: 3600}";
    let mut service = Serve::start_with(dir.path(), costs, &[("LIVEKIT_CPU_REQUEST", "0.2")]);
    let file = dir.path().join("clock.mp4");
    let id = service.callers().start(&json!({
        "url": pages.url("/pages/clock.html"),
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "advanced": { "width": 1280, "height": 720, "framerate": 30, "video_bitrate": 3000 },
    }));
    let told = service.until("it is made cheaper", PRESSED_WITHIN, |callers| {
        let info = callers.info(&id);
        let told = details(&info).to_owned();
        told.contains(" fps from ").then_some(told)
    });
    // `15 frames per second from 14 s on: the machine was short of CPU`
    let from = told.split_once("15 fps from ").and_then(|(_, rest)| rest.split_once(" s on: "));
    let from: f64 = from.unwrap_or_else(|| panic!("{told}")).0.parse().unwrap();
    // There are frames of it as soon as there is audio.
    let mut hearing = Hearing::of(cell(dir.path(), &id));
    service.until("five seconds more are recorded", PATIENCE, |_| hearing.has(from + 5.0));
    service.callers().stop(&id).unwrap();
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert!(details(&info).contains("the machine was short of CPU"), "{info}");
    service.end();

    assert_decodable(&file);
    let times: Vec<f64> = frames(&file, &layout::clock()).iter().map(|frame| frame.pts).collect();
    let gaps = |from: f64, to: f64| {
        let pairs = times.windows(2).filter(move |pair| pair[0] >= from && pair[1] <= to);
        pairs.map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let end = times.last().copied().unwrap();
    // The time is in whole seconds, and the encoder holds some frames.
    let (before, after) = (gaps(0.0, from - 1.5), gaps(from + 1.5, end));
    // A late frame may be close to the next; most are a fifteenth of a second apart, or more.
    let median = percentile(&after, 0.5);
    assert!(median >= 0.058, "{median} s apart: {after:.3?}");
    let rate = after.len() as f64 / after.iter().sum::<f64>();
    assert!((0.5..=17.0).contains(&rate), "{rate} a second");
    // The machine decides how many frames there were before; each two of them show that they came
    // at more than 15 fps.
    let close = before.iter().filter(|gap| **gap < 0.05).count();
    assert!(close >= 3, "{close} of {} closer than 15 a second has them: {before:.3?}", before.len());
}
