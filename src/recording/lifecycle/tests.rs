use proptest::prelude::*;

use super::*;

fn run(events: impl IntoIterator<Item = Event>) -> (Lifecycle, Vec<Action>) {
    let mut life = Lifecycle::new();
    let actions = events.into_iter().flat_map(|event| life.handle(event)).collect();
    (life, actions)
}

fn drained() -> Event {
    Event::Drained { error: None }
}

fn stored() -> Event {
    Event::Stored { error: None }
}

#[test]
fn an_ordinary_recording() {
    let (life, actions) =
        run([Event::SourceLoaded, Event::SourceReady, Event::Stop(StopCause::Request), drained(), stored()]);
    assert_eq!(actions, [Action::Begin, Action::Drain, Action::Store, Action::Finish]);
    assert_eq!(life.outcome(), Some(Outcome::Complete));
    assert_eq!(life.reason(), Some(EndReason::StopRequested));
}

#[test]
fn what_a_stop_before_the_beginning_means() {
    let stop = || Event::Stop(StopCause::Signal);
    let (life, actions) = run([stop()]);
    assert_eq!(actions, [Action::Finish]);
    assert_eq!(life.outcome(), Some(Outcome::Aborted { error: STOPPED_BEFORE_START }));

    let (life, _) = run([Event::SourceLoaded, stop()]);
    assert_eq!(life.outcome(), Some(Outcome::Aborted { error: NO_START_SIGNAL }));

    let (life, _) = run([Event::LimitReached(Limit::Size)]);
    assert_eq!(life.outcome(), Some(Outcome::Aborted { error: LIMIT_BEFORE_START }));
}

#[test]
fn a_recording_as_long_as_was_asked_for_is_complete() {
    let (life, _) = run([Event::SourceReady, Event::DurationReached, drained(), stored()]);
    assert_eq!(life.outcome(), Some(Outcome::Complete));
}

#[test]
fn a_limit_is_told_from_the_end_that_was_asked_for() {
    let (life, _) = run([Event::SourceReady, Event::LimitReached(Limit::Size), drained(), stored()]);
    assert_eq!(life.outcome(), Some(Outcome::LimitReached));
}

#[test]
fn one_output_failing_beside_others_fails_the_recording_only_at_its_end() {
    let failed = Event::OutputFailed { error: "disk".into(), others_left: true };
    let (life, actions) = run([Event::SourceReady, failed]);
    assert_eq!((life.state(), actions), (State::Active, vec![Action::Begin]));

    let failed = Event::OutputFailed { error: "disk".into(), others_left: true };
    let (life, _) = run([Event::SourceReady, failed, Event::SourceEnded, drained(), stored()]);
    assert_eq!(life.outcome(), Some(Outcome::Failed { error: "disk".into() }));
    assert_eq!(life.reason(), Some(EndReason::SourceClosed));
}

#[test]
fn the_first_reason_and_the_first_error_stand() {
    let (life, _) = run([
        Event::SourceReady,
        Event::Stop(StopCause::Request),
        Event::SourceFailed("browser".into()),
        Event::Drained { error: Some("frozen".into()) },
        stored(),
    ]);
    assert_eq!(life.reason(), Some(EndReason::StopRequested));
    assert_eq!(life.outcome(), Some(Outcome::Failed { error: "browser".into() }));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::SourceLoaded),
        Just(Event::SourceReady),
        Just(Event::SourceEnded),
        Just(Event::DurationReached),
        Just(Event::SourceFailed("source".into())),
        Just(Event::Stop(StopCause::Request)),
        Just(Event::Stop(StopCause::Signal)),
        Just(Event::LimitReached(Limit::Size)),
        any::<bool>().prop_map(|others_left| Event::OutputFailed { error: "output".into(), others_left }),
        Just(Event::AllStreamsStopped),
        Just(Event::EncoderFailed("encoder".into())),
        proptest::option::of(Just("drain".to_owned())).prop_map(|error| Event::Drained { error }),
        proptest::option::of(Just("store".to_owned())).prop_map(|error| Event::Stored { error }),
    ]
}

proptest! {
    /// No order of events makes it begin, drain, store or finish twice, leave its end, or end without a reason.
    #[test]
    fn it_ends_once_with_a_reason(events in proptest::collection::vec(any_event(), 0..40)) {
        let mut life = Lifecycle::new();
        let mut actions = Vec::new();
        for event in events {
            let was_over = life.state() == State::Ended;
            let now = life.handle(event);
            prop_assert!(!was_over || (now.is_empty() && life.state() == State::Ended));
            actions.extend(now);
        }
        for action in [Action::Begin, Action::Drain, Action::Store, Action::Finish] {
            prop_assert!(actions.iter().filter(|done| **done == action).count() <= 1);
        }
        prop_assert_eq!(life.outcome().is_some(), life.state() == State::Ended);
        if life.state() == State::Ended {
            prop_assert!(life.reason().is_some());
            prop_assert_eq!(actions.last(), Some(&Action::Finish));
        }
    }
}

#[test]
fn a_killed_recording_finishes_its_files_and_fails_with_the_text() {
    let kill = || Event::Kill("server is shutting down".to_owned());
    let failed = Some(Outcome::Failed { error: "server is shutting down".to_owned() });
    let (life, actions) = run([Event::SourceReady, kill(), drained(), stored()]);
    assert_eq!(actions, [Action::Begin, Action::Drain, Action::Store, Action::Finish]);
    assert_eq!((life.outcome(), life.reason()), (failed.clone(), Some(EndReason::Killed)));

    let (life, actions) = run([kill()]);
    assert_eq!((life.outcome(), actions), (failed.clone(), vec![Action::Finish]));

    let (life, _) = run([Event::SourceReady, Event::Stop(StopCause::Request), kill(), drained(), stored()]);
    assert_eq!((life.outcome(), life.reason()), (failed, Some(EndReason::StopRequested)));
}

#[test]
fn an_orphaned_recording_is_complete() {
    let (life, _) = run([Event::SourceReady, Event::Stop(StopCause::Orphaned), drained(), stored()]);
    assert_eq!((life.outcome(), life.reason()), (Some(Outcome::Complete), Some(EndReason::Killed)));
}
