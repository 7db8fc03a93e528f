//! A constant frame rate, the default of a service: also for static video, and without video.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::PATIENCE;
use crate::support::disturbance::undisturbed;
use crate::support::layout::Layout;
use crate::support::livekit::LiveKitServer;
use crate::support::measure::frames::frames;
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::seconds_after;
use crate::support::service::Serve;
use crate::support::shared::own_room;
use crate::support::slots;

const FPS: f64 = 15.0;
/// Seconds in which frames are counted.
const STRETCH: f64 = 4.0;
/// Room for several recordings, whatever the load of the machine.
const ROOM_FOR_ALL: (&str, &str) = ("LIVEKIT_CPU_REQUEST", "64");

/// A static page with and without audio, a participant without a camera, and a track whose frames
/// stop: all at the same time.
#[test]
fn files_have_a_constant_frame_rate_while_nothing_changes() {
    let _slot = slots::machine();
    let (livekit, pages) = (LiveKitServer::shared(), PageServer::start());
    let dir = tempfile::tempdir().unwrap();
    let configuration = format!("ws_url: {}\n", livekit.ws_url());
    let mut weir = Serve::start_with(dir.path(), &configuration, &[ROOM_FOR_ALL]);
    let ann = Publisher::join(livekit, own_room(), "ann", Codec::Opus);
    ann.publish(Codec::Opus, Codec::Opus.tone(440, 0.2));
    let ben = Publisher::join(livekit, own_room(), "ben", Codec::Vp8);
    let voice = ben.publish(Codec::Opus, Codec::Opus.tone(660, 0.2));
    let frame = ben.publish(Codec::Vp8, Codec::Vp8.frames());

    let advanced = json!({ "width": 320, "height": 180, "framerate": FPS as u32, "video_bitrate": 300 });
    let file = |name: &str| json!({ "filepath": dir.path().join(name).display().to_string() });
    let page = pages.url("/status/200");
    // Each with its file and the number of its streams.
    let wanted = [
        (
            "StartEgress",
            json!({
                "web": { "url": page }, "outputs": [{ "file": file("page.mp4") }], "advanced": advanced,
            }),
            ("page.mp4", 2usize),
        ),
        (
            "StartEgress",
            json!({
                "web": { "url": page, "video_only": true },
                "outputs": [{ "file": file("frames.mp4") }], "advanced": advanced,
            }),
            ("frames.mp4", 1),
        ),
        (
            "StartParticipantEgress",
            json!({
                "room_name": own_room(), "identity": "ann",
                "file_outputs": [file("voice.mp4")], "advanced": advanced,
            }),
            ("voice.mp4", 2),
        ),
        (
            "StartTrackCompositeEgress",
            json!({
                "room_name": own_room(), "audio_track_id": voice, "video_track_id": frame,
                "file_outputs": [file("tracks.mp4")], "advanced": advanced,
            }),
            ("tracks.mp4", 2),
        ),
    ];
    let started = wanted.map(|(method, request, found)| {
        let answer = weir.callers().call(method, &request);
        let info = answer.unwrap_or_else(|refused| panic!("{method}: {refused:?}"));
        (info["egress_id"].as_str().unwrap().to_owned(), found)
    });
    for (id, _) in &started {
        weir.until_status(id, &["EGRESS_ACTIVE"], PATIENCE);
    }
    ben.pause(&frame, true);
    let measured = undisturbed("frames of what stands still", || {
        let from = SystemTime::now();
        std::thread::park_timeout(Duration::from_secs_f64(STRETCH));
        (from, SystemTime::now())
    });
    for (id, _) in &started {
        weir.callers().stop(id).unwrap();
    }
    for (id, (name, streams)) in &started {
        let info = weir.until_over(id, PATIENCE);
        assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
        let path = dir.path().join(name);
        assert_decodable(&path);
        let probe = Probe::of(&path);
        assert_eq!(probe.streams.len(), *streams, "{name}: {probe:?}");
        let times: Vec<f64> = frames(&path, &Layout::default()).iter().map(|frame| frame.pts).collect();
        let steps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) * FPS).collect();
        // On a busy machine the encoder drops frames; the others are on the grid.
        let is_on_grid = |step: &f64| *step > 0.5 && (step - step.round()).abs() < 0.06;
        assert!(steps.iter().all(is_on_grid), "{name}: {steps:.2?}");
        if measured.is_calm {
            let began = &info["file_results"][0]["started_at"];
            let (from, to) = measured.value;
            let [from, to] = [from, to].map(|moment| -seconds_after(moment, began));
            let found = times.iter().filter(|at| (from..to).contains(*at)).count();
            let least = 0.8 * FPS * (to - from);
            assert!(found as f64 >= least, "{name}: {found} frames from {from:.2} to {to:.2} s: {times:.2?}");
        }
    }
    drop((ann, ben));
    assert!(weir.end().status.success());
}
