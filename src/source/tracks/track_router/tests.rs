//! The router, in virtual time.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::*;
use crate::media::{Feed, Timeline};
use crate::plan::encoding::Cadence;
use crate::plan::room::{RoomAccess, RoomEntry};
use crate::plan::track::{AudioChoice, AudioHandling, Lasts, ParticipantKind, Rest, TrackOrigin, Wanted};
use crate::secret::Secret;
use crate::source::Pacing;
use crate::source::tracks::peer::Frame;

struct Room {
    router: TrackRouter,
    presence: watch::Receiver<PresenceState>,
    events: mpsc::UnboundedReceiver<SourceEvent>,
    timeline: Timeline,
    now: Moment,
}

impl Room {
    fn new(wanted: Wanted, video: VideoHandling, audio: AudioHandling) -> Self {
        crate::media::init().unwrap();
        let (presence, seen) = watch::channel(PresenceState::Awaited);
        let (sender, events) = mpsc::unbounded_channel();
        let timeline = Timeline::new();
        let context = SourceContext {
            timeline: timeline.clone(),
            video: None,
            audio: Some(Feed::new("audio")),
            published: Default::default(),
            pacing: Pacing { cadence: Cadence::Grid, fps: 30, key_interval: Duration::from_secs(4) },
            counters: Arc::default(),
            run_dir: Default::default(),
            report_dir: Default::default(),
            events: sender,
        };
        let plan = TracksPlan {
            room: RoomAccess {
                name: "r".to_owned(),
                id: String::new(),
                server: "ws://localhost".parse().unwrap(),
                entry: RoomEntry::Token(Secret::new("t".to_owned())),
            },
            identity: "EG_x".to_owned(),
            wanted,
            video,
            audio,
        };
        let router = TrackRouter::new(&plan, context, presence).unwrap();
        let now = Moment { instant: Instant::now(), running: Duration::ZERO };
        Self { router, presence: seen, events, timeline, now }
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Lets time go on.
    fn wait(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.running += time;
    }

    fn on_event(&mut self, event: RoomEvent) {
        self.router.on_event(event, self.now);
    }

    fn tick(&mut self) {
        self.router.on_tick(self.now);
    }

    fn found(&mut self, sid: &str, kind: TrackKind) {
        self.on_event(RoomEvent::Found(track(sid, kind)));
    }

    fn frame(&mut self, sid: &str, codec: TrackCodec, rtp_time: u32, is_key: bool) {
        self.on_event(RoomEvent::Frame(Frame {
            track: sid.into(),
            codec,
            rtp_time,
            clock_rate: if codec.kind() == TrackKind::Audio { 48_000 } else { 90_000 },
            received_at: self.now.instant,
            is_key,
            is_contiguous: true,
            bytes: Arc::from([0xfc, 1, 2, 3]),
        }));
        // The first packets wait for one another before they get a time.
        self.router.settle(sid, self.now);
    }
}

fn track(sid: &str, kind: TrackKind) -> PublishedTrack {
    PublishedTrack {
        sid: sid.to_owned(),
        kind,
        origin: TrackOrigin::Camera,
        publisher: "ann".to_owned(),
        publisher_kind: ParticipantKind::Standard,
        is_muted: false,
    }
}

const BY_CODEC: VideoHandling = VideoHandling::ByCodec { width: 1280, height: 720 };

#[test]
fn it_begins_with_the_first_frame_when_all_codecs_that_matter_are_known() {
    let mut room = Room::new(Wanted::tracks(Some("TR_v"), Some("TR_a")), BY_CODEC, AudioHandling::Mixed);
    room.found("TR_a", TrackKind::Audio);
    room.frame("TR_a", TrackCodec::Opus, 0, true);
    assert!(room.events().is_empty(), "the video is not published");
    room.found("TR_v", TrackKind::Video);
    assert_eq!(*room.presence.borrow(), PresenceState::Complete);
    assert!(matches!(room.events()[..], [SourceEvent::Loaded]));
    assert_eq!(room.router.take_requests().key_frames, ["TR_v"]);

    room.frame("TR_a", TrackCodec::Opus, 0, true);
    let first_audio = room.now.running;
    room.wait(Duration::from_millis(33));
    room.frame("TR_v", TrackCodec::H264, 0, false);
    assert!(room.events().is_empty(), "no key frame yet");
    room.wait(Duration::from_millis(33));
    room.frame("TR_v", TrackCodec::H264, 3000, true);
    let events = room.events();
    let [SourceEvent::Discovered(found, first)] = &events[..] else { panic!("{events:?}") };
    let codecs: Vec<TrackCodec> = found.iter().map(|found| found.codec).collect();
    assert_eq!(codecs, [TrackCodec::Opus, TrackCodec::H264]);
    assert_eq!(Duration::from(*first), first_audio, "audio came first");
    assert_eq!(room.router.plan.video, VideoHandling::AsPublished);
    assert_eq!(room.router.take_requests(), RoomRequests::default(), "the largest size is requested");
}

#[test]
fn video_that_is_decoded_is_requested_in_its_size() {
    let mut room = Room::new(Wanted::tracks(Some("TR_v"), None), BY_CODEC, AudioHandling::Mixed);
    room.found("TR_v", TrackKind::Video);
    room.router.take_requests();
    room.frame("TR_v", TrackCodec::Vp9, 0, true);
    assert_eq!(room.router.take_requests().size, Some((1280, 720)));
}

#[test]
fn a_file_that_had_to_drop_frames_gets_a_key_frame_requested() {
    let wanted = Wanted::tracks(Some("TR_v"), Some("TR_a"));
    let mut room = Room::new(wanted, VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.found("TR_v", TrackKind::Video);
    room.found("TR_a", TrackKind::Audio);
    room.router.take_requests();
    assert!(room.router.take_requests().key_frames.is_empty());
    room.router.context.published.key_frames().request();
    assert_eq!(room.router.take_requests().key_frames, ["TR_v"]);
    assert!(room.router.take_requests().key_frames.is_empty(), "requested once");
}

#[test]
fn a_refused_track_ends_a_recording_that_needs_it() {
    let refused = || RoomEvent::Refused { track: "TR_v".to_owned(), why: "its codec is not supported" };
    let mut room = Room::new(Wanted::track("TR_v"), VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.on_event(refused());
    let events = room.events();
    let [SourceEvent::Failed(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.to_string(), "track TR_v can't be received: its codec is not supported");

    let of_room = Wanted { lasts: Lasts::Room, ..Wanted::tracks(None, None) };
    let mut room = Room::new(of_room, VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.on_event(refused());
    assert!(matches!(room.events()[..], [SourceEvent::Lacking { .. }]));
}

#[test]
fn silence_is_reported_when_all_audio_is_muted() {
    let audio = Wanted { lasts: Lasts::Room, ..Wanted::tracks(None, Some("TR_a")) };
    let mut room = Room::new(audio, VideoHandling::AsPublished, AudioHandling::ByCodec);
    room.found("TR_a", TrackKind::Audio);
    room.found("TR_b", TrackKind::Audio);
    room.events();
    for (event, expected) in [
        (RoomEvent::Muted("TR_a".to_owned()), None),
        (RoomEvent::Muted("TR_b".to_owned()), Some(true)),
        (RoomEvent::Ended("TR_b".to_owned()), None),
        (RoomEvent::Unmuted("TR_a".to_owned()), Some(false)),
    ] {
        room.on_event(event);
        let reported = room.events();
        let reported = reported.iter().find_map(|event| match event {
            SourceEvent::Muted(is_silent) => Some(*is_silent),
            _ => None,
        });
        assert_eq!(reported, expected);
    }
}

/// The audio of a room, as it is recorded without a layout.
fn room_audio() -> Room {
    let audio = AudioChoice { routes: Vec::new(), rest: Some(Rest::On(Channel::Both)) };
    let wanted = Wanted { video: Vec::new(), audio: Some(audio), lasts: Lasts::Room };
    Room::new(wanted, VideoHandling::AsPublished, AudioHandling::Mixed)
}

#[test]
fn the_audio_of_an_empty_room_does_not_begin() {
    let has_begun = |events: &[SourceEvent]| {
        events.iter().any(|event| matches!(event, SourceEvent::Discovered(..) | SourceEvent::Ready))
    };
    let mut room = room_audio();
    room.tick();
    let events = room.events();
    assert!(matches!(events.as_slice(), [SourceEvent::Loaded]), "{events:?}");
    room.wait(Duration::from_mins(1));
    room.tick();
    assert!(!has_begun(&room.events()), "nobody is there");
    // Somebody comes, publishes, and goes again before anything was heard.
    room.found("TR_a", TrackKind::Audio);
    room.wait(Duration::from_secs(2));
    room.on_event(RoomEvent::Ended("TR_a".to_owned()));
    room.wait(Duration::from_secs(2));
    room.tick();
    assert!(!has_begun(&room.events()));
    // A muted participant is recorded as silence.
    room.found("TR_a", TrackKind::Audio);
    room.wait(Duration::from_millis(2999));
    room.tick();
    assert!(!has_begun(&room.events()), "an unmuted track is waited for");
    room.wait(Duration::from_millis(1));
    room.tick();
    assert!(has_begun(&room.events()));
}

#[test]
fn an_unknown_codec_delays_the_beginning_by_three_seconds() {
    let wanted = Wanted::tracks(Some("TR_v"), Some("TR_a"));
    let mut room = Room::new(wanted, BY_CODEC, AudioHandling::Mixed);
    room.found("TR_v", TrackKind::Video);
    room.found("TR_a", TrackKind::Audio);
    room.wait(Duration::from_secs(10));
    room.frame("TR_a", TrackCodec::Opus, 0, true);
    room.events();
    room.wait(Duration::from_millis(2999));
    room.tick();
    assert!(room.events().is_empty());
    room.wait(Duration::from_millis(1));
    room.tick();
    let events = room.events();
    let [SourceEvent::Discovered(found, first)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(found.len(), 1);
    assert_eq!(Duration::from(*first), Duration::from_secs(10));
}

#[test]
fn a_participant_who_is_missing_after_a_reconnect_ends_the_recording_15_s_later() {
    let wanted = Wanted { lasts: Lasts::Participant("ann".to_owned()), ..Wanted::tracks(None, None) };
    let mut room = Room::new(wanted, VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.on_event(RoomEvent::Present("ann".to_owned()));
    room.on_event(RoomEvent::Missing("ann".to_owned()));
    room.events();
    room.wait(Duration::from_millis(14_999));
    room.tick();
    assert!(room.events().is_empty());
    room.wait(Duration::from_millis(1));
    room.tick();
    assert!(matches!(room.events()[..], [SourceEvent::Ended]));
}

#[test]
fn last_frames_are_waited_for_until_they_are_settled() {
    let mut room = Room::new(Wanted::track("TR_a"), VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.found("TR_a", TrackKind::Audio);
    room.frame("TR_a", TrackCodec::Opus, 0, true);
    room.timeline.begin_at(gst::ClockTime::ZERO);
    while room.timeline.end_by(gst::ClockTime::from_mseconds(20)).is_zero() {}
    let complete = room.router.completion(room.now);
    assert!(!*complete.borrow(), "the track has not reached the end");
    room.wait(SETTLED);
    room.tick();
    assert!(*complete.borrow());
}

#[test]
fn a_recorder_that_is_displaced_by_its_own_identity_reports_its_eviction_once() {
    let mut room = room_audio();
    room.on_event(RoomEvent::Joined { room_id: "RM_1".to_owned() });
    room.router.on_end(RoomEnd::Duplicate);
    room.router.on_end(RoomEnd::Closed(livekit_protocol::DisconnectReason::RoomDeleted));
    let events = room.events();
    let is_eviction = |events: &[SourceEvent]| match events {
        [SourceEvent::InRoom { room_id }, SourceEvent::Evicted] => room_id == "RM_1",
        _ => false,
    };
    assert!(is_eviction(&events), "{events:?}");
}
