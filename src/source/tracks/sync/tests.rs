use proptest::prelude::*;

use super::*;

/// Opus packets of a publisher whose crystal is `ppm` off, each with its delay on the way, in milliseconds.
fn run(ppm: f64, first_rtp: u32, delays: &[f64], publisher: &PublisherClock) -> Vec<(f64, f64)> {
    let mut clock = TrackClock::new(48_000);
    let mut places = Vec::new();
    for (at, delay) in delays.iter().enumerate() {
        let rtp = first_rtp.wrapping_add(u32::try_from(at).unwrap() * 960);
        // When it was, by our clock.
        let was = 10.0 + at as f64 * 0.02 / (1.0 + ppm / 1e6);
        let received = Duration::from_secs_f64(was + delay / 1000.0);
        places.push((was, clock.place(rtp, received, publisher).as_secs_f64()));
    }
    places
}

#[test]
fn on_a_steady_way_every_packet_is_where_it_was() {
    for first in [0, 5, u32::MAX - 9_600] {
        for (was, place) in run(0.0, first, &[5.0; 1000], &PublisherClock::default()) {
            assert!((place - was - 0.005).abs() < 1e-6, "{was} {place}");
        }
    }
}

#[test]
fn a_late_first_packet_is_made_up_for() {
    let mut delays = vec![5.0; 1000];
    delays[0] = 305.0;
    let places = run(0.0, 7, &delays, &PublisherClock::default());
    let (was, place) = places[0];
    assert!((place - was - 0.305).abs() < 1e-6);
    // 0.3 s at 5 % take six seconds.
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
    let mut apart = Vec::new();
    for step in 0..1500u32 {
        let was = 10.0 + f64::from(step) * 0.02;
        let (sound_rtp, picture_rtp) = (step.wrapping_mul(960), 77 + step.wrapping_mul(1800));
        let at = |delay: f64| Duration::from_secs_f64(was + delay);
        let heard = sound.place(sound_rtp, at(0.01), &publisher).as_secs_f64();
        let seen = picture.place(picture_rtp, at(0.09), &publisher).as_secs_f64();
        apart.push((seen - heard).abs());
        if step % 150 == 149 {
            publisher.report(was + ahead, was + 0.01);
            sound.report(sound_rtp, was + ahead);
            publisher.report(was + ahead, was + 0.09);
            picture.report(picture_rtp, was + ahead);
        }
    }
    assert!(apart[0] > 0.07, "{}", apart[0]);
    assert!(apart[1499] < 0.002, "{}", apart[1499]);
}

#[test]
fn a_clock_that_jumps_is_placed_afresh_and_an_absurd_report_is_not_believed() {
    let publisher = PublisherClock::default();
    let mut clock = TrackClock::new(90_000);
    let second = Duration::from_secs;
    clock.place(1000, second(10), &publisher);
    assert_eq!(clock.place(4_000_000_000, second(11), &publisher), second(11));
    let mut publisher = PublisherClock::default();
    publisher.report(0.0, 11.0);
    clock.report(4_000_000_000, 500.0);
    let place = clock.place(4_000_090_000, second(12), &publisher).as_secs_f64();
    assert!((place - 12.0).abs() < 0.001, "{place}");
}

#[test]
fn after_a_pause_a_clock_that_was_made_up_is_not_believed() {
    let publisher = PublisherClock::default();
    let millis = Duration::from_millis;
    for ahead in [600, -600i64] {
        let mut clock = TrackClock::new(48_000);
        for step in 0..50u32 {
            clock.place(step * 960, millis(1000 + u64::from(step) * 20), &publisher);
        }
        // Two seconds of nothing, which RTP's time counts otherwise.
        let rtp = u32::try_from((2000 + ahead) * 48 + 50 * 960).unwrap();
        assert_eq!(clock.place(rtp, millis(4000), &publisher), millis(4000), "{ahead}");
        // A little is left to slewing.
        let place = clock.place(rtp + 48_000, millis(5100), &publisher);
        assert!((place.as_secs_f64() - 5.0).abs() < 0.1, "{place:?}");
    }
}

proptest! {
    /// Whatever the network does: never backwards, never far from arrival.
    #[test]
    fn times_never_go_backwards(
        first: u32,
        steps in prop::collection::vec((0u32..4000, 0.0f64..400.0), 1..300),
        reports in prop::collection::vec((0usize..300, -1.0f64..1.0), 0..5),
    ) {
        let (mut clock, mut publisher) = (TrackClock::new(48_000), PublisherClock::default());
        let (mut rtp, mut was, mut last) = (first, 5.0, 0.0);
        for (at, (step, delay)) in steps.iter().enumerate() {
            rtp = rtp.wrapping_add(*step);
            was += f64::from(*step) / 48_000.0;
            let received = was + delay / 1000.0;
            let place = clock.place(rtp, Duration::from_secs_f64(received), &publisher).as_secs_f64();
            prop_assert!(place >= last, "{place} after {last}");
            prop_assert!((place - received).abs() < 3.5, "{place} for {received}");
            last = place;
            for (_, off) in reports.iter().filter(|(when, _)| *when == at) {
                publisher.report(was + off, received);
                clock.report(rtp, was + off);
            }
        }
    }
}
