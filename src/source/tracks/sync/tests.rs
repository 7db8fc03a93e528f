use proptest::prelude::*;

use super::*;

/// Opus packets of a publisher whose crystal is `ppm` off, each with its delay on the way, in milliseconds. When each was, and its place.
fn run(ppm: f64, first_rtp: u32, delays: &[f64], publisher: &PublisherClock) -> Vec<(f64, f64)> {
    let mut clock = TrackClock::new(48_000);
    let mut places = Vec::new();
    for (at, delay) in delays.iter().enumerate() {
        let rtp = first_rtp.wrapping_add(u32::try_from(at).unwrap() * 960);
        // When it was, by our clock.
        let was = 10.0 + at as f64 * 0.02 / (1.0 + ppm / 1e6);
        let received = Duration::from_secs_f64(was + delay / 1000.0);
        let placed = clock.take(was, rtp, received, publisher);
        places.extend(placed.into_iter().map(|(was, place)| (was, place.as_secs_f64())));
    }
    places
}

#[test]
fn on_a_steady_way_every_packet_is_where_it_was() {
    for first in [0, 5, u32::MAX - 9_600] {
        let places = run(0.0, first, &[5.0; 1000], &PublisherClock::default());
        assert_eq!(places.len(), 1000);
        for (was, place) in places {
            assert!((place - was - 0.005).abs() < 1e-6, "{was} {place}");
        }
    }
}

#[test]
fn where_the_first_packets_were_held_up_the_next_ones_tell() {
    // A burst: what came in 0.3 s comes at once, and then all is well.
    let mut delays = vec![5.0; 1000];
    for (at, delay) in delays.iter_mut().take(15).enumerate() {
        *delay = 305.0 - at as f64 * 20.0;
    }
    let places = run(0.0, 7, &delays, &PublisherClock::default());
    assert_eq!(places.len(), 1000);
    for (was, place) in places {
        assert!((place - was - 0.005).abs() < 1e-6, "{was} {place}");
    }
}

#[test]
fn a_long_delay_at_the_beginning_is_made_up_for() {
    let mut delays = vec![5.0; 1000];
    delays[..40].fill(105.0);
    let places = run(0.0, 7, &delays, &PublisherClock::default());
    let (was, place) = places[0];
    assert!((place - was - 0.105).abs() < 1e-6);
    // 0.1 s at 2 % take five seconds.
    let (was, place) = places[400];
    assert!((place - was).abs() < 0.01, "{was} {place}");
}

#[test]
fn jitter_moves_nothing() {
    let delays: Vec<f64> = (0..3000).map(|at| 5.0 + f64::from(at * 7919 % 80)).collect();
    for (was, place) in run(0.0, 1, &delays, &PublisherClock::default()).split_off(600) {
        assert!((place - was - 0.005).abs() < 0.003, "{was} {place}");
    }
}

#[test]
fn a_crystal_that_is_off_is_followed_for_hours() {
    for ppm in [200.0, -200.0] {
        let places = run(ppm, 0, &vec![5.0; 3 * 3600 * 50], &PublisherClock::default());
        let (was, place) = places.last().unwrap();
        assert!((place - was).abs() < 0.02, "{ppm}: {was} {place}");
    }
}

#[test]
fn reports_put_two_tracks_of_a_publisher_together() {
    // Its clock is a day ahead; its pictures take 80 ms longer to come than its sound.
    let ahead = 86_400.0;
    let mut publisher = PublisherClock::default();
    let (mut sound, mut picture) = (TrackClock::new(48_000), TrackClock::new(90_000));
    let (mut heard, mut seen) = (Vec::new(), Vec::new());
    for step in 0..1500u32 {
        let was = 10.0 + f64::from(step) * 0.02;
        let (audio_rtp, video_rtp) = (step.wrapping_mul(960), 77 + step.wrapping_mul(1800));
        let at = |delay: f64| Duration::from_secs_f64(was + delay);
        heard.extend(sound.take((), audio_rtp, at(0.01), &publisher));
        seen.extend(picture.take((), video_rtp, at(0.09), &publisher));
        if step % 150 == 149 {
            publisher.report(was + ahead, was + 0.01);
            sound.report(audio_rtp, was + ahead, was + 0.01);
            publisher.report(was + ahead, was + 0.09);
            picture.report(video_rtp, was + ahead, was + 0.09);
        }
    }
    let apart = |at: usize| (seen[at].1.as_secs_f64() - heard[at].1.as_secs_f64()).abs();
    assert!(apart(0) > 0.07, "{}", apart(0));
    assert!(apart(1499) < 0.002, "{}", apart(1499));
}

