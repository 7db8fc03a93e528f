use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A key frame, and whether it is the beginning of being shown.
#[track_caller]
fn key(selector: &mut VideoSelector, sid: &str, at: u64, verdict: Verdict) {
    assert_eq!(selector.frame(sid, true, true, ms(at)), verdict, "{sid} at {at}");
}

#[track_caller]
fn delta(selector: &mut VideoSelector, sid: &str, at: u64, verdict: Verdict) {
    assert_eq!(selector.frame(sid, false, true, ms(at)), verdict, "{sid} at {at}");
}

#[test]
fn a_track_is_shown_from_its_first_key_frame_on() {
    let mut selector = VideoSelector::default();
    delta(&mut selector, "camera", 0, Verdict::Ignore);
    selector.add("camera", false, ms(0));
    delta(&mut selector, "camera", 10, Verdict::Ignore);
    assert!(!selector.shows());
    key(&mut selector, "camera", 20, Verdict::Switch);
    delta(&mut selector, "camera", 50, Verdict::Decode);
    key(&mut selector, "camera", 80, Verdict::Decode);
    assert!(selector.shows());
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn a_new_track_takes_over_with_its_first_key_frame_and_the_old_one_comes_back_after_it() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.add("screen", false, ms(1000));
    delta(&mut selector, "screen", 1010, Verdict::Ignore);
    delta(&mut selector, "camera", 1020, Verdict::Decode);
    key(&mut selector, "screen", 1100, Verdict::Switch);
    key(&mut selector, "camera", 1120, Verdict::Ignore);
    assert_eq!(selector.take_wanted(), [""; 0]);
    selector.remove("screen", ms(3000));
    assert!(!selector.shows());
    // The camera's last key frame was long ago: it is asked for, and the picture stands meanwhile.
    assert_eq!(selector.take_wanted(), ["camera"]);
    assert_eq!(selector.take_wanted(), [""; 0]);
    assert_eq!(selector.blank_at(), Some(ms(5000)));
    delta(&mut selector, "camera", 3010, Verdict::Ignore);
    key(&mut selector, "camera", 3200, Verdict::Switch);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn nothing_left_to_show_turns_black_soon_and_what_stalls_does_not() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    // A minute without a frame.
    delta(&mut selector, "camera", 60_000, Verdict::Decode);
    selector.set_muted("camera", true, ms(61_000));
    selector.set_muted("camera", true, ms(61_100));
    assert_eq!(selector.blank_at(), Some(ms(61_300)));
    // One that was under way.
    key(&mut selector, "camera", 61_050, Verdict::Ignore);
    selector.set_muted("camera", false, ms(70_000));
    assert_eq!(selector.blank_at(), Some(ms(61_300)), "it is black already");
    delta(&mut selector, "camera", 70_010, Verdict::Ignore);
    key(&mut selector, "camera", 70_100, Verdict::Switch);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn nothing_flashes_between_tracks_that_follow_one_another() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.remove("camera", ms(5000));
    selector.add("screen", false, ms(5100));
    assert_eq!(selector.blank_at(), Some(ms(7100)));
    // It goes before it was seen.
    selector.remove("screen", ms(5200));
    assert_eq!(selector.blank_at(), Some(ms(5500)));
    // Muted and un-muted at once.
    selector.add("camera", false, ms(5400));
    key(&mut selector, "camera", 5450, Verdict::Switch);
    selector.set_muted("camera", true, ms(6000));
    selector.set_muted("camera", false, ms(6100));
    assert_eq!(selector.blank_at(), Some(ms(8100)));
    key(&mut selector, "camera", 6600, Verdict::Switch);
}

#[test]
fn un_muting_makes_a_track_the_newest_and_what_was_muted_when_it_came_is_not_shown() {
    let mut selector = VideoSelector::default();
    selector.add("one", false, ms(0));
    selector.add("two", true, ms(0));
    key(&mut selector, "two", 10, Verdict::Ignore);
    key(&mut selector, "one", 20, Verdict::Switch);
    selector.set_muted("two", false, ms(1000));
    delta(&mut selector, "one", 1010, Verdict::Decode);
    key(&mut selector, "two", 1020, Verdict::Switch);
    delta(&mut selector, "one", 1030, Verdict::Ignore);
    selector.set_muted("two", true, ms(2000));
    key(&mut selector, "one", 2100, Verdict::Switch);
    // Whoever is muted while somebody else is shown changes nothing.
    selector.set_muted("two", false, ms(3000));
    selector.set_muted("two", true, ms(3010));
    delta(&mut selector, "one", 3020, Verdict::Decode);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn a_key_frame_tells_of_un_muting_where_the_server_is_late() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.set_muted("camera", true, ms(1000));
    key(&mut selector, "camera", 4000, Verdict::Switch);
    selector.set_muted("camera", false, ms(4050));
    delta(&mut selector, "camera", 4060, Verdict::Decode);
}

#[test]
fn after_a_loss_nothing_is_decoded_before_a_key_frame_unless_none_comes() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    assert_eq!(selector.frame("camera", false, false, ms(100)), Verdict::Ignore);
    delta(&mut selector, "camera", 130, Verdict::Ignore);
    key(&mut selector, "camera", 200, Verdict::Decode);
    assert_eq!(selector.frame("camera", false, false, ms(300)), Verdict::Ignore);
    assert_eq!(selector.frame("camera", false, false, ms(2000)), Verdict::Ignore);
    delta(&mut selector, "camera", 3300, Verdict::Decode);
    delta(&mut selector, "camera", 3330, Verdict::Decode);
}

#[test]
fn a_decoder_that_fails_begins_anew_with_the_next_key_frame() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.on_decoder_failed(ms(100));
    assert_eq!(selector.take_wanted(), ["camera"]);
    assert_eq!(selector.blank_at(), Some(ms(2100)));
    delta(&mut selector, "camera", 130, Verdict::Ignore);
    key(&mut selector, "camera", 200, Verdict::Switch);
}
