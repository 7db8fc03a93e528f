mod real_time;

use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::GzDecoder;
use pprof::protos::Profile;

use super::*;

#[inline(never)]
fn burns_until_told(told: &AtomicBool) -> u64 {
    let mut state = 1_u64;
    while !told.load(Ordering::Relaxed) {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    state
}

/// How often a function was seen at work.
fn samples_in(profile: &Profile, function: &str) -> i64 {
    let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
    let functions: Vec<u64> =
        profile.function.iter().filter(|of| text(of.name).contains(function)).map(|of| of.id).collect();
    let is_there = |location: &u64| {
        let location = profile.location.iter().find(|of| of.id == *location).unwrap();
        location.line.iter().any(|line| functions.contains(&line.function_id))
    };
    let samples = profile.sample.iter().filter(|sample| sample.location_id.iter().any(is_there));
    samples.map(|sample| sample.value[0]).sum()
}

#[test]
fn lengths_have_bounds() {
    assert_eq!(Length::seconds(0), None);
    assert_eq!(Length::seconds(121), None);
    assert_eq!(Length::seconds(120).unwrap().get(), Duration::from_secs(120));
}
