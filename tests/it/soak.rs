//! Tests that take real minutes: `make soak` runs them one after the other, and `make test` does
//! not run them.
//!
//! `docs/testing.md` has the date of their last run.

use std::time::Duration;

use crate::decoded_tracks::check_fast_clock;
use crate::service::bus::check_without_redis;
use crate::static_pages::check_still;
use crate::support::slots;

#[test]
fn a_page_static_for_a_minute_is_recorded_at_full_length() {
    let _slot = slots::browser();
    check_still(6, 66, 70);
}

#[test]
fn nothing_is_lost_while_redis_is_away_for_five_minutes() {
    let _slot = slots::browser();
    check_without_redis(Duration::from_secs(40), Duration::from_secs(300));
}

#[test]
fn audio_with_a_fast_clock_stays_in_sync_for_minutes() {
    let _slot = slots::encoder();
    check_fast_clock(200);
}
