use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Takes a key frame and asserts the verdict.
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
fn a_new_track_takes_over_at_its_first_key_frame_and_the_old_one_returns_after_it() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.add("screen", false, ms(1000));
    delta(&mut selector, "screen", 1010, Verdict::Ignore);
    delta(&mut selector, "camera", 1020, Verdict::Decode);
    key(&mut selector, "screen", 1100, Verdict::Switch);
    key(&mut selector, "camera", 1120, Verdict::Ignore);
    assert_eq!(selector.take_key_frame_requests(), [""; 0]);
    selector.remove("screen", ms(3000));
    assert!(!selector.shows());
    // The camera's last key frame was long ago: one is requested, and the last frame stands.
    assert_eq!(selector.take_key_frame_requests(), ["camera"]);
    assert_eq!(selector.take_key_frame_requests(), [""; 0]);
    assert_eq!(selector.blank_at(), Some(ms(5000)));
    delta(&mut selector, "camera", 3010, Verdict::Ignore);
    key(&mut selector, "camera", 3200, Verdict::Switch);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn video_turns_black_when_no_track_is_left_and_a_stalled_track_keeps_its_frame() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    // A minute without a frame.
    delta(&mut selector, "camera", 60_000, Verdict::Decode);
    selector.set_muted("camera", true, ms(61_000));
    selector.set_muted("camera", true, ms(61_100));
    assert_eq!(selector.blank_at(), Some(ms(61_300)));
    // It was sent before the track was muted.
    key(&mut selector, "camera", 61_050, Verdict::Ignore);
    selector.set_muted("camera", false, ms(70_000));
    assert_eq!(selector.blank_at(), Some(ms(61_300)), "it is black already");
    delta(&mut selector, "camera", 70_010, Verdict::Ignore);
    key(&mut selector, "camera", 70_100, Verdict::Switch);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn nothing_flashes_between_successive_tracks() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.remove("camera", ms(5000));
    selector.add("screen", false, ms(5100));
    assert_eq!(selector.blank_at(), Some(ms(7100)));
    // It is removed before it was shown.
    selector.remove("screen", ms(5200));
    assert_eq!(selector.blank_at(), Some(ms(5500)));
    // It is muted and unmuted at once.
    selector.add("camera", false, ms(5400));
    key(&mut selector, "camera", 5450, Verdict::Switch);
    selector.set_muted("camera", true, ms(6000));
    selector.set_muted("camera", false, ms(6100));
    assert_eq!(selector.blank_at(), Some(ms(8100)));
    key(&mut selector, "camera", 6600, Verdict::Switch);
}

#[test]
fn unmuting_makes_a_track_the_newest_and_a_track_published_muted_is_not_shown() {
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
    // Muting a track that is not shown changes nothing.
    selector.set_muted("two", false, ms(3000));
    selector.set_muted("two", true, ms(3010));
    delta(&mut selector, "one", 3020, Verdict::Decode);
    assert_eq!(selector.blank_at(), None);
}

#[test]
fn a_key_frame_unmutes_a_track_if_the_server_reports_late() {
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
fn a_failed_decoder_restarts_at_the_next_key_frame() {
    let mut selector = VideoSelector::default();
    selector.add("camera", false, ms(0));
    key(&mut selector, "camera", 0, Verdict::Switch);
    selector.on_decoder_failed(ms(100));
    assert_eq!(selector.take_key_frame_requests(), ["camera"]);
    assert_eq!(selector.blank_at(), Some(ms(2100)));
    delta(&mut selector, "camera", 130, Verdict::Ignore);
    key(&mut selector, "camera", 200, Verdict::Switch);
}
