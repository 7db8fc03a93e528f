//! Sound sent to a websocket while it is recorded: of a page, of a track of a room.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::livekit::LiveKitServer;
use crate::support::measure::{Probe, sound};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher};
use crate::support::recorder::{Ended, Recorder};
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::tls::TlsFront;
use crate::support::websocket::{Manners, WebSocketServer};

const SOON: Duration = Duration::from_secs(60);

fn record_track(dir: &Path, server: &LiveKitServer, sid: &str, arguments: &[&str]) -> Recorder {
    Recorder::start_with(dir, &[&["track", own_room(), sid], arguments].concat(), |weir| {
        server.reached_by(weir)
    })
}

#[test]
fn a_pages_sound_arrives_and_goes_on_after_the_server_was_away() {
    let _slot = slots::browser();
    let (pages, dir) = (PageServer::start(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Manners { cuts_first_after: Some(250), ..Manners::default() });
    let (page, url) = (pages.url("/pages/clock.html"), server.url("ann:hunter2@", "/?token=hunter2"));
    let arguments = ["web", &page, "--websocket", &url, "--file", "talk.mp4", "--duration", "6s"];
    let ended = Recorder::start(dir.path(), &arguments).finish(SOON).complete();

    let connections = server.until("it says goodbye", SOON, |all| all.iter().any(|one| one.said_goodbye));
    let [first, second] = connections.as_slice() else { panic!("{} connections", connections.len()) };
    for connection in &connections {
        assert!(connection.sound.iter().all(|message| message.len() == 1920), "10 ms, S16LE, stereo");
        assert_eq!(connection.authorization.as_deref(), Some("Basic YW5uOmh1bnRlcjI="));
        assert_eq!(
            (connection.path.as_str(), connection.content_type.as_str()),
            ("/?token=hunter2", "audio/x-raw")
        );
    }
    // Six seconds but for what was on its way when the connection was cut, which is more on a busy machine.
    let messages = first.sound.len() + second.sound.len();
    assert!((300..=620).contains(&messages), "{messages}");
    let mut heard = 0;
    for connection in &connections {
        let left: Vec<f32> =
            connection.channels()[0].iter().map(|sample| f32::from(*sample) / 32768.0).collect();
        let beeps = sound::beeps(&left);
        // One that was cut in two has another length, and so has one in which a busy machine left a hole.
        let whole: Vec<_> = beeps.iter().filter(|beep| (0.06..0.09).contains(&beep.length)).collect();
        heard += whole.len();
        assert!(whole.iter().all(|beep| (beep.hertz - 1000.0).abs() < 50.0), "{beeps:?}");
        // A second apart, or several where one is missing; holes move them against one another.
        let is_on_time = |apart: f64| apart > 0.5;
        assert!(whole.windows(2).all(|pair| is_on_time(pair[1].at - pair[0].at)), "{beeps:?}");
    }
    assert!(heard > 0, "{heard} whole beeps");
    let stream = &ended.info["streamResults"][0];
    assert_eq!(stream["status"], "FINISHED", "{stream}");
    assert_eq!(stream["retries"], 1, "{stream}");
    assert!(!ended.stdout.contains("hunter2") && !ended.log.contains("hunter2"), "{}", ended.log);
    // Beside a websocket nothing has a picture.
    let file = Probe::of(&ended.path("talk.mp4"));
    let kinds: Vec<&str> = file.streams.iter().map(|stream| stream.kind.as_str()).collect();
    assert_eq!(kinds, ["audio"]);
    assert!((file.duration - 6.0).abs() < 1.0, "{}", file.duration);
}

#[test]
fn a_websocket_that_can_not_be_had_fails_the_start() {
    let _slot = slots::browser();
    let (pages, dir) = (PageServer::start(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Manners { refuses_with: Some(403), ..Manners::default() });
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
fn a_track_of_pictures_has_nothing_for_a_websocket() {
    let _slot = slots::light();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Manners::default());
    let publisher = Publisher::join(livekit, own_room(), "painter", Codec::Vp8);
    let sid = publisher.publish(Codec::Vp8, Codec::Vp8.frames());
    let ended = record_track(dir.path(), livekit, &sid, &["--websocket", &server.url("", "/")]).finish(SOON);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let error = ended.info["error"].as_str().unwrap();
    assert!(error.starts_with("format websocket incompatible with codec"), "{error}");
    assert_eq!(ended.info["errorCode"], 400);
}

#[test]
fn a_tracks_sound_arrives_with_when_it_is_muted() {
    let _slot = slots::light();
    let (livekit, dir) = (LiveKitServer::shared(), tempfile::tempdir().unwrap());
    let server = WebSocketServer::start(Manners::default());
    let publisher = Publisher::join(livekit, own_room(), "singer", Codec::Opus);
    let sid = publisher.publish(Codec::Opus, Codec::Opus.tone(440, 0.5));
    // Long enough for everything to happen on a busy machine.
    let arguments = ["--websocket", &server.url("", "/ear"), "--duration", "10s"];
    let recorder = record_track(dir.path(), livekit, &sid, &arguments);
    server.until("sound comes", SOON, |all| all.first().is_some_and(|one| one.sound.len() > 100));
    publisher.mute(&sid, true);
    server.until("it is muted", SOON, |all| all[0].texts.len() == 1);
    publisher.mute(&sid, false);
    server.until("it is not", SOON, |all| all[0].texts.len() == 2);
    let ended = recorder.finish(SOON).complete();
    let connections = server.until("it says goodbye", SOON, |all| all[0].said_goodbye);
    let [connection] = connections.as_slice() else { panic!("{} connections", connections.len()) };
    assert_eq!(connection.texts, [r#"{"muted":true}"#, r#"{"muted":false}"#]);
    assert!(connection.sound.iter().all(|message| message.len() == 1920));
    // As long as the recording, whatever was muted.
    assert!((850..=1010).contains(&connection.sound.len()), "{}", connection.sound.len());
    // The tone that was published, on both channels, as loud as it was.
    for channel in connection.channels() {
        let samples: Vec<f32> = channel.iter().map(|sample| f32::from(*sample) / 32768.0).collect();
        // In the first second nothing is muted yet.
        let heard = &samples[24_000..48_000];
        let (tone, rest) = (sound::level(heard, 440.0), sound::level(heard, 1000.0));
        assert!((0.2..0.6).contains(&tone) && rest < 0.05, "440 Hz: {tone}, 1000 Hz: {rest}");
    }
    assert_eq!(ended.info["streamResults"][0]["status"], "FINISHED", "{}", ended.stdout);
    assert_eq!(ended.info["track"]["websocketUrl"], server.url("", "/ear"), "{}", ended.stdout);
}

/// Records a page of which the audio goes to `front`, by this name of it.
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
fn a_websocket_over_tls_is_refused_by_name_where_its_authority_is_not_trusted() {
    let _slot = slots::browser();
    let server = WebSocketServer::start(Manners::default());
    let front = TlsFront::before(server.address());
    // The one that is trusted is for an address, and not for a name.
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
fn a_websocket_over_tls_is_had_where_its_authority_is_trusted() {
    let _slot = slots::browser();
    let server = WebSocketServer::start(Manners::default());
    let front = TlsFront::before(server.address());
    let dir = tempfile::tempdir().unwrap();
    let ended = record_over_tls(&front, "127.0.0.1", true, dir.path()).complete();
    let connections = server.until("it says goodbye", SOON, |all| all[0].said_goodbye);
    let [connection] = connections.as_slice() else { panic!("{} connections", connections.len()) };
    assert_eq!(connection.path, "/ear");
    assert_eq!(connection.authorization.as_deref(), Some("Basic YW5uOmh1bnRlcjI="));
    assert!((300..=410).contains(&connection.sound.len()), "{}", connection.sound.len());
    let left: Vec<f32> = connection.channels()[0].iter().map(|sample| f32::from(*sample) / 32768.0).collect();
    let beeps = sound::beeps(&left);
    assert!(beeps.len() >= 2, "{beeps:?}");
    // A busy machine may leave a hole in one.
    assert!(beeps.iter().any(|beep| (beep.hertz - 1000.0).abs() < 50.0), "{beeps:?}");
    assert_eq!(ended.info["streamResults"][0]["status"], "FINISHED", "{}", ended.stdout);
}
