//! Rooms that a service records, with livekit-server before it and without.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{GAP, SIZE, seen};
use crate::support::layout::Region;
use crate::support::livekit::{Client, LiveKitServer, Redis};
use crate::support::measure::pictures::Still;
use crate::support::measure::{assert_decodable, sound};
use crate::support::page_server::PageServer;
use crate::support::room::{self, Publishers};
use crate::support::service::{self, Serve};

const PATIENCE: Duration = Duration::from_secs(60);
/// What a change takes to be seen, and a moment more in which to look at it.
const SETTLED: Duration = Duration::from_millis(3500);
const LOOKED_AT: f64 = 0.7;

/// The moments of a recording at which it is looked at.
#[derive(Default)]
pub(super) struct Moments(Vec<f64>);

impl Moments {
    /// Lets what was changed be seen.
    pub(super) fn settled(&mut self) -> usize {
        std::thread::park_timeout(SETTLED);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.0.push(now.as_secs_f64() - LOOKED_AT);
        self.0.len() - 1
    }

    /// In seconds of the recording.
    pub(super) fn at(&self, moment: usize, info: &Value) -> f64 {
        self.0[moment] - seconds(&info["fileResults"][0]["startedAt"])
    }
}

fn seconds(nanoseconds: &Value) -> f64 {
    let text = nanoseconds.as_str().unwrap_or_else(|| panic!("no time: {nanoseconds}"));
    text.parse::<f64>().unwrap() / 1e9
}

/// Where the stage of `speaker` is, and below its column.
pub(super) const STAGE: Region = Region::new(220.0 / 1280.0, 0.0, 1060.0 / 1280.0, 1.0);
const BELOW: Region = Region::new(0.0, 0.9, 0.1, 0.1);

pub(super) fn until(livekit: &LiveKitServer, weir: &mut Serve, id: &str, status: &str) -> Value {
    weir.until(&format!("{id} is {status}"), PATIENCE, |_| {
        let listed = livekit.ask(Client::Python, "ListEgress", &json!({ "egressId": id })).unwrap();
        let found = listed["items"][0].clone();
        assert!(found["status"] == status || found["status"] != "EGRESS_FAILED", "{found}");
        (found["status"] == status).then_some(found)
    })
}

/// The configuration of a service that works for this server.
pub(super) fn beside(livekit: &LiveKitServer, redis: &Redis) -> String {
    format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config())
}

/// Has livekit-server have a room recorded in a grid; gives the egress's id when it is.
pub(super) fn begin(livekit: &LiveKitServer, weir: &mut Serve, room: &str, file: &Path) -> String {
    let wanted = json!({
        "roomName": room,
        "layout": "grid",
        "advanced": { "width": 1280, "height": 720, "framerate": 15, "videoBitrate": 2000 },
        "fileOutputs": [{ "filepath": file.display().to_string() }],
    });
    let started = livekit.ask(Client::Python, "StartRoomCompositeEgress", &wanted).unwrap();
    assert_eq!((&started["roomName"], &started["roomComposite"]["layout"]), (&json!(room), &json!("grid")));
    let id = started["egressId"].as_str().unwrap().to_owned();
    until(livekit, weir, &id, "EGRESS_ACTIVE");
    id
}

/// Asks for another layout.
pub(super) fn show_as(livekit: &LiveKitServer, id: &str, layout: &str) {
    livekit.ask(Client::Python, "UpdateLayout", &json!({ "egressId": id, "layout": layout })).unwrap();
}

