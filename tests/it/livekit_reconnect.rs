//! A recorder of two tracks that loses its connection to the server and reconnects: both tracks
//! continue, and stay in sync.

use std::path::Path;
use std::time::{Duration, SystemTime};

use livekit_protocol as proto;
use proto::simulate_scenario::Scenario;

use crate::late_publishers::placed;
use crate::livekit_restart::{IS_THERE, until_logged};
use crate::remuxed_tracks::{beeps, beeps_and_lateness, frames_in, h264_flashes};
use crate::support::layout::{Layout, Region};
use crate::support::livekit::LiveKitServer;
use crate::support::measure::frames::frames;
use crate::support::measure::timing::{DISTURBED, flashes};
use crate::support::measure::{Probe, assert_decodable, audio};
use crate::support::publisher::{Codec, Publisher, beeping, flashing, units_of};
use crate::support::recorder::Recorder;
use crate::support::shared::own_room;
use crate::support::signal_proxy::SignalProxy;
use crate::support::slots;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Length of an undisturbed stretch: recovery time plus a full second of flash and beep.
const WHOLE: Duration = Duration::from_secs(5);

fn record(dir: &Path, livekit: &LiveKitServer, proxy: &SignalProxy, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, arguments, |weir| livekit.reached_at(&proxy.ws_url(), weir))
}

/// Begin and end of an undisturbed stretch.
type Stretch = (SystemTime, SystemTime);

/// Breaks the recorder's connection in every possible way, with some seconds between.
fn break_connection(
    livekit: &LiveKitServer,
    dir: &Path,
    recorder: &mut Recorder,
    proxy: &SignalProxy,
) -> Vec<Stretch> {
    let moved = proto::LeaveRequest {
        action: proto::leave_request::Action::Reconnect.into(),
        ..proto::LeaveRequest::default()
    };
    let breaks: [(&dyn Fn(), _, _); 4] = [
        (&|| proxy.cut(), "\"resuming RTC session\"", 1),
        (&|| proxy.tell(proto::signal_response::Message::Leave(moved.clone())), IS_THERE, 2),
        (&|| proxy.simulate(Scenario::NodeFailure(true)), IS_THERE, 3),
        (&|| proxy.simulate(Scenario::Migration(true)), IS_THERE, 4),
    ];
    let mut whole = SystemTime::now();
    let mut stretches = Vec::new();
    for (breaks, is_back, times) in breaks {
        recorder.run_for(WHOLE);
        stretches.push((whole, SystemTime::now()));
        breaks();
        until_logged(livekit, dir, recorder, is_back, times);
        whole = SystemTime::now();
    }
    recorder.run_for(WHOLE);
    stretches.push((whole, SystemTime::now()));
    stretches
}

/// A/V offset in each stretch, after its recovery time. The exact offset is measured elsewhere
/// (`remuxed_tracks`, `decoded_tracks`): this test takes too long to have the machine alone.
#[track_caller]
fn assert_in_step(apart: &[(f64, f64)], stretches: &[(f64, f64)]) {
    for (number, (from, to)) in stretches.iter().enumerate() {
        let inside: Vec<_> = apart.iter().filter(|(at, _)| (*from..to - 0.3).contains(at)).collect();
        let in_step = inside.iter().filter(|(_, late)| late.abs() < DISTURBED).count();
        // The recording begins within the first stretch; in later ones key frames are awaited.
        let settled = from.max(0.0) + if number == 0 { 1.2 } else { 3.0 };
        let others = inside.iter().filter(|(at, late)| *at > settled && late.abs() >= DISTURBED).count();
        assert!(
            in_step > 0 && others <= in_step,
            "{number}: from {from:.2} to {to:.2} s: {inside:.3?} of {apart:.3?}"
        );
    }
}

#[test]
fn copied_tracks_stay_in_sync_after_a_reconnect() {
    let _slot = slots::light();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let proxy = SignalProxy::start(livekit.ws_url());
    let publisher = Publisher::join(livekit, own_room(), "drummer", Codec::H264);
    let heard = publisher.publish_by_clock(Codec::Opus, beeps());
    let seen = publisher.publish_by_clock(Codec::H264, h264_flashes());
    let tracks = ["track-composite", own_room(), "--audio-track", &heard, "--video-track", &seen];
    let arguments =
        [&tracks[..], &["--as-published", "--file", "drum.mp4", "--audio-codec", "opus"]].concat();
    let mut recorder = record(dir.path(), livekit, &proxy, &arguments);
    recorder.until_written(2_000);
    let stretches = break_connection(livekit, dir.path(), &mut recorder, &proxy);
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let details = ended.info["details"].as_str().unwrap();
    assert!(details.contains("remuxed: H.264 and Opus as published"), "{details}");
    let file = ended.path("drum.mp4");
    assert_decodable(&file);
    let stretches: Vec<_> =
        stretches.into_iter().map(|(from, to)| (placed(&ended, from), placed(&ended, to))).collect();
    let length = Probe::of(&file).duration;
    let last = stretches.last().unwrap().1;
    assert!((last - 2.0..last + 40.0).contains(&length), "{length} s, stopped at {last:.2} s");
    // Intact frames as they were sent, and except for the gaps a good part of them.
    let sent: Vec<_> = publisher.sent(&seen).iter().map(|frame| units_of(frame, Codec::H264)).collect();
    let found = frames_in(&file);
    assert!(found.iter().all(|frame| sent.contains(frame)), "frames that nobody sent");
    let whole: f64 = stretches.iter().map(|(from, to)| to - from.max(0.0)).sum();
    assert!(found.len() as f64 > whole * 10.0, "{} frames in {whole:.1} s", found.len());
    assert_in_step(&beeps_and_lateness(&file), &stretches);
}

#[test]
fn a_participants_audio_and_video_stay_in_sync_after_a_reconnect() {
    let _slot = slots::encoder();
    const FRAME: Region = Region::new(0.0, 0.0, 1.0, 1.0);
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let proxy = SignalProxy::start(livekit.ws_url());
    let publisher = Publisher::join(livekit, own_room(), "ann", Codec::Vp8);
    publisher.publish_by_clock(Codec::Vp8, flashing());
    publisher.publish_by_clock(Codec::Opus, beeping());
    let arguments = ["participant", own_room(), "ann", "--size", "320x180", "--file", "ann.mp4"];
    let mut recorder = record(dir.path(), livekit, &proxy, &arguments);
    recorder.until_written(2_000);
    let stretches = break_connection(livekit, dir.path(), &mut recorder, &proxy);
    let left = SystemTime::now();
    drop(publisher);
    let ended = recorder.finish(SOON).complete();
    let file = ended.path("ann.mp4");
    assert_decodable(&file);
    let stretches: Vec<_> =
        stretches.into_iter().map(|(from, to)| (placed(&ended, from), placed(&ended, to))).collect();
    let (length, left) = (Probe::of(&file).duration, placed(&ended, left));
    assert!((left - 2.0..left + 40.0).contains(&length), "{length} s, left at {left:.2} s");
    let flashes = flashes(&frames(&file, &Layout { flash: Some(FRAME), ..Layout::default() }));
    let beeps = audio::beeps(&audio::samples(&file));
    let apart: Vec<_> = flashes
        .iter()
        .filter_map(|flash| {
            let late = beeps.iter().map(|beep| beep.at - flash);
            Some((*flash, late.min_by(|a, b| a.abs().total_cmp(&b.abs()))?))
        })
        .collect();
    assert_in_step(&apart, &stretches);
}
