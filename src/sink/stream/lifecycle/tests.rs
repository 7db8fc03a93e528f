use super::*;
use proptest::prelude::*;

const LOST: Event = Event::Lost { loss: Loss::Interrupted, jitter: 1.0 };
const REFUSED: Event = Event::Lost { loss: Loss::Refused, jitter: 1.0 };
const TICK: Event = Event::Tick { jitter: 1.0 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Connected at zero, sending since 500 ms.
fn working() -> Lifecycle {
    let mut life = Lifecycle::new(Timing::DEFAULT);
    assert_eq!(life.handle(ms(0), Event::Attempt), None);
    assert_eq!(life.handle(ms(0), Event::Offered), None);
    assert_eq!(life.handle(ms(250), Event::Sent(3500)), None);
    assert_eq!(life.handle(ms(500), Event::Sent(20_000)), Some(Action::Started));
    life
}

#[test]
fn the_handshake_is_no_progress() {
    let mut life = Lifecycle::new(Timing::DEFAULT);
    life.handle(ms(0), Event::Attempt);
    assert_eq!(life.handle(ms(100), Event::Sent(0)), None);
    assert_eq!(life.handle(ms(200), Event::Sent(5000)), None);
    assert_eq!(life.handle(ms(300), Event::Sent(9096)), None, "4096 more is not more than 4096");
    assert!(!life.has_worked());
    assert_eq!(life.handle(ms(400), Event::Sent(9097)), Some(Action::Started));
    assert_eq!(life.handle(ms(500), Event::Sent(90_000)), None, "said once");
}

#[test]
fn a_refusal_is_final_unless_it_worked_before() {
    let mut life = Lifecycle::new(Timing::DEFAULT);
    life.handle(ms(0), Event::Attempt);
    assert_eq!(life.handle(ms(10), REFUSED), Some(Action::GiveUp { cause: Cause::Lost }));
    assert_eq!(life.handle(ms(20), Event::Attempt), None);
    assert_eq!(life.handle(ms(30), Event::Sent(1 << 20)), None, "over is over");

    let mut life = working();
    assert!(matches!(life.handle(ms(900), REFUSED), Some(Action::Retry { retries: 1, .. })));
}

#[test]
fn the_waits_double_up_to_five_seconds_and_end_after_thirty() {
    let mut life = working();
    let (mut now, mut waits) = (ms(10_000), Vec::new());
    let ended = loop {
        match life.handle(now, LOST) {
            Some(Action::Retry { at, .. }) => {
                waits.push((at - now).as_millis());
                now = at;
                life.handle(now, Event::Attempt);
            }
            other => break other,
        }
    };
    assert_eq!(ended, Some(Action::GiveUp { cause: Cause::Lost }));
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000, 2250]);
    assert_eq!(now, ms(40_000));
}

#[test]
fn an_outage_is_over_when_the_next_connection_has_settled() {
    let lose_at_25_s_of_outage = |settled: bool| {
        let mut life = working();
        life.handle(ms(10_000), LOST);
        life.handle(ms(34_000), Event::Attempt);
        life.handle(ms(34_000), Event::Sent(3500));
        assert_eq!(life.handle(ms(34_500), Event::Sent(20_000)), Some(Action::Started));
        if settled {
            life.handle(ms(39_500), Event::Sent(200_000));
        }
        life.handle(ms(41_000), LOST)
    };
    assert_eq!(lose_at_25_s_of_outage(false), Some(Action::GiveUp { cause: Cause::Lost }));
    let again = lose_at_25_s_of_outage(true);
    assert_eq!(again, Some(Action::Retry { at: ms(41_250), retries: 2, cause: Cause::Lost }));
}

#[test]
fn no_progress_for_thirty_seconds_is_a_loss() {
    let mut life = working();
    life.handle(ms(20_000), Event::Sent(30_000));
    // Drops of 4096 B and less are keep-alives.
    life.handle(ms(40_000), Event::Sent(34_096));
    assert_eq!(life.handle(ms(49_999), TICK), None);
    let stalled = life.handle(ms(50_000), TICK);
    assert_eq!(stalled, Some(Action::Retry { at: ms(50_250), retries: 1, cause: Cause::Stalled }));
    // A server that takes connections and nothing else is given up when the outage's time is over.
    life.handle(ms(50_250), Event::Attempt);
    life.handle(ms(50_250), Event::Offered);
    assert!(matches!(life.handle(ms(62_250), TICK), Some(Action::Retry { .. })));
    life.handle(ms(70_000), Event::Attempt);
    life.handle(ms(70_000), Event::Offered);
    assert_eq!(life.handle(ms(82_000), TICK), Some(Action::GiveUp { cause: Cause::NotConnected }));
}

