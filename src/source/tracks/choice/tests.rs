use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A key frame, and whether it is the beginning of being shown.
#[track_caller]
fn key(choice: &mut Choice, sid: &str, at: u64, verdict: Verdict) {
    assert_eq!(choice.frame(sid, true, true, ms(at)), verdict, "{sid} at {at}");
}

#[track_caller]
fn delta(choice: &mut Choice, sid: &str, at: u64, verdict: Verdict) {
    assert_eq!(choice.frame(sid, false, true, ms(at)), verdict, "{sid} at {at}");
}

#[test]
fn a_track_is_shown_from_its_first_key_frame_on() {
    let mut choice = Choice::default();
    delta(&mut choice, "camera", 0, Verdict::Ignore);
    choice.add("camera", false, ms(0));
    delta(&mut choice, "camera", 10, Verdict::Ignore);
    assert!(!choice.shows());
    key(&mut choice, "camera", 20, Verdict::Switch);
    delta(&mut choice, "camera", 50, Verdict::Decode);
    key(&mut choice, "camera", 80, Verdict::Decode);
    assert!(choice.shows());
    assert_eq!(choice.blank_at(), None);
}

#[test]
fn a_new_track_takes_over_with_its_first_key_frame_and_the_old_one_comes_back_after_it() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    choice.add("screen", false, ms(1000));
    delta(&mut choice, "screen", 1010, Verdict::Ignore);
    delta(&mut choice, "camera", 1020, Verdict::Decode);
    key(&mut choice, "screen", 1100, Verdict::Switch);
    key(&mut choice, "camera", 1120, Verdict::Ignore);
    assert_eq!(choice.take_wanted(), [""; 0]);
    choice.remove("screen", ms(3000));
    assert!(!choice.shows());
    // The camera's last key frame was long ago: it is asked for, and the picture stands meanwhile.
    assert_eq!(choice.take_wanted(), ["camera"]);
    assert_eq!(choice.take_wanted(), [""; 0]);
    assert_eq!(choice.blank_at(), Some(ms(5000)));
    delta(&mut choice, "camera", 3010, Verdict::Ignore);
    key(&mut choice, "camera", 3200, Verdict::Switch);
    assert_eq!(choice.blank_at(), None);
}

#[test]
fn nothing_left_to_show_turns_black_soon_and_what_stalls_does_not() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    // A minute without a frame.
    delta(&mut choice, "camera", 60_000, Verdict::Decode);
    choice.muted("camera", true, ms(61_000));
    choice.muted("camera", true, ms(61_100));
    assert_eq!(choice.blank_at(), Some(ms(61_300)));
    // One that was under way.
    key(&mut choice, "camera", 61_050, Verdict::Ignore);
    choice.muted("camera", false, ms(70_000));
    assert_eq!(choice.blank_at(), Some(ms(61_300)), "it is black already");
    delta(&mut choice, "camera", 70_010, Verdict::Ignore);
    key(&mut choice, "camera", 70_100, Verdict::Switch);
    assert_eq!(choice.blank_at(), None);
}

#[test]
fn nothing_flashes_between_tracks_that_follow_one_another() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    choice.remove("camera", ms(5000));
    choice.add("screen", false, ms(5100));
    assert_eq!(choice.blank_at(), Some(ms(7100)));
    // It goes before it was seen.
    choice.remove("screen", ms(5200));
    assert_eq!(choice.blank_at(), Some(ms(5500)));
    // Muted and un-muted at once.
    choice.add("camera", false, ms(5400));
    key(&mut choice, "camera", 5450, Verdict::Switch);
    choice.muted("camera", true, ms(6000));
    choice.muted("camera", false, ms(6100));
    assert_eq!(choice.blank_at(), Some(ms(8100)));
    key(&mut choice, "camera", 6600, Verdict::Switch);
}

#[test]
fn un_muting_makes_a_track_the_newest_and_what_was_muted_when_it_came_is_not_shown() {
    let mut choice = Choice::default();
    choice.add("one", false, ms(0));
    choice.add("two", true, ms(0));
    key(&mut choice, "two", 10, Verdict::Ignore);
    key(&mut choice, "one", 20, Verdict::Switch);
    choice.muted("two", false, ms(1000));
    delta(&mut choice, "one", 1010, Verdict::Decode);
    key(&mut choice, "two", 1020, Verdict::Switch);
    delta(&mut choice, "one", 1030, Verdict::Ignore);
    choice.muted("two", true, ms(2000));
    key(&mut choice, "one", 2100, Verdict::Switch);
    // Whoever is muted while somebody else is shown changes nothing.
    choice.muted("two", false, ms(3000));
    choice.muted("two", true, ms(3010));
    delta(&mut choice, "one", 3020, Verdict::Decode);
    assert_eq!(choice.blank_at(), None);
}

#[test]
fn a_key_frame_tells_of_un_muting_where_the_server_is_late() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    choice.muted("camera", true, ms(1000));
    key(&mut choice, "camera", 4000, Verdict::Switch);
    choice.muted("camera", false, ms(4050));
    delta(&mut choice, "camera", 4060, Verdict::Decode);
}

#[test]
fn after_a_loss_nothing_is_decoded_before_a_key_frame_unless_none_comes() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    assert_eq!(choice.frame("camera", false, false, ms(100)), Verdict::Ignore);
    delta(&mut choice, "camera", 130, Verdict::Ignore);
    key(&mut choice, "camera", 200, Verdict::Decode);
    assert_eq!(choice.frame("camera", false, false, ms(300)), Verdict::Ignore);
    assert_eq!(choice.frame("camera", false, false, ms(2000)), Verdict::Ignore);
    delta(&mut choice, "camera", 3300, Verdict::Decode);
    delta(&mut choice, "camera", 3330, Verdict::Decode);
}

#[test]
fn a_decoder_that_fails_begins_anew_with_the_next_key_frame() {
    let mut choice = Choice::default();
    choice.add("camera", false, ms(0));
    key(&mut choice, "camera", 0, Verdict::Switch);
    choice.failed(ms(100));
    assert_eq!(choice.take_wanted(), ["camera"]);
    assert_eq!(choice.blank_at(), Some(ms(2100)));
    delta(&mut choice, "camera", 130, Verdict::Ignore);
    key(&mut choice, "camera", 200, Verdict::Switch);
}
