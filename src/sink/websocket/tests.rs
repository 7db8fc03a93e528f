//! Sound on its way to a real websocket server, which comes, goes and refuses.

use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;

use super::*;
use crate::media::Feed;
use crate::plan::stream_url::{StreamProtocol, StreamUrl};
use crate::ports;
use crate::sink::synthetic::{SOON, Stage};
use crate::sink::{SinkEvent, StreamEvent};

#[path = "../../../tests/support/websocket.rs"]
#[allow(dead_code, reason = "whole recordings use the rest")]
mod server;

use server::{Behaviour, WebSocketServer};

const ID: OutputId = OutputId(0);
const QUICK: Timing = Timing {
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(25),
    send: Duration::from_millis(500),
    ping: Duration::from_millis(100),
    ..Timing::DEFAULT
};

fn plan(url: &str) -> WebSocketPlan {
    WebSocketPlan { url: StreamUrl::parse(url, Some(StreamProtocol::WebSocket)).unwrap() }
}

fn feed(stage: &Stage) -> Feed {
    stage.context.raw_audio.clone().unwrap()
}

/// 10 ms of sound, the `at`th: each of its samples is the number.
fn sound(at: u16) -> Vec<u8> {
    at.to_le_bytes().repeat(960)
}

fn push(feed: &Feed, at: u16) {
    let mut buffer = gst::Buffer::from_slice(sound(at));
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(u64::from(at) * 10));
    feed.push(&gst::Sample::builder().buffer(&buffer).build());
}

