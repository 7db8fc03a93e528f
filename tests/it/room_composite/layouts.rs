//! Positions of participants in layouts: another layout, and another speaker, during a recording.

use std::path::Path;
use std::time::Duration;

use super::service::{self, STAGE};
use super::{Moments, SIZE};
use crate::support::layout::Region;
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::frames::Snapshot;
use crate::support::page_server::PageServer;
use crate::support::room::{self, Publishers};
use crate::support::service::{Serve, keys};
use crate::support::slots;

const WHOLE: Region = Region::new(0.0, 0.0, 1.0, 1.0);
/// A quarter of the width (at most a third), 24 pixels from the lower right corner.
const INSET: Region = Region::new(936.0 / 1280.0, 516.0 / 720.0, 320.0 / 1280.0, 180.0 / 720.0);

/// A place in the column beside the stage: a sixth of the width, 16:10 tiles, the first one at the
/// top.
fn beside(place: usize) -> Region {
    let width = SIZE.0 / 6.0;
    let height = width * 10.0 / 16.0;
    Region::new(0.0, place as f64 * height / SIZE.1, width / SIZE.0, height / SIZE.1)
}

#[test]
fn everybody_is_where_the_layout_has_them() {
    let _slot = slots::heavy();
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start_with(&redis, keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &service::beside(&livekit, &redis));
    // Nobody speaks at first, so that participants are in the order of arrival.
    let people = Publishers::join(
        &livekit,
        &pages,
        "places",
        &["ann", "ben", "cleo"],
        "width=320&height=180&fps=10&microphone=0",
    );
    let id = service::begin(&livekit, &mut weir, "places", &dir.path().join("places.mp4"));
    let layout = |name: &str| service::show_as(&livekit, &id, name);
    let who = |places: &[Region]| {
        let places = places.to_vec();
        move |still: &Snapshot| -> Vec<u32> {
            places.iter().map(|place| room::who(still, *place).unwrap_or_default()).collect()
        }
    };
    let grid = room::grid(2, 2);
    let staged = [STAGE, beside(0), beside(1)];

    let mut moments = Moments::of(dir.path().join(service::SEEN));
    // Order of arrival.
    moments.until(&mut weir, who(&grid), vec![1, 2, 3, 0]);
    people.act(1, "publishMicrophone()");
    // All are visible, so nobody needs another place. There is no event for staying in place.
    std::thread::park_timeout(Duration::from_secs(2));
    moments.until(&mut weir, who(&grid), vec![1, 2, 3, 0]);
    layout("speaker");
    // The speaker is on the stage,
    moments.until(&mut weir, who(&staged), vec![2, 1, 3]);
    people.act(1, "microphone(false)");
    people.act(2, "publishMicrophone()");
    // and the next speaker replaces them.
    moments.until(&mut weir, who(&staged), vec![3, 1, 2]);
    layout("single-speaker");
    moments.until(&mut weir, who(&[WHOLE]), vec![3]);
    layout("picture-in-picture");
    // The former speaker is in the corner.
    moments.until(&mut weir, who(&[WHOLE, INSET]), vec![3, 2]);
    livekit.delete_room("places");
    let info = service::until(&livekit, &mut weir, &id, "EGRESS_COMPLETE");

    let result = &info["fileResults"][0];
    let file = result["location"].as_str().unwrap();
    moments.assert_in(Path::new(file), &result["startedAt"]);
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
