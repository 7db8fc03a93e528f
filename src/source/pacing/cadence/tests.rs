use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn pacing(cadence: Cadence, fps: u32, key: Duration) -> Pacing {
    Pacing { cadence, fps, key_interval: key }
}

fn as_drawn(at_least: u32) -> Schedule {
    Schedule::new(pacing(Cadence::AsDrawn { at_least }, 30, Duration::from_secs(2)))
}

fn on_grid(fps: u32) -> Schedule {
    Schedule::new(pacing(Cadence::Grid, fps, Duration::from_secs(2)))
}

/// A pushed frame: its time, and the index of the captured frame (`None` before the first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pushed {
    pts: u64,
    shows: Option<usize>,
    duration: Option<u64>,
}

/// Plays a recording of length `end`: frames captured at these times arrive 5 ms later, and a step
/// is made each millisecond.
fn play(mut schedule: Schedule, drawn: &[u64], end: u64) -> Vec<Pushed> {
    const LATE: u64 = 5 * MS;
    let (mut waiting, mut current, mut pushed) = (VecDeque::new(), None, Vec::new());
    let mut coming = drawn.iter().copied().enumerate().peekable();
    let mut now = 0;
    loop {
        let over = now >= end + LATE;
        if over {
            schedule.end_at(end);
        }
        while let Some((n, at)) = coming.next_if(|(_, at)| at + LATE <= now || over) {
            if at < end {
                waiting.push_back((n, at));
            }
        }
        let Some(known) = now.checked_sub(LATE) else {
            now += MS;
            continue;
        };
        loop {
            let step = schedule.step(known, waiting.front().map(|(_, at)| *at));
            if matches!(step, Step::Adopt | Step::Show { which: Which::Next, .. }) {
                current = Some(waiting.pop_front().unwrap().0);
            }
            match step {
                Step::Show { pts, duration, .. } => pushed.push(Pushed { pts, shows: current, duration }),
                Step::Adopt => {}
                Step::Wait { known: until } => {
                    assert!(until > known, "a wait for what is known already");
                    break;
                }
                Step::Done => return pushed,
            }
        }
        now += MS;
    }
}

fn times(pushed: &[Pushed]) -> Vec<u64> {
    pushed.iter().map(|picture| picture.pts / MS).collect()
}

#[test]
fn a_still_page_is_repeated_and_has_key_times_and_its_length() {
    let pushed = play(as_drawn(2), &[], 3_210 * MS);
    assert_eq!(times(&pushed), [0, 500, 1000, 1500, 2000, 2500, 3000, 3176]);
    let last = pushed.last().unwrap();
    assert_eq!(last.pts + last.duration.unwrap(), 3_210 * MS);
}

#[test]
fn pictures_keep_the_time_they_were_drawn() {
    let drawn: Vec<u64> = (1..=50).map(|n| n * 33 * MS + (n * 7 % 5) * MS).collect();
    let pushed = play(as_drawn(2), &drawn, 1_900 * MS);
    for (n, at) in drawn.iter().enumerate() {
        assert!(pushed.contains(&Pushed { pts: *at, shows: Some(n), duration: None }), "picture {n} at {at}");
    }
    // One at the beginning and one at the end beside them.
    assert_eq!(pushed.len(), 52);
}

#[test]
fn a_page_at_the_rate_of_the_repeats_gets_no_repeats() {
    // A live stream at 30 fps, and a page that paints at 30 fps with some jitter.
    let drawn: Vec<u64> = (0..120).map(|n| 10 * MS + n * 33_333_333 + (n * 7919 % 9) * MS).collect();
    let pushed = play(as_drawn(30), &drawn, 4_000 * MS);
    let repeated = pushed.windows(2).filter(|pair| pair[0].shows == pair[1].shows).count();
    // At the key time of 2 s, and none else.
    assert!(repeated <= 1, "{repeated}");
}

#[test]
fn a_picture_beside_a_key_time_takes_it_and_one_further_away_does_not() {
    let near = play(as_drawn(2), &[1_997 * MS], 2_500 * MS);
    assert_eq!(times(&near), [0, 500, 1000, 1500, 2000, 2466]);
    assert_eq!(near[4].shows, Some(0));
    let far = play(as_drawn(2), &[1_990 * MS, 2_012 * MS], 2_300 * MS);
    assert_eq!(times(&far), [0, 500, 1000, 1500, 1990, 2000, 2012, 2266]);
    assert_eq!((far[5].shows, far[6].shows), (Some(0), Some(1)));
}

