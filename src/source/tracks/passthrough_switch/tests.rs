//! The frames that are pushed into the feed, and their times.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use gstreamer as gst;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::passthrough::MuxedWith;
use super::*;
use crate::media::{Attachment, Feed, FeedConsumer};
use crate::plan::track::{ParticipantKind, TrackKind, TrackOrigin};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(u64, u8)>>>);

impl FeedConsumer for Kept {
    fn take(&mut self, sample: &gst::Sample) {
        let buffer = sample.buffer().unwrap();
        let byte = buffer.map_readable().unwrap().as_slice()[0];
        self.0.lock().unwrap().push((buffer.pts().unwrap().mseconds(), byte));
    }

    fn end(&mut self) {}
}

struct Rig {
    switch: PassthroughSwitch,
    kept: Kept,
    events: UnboundedReceiver<SourceEvent>,
    _attached: Attachment,
}

impl Rig {
    fn new() -> Self {
        crate::media::init().unwrap();
        let (feed, kept) = (Feed::new("published video"), Kept::default());
        let attached = feed.attach(Box::new(kept.clone()));
        let (sender, events) = unbounded_channel();
        let passthrough = Passthrough::new(feed, MuxedWith::Nothing);
        Self { switch: PassthroughSwitch::new(passthrough, sender), kept, events, _attached: attached }
    }

    fn add(&mut self, sid: &str, now: u64) {
        let track = PublishedTrack {
            sid: sid.to_owned(),
            kind: TrackKind::Video,
            origin: TrackOrigin::Camera,
            publisher: "ann".to_owned(),
            publisher_kind: ParticipantKind::Standard,
            is_muted: false,
        };
        self.switch.add(&track, Duration::from_millis(now));
    }

    /// Pushes a frame of the one byte `byte`, with its media time in milliseconds.
    fn frame(&mut self, sid: &str, codec: TrackCodec, at: u64, byte: u8, is_key: bool) {
        let frame = Frame {
            track: sid.into(),
            codec,
            rtp_time: 0,
            clock_rate: 90_000,
            received_at: Instant::now(),
            is_key,
            is_contiguous: true,
            bytes: Arc::from([byte]),
        };
        self.switch.frame(&frame, Duration::from_millis(at)).unwrap();
    }

    fn kept(&self) -> Vec<(u64, u8)> {
        self.kept.0.lock().unwrap().clone()
    }
}

#[test]
fn the_newest_track_takes_over_at_its_key_frame_and_the_former_one_returns_after_it() {
    use TrackCodec::H264;
    let mut rig = Rig::new();
    rig.add("camera", 0);
    rig.frame("camera", H264, 0, 1, true);
    rig.frame("camera", H264, 33, 2, false);
    rig.add("other", 40);
    rig.frame("other", H264, 50, 10, false);
    rig.frame("camera", H264, 66, 3, false);
    rig.frame("other", H264, 90, 11, true);
    rig.frame("camera", H264, 100, 4, true);
    rig.frame("other", H264, 120, 12, false);
    rig.switch.remove("other", Duration::from_millis(120));
    assert_eq!(rig.switch.take_key_frame_requests(), ["camera"]);
    rig.frame("camera", H264, 133, 5, false);
    rig.frame("camera", H264, 166, 6, true);
    assert_eq!(rig.kept(), [(0, 1), (33, 2), (66, 3), (90, 11), (120, 12), (166, 6)]);
    assert!(rig.events.try_recv().is_err());
}

#[test]
fn a_track_of_another_codec_is_left_out_and_reported_once() {
    use TrackCodec::{H264, Vp8};
    let mut rig = Rig::new();
    rig.add("camera", 0);
    rig.frame("camera", H264, 0, 1, true);
    rig.add("other", 5);
    for (at, is_key) in [(10, true), (43, false), (76, true)] {
        rig.frame("other", Vp8, at, 10, is_key);
    }
    rig.frame("camera", H264, 100, 2, false);
    assert_eq!(rig.kept(), [(0, 1), (100, 2)]);
    let Ok(SourceEvent::Lacking { what, why }) = rig.events.try_recv() else { panic!("nothing reported") };
    assert_eq!(what, "track other");
    assert_eq!(why, "its codec is VP8; this file was begun with H.264 and holds one codec");
    assert!(rig.events.try_recv().is_err());
}
