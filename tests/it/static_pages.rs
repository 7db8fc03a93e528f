//! A page that stops painting and goes on.

use std::time::Duration;

use crate::support::layout;
use crate::support::measure::frames::{Snapshot, colour_distance, frames};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Recorder, page};
use crate::support::slots;

#[test]
fn a_static_page_is_recorded_at_full_length() {
    let _slot = slots::browser();
    check_still(4, 10, 13);
}

/// Records a page that does not paint from `stop` to `resume`, for `length`, all in seconds.
#[track_caller]
pub(super) fn check_still(stop: u32, resume: u32, length: u32) {
    let (still, length) = (f64::from(resume - stop), f64::from(length));
    let dir = tempfile::tempdir().unwrap();
    let page = page(&format!("clock.html?stop={stop}&resume={resume}"));
    let duration = format!("{length}s");
    let recorder =
        Recorder::start(dir.path(), &["web", &page, "--duration", &duration, "--file", "still.mp4"]);
    let ended = recorder.finish(Duration::from_secs_f64(length + 120.0)).complete();
    let path = ended.path("still.mp4");
    assert_decodable(&path);
    let recorded = Probe::of(&path).duration;
    assert!((recorded - length).abs() <= 1.0, "{recorded} s");

    let all = frames(&path, &layout::clock());
    // A busy host tears frames of the moving parts.
    let count = all.len();
    let all: Vec<_> = all.into_iter().filter(|frame| !frame.torn() && frame.wall.is_some()).collect();
    assert!(all.len() * 3 >= count * 2, "{} of {count} frames can be read", all.len());
    // The static part: from the last frame before the longest run of one counter, to the first
    // after it.
    let resumed =
        (1..all.len()).rfind(|&i| millis(&all[i]) - millis(&all[i - 1]) > still * 500.0).expect("a pause");
    let stopped = all[..resumed].iter().position(|p| p.counters == all[resumed - 1].counters).unwrap();
    let pause = all[resumed].pts - all[stopped].pts;
    // On a busy machine the recording begins when the page is already static.
    assert!(pause > still / 3.0 && pause < still + 3.0, "{pause} s still");

    // During the pause, the last frame is repeated at least once per second.
    let gaps = all.windows(2).map(|pair| pair[1].pts - pair[0].pts);
    let longest = gaps.fold(0.0, f64::max);
    assert!(longest <= 4.0, "{longest} s without a frame");
    let keys: Vec<f64> = all.iter().filter(|frame| frame.key).map(|frame| frame.pts).collect();
    let apart = keys.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    // Ten seconds; if the encoder drops one, the next one is a key frame.
    assert!(apart <= 13.0, "key frames {apart} s apart: {keys:?}");

    // The next frame has its drawing time: after the pause it is no later than before.
    let delay = |i: usize| all[i].pts - millis(&all[i]) / 1000.0;
    // The frame at the start of the recording was drawn earlier.
    let late = if stopped > 0 { delay(resumed) - delay(stopped) } else { 0.0 };
    assert!(late.abs() < 3.0, "{late} s late");

    // Seeking into the middle of the pause finds the frame of that time.
    let middle = Snapshot::at(&path, all[stopped].pts + still / 2.0);
    for (region, colour) in layout::clock_patches() {
        let seen = middle.colour(region);
        assert!(colour_distance(seen, colour) <= 8, "{colour:?} is seen as {seen:?}");
    }
}

/// Drawing time of a frame.
fn millis(frame: &crate::support::measure::frames::Frame) -> f64 {
    f64::from(frame.wall.expect("readable"))
}