#[test]
fn a_server_that_came_back_and_stalls_is_dialled_again_but_not_for_ever() {
    let mut life = working();
    life.handle(ms(1000), LOST);
    let (mut now, mut stalls) = (ms(1250), 0);
    // It takes a few kilobytes each time, and nothing after them.
    let ended = loop {
        life.handle(now, Event::Attempt);
        life.handle(now, Event::Offered);
        life.handle(now, Event::Sent(3500));
        now += ms(500);
        assert_eq!(life.handle(now, Event::Sent(20_000)), Some(Action::Started));
        now += ms(30_000);
        match life.handle(now, TICK) {
            Some(Action::Retry { at, cause: Cause::Stalled, .. }) => now = at,
            other => break other,
        }
        stalls += 1;
        assert!(stalls < 100, "it is tried for ever");
    };
    assert!(stalls >= 1, "it is given up at the first stall");
    assert_eq!(ended, Some(Action::GiveUp { cause: Cause::Stalled }));
}

#[test]
fn connecting_takes_its_time_only_from_the_first_media_on() {
    let mut life = Lifecycle::new(Timing::DEFAULT);
    life.handle(ms(0), Event::Attempt);
    assert_eq!(life.handle(ms(60_000), TICK), None, "the recording has not begun");
    life.handle(ms(60_000), Event::Offered);
    assert_eq!(life.handle(ms(71_999), TICK), None);
    let overdue = life.handle(ms(72_000), TICK);
    assert_eq!(overdue, Some(Action::Retry { at: ms(72_250), retries: 1, cause: Cause::NotConnected }));
}

fn events() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        Just(Event::Attempt),
        Just(Event::Offered),
        (0..200_000u64).prop_map(Event::Sent),
        (any::<bool>(), 0.0..1.0f64).prop_map(|(refused, jitter)| Event::Lost {
            loss: if refused { Loss::Refused } else { Loss::Interrupted },
            jitter
        }),
        (0.0..1.0f64).prop_map(|jitter| Event::Tick { jitter }),
    ];
    (0..9000u64, event)
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_once_and_waits_within_bounds(
        history in prop::collection::vec(events(), 0..200)
    ) {
        let timing = Timing::DEFAULT;
        let mut life = Lifecycle::new(timing);
        let (mut now, mut over, mut retried, mut waiting) = (Duration::ZERO, false, 0, true);
        for (later, event) in history {
            now += ms(later);
            let action = life.handle(now, event);
            prop_assert!(!over || action.is_none(), "something after the end: {action:?}");
            match action {
                Some(Action::Started) => prop_assert!(!waiting && life.has_worked()),
                Some(Action::Retry { at, retries, .. }) => {
                    prop_assert!(at >= now && at - now <= timing.longest_wait);
                    prop_assert_eq!(retries, retried + 1);
                    retried = retries;
                    waiting = true;
                }
                Some(Action::GiveUp { .. }) => over = true,
                None => {}
            }
            if event == Event::Attempt {
                waiting = false;
            }
        }
    }

    /// A server that never works again is given up after the outage's time and one last attempt,
    /// whatever the attempts take.
    #[test]
    fn a_lost_server_is_given_up(takes in prop::collection::vec(0..12_000u64, 300), jitter in 0.0..1.0f64) {
        let mut life = working();
        let (mut now, begun) = (ms(1000), ms(1000));
        let mut ended = None;
        let mut longest_attempt = 0;
        for take in takes {
            match life.handle(now, Event::Lost { loss: Loss::Interrupted, jitter }) {
                Some(Action::Retry { at, .. }) => {
                    life.handle(at, Event::Attempt);
                    now = at + ms(take);
                    longest_attempt = longest_attempt.max(take);
                }
                _ => { ended = Some(now); break; }
            }
        }
        let outage = ended.expect("300 attempts take longer than the outage may") - begun;
        prop_assert!(outage >= Timing::DEFAULT.outage);
        prop_assert!(outage <= Timing::DEFAULT.outage + ms(longest_attempt));
    }
}
