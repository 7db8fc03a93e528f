//! The peer against a publisher of `str0m`, in virtual time, over a network that loses and
//! reorders.

use std::collections::{HashMap, VecDeque};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaTime};

use super::*;

/// A network with a delay of 5 ms that loses and delays packets by a rule.
struct Network {
    now: Instant,
    to_peer: VecDeque<(Instant, Transmit)>,
    to_sender: VecDeque<(Instant, Transmit)>,
    sent: u32,
    /// Loses one of this many packets to the peer; 0: none.
    lose_every: u32,
    /// Delays one of this many packets by 30 ms.
    delay_every: u32,
}

impl Network {
    fn deliver(&mut self, transmit: Transmit) {
        self.sent += 1;
        let is_media = transmit.contents.first().is_some_and(|first| (128..192).contains(first));
        if is_media && self.lose_every > 0 && self.sent.is_multiple_of(self.lose_every) {
            return;
        }
        let late = self.delay_every > 0 && self.sent.is_multiple_of(self.delay_every);
        let at = self.now + Duration::from_millis(if late { 35 } else { 5 });
        let place = self.to_peer.partition_point(|(then, _)| *then <= at);
        self.to_peer.insert(place, (at, transmit));
    }
}

/// A publisher with one track, and the peer that receives it.
struct Pair {
    sender: Rtc,
    peer: Peer,
    network: Network,
    mid: Mid,
    ticks: u64,
    sent: Vec<Vec<u8>>,
    received: Vec<Frame>,
    key_frames_wanted: Vec<Instant>,
}

const SENDER: &str = "10.0.0.1:5000";
const PEER: &str = "10.0.0.2:6000";

