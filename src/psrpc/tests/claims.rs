//! Selection of servers, in virtual time.

use std::time::{Duration, Instant};

use crate::psrpc::Code;
use crate::psrpc::Error;
use crate::psrpc::claim::{Decision, NoOffer, Offers, Selection, SelectionRules};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Plays claims of (milliseconds, server, affinity) until one wins or the time is over; who won,
/// and when.
fn play(rules: SelectionRules, claims: &[(u64, &str, f32)]) -> Result<(String, u64), Error> {
    let begin = Instant::now();
    let mut selection = Selection::new(rules, begin, begin + ms(10_000));
    for (at, server, affinity) in claims {
        let now = begin + ms(*at);
        if now >= selection.due() {
            break;
        }
        if let Some(chosen) = selection.claim(now, (*server).to_owned(), *affinity) {
            return Ok((chosen, *at));
        }
    }
    let due = u64::try_from((selection.due() - begin).as_millis()).unwrap();
    selection.decide().map(|chosen| (chosen, due))
}

#[track_caller]
fn wins(rules: SelectionRules, claims: &[(u64, &str, f32)], server: &str, at: u64) {
    assert_eq!(play(rules, claims), Ok((server.to_owned(), at)));
}

#[test]
fn a_busy_recorder_with_room_is_chosen_at_once_over_an_idle_one() {
    wins(SelectionRules::BY_AFFINITY, &[(5, "idle", 0.5), (10, "busy", 1.0)], "busy", 10);
    wins(SelectionRules::BY_AFFINITY, &[(5, "more", 1.5)], "more", 5);
}

#[test]
fn idle_ones_wait_for_half_a_second_from_the_first() {
    wins(SelectionRules::BY_AFFINITY, &[(10, "idle", 0.5)], "idle", 510);
    wins(SelectionRules::BY_AFFINITY, &[(10, "a", 0.5), (400, "b", 0.5), (450, "c", 0.6)], "c", 510);
    wins(SelectionRules::BY_AFFINITY, &[(10, "a", 0.5), (511, "late", 1.0)], "a", 510);
    // The first that could win begins the half second, and not a refusal.
    wins(SelectionRules::BY_AFFINITY, &[(10, "full", 0.0), (300, "a", 0.5)], "a", 800);
    wins(SelectionRules::BY_AFFINITY, &[(900, "a", 0.5)], "a", 1000);
}

#[test]
fn of_equals_the_first_is_chosen() {
    wins(SelectionRules::BY_AFFINITY, &[(10, "first", 0.5), (20, "second", 0.5)], "first", 510);
}

#[test]
fn without_affinity_the_first_is_chosen_at_once() {
    wins(SelectionRules::FIRST, &[(3, "first", 0.1), (4, "second", 1.0)], "first", 3);
    let patient = SelectionRules { timeout: None, ..SelectionRules::FIRST };
    wins(patient, &[(9000, "late", 1.0)], "late", 9000);
}

#[test]
fn who_cannot_be_chosen_is_told_of() {
    let none = play(SelectionRules::BY_AFFINITY, &[]).unwrap_err();
    assert_eq!((none.code(), none.text()), (Code::Unavailable, "no response from servers"));
    for affinity in [0.0, -1.0, f32::NAN] {
        let none = play(SelectionRules::FIRST, &[(1, "a", affinity), (2, "b", 0.0)]).unwrap_err();
        assert_eq!(none.code(), Code::Unavailable);
        assert_eq!(none.text(), "no servers available (received 2 responses)");
    }
}

#[test]
fn a_request_that_nobody_could_read_says_so() {
    let now = Instant::now();
    let refusal = Error::new(Code::MalformedRequest, "garbage");
    let mut selection = Selection::new(SelectionRules::FIRST, now, now + ms(100));
    selection.refused(refusal.clone());
    assert_eq!(selection.decide(), Err(refusal.clone()));
    let mut selection = Selection::new(SelectionRules::BY_AFFINITY, now, now + ms(100));
    selection.refused(refusal);
    assert_eq!(selection.claim(now, "reads".into(), 0.5), None);
    assert_eq!(selection.decide(), Ok("reads".into()));
}

#[test]
fn the_call_s_own_deadline_is_the_last_moment() {
    let now = Instant::now();
    let selection = Selection::new(SelectionRules::FIRST, now, now + ms(100));
    assert_eq!(selection.due(), now + ms(100));
    let endless = SelectionRules { timeout: Some(Duration::MAX), ..SelectionRules::FIRST };
    assert_eq!(Selection::new(endless, now, now + ms(7)).due(), now + ms(7));
}

#[test]
fn an_offer_is_decided_once() {
    let mut offers = Offers::new(2);
    offers.open("REQ_a", 'a').unwrap();
    assert_eq!(offers.open("REQ_a", 'x'), Err(NoOffer::Twice));
    offers.open("REQ_b", 'b').unwrap();
    assert_eq!(offers.open("REQ_c", 'c'), Err(NoOffer::Full));

    assert_eq!(offers.decide("REQ_a", "SRV_us", "SRV_us"), Decision::Ours('a'));
    assert_eq!(offers.decide("REQ_a", "SRV_us", "SRV_us"), Decision::Unconcerned);
    assert_eq!(offers.decide("REQ_b", "SRV_them", "SRV_us"), Decision::Theirs('b'));
    offers.open("REQ_c", 'c').unwrap();
    offers.withdraw("REQ_c");
    assert_eq!(offers.decide("REQ_c", "SRV_us", "SRV_us"), Decision::Unconcerned);
    assert!(offers.is_empty());
}
