//! A recorder in a room of an unmodified livekit-server, and the media that reaches it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir::plan::room::{RoomAccess, RoomEntry};
use weir::plan::track::{AudioHandling, Lasts, Shows, TracksPlan, VideoChoice, VideoHandling, Wanted};
use weir::secret::Secret;
use weir::source::tracks::{Listener, RoomClient, RoomEnd, RoomEvent};
use weir::token::Signer;

use crate::support::livekit::{LiveKitServer, room_service};
use crate::support::page_server::PageServer;
use crate::support::publisher::{Codec, Publisher, units_of};
use crate::support::room::Publishers;
use crate::support::shared::own_room;
use crate::support::signal_proxy::SignalProxy;
use crate::support::slots;
use crate::support::tool::succeed;

/// Events of the room, in order.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Received>>>);

/// A frame, and the sid of its track.
type Received = (Arc<str>, Arc<[u8]>);

impl Seen {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn frames(&self) -> Vec<Arc<[u8]>> {
        self.1.lock().unwrap().iter().map(|(_, frame)| Arc::clone(frame)).collect()
    }

    fn count(&self) -> usize {
        self.1.lock().unwrap().len()
    }

    /// Number of VP9 frames after the last one with several layers, by the index at its end (VP9
    /// bitstream specification, annex B).
    fn after_layers(&self) -> usize {
        let is_layered =
            |frame: &[u8]| frame.last().is_some_and(|last| last >> 5 == 0b110 && last & 0b111 > 0);
        let frames = self.1.lock().unwrap();
        let last = frames.iter().rposition(|(_, frame)| is_layered(frame));
        last.map_or(0, |last| frames.len() - 1 - last)
    }

    /// The frames of a track among those after the first `after` frames of all tracks.
    fn frames_of(&self, sid: &str, after: usize) -> Vec<Arc<[u8]>> {
        let frames = self.1.lock().unwrap();
        let theirs = frames.iter().skip(after).filter(|(track, _)| **track == *sid);
        theirs.map(|(_, frame)| Arc::clone(frame)).collect()
    }
}

impl Listener for Seen {
    fn on_event(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Frame(frame) => self.1.lock().unwrap().push((frame.track, frame.bytes)),
            RoomEvent::Report(_) => {}
            RoomEvent::Joined { .. } => {}
            RoomEvent::Found(track) => self.note(format!("found {}", track.publisher)),
            RoomEvent::Started(track) => self.note(format!("started {}", track.publisher)),
            RoomEvent::Muted(_) => self.note("muted".to_owned()),
            RoomEvent::Unmuted(_) => self.note("unmuted".to_owned()),
            RoomEvent::Ended(_) => self.note("ended".to_owned()),
            RoomEvent::WrongKind { .. } => self.note("wrong kind".to_owned()),
            RoomEvent::Present(identity) => self.note(format!("{identity} is present")),
            RoomEvent::Left(identity) => self.note(format!("{identity} left")),
            RoomEvent::Missing(identity) => self.note(format!("{identity} is missing")),
            RoomEvent::Refused { why, .. } => self.note(format!("refused: {why}")),
            RoomEvent::Reconnecting { .. } => self.note("reconnecting".to_owned()),
            RoomEvent::Reconnected { .. } => self.note("reconnected".to_owned()),
        }
    }

    fn on_end(&mut self, end: RoomEnd) {
        self.note(match end {
            RoomEnd::Closed(reason) => format!("closed: {}", reason.as_str_name()),
            RoomEnd::Duplicate => "duplicate".to_owned(),
            RoomEnd::Failed(error) => format!("failed: {error}"),
            RoomEnd::Left => "left".to_owned(),
        });
    }
}

/// A plan for the test's own room, whose name only this thread knows.
fn plan(server: &LiveKitServer, tracks: &[&str]) -> TracksPlan {
    plan_at(&server.ws_url(), server, tracks)
}

