//! A page that stops painting for a minute and goes on.

use std::time::Duration;

use crate::support::layout;
use crate::support::measure::pictures::{Still, colour_distance, pictures};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::recorder::{Recorder, page};

#[test]
fn a_page_that_stands_still_for_a_minute_is_recorded_in_its_whole_length() {
    let dir = tempfile::tempdir().unwrap();
    let page = page("clock.html?stop=6&resume=66");
    let recorder = Recorder::start(dir.path(), &["web", &page, "--duration", "70s", "--file", "still.mp4"]);
    let ended = recorder.finish(Duration::from_secs(90)).complete();
    let path = ended.path("still.mp4");
    assert_decodable(&path);
    let length = Probe::of(&path).duration;
    assert!((length - 70.0).abs() <= 0.2, "{length} s");

    let all = pictures(&path, &layout::clock());
    assert!(all.iter().all(|picture| !picture.torn()));
    // The still part: from the last picture before the longest run of one counter, to the first after it.
    let resumed =
        (1..all.len()).rfind(|&i| millis(&all[i]) - millis(&all[i - 1]) > 30_000.0).expect("a pause");
    let stopped = all[..resumed].iter().position(|p| p.counters == all[resumed - 1].counters).unwrap();
    let pause = all[resumed].pts - all[stopped].pts;
    assert!((58.0..62.0).contains(&pause), "{pause} s still");

    // While nothing is drawn, the last picture is repeated now and then, at least once in a second.
    let gaps = all.windows(2).map(|pair| pair[1].pts - pair[0].pts);
    let longest = gaps.fold(0.0, f64::max);
    assert!(longest <= 1.05, "{longest} s without a picture");
    let keys: Vec<f64> = all.iter().filter(|picture| picture.key).map(|picture| picture.pts).collect();
    let apart = keys.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(apart <= 10.5, "key frames {apart} s apart: {keys:?}");

    // The next picture is shown when it was drawn: after the pause it is no later than before.
    let delay = |i: usize| all[i].pts - millis(&all[i]) / 1000.0;
    assert!((delay(resumed) - delay(stopped)).abs() < 0.1, "{} s late", delay(resumed) - delay(stopped));

    // Seeking into the middle of the pause finds the picture that stood there.
    let middle = Still::at(&path, all[stopped].pts + 30.0);
    for (region, colour) in layout::clock_patches() {
        let seen = middle.colour(region);
        assert!(colour_distance(seen, colour) <= 8, "{colour:?} is seen as {seen:?}");
    }
}

/// When the page drew a picture.
fn millis(picture: &crate::support::measure::pictures::Picture) -> f64 {
    f64::from(picture.wall.expect("readable"))
}