impl Pair {
    fn new(kind: MediaKind, lose_every: u32, delay_every: u32) -> Self {
        let now = Instant::now();
        let mut sender = Rtc::builder().clear_codecs().enable_opus(true, false).enable_vp8(true).build(now);
        let at = SENDER.parse().unwrap();
        sender.add_local_candidate(Candidate::host(at, Protocol::Udp).unwrap());
        let mut peer = Peer::new(now);
        peer.add_local(Protocol::Udp, PEER.parse().unwrap()).unwrap();
        let mut api = sender.sdp_api();
        let mid = api.add_media(kind, Direction::SendOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let offer = proto::SessionDescription {
            sdp: offer.to_sdp_string(),
            mid_to_track_id: HashMap::from([(mid.to_string(), "TR_a".to_owned())]),
            ..proto::SessionDescription::default()
        };
        let answer = peer.accept(now, &offer).unwrap();
        let answer = SdpAnswer::from_sdp_string(&answer.sdp).unwrap();
        sender.sdp_api().accept_answer(pending, answer).unwrap();
        sender.handle_input(Input::Timeout(now)).unwrap();
        let network = Network {
            now,
            to_peer: VecDeque::new(),
            to_sender: VecDeque::new(),
            sent: 0,
            lose_every,
            delay_every,
        };
        let (sent, received, key_frames_wanted) = (Vec::new(), Vec::new(), Vec::new());
        Self { sender, peer, network, mid, ticks: 0, sent, received, key_frames_wanted }
    }

    /// Advances time by a millisecond.
    fn step(&mut self) {
        self.network.now += Duration::from_millis(1);
        let now = self.network.now;
        while self.network.to_peer.front().is_some_and(|(at, _)| *at <= now) {
            let (_, packet) = self.network.to_peer.pop_front().unwrap();
            self.peer.receive(now, packet.proto, packet.source, packet.destination, &packet.contents);
            self.drain_peer();
        }
        while self.network.to_sender.front().is_some_and(|(at, _)| *at <= now) {
            let (_, packet) = self.network.to_sender.pop_front().unwrap();
            let receive =
                Receive::new(packet.proto, packet.source, packet.destination, &packet.contents).unwrap();
            self.sender.handle_input(Input::Receive(now, receive)).unwrap();
            self.drain_sender();
        }
        self.peer.tick(now);
        self.drain_peer();
        self.sender.handle_input(Input::Timeout(now)).unwrap();
        self.drain_sender();
    }

    fn drain_peer(&mut self) {
        let now = self.network.now;
        loop {
            match self.peer.next(now) {
                Next::Send(transmit) => {
                    self.network.to_sender.push_back((now + Duration::from_millis(5), transmit));
                }
                Next::Event(PeerEvent::Frame(frame)) => self.received.push(frame),
                Next::Event(_) => {}
                Next::Wait(_) => return,
            }
        }
    }

    fn drain_sender(&mut self) {
        loop {
            match self.sender.poll_output().unwrap() {
                Output::Transmit(transmit) => self.network.deliver(transmit),
                Output::Event(Event::KeyframeRequest(_)) => self.key_frames_wanted.push(self.network.now),
                Output::Event(_) => {}
                Output::Timeout(_) => return,
            }
        }
    }

    fn connect(&mut self) {
        let candidate = Candidate::host(SENDER.parse().unwrap(), Protocol::Udp).unwrap();
        self.peer.add_remote(self.network.now, candidate);
        for _ in 0..5000 {
            self.step();
            if self.peer.was_connected() && self.sender.is_connected() {
                return;
            }
        }
        panic!("no connection");
    }

    fn publish(&mut self, frame: Vec<u8>, step: u64, rate: u32) {
        let writer = self.sender.writer(self.mid).unwrap();
        let pt = writer.payload_params().next().unwrap().pt();
        let time = MediaTime::new(self.ticks, str0m::media::Frequency::new(rate).unwrap());
        writer.write(pt, self.network.now, time, frame.clone()).unwrap();
        self.ticks += step;
        self.sent.push(frame);
        self.drain_sender();
    }
}

/// A distinct Opus packet.
fn opus(number: u32) -> Vec<u8> {
    [&[0xfc], number.to_be_bytes().as_slice(), &[7; 60]].concat()
}

/// A VP8 frame of several packets, with the key frame bit and a size.
fn vp8(number: u32, is_key: bool) -> Vec<u8> {
    let head = [u8::from(!is_key), 0, 0, 0x9d, 0x01, 0x2a, 0x40, 1, 0xf0, 0];
    [head.as_slice(), number.to_be_bytes().as_slice(), &[9; 4000]].concat()
}

/// Sends ten seconds of audio over a network.
fn audio(lose_every: u32, delay_every: u32) -> Pair {
    let mut pair = Pair::new(MediaKind::Audio, lose_every, delay_every);
    pair.connect();
    for number in 0..500 {
        pair.publish(opus(number), 960, 48_000);
        (0..20).for_each(|_| pair.step());
    }
    (0..2500).for_each(|_| pair.step());
    pair
}

#[test]
fn late_audio_arrives_completely_and_in_order() {
    let pair = audio(0, 7);
    let received: Vec<_> = pair.received.iter().map(|frame| frame.bytes.to_vec()).collect();
    assert_eq!(received, pair.sent);
    assert!(pair.received.iter().all(|frame| frame.is_key && &*frame.track == "TR_a"));
    let steps = pair.received.windows(2).map(|pair| pair[1].rtp_time.wrapping_sub(pair[0].rtp_time));
    assert!(steps.into_iter().all(|step| step == 960));
}

#[test]
fn only_audio_that_is_not_retransmitted_is_missing() {
    // This publisher does not retransmit audio; LiveKit's servers do.
    let pair = audio(10, 7);
    let received: Vec<_> = pair.received.iter().map(|frame| frame.bytes.to_vec()).collect();
    assert!((430..470).contains(&received.len()), "{}", received.len());
    let mut sent = pair.sent.iter();
    assert!(received.iter().all(|frame| sent.any(|other| other == frame)), "they are in order");
    let last = received.last().unwrap();
    assert!(pair.sent[480..].contains(last), "the end is there");
}

#[test]
fn lost_and_late_video_arrives_completely_and_in_order() {
    let mut pair = Pair::new(MediaKind::Video, 13, 11);
    pair.connect();
    for number in 0..200 {
        pair.publish(vp8(number, number == 0), 3000, 90_000);
        (0..33).for_each(|_| pair.step());
    }
    (0..2500).for_each(|_| pair.step());
    let received: Vec<_> = pair.received.iter().map(|frame| frame.bytes.to_vec()).collect();
    assert!(received.len() >= 199, "{}", received.len());
    assert_eq!(received, pair.sent[..received.len()]);
    assert!(pair.received[0].is_key && !pair.received[1].is_key);
    assert!(pair.received.iter().all(|frame| frame.is_contiguous));
}

#[test]
fn a_key_frame_is_requested_once_a_second_until_it_comes() {
    let mut pair = Pair::new(MediaKind::Video, 0, 0);
    pair.connect();
    let mut number = 1;
    for second in 0..4 {
        for _ in 0..30 {
            pair.publish(vp8(number, second == 3), 3000, 90_000);
            number += 1;
            (0..33).for_each(|_| pair.step());
        }
    }
    let wanted = &pair.key_frames_wanted;
    assert!((2..=4).contains(&wanted.len()), "{}", wanted.len());
    let apart = wanted.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(apart.into_iter().all(|apart| apart >= Duration::from_millis(990)));
    let before = wanted.len();
    for _ in 0..60 {
        pair.publish(vp8(number, false), 3000, 90_000);
        number += 1;
        (0..33).for_each(|_| pair.step());
    }
    assert_eq!(pair.key_frames_wanted.len(), before);
    // A renderer needs one.
    pair.peer.request_key_frame("TR_a", pair.network.now);
    (0..100).for_each(|_| pair.step());
    assert_eq!(pair.key_frames_wanted.len(), before + 1);
}

#[test]
fn invalid_packets_are_dropped() {
    let mut pair = Pair::new(MediaKind::Audio, 0, 0);
    pair.connect();
    let (remote, local) = (SENDER.parse().unwrap(), PEER.parse().unwrap());
    for len in 0..200 {
        for first in [0, 1, 22, 63, 128, 129, 200, 255] {
            let bytes = [&[first], vec![0x5a; len].as_slice()].concat();
            pair.peer.receive(pair.network.now, Protocol::Udp, remote, local, &bytes);
            pair.drain_peer();
        }
    }
    pair.publish(opus(1), 960, 48_000);
    (0..100).for_each(|_| pair.step());
    assert_eq!(pair.received.len(), 1);
    let invalid = proto::SessionDescription { sdp: "v=1".to_owned(), ..Default::default() };
    assert!(matches!(pair.peer.accept(pair.network.now, &invalid), Err(PeerError::Offer(_))));
    assert!(pair.peer.is_alive());
}
