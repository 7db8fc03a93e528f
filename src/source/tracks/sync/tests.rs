use proptest::prelude::*;

use super::*;

/// Sends Opus packets of a publisher whose clock is off by `ppm`, each with its network delay in
/// milliseconds. Returns for each when it was sent, and its computed time.
fn run(ppm: f64, first_rtp: u32, delays: &[f64], publisher: &PublisherClock) -> Vec<(f64, f64)> {
    let mut clock = TrackClock::new(48_000);
    let mut places = Vec::new();
    for (at, delay) in delays.iter().enumerate() {
        let rtp = first_rtp.wrapping_add(u32::try_from(at).unwrap() * 960);
        // The time at which it was sent, by our clock.
        let was = 10.0 + at as f64 * 0.02 / (1.0 + ppm / 1e6);
        let received = Duration::from_secs_f64(was + delay / 1000.0);
        let placed = clock.take(was, rtp, received, publisher);
        places.extend(placed.into_iter().map(|(was, place)| (was, place.as_secs_f64())));
    }
    places
}

#[test]
fn with_a_constant_delay_times_are_exact() {
    for first in [0, 5, u32::MAX - 9_600] {
        let places = run(0.0, first, &[5.0; 1000], &PublisherClock::default());
        assert_eq!(places.len(), 1000);
        for (was, place) in places {
            assert!((place - was - 0.005).abs() < 1e-6, "{was} {place}");
        }
    }
}

#[test]
fn a_delayed_burst_at_the_beginning_is_recognised() {
    // A burst: packets of 0.3 s arrive together, and the following ones without delay.
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
fn a_long_delay_at_the_beginning_is_corrected() {
    let mut delays = vec![5.0; 1000];
    delays[..40].fill(105.0);
    let places = run(0.0, 7, &delays, &PublisherClock::default());
    let (was, place) = places[0];
    assert!((place - was - 0.105).abs() < 1e-6);
    // Correcting 0.1 s at 2 % takes five seconds.
    let (was, place) = places[400];
    assert!((place - was).abs() < 0.01, "{was} {place}");
}

#[test]
fn jitter_does_not_move_times() {
    let delays: Vec<f64> = (0..3000).map(|at| 5.0 + f64::from(at * 7919 % 80)).collect();
    for (was, place) in run(0.0, 1, &delays, &PublisherClock::default()).split_off(600) {
        assert!((place - was - 0.005).abs() < 0.003, "{was} {place}");
    }
}

#[test]
fn clock_drift_is_followed_for_hours() {
    for ppm in [200.0, -200.0] {
        let places = run(ppm, 0, &vec![5.0; 3 * 3600 * 50], &PublisherClock::default());
        let (was, place) = places.last().unwrap();
        assert!((place - was).abs() < 0.02, "{ppm}: {was} {place}");
    }
}

#[test]
fn sender_reports_synchronise_two_tracks_of_a_publisher() {
    // The publisher's clock is a day ahead, and its video is delayed 80 ms more than its audio.
    let ahead = 86_400.0;
    let mut publisher = PublisherClock::default();
    let (mut audio, mut video) = (TrackClock::new(48_000), TrackClock::new(90_000));
    let (mut heard, mut seen) = (Vec::new(), Vec::new());
    for step in 0..1500u32 {
        let was = 10.0 + f64::from(step) * 0.02;
        let (audio_rtp, video_rtp) = (step.wrapping_mul(960), 77 + step.wrapping_mul(1800));
        let at = |delay: f64| Duration::from_secs_f64(was + delay);
        heard.extend(audio.take((), audio_rtp, at(0.01), &publisher));
        seen.extend(video.take((), video_rtp, at(0.09), &publisher));
        if step % 150 == 149 {
            publisher.report(was + ahead, was + 0.01);
            audio.report(audio_rtp, was + ahead, was + 0.01);
            publisher.report(was + ahead, was + 0.09);
            video.report(video_rtp, was + ahead, was + 0.09);
        }
    }
    let apart = |at: usize| (seen[at].1.as_secs_f64() - heard[at].1.as_secs_f64()).abs();
    assert!(apart(0) > 0.07, "{}", apart(0));
    assert!(apart(1499) < 0.002, "{}", apart(1499));
}

#[test]
fn sender_reports_expire() {
    let (mut clock, mut publisher) = (TrackClock::new(48_000), PublisherClock::default());
    let mut last = (0.0, 0.0);
    for step in 0..3600 * 50u32 {
        // The clock is 200 ppm fast.
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
fn a_track_whose_clock_jumps_is_placed_anew_and_an_absurd_report_is_ignored() {
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
fn after_a_pause_a_made_up_clock_is_ignored_and_a_delay_is_corrected() {
    let publisher = PublisherClock::default();
    for ahead in [600i64, 150, -150, -600] {
        let mut clock = TrackClock::new(48_000);
        let mut places = Vec::new();
        for step in 0..100u32 {
            let (mut was, mut rtp) = (1000 + u64::from(step) * 20, i64::from(step) * 960);
            let mut delay = 0;
            if step >= 50 {
                // A pause of two seconds, which RTP time counts differently; the next packets are
                // delayed by 0.3 s at first.
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
fn a_frame_that_waits_alone_gets_its_time() {
    let (mut clock, publisher) = (TrackClock::new(90_000), PublisherClock::default());
    let second = Duration::from_secs(1);
    assert_eq!(clock.take("one", 7, second, &publisher), []);
    assert_eq!(clock.overdue(second + FIRST_WAIT / 2, &publisher), []);
    assert_eq!(clock.overdue(second + FIRST_WAIT * 2, &publisher), [("one", second)]);
    assert_eq!(clock.take("two", 90_007, second * 2, &publisher), [("two", second * 2)]);
}

proptest! {
    /// With any network delays, no frame is lost, times never decrease and stay close to arrival.
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