#[test]
fn reports_that_no_longer_come_are_not_believed_for_long() {
    let (mut clock, mut publisher) = (TrackClock::new(48_000), PublisherClock::default());
    let mut last = (0.0, 0.0);
    for step in 0..3600 * 50u32 {
        // 200 ppm fast.
        let was = 10.0 + f64::from(step) * 0.02 / 1.0002;
        if step == 500 {
            publisher.report(was, was + 0.01);
            clock.report(step * 960, was, was + 0.01);
        }
        for (was, place) in clock.take(was, step * 960, Duration::from_secs_f64(was + 0.01), &publisher) {
            last = (was, place.as_secs_f64());
        }
    }
    assert!((last.1 - last.0).abs() < 0.02, "{last:?}");
}

#[test]
fn a_clock_that_jumps_is_placed_afresh_and_an_absurd_report_is_not_believed() {
    let mut publisher = PublisherClock::default();
    let mut clock = TrackClock::new(90_000);
    let at = |step: u32| Duration::from_secs(10) + Duration::from_millis(20) * step;
    let mut places = Vec::new();
    for step in 0..200 {
        let first = if step < 50 { 1000 } else { 4_000_000_000 };
        places.extend(clock.take(at(step), first + step * 1800, at(step), &publisher));
        if step == 100 {
            publisher.report(0.0, 11.0);
            clock.report(4_000_000_000, 500.0, 11.0);
        }
    }
    assert_eq!(places.len(), 200);
    for (was, place) in places {
        assert!(was.abs_diff(place) < Duration::from_millis(1), "{was:?} {place:?}");
    }
}

#[test]
fn after_a_pause_a_clock_that_was_made_up_is_not_believed_and_who_was_held_up_is_put_right() {
    let publisher = PublisherClock::default();
    for ahead in [600i64, 150, -150, -600] {
        let mut clock = TrackClock::new(48_000);
        let mut places = Vec::new();
        for step in 0..100u32 {
            let (mut was, mut rtp) = (1000 + u64::from(step) * 20, i64::from(step) * 960);
            let mut delay = 0;
            if step >= 50 {
                // Two seconds of nothing, which RTP's time counts otherwise; what comes then is held up for 0.3 s at first.
                was += 2000;
                rtp += (2000 + ahead) * 48;
                delay = 300u64.saturating_sub(u64::from(step - 50) * 20);
            }
            let received = Duration::from_millis(was + delay);
            places.extend(clock.take(was, u32::try_from(rtp).unwrap(), received, &publisher));
        }
        assert_eq!(places.len(), 100);
        for (was, place) in places {
            assert!(
                place.abs_diff(Duration::from_millis(was)) < Duration::from_millis(2),
                "{ahead}: {was} {place:?}"
            );
        }
    }
}

#[test]
fn what_waits_alone_gets_its_place_in_time() {
    let (mut clock, publisher) = (TrackClock::new(90_000), PublisherClock::default());
    let second = Duration::from_secs(1);
    assert_eq!(clock.take("one", 7, second, &publisher), []);
    assert_eq!(clock.overdue(second + FIRST_WAIT / 2, &publisher), []);
    assert_eq!(clock.overdue(second + FIRST_WAIT * 2, &publisher), [("one", second)]);
    assert_eq!(clock.take("two", 90_007, second * 2, &publisher), [("two", second * 2)]);
}

proptest! {
    /// Whatever the network does: nothing is lost, never backwards, never far from arrival.
    #[test]
    fn times_never_go_backwards(
        first: u32,
        steps in prop::collection::vec((0u32..4000, 0.0f64..400.0), 1..300),
        reports in prop::collection::vec((0usize..300, -1.0f64..1.0), 0..5),
    ) {
        let (mut clock, mut publisher) = (TrackClock::new(48_000), PublisherClock::default());
        let (mut rtp, mut was, mut places) = (first, 5.0, Vec::new());
        for (at, (step, delay)) in steps.iter().enumerate() {
            rtp = rtp.wrapping_add(*step);
            was += f64::from(*step) / 48_000.0;
            let received = was + delay / 1000.0;
            places.extend(clock.take(received, rtp, Duration::from_secs_f64(received), &publisher));
            for (_, off) in reports.iter().filter(|(when, _)| *when == at) {
                publisher.report(was + off, received);
                clock.report(rtp, was + off, received);
            }
        }
        places.extend(clock.settle(&publisher));
        prop_assert_eq!(places.len(), steps.len());
        let mut last = 0.0;
        for (received, place) in places {
            let place = place.as_secs_f64();
            prop_assert!(place >= last, "{place} after {last}");
            prop_assert!((place - received).abs() < 3.5, "{place} for {received}");
            last = place;
        }
    }
}
