//! Rooms recorded by a service, with livekit-server and without.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Moments, assert_heard, seen, until_heard};
use crate::support::layout::Region;
use crate::support::livekit::{Client, LiveKitServer, Redis};
use crate::support::measure::frames::Snapshot;
use crate::support::measure::{assert_decodable, audio};
use crate::support::page_server::PageServer;
use crate::support::room::{self, Hearing, Publishers};
use crate::support::service::{self, Serve, cell};
use crate::support::shared::own_room;
use crate::support::slots;

const PATIENCE: Duration = Duration::from_secs(60);
/// The path of a room's images in a service's directory, up to `_00000.jpeg`.
pub(super) const SEEN: &str = "seen/room";

/// The stage of the layout `speaker`, with its column below.
pub(super) const STAGE: Region = Region::new(1.0 / 6.0, 0.0, 5.0 / 6.0, 1.0);
const BELOW: Region = Region::new(0.0, 0.9, 0.1, 0.1);

pub(super) fn until(livekit: &LiveKitServer, weir: &mut Serve, id: &str, status: &str) -> Value {
    livekit.until_status(weir, Client::Python, id, status)
}

/// The configuration of a service for this server.
pub(super) fn beside(livekit: &LiveKitServer, redis: &Redis) -> String {
    format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config())
}

/// Requests a room recording in a grid through livekit-server, with [`SEEN`] beside its file;
/// returns the egress's id once it is active.
pub(super) fn begin(livekit: &LiveKitServer, weir: &mut Serve, room: &str, file: &Path) -> String {
    let wanted = json!({
        "roomName": room,
        "layout": "grid",
        "advanced": { "width": 1280, "height": 720, "framerate": 15, "videoBitrate": 2000 },
        "fileOutputs": [{ "filepath": file.display().to_string() }],
        "imageOutputs": [{
            "filenamePrefix": file.with_file_name(SEEN).display().to_string(), "captureInterval": 1,
        }],
    });
    let started = livekit.ask(Client::Python, "StartRoomCompositeEgress", &wanted).unwrap();
    assert_eq!((&started["roomName"], &started["roomComposite"]["layout"]), (&json!(room), &json!("grid")));
    let id = started["egressId"].as_str().unwrap().to_owned();
    until(livekit, weir, &id, "EGRESS_ACTIVE");
    id
}

/// Requests another layout.
pub(super) fn show_as(livekit: &LiveKitServer, id: &str, layout: &str) {
    livekit.ask(Client::Python, "UpdateLayout", &json!({ "egressId": id, "layout": layout })).unwrap();
}