#[test]
fn a_picture_that_arrives_late_comes_after_what_was_pushed() {
    let mut schedule = as_drawn(2);
    assert!(matches!(schedule.step(0, None), Step::Wait { .. }));
    assert_eq!(schedule.step(10 * MS, None), Step::Show { which: Which::Current, pts: 0, duration: None });
    let repeat = Step::Show { which: Which::Current, pts: 500 * MS, duration: None };
    assert_eq!(schedule.step(600 * MS, None), repeat);
    assert_eq!(schedule.step(500 * MS, Some(450 * MS)), Step::Wait { known: 501 * MS });
    let late = Step::Show { which: Which::Next, pts: 501 * MS, duration: None };
    assert_eq!(schedule.step(600 * MS, Some(450 * MS)), late);
}

#[test]
fn the_grid_has_a_picture_at_each_point_and_shows_the_newest() {
    let pushed = play(on_grid(10), &[20 * MS, 40 * MS, 350 * MS], 700 * MS);
    assert_eq!(times(&pushed), [0, 100, 200, 300, 400, 500, 600]);
    let shown: Vec<_> = pushed.iter().map(|picture| picture.shows).collect();
    // 20 ms is a quarter of a frame after the first grid point, which had no frame.
    assert_eq!(shown, [Some(0), Some(1), Some(1), Some(1), Some(2), Some(2), Some(2)]);
    assert!(pushed.iter().all(|picture| picture.duration == Some(100 * MS)));
}

#[test]
fn a_page_that_paints_on_the_points_of_the_grid_does_not_beat_with_it() {
    // Around each point of the grid, up to 4 ms to either side.
    let drawn: Vec<u64> = (1..=300).map(|n| n * 33_333_333 + (n * 7919 % 9) * MS - 4 * MS).collect();
    let pushed = play(on_grid(30), &drawn, 10_000 * MS);
    let repeated = pushed.windows(2).filter(|pair| pair[0].shows == pair[1].shows).count();
    assert!(repeated <= 1, "{repeated}");
}

#[test]
fn a_recording_of_no_length_has_no_picture() {
    assert_eq!(play(as_drawn(2), &[], 0), []);
    assert_eq!(play(on_grid(30), &[], 0), []);
}

proptest! {
    #[test]
    fn as_drawn_is_true_dense_and_as_long_as_the_recording(
        gaps in proptest::collection::vec(0u64..900 * MS, 0..60),
        end in 1u64..6_000 * MS,
        at_least in 1u32..=30,
        key in 400u64..4_000,
    ) {
        let drawn: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let schedule = Schedule::new(pacing(Cadence::AsDrawn { at_least }, 30, Duration::from_millis(key)));
        let pushed = play(schedule, &drawn, end);
        let times: Vec<u64> = pushed.iter().map(|picture| picture.pts).collect();
        prop_assert_eq!(times[0], 0);
        prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "not increasing: {:?}", times);
        prop_assert!(times.iter().all(|pts| *pts < end));
        // At each key time there is one.
        for at in (0..end).step_by(key as usize * MS as usize) {
            prop_assert!(times.contains(&at), "nothing at {at}");
        }
        // Never longer than specified (a frame that just missed its repeat is awaited for half a
        // frame, and may then move to a key time).
        let longest = 1_000_000_000 / u64::from(at_least) + 1_000_000_000 / 60 + SNAP + 1;
        prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= longest));
        // As long as the recording, within one frame.
        prop_assert!(end - times.last().unwrap() <= 1_000_000_000 / 30 + MS);
        // Every captured frame is shown, in order, and not before or long after its capture.
        let mut shown: Vec<usize> = pushed.iter().filter_map(|picture| picture.shows).collect();
        shown.dedup();
        prop_assert!(shown.windows(2).all(|pair| pair[0] < pair[1]));
        for picture in &pushed {
            if let Some(n) = picture.shows {
                prop_assert!(drawn[n] <= picture.pts + SNAP);
            }
        }
    }

    #[test]
    fn the_grid_is_exact(
        gaps in proptest::collection::vec(0u64..200 * MS, 0..60),
        end in 1u64..4_000 * MS,
        fps in 1u32..=60,
    ) {
        let drawn: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let pushed = play(on_grid(fps), &drawn, end);
        let fps = u64::from(fps);
        for (n, picture) in (0..).zip(&pushed) {
            prop_assert_eq!(picture.pts, n * 1_000_000_000 / fps);
            if let Some(shown) = picture.shows {
                prop_assert!(drawn[shown] <= picture.pts + 250_000_000 / fps);
                // Nothing newer was there before the point, unless an older one still had to be
                // shown.
                let newer = drawn.iter().rposition(|at| *at <= picture.pts);
                prop_assert!(newer.is_none_or(|newer| shown >= newer));
            }
        }
        // All points inside of the recording, and none beyond.
        let count = pushed.len() as u64;
        prop_assert!((count - 1) * 1_000_000_000 / fps < end && end <= count * 1_000_000_000 / fps);
    }
}
