//! Who is where: a layout and another, and who speaks, while a room is recorded.

use super::service::{self, Moments, STAGE};
use super::{GAP, SIZE};
use crate::support::layout::Region;
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::pictures::Still;
use crate::support::page_server::PageServer;
use crate::support::room::{self, Publishers};
use crate::support::service::{Serve, keys};

const WHOLE: Region = Region::new(0.0, 0.0, 1.0, 1.0);
/// A third of the width at most, here a quarter, 24 pixels from the lower right corner.
const INSET: Region = Region::new(936.0 / 1280.0, 516.0 / 720.0, 320.0 / 1280.0, 180.0 / 720.0);

/// A place in the column beside the stage: tiles of 16 to 10, the first one at the top.
fn beside(place: usize) -> Region {
    let (width, height) = (212.0, 132.5);
    Region::new(0.0, place as f64 * (height + 8.0) / SIZE.1, width / SIZE.0, height / SIZE.1)
}

#[test]
fn everybody_is_where_the_layout_has_them() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start_with(&redis, keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &service::beside(&livekit, &redis));
    // Nobody is heard at first, so that the order is who came first.
    let people = Publishers::join(
        &livekit,
        &pages,
        "places",
        &["ann", "ben", "cleo"],
        "width=320&height=180&fps=10&microphone=0",
    );
    let id = service::begin(&livekit, &mut weir, "places", &dir.path().join("places.mp4"));
    let layout = |name: &str| service::show_as(&livekit, &id, name);

    let mut moments = Moments::default();
    let quiet = moments.settled();
    people.act(1, "publishMicrophone()");
    let heard = moments.settled();
    layout("speaker");
    let second = moments.settled();
    people.act(1, "microphone(false)");
    people.act(2, "publishMicrophone()");
    let third = moments.settled();
    layout("single-speaker");
    let alone = moments.settled();
    layout("picture-in-picture");
    let inset = moments.settled();
    livekit.delete_room("places");
    let info = service::until(&livekit, &mut weir, &id, "EGRESS_COMPLETE");

    let file = info["fileResults"][0]["location"].as_str().unwrap().to_owned();
    let who = |moment, places: &[Region]| {
        let still = Still::at(std::path::Path::new(&file), moments.at(moment, &info));
        places.iter().map(|place| room::who(&still, *place).unwrap_or_default()).collect::<Vec<_>>()
    };
    let grid = room::grid(2, 2, SIZE, GAP);
    assert_eq!(who(quiet, &grid), [1, 2, 3, 0], "who came first");
    assert_eq!(who(heard, &grid), [1, 2, 3, 0], "all are seen, so that nobody needs another place");
    assert_eq!(who(second, &[STAGE, beside(0), beside(1)]), [2, 1, 3], "who speaks is on the stage");
    assert_eq!(who(third, &[STAGE, beside(0), beside(1)]), [3, 1, 2], "and the next who does takes it");
    assert_eq!(who(alone, &[WHOLE]), [3]);
    assert_eq!(who(inset, &[WHOLE, INSET]), [3, 2], "who spoke before is in the corner");
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
