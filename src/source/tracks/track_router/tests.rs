use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::media::Feed;
use crate::plan::encoding::Cadence;
use crate::plan::room::{RoomAccess, RoomEntry};
use crate::plan::track::{AudioChoice, Lasts, ParticipantKind, Rest, TrackOrigin, Wanted};
use crate::secret::Secret;
use crate::source::Pacing;

struct Room {
    router: TrackRouter,
    presence: watch::Receiver<PresenceState>,
    events: mpsc::UnboundedReceiver<SourceEvent>,
    timeline: Timeline,
}

impl Room {
    fn new(wanted: Wanted, picture: VideoHandling, sound: AudioHandling) -> Self {
        crate::media::init().unwrap();
        let (presence, seen) = watch::channel(PresenceState::Awaited);
        let (events, told) = mpsc::unbounded_channel();
        let timeline = Timeline::new();
        let context = SourceContext {
            timeline: timeline.clone(),
            video: None,
            audio: Some(Feed::new("sound")),
            published: Default::default(),
            pacing: Pacing { cadence: Cadence::Grid, fps: 30, key_interval: Duration::from_secs(4) },
            counters: Arc::default(),
            run_dir: Default::default(),
            report_dir: Default::default(),
            events,
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
            video: picture,
            audio: sound,
        };
        let router = TrackRouter::new(&plan, context, presence).unwrap();
        Self { router, presence: seen, events: told, timeline }
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    fn found(&mut self, sid: &str, kind: TrackKind) {
        self.router.on_event(RoomEvent::Found(track(sid, kind)));
    }

    fn frame(&mut self, sid: &str, codec: TrackCodec, rtp_time: u32, is_key: bool) {
        self.router.on_event(RoomEvent::Frame(Frame {
            track: sid.into(),
            codec,
            rtp_time,
            clock_rate: if codec.kind() == TrackKind::Audio { 48_000 } else { 90_000 },
            received_at: Instant::now(),
            is_key,
            is_contiguous: true,
            bytes: Arc::from([0xfc, 1, 2, 3]),
        }));
        // The first packets wait for one another to have a place; what that is is the clock's affair.
        self.router.settle(sid);
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
fn it_begins_with_the_first_frame_when_all_codecs_are_known_that_matter() {
    let mut room = Room::new(Wanted::tracks(Some("TR_v"), Some("TR_a")), BY_CODEC, AudioHandling::Mixed);
    room.found("TR_a", TrackKind::Audio);
    room.frame("TR_a", TrackCodec::Opus, 0, true);
    assert!(room.events().is_empty(), "the picture is not even published");
    room.found("TR_v", TrackKind::Video);
    assert_eq!(*room.presence.borrow(), PresenceState::Complete);
    assert!(matches!(room.events()[..], [SourceEvent::Loaded]));
    assert_eq!(room.router.requests().key_frames, ["TR_v"]);

    room.frame("TR_a", TrackCodec::Opus, 0, true);
    room.frame("TR_v", TrackCodec::H264, 0, false);
    assert!(room.events().is_empty(), "no key frame yet");
    let before = room.timeline.now();
    room.frame("TR_v", TrackCodec::H264, 3000, true);
    let events = room.events();
    let [SourceEvent::Discovered(found, first)] = &events[..] else { panic!("{events:?}") };
    let codecs: Vec<TrackCodec> = found.iter().map(|found| found.codec).collect();
    assert_eq!(codecs, [TrackCodec::Opus, TrackCodec::H264]);
    assert!(*first <= before, "the sound came first");
    assert_eq!(room.router.plan.video, VideoHandling::AsPublished);
    assert_eq!(room.router.requests(), RoomRequests::default(), "the largest picture is wanted");
}

#[test]
fn a_picture_that_is_decoded_is_asked_for_in_its_size() {
    let mut room = Room::new(Wanted::tracks(Some("TR_v"), None), BY_CODEC, AudioHandling::Mixed);
    room.found("TR_v", TrackKind::Video);
    room.router.requests();
    room.frame("TR_v", TrackCodec::Vp9, 0, true);
    assert_eq!(room.router.requests().size, Some((1280, 720)));
}

#[test]
fn a_file_that_had_to_leave_frames_out_has_a_key_frame_asked_for() {
    let wanted = Wanted::tracks(Some("TR_v"), Some("TR_a"));
    let mut room = Room::new(wanted, VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.found("TR_v", TrackKind::Video);
    room.found("TR_a", TrackKind::Audio);
    room.router.requests();
    assert!(room.router.requests().key_frames.is_empty());
    room.router.context.published.key_frames().request();
    assert_eq!(room.router.requests().key_frames, ["TR_v"]);
    assert!(room.router.requests().key_frames.is_empty(), "asked for once");
}

#[test]
fn a_track_that_is_refused_ends_what_can_not_be_without_it() {
    let refused = || RoomEvent::Refused { track: "TR_v".to_owned(), why: "its codec is not supported" };
    let mut room = Room::new(Wanted::track("TR_v"), VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.router.on_event(refused());
    let events = room.events();
    let [SourceEvent::Failed(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.to_string(), "track TR_v can't be received: its codec is not supported");

    let of_room = Wanted { lasts: Lasts::Room, ..Wanted::tracks(None, None) };
    let mut room = Room::new(of_room, VideoHandling::AsPublished, AudioHandling::AsPublished);
    room.router.on_event(refused());
    assert!(matches!(room.events()[..], [SourceEvent::Lacking { .. }]));
}

#[test]
fn silence_is_told_when_all_sound_is_muted() {
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
        room.router.on_event(event);
        let told = room.events();
        let told = told.iter().find_map(|event| match event {
            SourceEvent::Muted(is_silent) => Some(*is_silent),
            _ => None,
        });
        assert_eq!(told, expected);
    }
}

/// The audio of a room, as it is recorded without a layout.
fn room_audio() -> Room {
    let audio = AudioChoice { routes: Vec::new(), rest: Some(Rest::On(Channel::Both)) };
    let wanted = Wanted { video: Vec::new(), audio: Some(audio), lasts: Lasts::Room };
    Room::new(wanted, VideoHandling::AsPublished, AudioHandling::Mixed)
}

#[test]
fn the_audio_of_a_room_without_anybody_does_not_begin() {
    let has_begun = |events: &[SourceEvent]| {
        events.iter().any(|event| matches!(event, SourceEvent::Discovered(..) | SourceEvent::Ready))
    };
    let long_ago = || Instant::now().checked_sub(HEARD_WITHIN);
    let mut room = room_audio();
    room.router.on_tick();
    let events = room.events();
    assert!(matches!(events.as_slice(), [SourceEvent::Loaded]), "{events:?}");
    assert_eq!(room.router.tracks_since, None, "there is nothing that could be waited for");
    // Somebody comes, publishes, and goes again before anything was heard.
    room.found("TR_a", TrackKind::Audio);
    assert!(room.router.tracks_since.is_some());
    room.router.on_event(RoomEvent::Ended("TR_a".to_owned()));
    assert_eq!(room.router.tracks_since, None);
    room.router.on_tick();
    assert!(!has_begun(&room.events()));
    // Who is there and muted is recorded as silence.
    room.found("TR_a", TrackKind::Audio);
    room.router.on_tick();
    assert!(!has_begun(&room.events()), "it is waited for");
    room.router.tracks_since = long_ago();
    room.router.on_tick();
    assert!(has_begun(&room.events()));
}

#[test]
fn a_recorder_that_is_thrown_out_by_its_own_identity_is_evicted_and_says_so_once() {
    let mut room = room_audio();
    room.router.on_event(RoomEvent::Joined { room_id: "RM_1".to_owned() });
    room.router.on_end(RoomEnd::Duplicate);
    room.router.on_end(RoomEnd::Closed(livekit_protocol::DisconnectReason::RoomDeleted));
    let events = room.events();
    let told = |events: &[SourceEvent]| match events {
        [SourceEvent::InRoom { room_id }, SourceEvent::Evicted] => room_id == "RM_1",
        _ => false,
    };
    assert!(told(&events), "{events:?}");
}