/// Takes events until one is as it should be, and gives all of them.
async fn until(
    events: &mut mpsc::UnboundedReceiver<SinkEvent>,
    is_so: impl Fn(&StreamEvent) -> bool,
) -> Vec<StreamEvent> {
    let mut seen = Vec::new();
    loop {
        match tokio::time::timeout(SOON, events.recv()).await.unwrap_or_else(|_| panic!("{seen:?}")).unwrap()
        {
            SinkEvent::Stream(_, event) => {
                let is_it = is_so(&event);
                seen.push(event);
                if is_it {
                    return seen;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The numbers of the messages, each of which is complete.
fn numbers(sound: &[Vec<u8>]) -> Vec<u16> {
    let number = |message: &Vec<u8>| {
        let number = u16::from_le_bytes([message[0], message[1]]);
        assert_eq!(*message, self::sound(number), "a message of {} bytes", message.len());
        number
    };
    sound.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_arrives_whole_with_who_sends_it() {
    let mut stage = Stage::new();
    let server = WebSocketServer::start(Behaviour::default());
    let url = server.url("ann:p%40ss@", "/ear?token=secret");
    let sink = WebSocketSink::open_with(ID, &plan(&url), &stage.context, QUICK).unwrap();
    let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Started { .. })).await;
    assert_eq!(events.len(), 2, "{events:?}");
    (0..100).for_each(|at| push(&feed(&stage), at));
    sink.set_muted(true);
    server.until("it is muted", SOON, |all| all[0].texts.len() == 1);
    sink.set_muted(false);
    server.until("it is not muted, and pinged", SOON, |all| {
        all[0].texts.len() == 2 && !all[0].pings.is_empty()
    });
    (100..300).for_each(|at| push(&feed(&stage), at));
    feed(&stage).end();
    sink.finish(SOON).await;
    let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Finished { .. })).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let all = server.until("it says goodbye", SOON, |all| all[0].is_closed);
    let [connection] = all.as_slice() else { panic!("{} connections", all.len()) };
    assert_eq!(numbers(&connection.audio), (0..300).collect::<Vec<_>>());
    assert_eq!(connection.texts, [r#"{"muted":true}"#, r#"{"muted":false}"#]);
    assert_eq!(connection.pings[0], b"ping");
    assert_eq!(
        (connection.path.as_str(), connection.content_type.as_str()),
        ("/ear?token=secret", "audio/x-raw")
    );
    assert_eq!(connection.authorization.as_deref(), Some("Basic YW5uOnBAc3M="));
    assert!(!format!("{events:?}").contains("secret") && !format!("{events:?}").contains("p%40ss"));
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_is_made_again() {
    let mut stage = Stage::new();
    let server = WebSocketServer::start(Behaviour { cuts_first_after: Some(50), ..Behaviour::default() });
    let sink = WebSocketSink::open_with(ID, &plan(&server.url("", "/")), &stage.context, QUICK).unwrap();
    sink.set_muted(true);
    (0..50).for_each(|at| push(&feed(&stage), at));
    let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Retrying { .. })).await;
    let Some(StreamEvent::Retrying { retries: 1, error, .. }) = events.last() else { panic!("{events:?}") };
    assert!(!error.is_empty());
    (50..200).for_each(|at| push(&feed(&stage), at));
    until(&mut stage.events, |event| matches!(event, StreamEvent::Started { .. })).await;
    feed(&stage).end();
    sink.finish(SOON).await;
    until(&mut stage.events, |event| matches!(event, StreamEvent::Finished { .. })).await;
    let all = server.until("it says goodbye", SOON, |all| all.last().unwrap().is_closed);
    let [first, second] = all.as_slice() else { panic!("{} connections", all.len()) };
    assert_eq!(numbers(&first.audio), (0..50).collect::<Vec<_>>());
    // What was on its way when it was cut is lost; what came afterwards is not, nor is what the
    // server has to know.
    assert_eq!(numbers(&second.audio), (50..200).collect::<Vec<_>>());
    assert_eq!(second.texts, [r#"{"muted":true}"#]);
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_sound_waits_for_a_server_that_is_away() {
    let mut stage = Stage::new();
    let server = WebSocketServer::start(Behaviour::default());
    let address = server.address();
    let timing = Timing { queue: Duration::from_millis(500), ..QUICK };
    let sink = WebSocketSink::open_with(ID, &plan(&server.url("", "/")), &stage.context, timing).unwrap();
    until(&mut stage.events, |event| matches!(event, StreamEvent::Started { .. })).await;
    drop(server);
    until(&mut stage.events, |event| matches!(event, StreamEvent::Retrying { retries: 3, .. })).await;
    (0..200).for_each(|at| push(&feed(&stage), at));
    let server = WebSocketServer::on(address, Behaviour::default());
    until(&mut stage.events, |event| matches!(event, StreamEvent::Started { .. })).await;
    feed(&stage).end();
    sink.finish(SOON).await;
    until(&mut stage.events, |event| matches!(event, StreamEvent::Finished { .. })).await;
    let all = server.until("it says goodbye", SOON, |all| all.last().is_some_and(|last| last.is_closed));
    assert_eq!(numbers(&all[0].audio), (150..200).collect::<Vec<_>>());
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_comes_back_has_failed_in_the_end() {
    let mut stage = Stage::new();
    let server = WebSocketServer::start(Behaviour::default());
    let sink = WebSocketSink::open_with(ID, &plan(&server.url("", "/")), &stage.context, QUICK).unwrap();
    until(&mut stage.events, |event| matches!(event, StreamEvent::Started { .. })).await;
    drop(server);
    until(&mut stage.events, |event| matches!(event, StreamEvent::Retrying { retries: 2, .. })).await;
    assert!(!sink.is_over());
    feed(&stage).end();
    sink.finish(SOON).await;
    let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Failed { .. })).await;
    let Some(StreamEvent::Failed { error, .. }) = events.last() else { panic!("{events:?}") };
    assert!(error.contains("can't be reached"), "{error}");
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_can_not_be_had_at_the_start_fails_at_once() {
    let server = WebSocketServer::start(Behaviour { refuses_with: Some(401), ..Behaviour::default() });
    let nobody = "ws://127.0.0.1:1/?token=secret".to_owned();
    for (url, part) in
        [(server.url("ann:secret@", "/"), "refused the connection: 401"), (nobody, "can't be reached")]
    {
        let mut stage = Stage::new();
        let sink = WebSocketSink::open_with(ID, &plan(&url), &stage.context, QUICK).unwrap();
        let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Failed { .. })).await;
        let [StreamEvent::Connecting { .. }, StreamEvent::Failed { error, .. }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
        stage.is_clean().await;
        assert!(sink.is_over());
    }
    let stage = Stage::new();
    let context = SinkContext { raw_audio: None, ..stage.context.clone() };
    let error = WebSocketSink::open(ID, &plan("ws://127.0.0.1:1/"), &context).unwrap_err();
    assert!(matches!(error, SinkError::NoFeed(_)), "{error}");
}

/// Takes connections, and answers no handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_answers_has_failed_when_the_recording_ends() {
    let mut stage = Stage::new();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", deaf.local_addr().unwrap());
    let timing = Timing { connect: SOON, ..QUICK };
    let sink = WebSocketSink::open_with(ID, &plan(&url), &stage.context, timing).unwrap();
    until(&mut stage.events, |event| matches!(event, StreamEvent::Connecting { .. })).await;
    feed(&stage).end();
    sink.finish(Duration::from_millis(100)).await;
    let events = until(&mut stage.events, |event| matches!(event, StreamEvent::Failed { .. })).await;
    let [StreamEvent::Failed { error, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert!(error.ends_with("the recording ended before the server could be reached"), "{error}");
    stage.is_clean().await;
}