/// A room changes while it is recorded: people join, leave and mute, and another layout is
/// requested.
#[test]
fn livekit_server_has_a_room_recorded() {
    let _slot = slots::heavy();
    let (redis, pages) = (Redis::start(), PageServer::start());
    let livekit = LiveKitServer::start_with(&redis, service::keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &beside(&livekit, &redis));
    let small = "width=320&height=180&fps=10";
    let two = Publishers::join(&livekit, &pages, "live", &["ann", "ben"], small);
    let id = begin(&livekit, &mut weir, "live", &dir.path().join("{room_name}-{room_id}.mp4"));
    let layout = |name: &str| show_as(&livekit, &id, name);

    let mut moments = Moments::of(dir.path().join(SEEN));
    let mut hearing = Hearing::of(cell(dir.path(), &id));
    moments.until(&mut weir, |still| seen(still, 2, 1), vec![Some(1), Some(2)]);
    let begun = until_heard(&mut weir, &mut hearing, 4, |_, heard| heard == [1, 2]);
    layout("speaker-light");
    let stage = |still: &Snapshot| {
        (room::who(still, STAGE).is_some(), room::is_near(still.colour(BELOW), [255, 255, 255]))
    };
    moments.until(&mut weir, stage, (true, true));
    layout("grid");
    two.act(0, "microphone(false)");
    let third = Publishers::join(
        &livekit,
        &pages,
        "live",
        &["cem"],
        &format!("{small}&number=3&tone=660&color=%232040d0"),
    );
    let all = vec![Some(1), Some(2), Some(3), None];
    moments.until(&mut weir, |still| seen(still, 2, 2), all);
    // One has unpublished their microphone.
    let three = until_heard(&mut weir, &mut hearing, 4, |_, heard| heard == [2, 3]);
    two.act(1, "camera(false)");
    moments.until(&mut weir, |still| seen(still, 2, 2), vec![Some(1), Some(3), None, None]);
    two.act(1, "leave()");
    moments.until(&mut weir, |still| seen(still, 2, 1), vec![Some(1), Some(3)]);
    let left = until_heard(&mut weir, &mut hearing, 4, |_, heard| heard == [3]);
    third.act(0, "shareScreen()");
    let screen = |still: &Snapshot| {
        let whole = room::fitted_frame(still, STAGE);
        let colour = still.colour(room::part(whole, 0.48, 0.68, 0.04, 0.04));
        (room::number(still, whole), room::is_near(colour, [0x40, 0x40, 0x40]))
    };
    moments.until(&mut weir, screen, (Some(3), true));
    livekit.delete_room("live");
    let info = until(&livekit, &mut weir, &id, "EGRESS_COMPLETE");

    let result = &info["fileResults"][0];
    let (file, room_id) = (result["location"].as_str().unwrap(), info["roomId"].as_str().unwrap());
    assert!(room_id.starts_with("RM_") && file.ends_with(&format!("live-{room_id}.mp4")), "{info}");
    let file = Path::new(file);
    assert_decodable(file);
    moments.assert_in(file, &result["startedAt"]);
    let samples = audio::samples(file);
    assert_heard(&samples, begun, 4, &[1, 2]);
    assert_heard(&samples, three, 4, &[2, 3]);
    assert_heard(&samples, left, 4, &[3]);

    let late = livekit.ask(Client::Python, "UpdateLayout", &json!({ "egressId": id, "layout": "grid" }));
    assert_eq!(late.unwrap_err().code, "not_found");
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}

/// The same without Redis, in the second version of the API, and the refusals that go with a room.
#[test]
fn a_service_that_stands_alone_records_a_room() {
    let _slot = slots::heavy();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Serve::start(dir.path(), &format!("ws_url: {}", livekit.ws_url()));
    let room = own_room();
    let _publishers = Publishers::join(livekit, &pages, room, &["ann", "ben"], "width=320&height=180&fps=10");
    let file = dir.path().join("alone.mp4");
    let wanted = json!({
        "room_name": room,
        "template": { "layout": "single-speaker" },
        "advanced": { "width": 1280, "height": 720, "framerate": 15 },
        "outputs": [
            { "file": { "filepath": file.display().to_string() } },
            { "images": {
                "filename_prefix": file.with_file_name(SEEN).display().to_string(), "capture_interval": 1,
            } },
        ],
    });
    let started = weir.callers().call("StartEgress", &wanted).unwrap();
    assert_eq!(started["room_name"], room, "{started}");
    let id = started["egress_id"].as_str().unwrap().to_owned();
    weir.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let layout = |weir: &Serve, layout: &str| {
        weir.callers().call("UpdateLayout", &json!({ "egress_id": id, "layout": layout }))
    };
    let mut moments = Moments::of(dir.path().join(SEEN));
    let single = |still: &Snapshot| room::who(still, room::grid(1, 1)[0]).is_some();
    moments.until(&mut weir, single, true);
    let updated = layout(&weir, "grid").unwrap();
    assert_eq!(updated["status"], "EGRESS_ACTIVE", "{updated}");
    moments.until(&mut weir, |still| seen(still, 2, 1), vec![Some(1), Some(2)]);
    layout(&weir, "branded?background=%23204080&title=All+hands").unwrap();
    // The layout's own background.
    let corners = |still: &Snapshot| {
        let corners = [Region::new(0.0, 0.0, 1.0, 0.03), Region::new(0.9, 0.85, 0.1, 0.15)];
        corners.map(|corner| room::is_near(still.colour(corner), [0x20, 0x40, 0x80]))
    };
    moments.until(&mut weir, corners, [true, true]);
    weir.callers().stop(&id).unwrap();
    let info = weir.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    let late = layout(&weir, "grid").unwrap_err();
    assert_eq!(late.code, "not_found", "{late:?}");
    moments.assert_in(&file, &info["file_results"][0]["started_at"]);
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
