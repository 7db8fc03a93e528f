//! A recorder in a room of an unmodified livekit-server, and what reaches it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir::plan::room::{RoomAccess, RoomEntry};
use weir::plan::track::{TracksPlan, Wanted};
use weir::secret::Secret;
use weir::source::tracks::{Listener, RoomClient, RoomEnd, RoomEvent};
use weir::token::Signer;

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::publisher::{Codec, Publisher, units_of};

/// What happened in the room, in order.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Arc<[u8]>>>>);

impl Seen {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn frames(&self) -> Vec<Arc<[u8]>> {
        self.1.lock().unwrap().clone()
    }
}

impl Listener for Seen {
    fn on_event(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Frame(frame) => self.1.lock().unwrap().push(frame.bytes),
            RoomEvent::Report(_) => {}
            RoomEvent::Found(track) => self.note(format!("found {}", track.publisher)),
            RoomEvent::Started(track) => self.note(format!("started {}", track.publisher)),
            RoomEvent::Muted(_) => self.note("muted".to_owned()),
            RoomEvent::Unmuted(_) => self.note("unmuted".to_owned()),
            RoomEvent::Ended(_) => self.note("ended".to_owned()),
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

fn plan(server: &LiveKitServer, tracks: &[&str]) -> TracksPlan {
    let keys = server.keys();
    TracksPlan {
        room: RoomAccess {
            name: "studio".to_owned(),
            id: String::new(),
            server: server.ws_url().parse().unwrap(),
            entry: RoomEntry::Key(Signer { key: keys.key.clone(), secret: Secret::new(keys.secret.clone()) }),
        },
        identity: "EG_test".to_owned(),
        wanted: Wanted::Tracks(tracks.iter().map(|sid| (*sid).to_owned()).collect()),
    }
}

/// Waits for something, in steps in which the room goes on.
async fn until(what: &str, seen: &Seen, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: {:?}, {} frames", seen.events(), seen.frames().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Frames as the units in them: how those are marked off is nobody's payload.
fn units(frames: &[Arc<[u8]>], codec: Codec) -> Vec<Vec<Vec<u8>>> {
    frames.iter().map(|frame| units_of(frame, codec)).collect()
}

/// What was received is a stretch of what was sent: in order, nothing changed, nothing missing.
#[track_caller]
fn assert_all_of(sent: &[Arc<[u8]>], received: &[Arc<[u8]>], what: Codec) {
    let (sent, received) = (units(sent, what), units(received, what));
    // Frames are sent again and again, so that the first one was sent at several places.
    let starts = (0..sent.len()).filter(|at| sent[*at] == received[0]);
    let alike = |start: usize| sent[start..].iter().zip(&received).take_while(|(sent, got)| sent == got).count();
    let most = starts.map(alike).max();
    assert_eq!(most, Some(received.len()), "{what:?}: frames from the first one on that are as they were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_arrive_as_they_were_published() {
    let redis = Redis::start();
    let server = LiveKitServer::start(&redis);
    for codec in [Codec::Opus, Codec::Pcmu, Codec::Vp8, Codec::Vp9, Codec::H264] {
        let publisher = Publisher::join(&server, "studio", "painter", codec);
        let sid = tokio::task::block_in_place(|| publisher.publish(codec, codec.frames()));
        let seen = Seen::default();
        let client = RoomClient::join(&plan(&server, &[&sid]), Box::new(seen.clone())).await.unwrap();
        until("frames arrive", &seen, || seen.frames().len() > 90).await;
        client.leave().await;
        let received = seen.frames();
        assert_all_of(&publisher.sent(&sid), &received, codec);
        assert_eq!(seen.events(), ["found painter", "started painter", "left"], "{codec:?}");
    }
}
