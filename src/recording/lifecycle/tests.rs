use proptest::prelude::*;

use super::*;
use crate::report::Fault;

fn failure(text: &str, fault: Fault) -> Failure {
    Failure::new(text, fault)
}

fn run(events: impl IntoIterator<Item = Event>) -> (Lifecycle, Vec<Action>) {
    let mut life = Lifecycle::new();
    let actions = events.into_iter().flat_map(|event| life.handle(event)).collect();
    (life, actions)
}

fn drained() -> Event {
    Event::Drained { failure: None }
}

fn stored() -> Event {
    Event::Stored
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
    let disk = failure("disk", Fault::Destination);
    let failed = || Event::OutputFailed { failure: disk.clone(), others_left: true };
    let (life, actions) = run([Event::SourceReady, failed()]);
    assert_eq!((life.state(), actions), (State::Active, vec![Action::Begin]));

    let (life, _) = run([Event::SourceReady, failed(), Event::SourceEnded, drained(), stored()]);
    assert_eq!(life.outcome(), Some(Outcome::Failed(disk.clone())));
    assert_eq!(life.reason(), Some(EndReason::SourceClosed));
}

#[test]
fn the_first_reason_and_the_first_error_stand() {
    let (life, _) = run([
        Event::SourceReady,
        Event::Stop(StopCause::Request),
        Event::SourceFailed(failure("browser", Fault::Service)),
        Event::OutputFailed { failure: failure("store", Fault::Storage), others_left: false },
        Event::Drained { failure: Some(failure("frozen", Fault::Destination)) },
        stored(),
    ]);
    assert_eq!(life.reason(), Some(EndReason::StopRequested));
    // Text and fault of one and the same failure.
    assert_eq!(life.outcome(), Some(Outcome::Failed(failure("browser", Fault::Service))));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::SourceLoaded),
        Just(Event::SourceReady),
        Just(Event::SourceEnded),
        Just(Event::DurationReached),
        Just(Event::SourceFailed(failure("source", Fault::User))),
        Just(Event::Stop(StopCause::Request)),
        Just(Event::Stop(StopCause::Signal)),
        Just(Event::LimitReached(Limit::Size)),
        any::<bool>().prop_map(|others_left| Event::OutputFailed {
            failure: failure("output", Fault::Destination),
            others_left
        }),
        Just(Event::AllStreamsStopped),
        Just(Event::EncoderFailed(failure("encoder", Fault::Service))),
        proptest::option::of(Just(failure("drain", Fault::Service)))
            .prop_map(|failure| Event::Drained { failure }),
        Just(Event::Stored),
    ]
}

proptest! {
    /// No order of events makes it begin, drain, store or finish twice, leave its end, or end
    /// without a reason.
    #[test]
    fn it_ends_once_with_a_reason(events in proptest::collection::vec(any_event(), 0..40)) {
        let mut life = Lifecycle::new();
        let mut actions = Vec::new();
        let mut first = None;
        for event in events {
            let failed = event.failure().cloned().filter(|_| life.state() != State::Ended);
            first = first.or(failed);
            let was_over = life.state() == State::Ended;
            let now = life.handle(event);
            prop_assert!(!was_over || (now.is_empty() && life.state() == State::Ended));
            actions.extend(now);
        }
        for action in [Action::Begin, Action::Drain, Action::Store, Action::Finish] {
            prop_assert!(actions.iter().filter(|done| **done == action).count() <= 1);
        }
        prop_assert_eq!(life.outcome().is_some(), life.state() == State::Ended);
        prop_assert_eq!(life.failure(), first.as_ref());
        if life.state() == State::Ended {
            prop_assert!(life.reason().is_some());
            prop_assert_eq!(actions.last(), Some(&Action::Finish));
        }
    }
}

#[test]
fn a_killed_recording_finishes_its_files_and_fails_with_the_text() {
    let killed = failure("server is shutting down", Fault::Killed);
    let kill = || Event::Kill(killed.clone());
    let failed = Some(Outcome::Failed(killed.clone()));
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