fn plan_at(url: &str, server: &LiveKitServer, tracks: &[&str]) -> TracksPlan {
    let keys = server.keys();
    TracksPlan {
        room: RoomAccess {
            name: own_room().to_owned(),
            id: String::new(),
            server: url.parse().unwrap(),
            entry: RoomEntry::Key(Signer { key: keys.key.clone(), secret: Secret::new(keys.secret.clone()) }),
        },
        identity: "EG_test".to_owned(),
        wanted: Wanted {
            video: tracks.iter().map(|sid| VideoChoice::Track((*sid).to_owned())).collect(),
            ..Wanted::tracks(None, tracks.first().copied())
        },
        video: VideoHandling::AsPublished,
        audio: AudioHandling::AsPublished,
    }
}

/// Waits for a condition; the room runs meanwhile.
async fn until(what: &str, seen: &Seen, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: {:?}, {} frames", seen.events(), seen.frames().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Frames as units, without their delimiters.
fn units(frames: &[Arc<[u8]>], codec: Codec) -> Vec<Vec<Vec<u8>>> {
    frames.iter().map(|frame| units_of(frame, codec)).collect()
}

/// Asserts that the received frames are a range of the sent ones: in order, unchanged, without
/// gaps.
#[track_caller]
fn assert_all_of(sent: &[Arc<[u8]>], received: &[Arc<[u8]>], what: Codec) {
    let (sent, received) = (units(sent, what), units(received, what));
    // Frames are sent repeatedly, so the first one was sent at several places.
    let starts = (0..sent.len()).filter(|at| sent[*at] == received[0]);
    let alike =
        |start: usize| sent[start..].iter().zip(&received).take_while(|(sent, got)| sent == got).count();
    let most = starts.map(alike).max();
    assert_eq!(
        most,
        Some(received.len()),
        "{what:?}: frames from the first one on that are as they were sent"
    );
}

/// Keeps a client in a room with a track of a codec until three seconds of it have arrived.
async fn check_arrives(codec: Codec) {
    let server = LiveKitServer::shared();
    let publisher = Publisher::join(server, own_room(), "painter", codec);
    let sid = tokio::task::block_in_place(|| publisher.publish(codec, codec.frames()));
    let seen = Seen::default();
    let client = RoomClient::join(&plan(server, &[&sid]), Box::new(seen.clone())).await.unwrap();
    until("frames arrive", &seen, || seen.count() > 90).await;
    client.leave().await;
    let received = seen.frames();
    assert_all_of(&publisher.sent(&sid), &received, codec);
    assert_eq!(seen.events(), ["found painter", "started painter", "left"], "{codec:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opus_arrives_as_it_was_published() {
    let _slot = slots::light();
    check_arrives(Codec::Opus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pcmu_arrives_as_it_was_published() {
    let _slot = slots::light();
    check_arrives(Codec::Pcmu).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_arrives_as_it_was_published() {
    let _slot = slots::light();
    check_arrives(Codec::Vp8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp9_arrives_as_it_was_published() {
    let _slot = slots::light();
    check_arrives(Codec::Vp9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_arrives_as_it_was_published() {
    let _slot = slots::light();
    check_arrives(Codec::H264).await;
}

/// Writes frames as IVF, the simplest container.
fn ivf(frames: &[Arc<[u8]>]) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0VP90".to_vec();
    // Decoders ignore this size; 30 fps.
    file.extend([16, 0, 16, 0]);
    for number in [30u32, 1, frames.len() as u32, 0] {
        file.extend(number.to_le_bytes());
    }
    for (at, frame) in frames.iter().enumerate() {
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((at as u64).to_le_bytes());
        file.extend(&**frame);
    }
    file
}

/// Number of frames larger than the smallest that ffmpeg shows, and the sizes of all.
fn larger_of(frames: &[Arc<[u8]>]) -> (usize, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layers.ivf");
    std::fs::write(&file, ivf(frames)).unwrap();
    let arguments =
        ["-v", "error", "-show_entries", "frame=width,height", "-of", "csv=p=0", file.to_str().unwrap()];
    let shown = succeed("ffprobe", &arguments, None).stdout;
    let shown: Vec<String> = std::str::from_utf8(&shown).unwrap().lines().map(str::to_owned).collect();
    let width = |size: &String| size.split(',').next().and_then(|width| width.parse::<u32>().ok());
    let smallest = shown.iter().filter_map(width).min();
    (shown.iter().filter(|size| width(size) > smallest).count(), shown)
}

#[test]
fn every_decoder_shows_the_largest_of_a_browsers_spatial_layers() {
    let _slot = slots::browser();
    let (server, pages) = (LiveKitServer::shared(), PageServer::start());
    let options = "codec=vp9&layers=L3T3_KEY&width=1280&height=720&fps=15&microphone=0";
    let _publishers = Publishers::join(server, &pages, own_room(), &["browser"], options);
    let camera = VideoChoice::Participant { identity: "browser".to_owned(), shows: Shows::Person };
    let wanted = Wanted { video: vec![camera], lasts: Lasts::Room, ..Wanted::tracks(None, None) };
    let plan = TracksPlan { wanted, ..plan(server, &[]) };
    let seen = Seen::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = RoomClient::join(&plan, Box::new(seen.clone())).await.unwrap();
        // Key frames have all layers, others only the largest. Browser and server choose the number
        // of layers: on a busy machine fewer, until it is calmer.
        let mut next = 0;
        let is_larger = || {
            if seen.after_layers() <= 45 || seen.count() < next {
                return false;
            }
            next = seen.count() + 45;
            larger_of(&seen.frames()).0 > 20
        };
        until("frames of a larger layer arrive", &seen, is_larger).await;
        client.leave().await;
    });
    // The smaller layers of a key frame are frames with the same time as the largest: ffmpeg shows
    // each. Without an index it shows only the smallest.
    let (larger, shown) = larger_of(&seen.frames());
    assert!(larger > 20, "{larger} of {}: {shown:?}", shown.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_section_is_used_again_and_again_and_loses_nothing() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    // Two participants, so that their packets have different numbers: one of the two directions is
    // down.
    let painters = ["left", "right"].map(|name| Publisher::join(server, own_room(), name, Codec::Vp8));
    let sids = tokio::task::block_in_place(|| {
        painters.each_ref().map(|painter| painter.publish(Codec::Vp8, Codec::Vp8.frames()))
    });
    let seen = Seen::default();
    let client =
        RoomClient::join(&plan(server, &[&sids[0], &sids[1]]), Box::new(seen.clone())).await.unwrap();
    let both = || sids.iter().all(|sid| !seen.frames_of(sid, 0).is_empty());
    until("both paint", &seen, both).await;
    let subscribe = |sid: &str, subscribe: bool| {
        let body = serde_json::json!({
            "room": own_room(), "identity": "EG_test", "track_sids": [sid], "subscribe": subscribe,
        });
        tokio::task::block_in_place(|| room_service(server, own_room(), "UpdateSubscriptions", &body));
    };
    for sid in &sids {
        subscribe(sid, false);
    }
    for turn in 0..8 {
        let (sid, painter) = (&sids[turn % 2], &painters[turn % 2]);
        // The section is free when its frames have stopped; then the other track gets it. If this
        // program, or the publisher, stalled for a while, they have not stopped, and frames without
        // a receiver are sent meanwhile.
        let painted = || painters.iter().zip(&sids).map(|(painter, sid)| painter.sent(sid).len()).min();
        let mut last = (seen.count(), 0, painted());
        until("nobody paints", &seen, || {
            let count = seen.count();
            last = if count == last.0 { (count, last.1 + 1, last.2) } else { (count, 0, painted()) };
            last.1 >= 20 && painted() >= last.2.map(|sent| sent + 10)
        })
        .await;
        let before = seen.count();
        subscribe(sid, true);
        until("it paints again", &seen, || seen.frames_of(sid, before).len() > 20).await;
        subscribe(sid, false);
        assert_all_of(&painter.sent(sid), &seen.frames_of(sid, before), Codec::Vp8);
    }
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_websocket_and_a_new_session_end_nothing() {
    use livekit_protocol as proto;
    use proto::simulate_scenario::Scenario;
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let proxy = SignalProxy::start(server.ws_url());
    let publisher = Publisher::join(server, own_room(), "singer", Codec::Opus);
    let sid = tokio::task::block_in_place(|| publisher.publish(Codec::Opus, Codec::Opus.frames()));
    let seen = Seen::default();
    let plan = plan_at(&proxy.ws_url(), server, &[&sid]);
    let client = RoomClient::join(&plan, Box::new(seen.clone())).await.unwrap();
    until("frames arrive", &seen, || seen.count() > 30).await;

    proxy.cut();
    let before = seen.count();
    until("frames go on", &seen, || seen.count() > before + 100).await;
    // Nothing was lost: media has its own connection.
    assert_all_of(&publisher.sent(&sid), &seen.frames(), Codec::Opus);
    assert_eq!(seen.events(), ["found singer", "started singer"]);
    // Signalling works again: events arrive.
    publisher.mute(&sid, true);
    until("news come", &seen, || seen.events().iter().any(|event| event == "muted")).await;
    publisher.mute(&sid, false);
    until("news come", &seen, || seen.events().iter().any(|event| event == "unmuted")).await;

    let moved = proto::LeaveRequest {
        action: proto::leave_request::Action::Reconnect.into(),
        ..proto::LeaveRequest::default()
    };
    for (round, ends) in
        ["the server wants the recorder elsewhere", "the server forgets it"].iter().enumerate()
    {
        match round {
            0 => proxy.tell(proto::signal_response::Message::Leave(moved.clone())),
            _ => proxy.simulate(Scenario::NodeFailure(true)),
        }
        let count = |what: &str| seen.events().iter().filter(|event| *event == what).count();
        until(ends, &seen, || count("reconnected") > round && count("started singer") > round + 1).await;
        let before = seen.count();
        until("frames come again", &seen, || seen.count() > before + 50).await;
        assert_all_of(&publisher.sent(&sid), &seen.frames()[before..], Codec::Opus);
        assert_eq!(count("reconnecting"), round + 1, "{:?}", seen.events());
    }
    client.leave().await;
    let events = seen.events();
    assert!(!events.iter().any(|event| event == "ended"), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("left"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_join_names_its_reason() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let mut plan = plan(server, &["TR_none"]);
    let stranger = Signer { key: "stranger".to_owned(), secret: Secret::new("x".repeat(40)) };
    plan.room.entry = RoomEntry::Key(stranger);
    let error = RoomClient::join(&plan, Box::new(Seen::default())).await.unwrap_err().to_string();
    assert!(error.contains("refused to let the recorder in (401)"), "{error}");
    plan.room.server = "ws://127.0.0.1:1".parse().unwrap();
    let error = RoomClient::join(&plan, Box::new(Seen::default())).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1 can't be reached"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_recorder_of_the_same_egress_takes_over() {
    let _slot = slots::light();
    let server = LiveKitServer::shared();
    let plan = plan(server, &["TR_none"]);
    let seen = Seen::default();
    let first = RoomClient::join(&plan, Box::new(seen.clone())).await.unwrap();
    let second = RoomClient::join(&plan, Box::new(Seen::default())).await.unwrap();
    until("the first one is told", &seen, || !seen.events().is_empty()).await;
    assert_eq!(seen.events(), ["duplicate"]);
    first.leave().await;
    second.leave().await;
}
