//! Audio sent to a websocket while it is recorded: of a page, and of a track of a room.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::livekit::LiveKitServer;
use crate::support::measure::{Probe, audio};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::{Ended, Recorder};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::tls::TlsFront;
use crate::support::websocket::{Behaviour, Connection, WebSocketServer};

const SOON: Duration = Duration::from_secs(120);

fn record_track(dir: &Path, server: &LiveKitServer, sid: &str, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, &[&["track", own_room(), sid], arguments].concat(), |weir| {
        server.reached_by(weir)
    })
}

#[test]
fn page_audio_continues_after_the_websocket_server_was_away() {
    let _slot = slots::browser();
    let (pages, dir) = (PageServer::start(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Behaviour { cuts_first_after: Some(250), ..Behaviour::default() });
    let (page, url) = (pages.url("/pages/clock.html"), server.url("ann:hunter2@", "/?token=hunter2"));
    let recorder = Recorder::start(dir.path(), &["web", &page, "--websocket", &url, "--file", "talk.mp4"]);
    // It continues for another two seconds.
    let goes_on = |all: &[Connection]| all.iter().skip(1).map(|one| one.audio.len()).sum::<usize>() >= 200;
    server.until("sound comes again", SOON, goes_on);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();

    let connections = server.until("it says goodbye", SOON, |all| all.iter().any(|one| one.is_closed));
    assert!(connections.len() > 1, "{} connections", connections.len());
    for connection in &connections {
        assert!(connection.audio.iter().all(|message| message.len() == 1920), "10 ms, S16LE, stereo");
        assert_eq!(connection.authorization.as_deref(), Some("Basic YW5uOmh1bnRlcjI="));
        assert_eq!(
            (connection.path.as_str(), connection.content_type.as_str()),
            ("/?token=hunter2", "audio/x-raw")
        );
    }
    let mut heard = 0;
    for connection in &connections {
        let left: Vec<f32> =
            connection.channels()[0].iter().map(|sample| f32::from(*sample) / 32768.0).collect();
        let beeps = audio::beeps(&left);
        // A beep that was cut in two has another length; a beep with a gap, from a busy machine,
        // has another length or pitch.
        let is_whole =
            |beep: &audio::Beep| (0.06..0.09).contains(&beep.length) && (beep.hertz - 1000.0).abs() < 50.0;
        let whole = beeps.iter().filter(|beep| is_whole(beep)).count();
        heard += whole;
        // One per second, none twice.
        assert!(whole <= connection.audio.len() / 100 + 2, "{beeps:?}");
    }
    assert!(heard > 0, "{heard} whole beeps");
    let stream = &ended.info["streamResults"][0];
    assert_eq!(stream["status"], "FINISHED", "{stream}");
    // A busy machine may need another attempt.
    let retries = stream["retries"].as_u64().unwrap_or_default();
    assert!((connections.len() as u64 - 1..=5).contains(&retries), "{stream}");
    assert!(!ended.stdout.contains("hunter2") && !ended.log.contains("hunter2"), "{}", ended.log);
    // A websocket carries no video.
    let file = Probe::of(&ended.path("talk.mp4"));
    let kinds: Vec<&str> = file.streams.iter().map(|stream| stream.kind.as_str()).collect();
    assert_eq!(kinds, ["audio"]);
    // The length of the recording, without the audio in transit when the connection was cut, which
    // is more on a busy machine.
    let sent = connections.iter().map(|connection| connection.audio.len()).sum::<usize>() as f64 / 100.0;
    assert!(sent > 2.5 && sent < file.duration + 0.5, "{sent} s sent, {} s in the file", file.duration);
}

#[test]
fn an_unreachable_websocket_fails_the_start() {
    let _slot = slots::browser();
    let (pages, dir) = (PageServer::start(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Behaviour { refuses_with: Some(403), ..Behaviour::default() });
    let (page, url) = (pages.url("/pages/clock.html"), server.url("", "/?token=hunter2"));
    let arguments = ["web", &page, "--websocket", &url, "--file", "talk.ogg", "--duration", "5s"];
    let ended = Recorder::start(dir.path(), &arguments).finish(SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!((&ended.info["status"], &ended.info["errorCode"]), (&json!("EGRESS_FAILED"), &json!(400)));
    let error = ended.info["error"].as_str().unwrap();
    assert!(error.contains("403") && !error.contains("hunter2"), "{error}");
    assert_eq!(ended.info["streamResults"][0]["status"], "FAILED", "{}", ended.stdout);
}

#[test]
fn a_video_track_is_refused_for_a_websocket() {
    let _slot = slots::light();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Behaviour::default());
    let publisher = Publisher::join(livekit, own_room(), "painter", Codec::Vp8);
    let sid = publisher.publish(Codec::Vp8, Codec::Vp8.frames());
    let ended = record_track(dir.path(), livekit, &sid, &["--websocket", &server.url("", "/")]).finish(SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let error = ended.info["error"].as_str().unwrap();
    assert!(error.starts_with("format websocket incompatible with codec"), "{error}");
    assert_eq!(ended.info["errorCode"], 400);
}

#[test]
fn track_audio_arrives_with_its_mute_events() {
    let _slot = slots::light();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Behaviour::default());
    let publisher = Publisher::join(livekit, own_room(), "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.tone(440, 0.5));
    let recorder = record_track(dir.path(), livekit, &sid, &["--websocket", &server.url("", "/ear")]);
    server.until("sound comes", SOON, |all| all.first().is_some_and(|one| one.audio.len() > 100));
    publisher.mute(&sid, true);
    server.until("it is muted", SOON, |all| all[0].texts.len() == 1);
    publisher.mute(&sid, false);
    server.until("it is not, and goes on", SOON, |all| all[0].texts.len() == 2 && all[0].audio.len() > 400);
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(SOON).complete();
    let connections = server.until("it says goodbye", SOON, |all| all[0].is_closed);
    let [connection] = connections.as_slice() else { panic!("{} connections", connections.len()) };
    assert_eq!(connection.texts, [r#"{"muted":true}"#, r#"{"muted":false}"#]);
    assert!(connection.audio.iter().all(|message| message.len() == 1920));
    // The length of the recording, whatever was muted. Audio that a busy machine has not sent by
    // the end is missing.
    let stream = &ended.info["streamResults"][0];
    let (sent, lasted) = (connection.audio.len() as f64 / 100.0, seconds(&stream["duration"]));
    assert!(sent > lasted * 0.7 - 1.0 && sent < lasted + 1.5, "{sent} s of {lasted} s");
    // The published tone, on both channels, at its amplitude.
    for channel in connection.channels() {
        let samples: Vec<f32> = channel.iter().map(|sample| f32::from(*sample) / 32768.0).collect();
        // In the first second nothing is muted yet. A part of it may have a gap.
        let levels = |part: &[f32]| (audio::level(part, 440.0), audio::level(part, 1000.0));
        let heard: Vec<_> = samples[..48_000].chunks_exact(12_000).map(levels).collect();
        let is_it = |(tone, rest): &(f64, f64)| (0.2..0.6).contains(tone) && *rest < 0.05;
        assert!(heard.iter().any(is_it), "levels of 440 Hz and 1000 Hz: {heard:?}");
    }
    assert_eq!(stream["status"], "FINISHED", "{}", ended.stdout);
    assert_eq!(ended.info["track"]["websocketUrl"], server.url("", "/ear"), "{}", ended.stdout);
}

/// A duration of a result, in seconds.
fn seconds(nanoseconds: &serde_json::Value) -> f64 {
    let text = nanoseconds.as_str().unwrap_or_else(|| panic!("no length: {nanoseconds}"));
    text.parse::<f64>().unwrap() / 1e9
}

/// Records a page with its audio sent to `front` under a host name.
fn record_over_tls(front: &TlsFront, host: &str, trusts: bool, dir: &Path) -> Ended {
    let pages = PageServer::start();
    let (page, url) =
        (pages.url("/pages/clock.html"), format!("wss://ann:hunter2@{host}:{}/ear", front.port()));
    let arguments = ["web", &page, "--websocket", &url, "--duration", "4s"];
    let recorder = Recorder::start_with(dir, &arguments, |weir| {
        if trusts {
            weir.env("SSL_CERT_FILE", front.authority());
        }
    });
    recorder.finish(SOON)
}

#[test]
fn a_websocket_over_tls_fails_by_name_if_its_authority_is_untrusted() {
    let _slot = slots::browser();
    let server = WebSocketServer::start(Behaviour::default());
    let front = TlsFront::before(server.address());
    // The trusted certificate is for an address, not for a name.
    for (host, trusts, why) in [
        ("127.0.0.1", false, "UnknownIssuer"),
        ("localhost", true, "certificate not valid for name \"localhost\""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ended = record_over_tls(&front, host, trusts, dir.path());
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert_eq!((&ended.info["status"], &ended.info["errorCode"]), (&json!("EGRESS_FAILED"), &json!(400)));
        let error = ended.info["error"].as_str().unwrap();
        assert!(error.contains("its certificate is not trusted") && error.contains(why), "{error}");
        assert!(error.contains("SSL_CERT_FILE") && !error.contains("hunter2"), "{error}");
        assert_eq!(ended.info["streamResults"][0]["status"], "FAILED", "{}", ended.stdout);
    }
    assert!(server.connections().is_empty(), "nothing is told to who is not trusted");
}

#[test]
fn a_websocket_over_tls_connects_if_its_authority_is_trusted() {
    let _slot = slots::browser();
    let server = WebSocketServer::start(Behaviour::default());
    let front = TlsFront::before(server.address());
    let dir = tempfile::tempdir().unwrap();
    let ended = record_over_tls(&front, "127.0.0.1", true, dir.path()).complete();
    let connections = server.until("it says goodbye", SOON, |all| all[0].is_closed);
    let [connection] = connections.as_slice() else { panic!("{} connections", connections.len()) };
    assert_eq!(connection.path, "/ear");
    assert_eq!(connection.authorization.as_deref(), Some("Basic YW5uOmh1bnRlcjI="));
    // Four seconds; audio that a busy machine has not sent by the end is missing.
    assert!((150..=420).contains(&connection.audio.len()), "{}", connection.audio.len());
    let left: Vec<f32> = connection.channels()[0].iter().map(|sample| f32::from(*sample) / 32768.0).collect();
    let beeps = audio::beeps(&left);
    // A busy machine may leave a gap in one.
    assert!(beeps.iter().any(|beep| (beep.hertz - 1000.0).abs() < 50.0), "{beeps:?}");
    assert_eq!(ended.info["streamResults"][0]["status"], "FINISHED", "{}", ended.stdout);
}