/// A room lives on while it is recorded: people come and go and fall silent, and another layout is asked for.
#[test]
fn livekit_server_has_a_room_recorded() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &beside(&livekit, &redis));
    let small = "width=320&height=180&fps=10";
    let two = Publishers::join(&livekit, &pages, "live", &["ann", "ben"], small);
    let id = begin(&livekit, &mut weir, "live", &dir.path().join("{room_name}-{room_id}.mp4"));
    let layout = |name: &str| show_as(&livekit, &id, name);

    let mut moments = Moments::default();
    let begun = moments.settled();
    layout("speaker-light");
    let light = moments.settled();
    layout("grid");
    let third = Publishers::join(
        &livekit,
        &pages,
        "live",
        &["cem"],
        &format!("{small}&number=3&tone=660&color=%232040d0"),
    );
    two.act(0, "microphone(false)");
    let three = moments.settled();
    two.act(1, "camera(false)");
    let unseen = moments.settled();
    two.act(1, "leave()");
    let left = moments.settled();
    third.act(0, "shareScreen()");
    let shared = moments.settled();
    livekit.delete_room("live");
    let info = until(&livekit, &mut weir, &id, "EGRESS_COMPLETE");

    let file = info["fileResults"][0]["location"].as_str().unwrap().to_owned();
    let room_id = info["roomId"].as_str().unwrap();
    assert!(room_id.starts_with("RM_") && file.ends_with(&format!("live-{room_id}.mp4")), "{info}");
    let file = Path::new(&file);
    assert_decodable(file);
    let still = |moment| Still::at(file, moments.at(moment, &info));
    assert_eq!(seen(&still(begun), 2, 1), [Some(1), Some(2)]);
    let speaker = still(light);
    assert!(room::who(&speaker, STAGE).is_some(), "somebody is on the stage");
    assert!(room::is_near(speaker.colour(BELOW), [255, 255, 255]));
    assert_eq!(seen(&still(three), 2, 2), [Some(1), Some(2), Some(3), None]);
    assert_eq!(seen(&still(unseen), 2, 2), [Some(1), Some(3), None, None]);
    assert_eq!(seen(&still(left), 2, 1), [Some(1), Some(3)]);
    let screen = still(shared);
    let whole = room::whole_in(&screen, STAGE);
    assert_eq!(room::number(&screen, whole), Some(3));
    assert!(room::is_near(screen.colour(room::part(whole, 0.48, 0.68, 0.04, 0.04)), [0x40, 0x40, 0x40]));
    let samples = sound::samples(file);
    let heard = |moment| {
        let at = moments.at(moment, &info);
        room::heard(&samples, at - 0.6, at + 0.4, 4)
    };
    assert_eq!(heard(begun), [1, 2]);
    assert_eq!(heard(three), [2, 3], "one has no microphone any more");
    assert_eq!(heard(left), [3]);

    let late = livekit.ask(Client::Python, "UpdateLayout", &json!({ "egressId": id, "layout": "grid" }));
    assert_eq!(late.unwrap_err().code, "not_found");
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}

/// The same words without Redis, in the second version of the API, and the refusals that go with a room.
#[test]
fn a_service_that_stands_alone_records_a_room() {
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &format!("ws_url: {}", livekit.ws_url()));
    let _publishers =
        Publishers::join(&livekit, &pages, "alone", &["ann", "ben"], "width=320&height=180&fps=10");
    let file = dir.path().join("alone.mp4");
    let wanted = json!({
        "room_name": "alone",
        "template": { "layout": "single-speaker" },
        "advanced": { "width": 1280, "height": 720, "framerate": 15 },
        "outputs": [{ "file": { "filepath": file.display().to_string() } }],
    });
    let started = weir.callers().call("StartEgress", &wanted).unwrap();
    assert_eq!(started["room_name"], "alone", "{started}");
    let id = started["egress_id"].as_str().unwrap().to_owned();
    weir.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let layout = |weir: &Serve, layout: &str| {
        weir.callers().call("UpdateLayout", &json!({ "egress_id": id, "layout": layout }))
    };
    let mut moments = Moments::default();
    let single = moments.settled();
    let updated = layout(&weir, "grid").unwrap();
    assert_eq!(updated["status"], "EGRESS_ACTIVE", "{updated}");
    let grid = moments.settled();
    layout(&weir, "branded?background=%23204080&title=All+hands").unwrap();
    let branded = moments.settled();
    weir.callers().stop(&id).unwrap();
    let info = weir.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    let late = layout(&weir, "grid").unwrap_err();
    assert_eq!(late.code, "not_found", "{late:?}");

    let started_at = seconds(&info["file_results"][0]["started_at"]);
    let still = |moment: usize| Still::at(&file, moments.0[moment] - started_at);
    assert!(room::who(&still(single), room::grid(1, 1, SIZE, GAP)[0]).is_some());
    assert_eq!(seen(&still(grid), 2, 1), [Some(1), Some(2)]);
    let branded = still(branded);
    for corner in [Region::new(0.0, 0.0, 1.0, 0.03), Region::new(0.9, 0.85, 0.1, 0.15)] {
        assert!(room::is_near(branded.colour(corner), [0x20, 0x40, 0x80]), "its own ground");
    }
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
