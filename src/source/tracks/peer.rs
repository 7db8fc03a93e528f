//! The WebRTC peer that receives: a session of `str0m`, in frame mode, without sockets or clocks of its own.
//!
//! Whoever owns it hands in what arrives with its time, and takes what is to be sent. The peer knows which media section
//! carries which track, and two things about LiveKit's servers without which a recording is silently wrong (docs/reference/signaling.md):
//! a reused section is made anew before its offer is accepted, and lost audio is asked for again.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use livekit_protocol as proto;
use str0m::change::SdpOffer;
use str0m::format::{Codec, CodecExtra};
use str0m::media::{KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::codec::TrackCodec;
use super::parameter_sets::ParameterSets;
use super::superframe;

/// With these no packet is given up that a second retransmission would bring (docs/reference/signaling.md: nothing lost at 10 % loss).
const AUDIO_HOLD: usize = 100;
const AUDIO_HOLD_WITHIN: Duration = Duration::from_secs(2);
const VIDEO_HOLD: usize = 300;
/// Of one turn: more than arrive in it.
const MOST_BAD: u32 = 1000;
/// Servers answer no more often than this (docs/reference/signaling.md).
const KEY_FRAME_EVERY: Duration = Duration::from_secs(1);

/// Why there is no connection for media. `str0m`'s own words are in it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the server's offer makes no sense")]
    Offer(#[source] str0m::error::SdpError),
    #[error("the media connection failed")]
    Rtc(#[from] RtcError),
    #[error("an address of this machine can't be offered")]
    Candidate(#[source] str0m::error::IceError),
}

/// What the peer wants next.
#[derive(Debug)]
pub(super) enum Next {
    Send(Transmit),
    Event(PeerEvent),
    /// Nothing until then, or until something arrives.
    Wait(Instant),
}

#[derive(Debug)]
pub(super) enum PeerEvent {
    /// Media can flow.
    Connected,
    /// The way to the server does not work at present; it may come back.
    Interrupted,
    /// It works again.
    Restored,
    Frame(Frame),
    Report(SenderReport),
}

/// One picture, or one packet of sound, as it was published.
#[derive(Debug, Clone)]
pub struct Frame {
    /// `TR_…`
    pub track: Arc<str>,
    pub codec: TrackCodec,
    /// In the codec's clock, which begins anywhere and comes round.
    pub rtp_time: u32,
    /// Ticks of that clock in a second.
    pub clock_rate: u32,
    /// When its first packet came in.
    pub received_at: Instant,
    pub is_key: bool,
    /// Nothing is missing since the frame before.
    pub is_contiguous: bool,
    /// Of H.264 and H.265 a byte stream, of AV1 units with their sizes.
    pub bytes: Arc<[u8]>,
}

/// A publisher's word for when a moment of a track was.
#[derive(Debug, Clone)]
pub struct SenderReport {
    pub track: Arc<str>,
    pub rtp_time: u32,
    pub clock_rate: u32,
    /// By the publisher's clock.
    pub wall: SystemTime,
    pub received_at: Instant,
}

#[derive(Debug)]
pub(super) struct Peer {
    rtc: Rtc,
    sections: HashMap<Mid, Section>,
    /// Candidates of the server that came before its first offer.
    early: Vec<Candidate>,
    /// `str0m` lets no time pass for what arrived before the time that it knows already.
    latest: Instant,
    has_offer: bool,
    connected: bool,
    failed: bool,
}

/// One media section while it carries a track.
#[derive(Debug)]
struct Section {
    track: Arc<str>,
    asks_again: bool,
    need: KeyFrameNeed,
    /// Of H.265: what waits for its picture.
    parameters: ParameterSets,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        let rtc = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_pcmu(true, false)
            .enable_pcma(true, false)
            .enable_vp8(true)
            .enable_vp9(true)
            .enable_h264(true)
            .enable_h265(true)
            .enable_av1(true)
            .set_reordering_size_audio(AUDIO_HOLD)
            .set_reordering_timeout_audio(Some(AUDIO_HOLD_WITHIN))
            .set_reordering_size_video(VIDEO_HOLD)
            .build(now);
        Self {
            rtc,
            sections: HashMap::new(),
            early: Vec::new(),
            latest: now,
            has_offer: false,
            connected: false,
            failed: false,
        }
    }

    /// Whether it can still receive anything.
    pub(super) fn is_alive(&self) -> bool {
        !self.failed && self.rtc.is_alive()
    }

    /// Whether media can flow, or could once.
    pub(super) const fn was_connected(&self) -> bool {
        self.connected
    }

    /// Says where this machine can be reached; gives the candidate for the server, `None` when it is known already.
    pub(super) fn listens_at(
        &mut self,
        protocol: Protocol,
        at: SocketAddr,
    ) -> Result<Option<String>, PeerError> {
        let candidate = match protocol {
            Protocol::Udp => Candidate::builder().udp().host(at).build(),
            _ => Candidate::builder().tcp().host(at).tcptype(TcpType::Active).build(),
        };
        let candidate = candidate.map_err(PeerError::Candidate)?;
        Ok(self.rtc.add_local_candidate(candidate).map(Candidate::to_sdp_string))
    }

    /// The server can be reached there.
    pub(super) fn remote_candidate(&mut self, now: Instant, candidate: Candidate) {
        if !self.has_offer {
            self.early.push(candidate);
            return;
        }
        self.rtc.add_remote_candidate(candidate);
        self.tick(now);
    }

    /// Takes the server's offer, and answers it.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        offer: &proto::SessionDescription,
    ) -> Result<proto::SessionDescription, PeerError> {
        let parsed = SdpOffer::from_sdp_string(&offer.sdp).map_err(PeerError::Offer)?;
        self.renew_sections(offer, now);
        let answer = self.rtc.sdp_api().accept_offer(parsed)?;
        self.has_offer = true;
        for candidate in std::mem::take(&mut self.early) {
            self.rtc.add_remote_candidate(candidate);
        }
        self.ask_again_for_audio();
        // Without any input the ICE agent has no clock, and sends nothing.
        self.tick(now);
        Ok(proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.to_sdp_string(),
            id: offer.id,
            ..proto::SessionDescription::default()
        })
    }

    /// A section that carries another track than before keeps the old one's depacketizer, which drops every frame whose
    /// sequence number is below the old ones: it must go before the offer is accepted.
    fn renew_sections(&mut self, offer: &proto::SessionDescription, now: Instant) {
        let mut live = HashSet::new();
        for (mid, track) in &offer.mid_to_track_id {
            let mid = Mid::from(mid.as_str());
            live.insert(mid);
            if self.sections.get(&mid).is_some_and(|section| *section.track == **track) {
                continue;
            }
            if self.rtc.media(mid).is_some() {
                self.rtc.direct_api().remove_media(mid);
            }
            let need = KeyFrameNeed::new(now);
            let track = Arc::from(track.as_str());
            let section = Section { track, asks_again: false, need, parameters: ParameterSets::default() };
            self.sections.insert(mid, section);
        }
        // What is gone leaves no entry: the same track, subscribed to again, is another one.
        self.sections.retain(|mid, _| live.contains(mid));
    }

    /// LiveKit's servers retransmit sound, although they do not say so.
    fn ask_again_for_audio(&mut self) {
        for (mid, section) in &mut self.sections {
            if section.asks_again || self.rtc.media(*mid).is_none_or(|media| media.kind() != MediaKind::Audio)
            {
                continue;
            }
            if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(*mid, None) {
                stream.suppress_nack(false);
                section.asks_again = true;
            }
        }
    }

    /// The tracks that sections carry at present.
    pub(super) fn tracks(&self) -> HashSet<Arc<str>> {
        self.sections.values().map(|section| Arc::clone(&section.track)).collect()
    }

    /// A key frame of this track is needed: it is asked for until it comes, as often as servers allow.
    pub(super) fn need_key_frame(&mut self, track: &str, now: Instant) {
        for section in self.sections.values_mut().filter(|section| *section.track == *track) {
            section.need.arise(now);
        }
    }

    /// Something arrived at `local` from `remote`. What makes no sense is dropped.
    pub(super) fn receive(
        &mut self,
        at: Instant,
        protocol: Protocol,
        remote: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
    ) {
        let Ok(receive) = Receive::new(protocol, remote, local, bytes) else { return };
        self.latest = self.latest.max(at);
        let input = Input::Receive(self.latest, receive);
        // Whatever arrives from a network ends nothing: a peer that is dead says so itself.
        if self.rtc.accepts(&input)
            && let Err(error) = self.rtc.handle_input(input)
        {
            tracing::debug!(%error, "a packet that makes no sense");
        }
    }

    /// Time goes on.
    pub(super) fn tick(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        if let Err(error) = self.rtc.handle_input(Input::Timeout(self.latest)) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &RtcError) {
        tracing::warn!(%error, "the connection for media failed");
        self.failed = true;
    }

    /// What there is to do, until it is [`Next::Wait`].
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.failed {
            return Next::Wait(now + KEY_FRAME_EVERY);
        }
        let mut bad = 0;
        loop {
            let output = match self.rtc.poll_output() {
                // One publisher's packet that can't be put together is no reason to leave the room.
                Err(RtcError::Packet(mid, _, error)) if bad < MOST_BAD => {
                    bad += 1;
                    tracing::warn!(%mid, %error, "a packet that can't be unpacked");
                    continue;
                }
                Err(error) => {
                    self.fail(&error);
                    return Next::Wait(now);
                }
                Ok(output) => output,
            };
            match output {
                Output::Transmit(transmit) => return Next::Send(transmit),
                Output::Event(event) => {
                    if let Some(event) = self.on_event(event, now) {
                        return Next::Event(event);
                    }
                }
                Output::Timeout(until) => {
                    if self.ask_for_key_frames(now) {
                        continue;
                    }
                    let due = self.sections.values().filter_map(|section| section.need.due());
                    return Next::Wait(due.fold(until, Instant::min));
                }
            }
        }
    }

    fn ask_for_key_frames(&mut self, now: Instant) -> bool {
        let mut asked = false;
        for (mid, section) in &mut self.sections {
            if !section.need.ask(now) {
                continue;
            }
            let Some(mut writer) = self.rtc.writer(*mid) else { continue };
            // Sound has none, and a section without packets yet has nobody to ask.
            match writer.request_keyframe(None, KeyframeRequestKind::Pli) {
                Ok(()) => asked = true,
                Err(error) => tracing::trace!(track = %section.track, %error, "no key frame to ask for"),
            }
        }
        asked
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Option<PeerEvent> {
        match event {
            Event::Connected => {
                self.connected = true;
                Some(PeerEvent::Connected)
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => Some(PeerEvent::Interrupted),
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => Some(PeerEvent::Restored),
            Event::MediaAdded(_) => {
                self.ask_again_for_audio();
                None
            }
            Event::MediaData(data) => {
                let codec = codec(data.params.spec().codec)?;
                let section = self.sections.get_mut(&data.mid)?;
                let bytes = match codec {
                    TrackCodec::H265 => section.parameters.complete(data.data.clone())?,
                    _ => whole(data.data.clone(), &data.codec_extra),
                };
                let is_key = data.is_keyframe() || codec.kind() == super::codec::TrackKind::Audio;
                if is_key {
                    section.need.satisfy();
                } else if !data.contiguous {
                    section.need.arise(now);
                }
                let (track, needs_asking) = (Arc::clone(&section.track), !section.asks_again);
                if needs_asking {
                    self.ask_again_for_audio();
                }
                Some(PeerEvent::Frame(Frame {
                    track,
                    codec,
                    rtp_time: low(data.time.numer()),
                    clock_rate: data.time.denom(),
                    received_at: data.network_time,
                    is_key,
                    is_contiguous: data.contiguous,
                    bytes,
                }))
            }
            Event::SenderFeedback(feedback) => {
                let section = self.sections.get(&feedback.mid)?;
                let info = feedback.sender_info;
                Some(PeerEvent::Report(SenderReport {
                    track: Arc::clone(&section.track),
                    rtp_time: low(info.rtp_time.numer()),
                    clock_rate: info.rtp_time.denom(),
                    wall: info.ntp_time,
                    received_at: feedback.received_at,
                }))
            }
            _ => None,
        }
    }
}

/// `str0m` counts on when a clock comes round, and not always alike for frames and reports (docs/reference/signaling.md).
fn low(time: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "RTP's time is 32 bits")]
    let low = time as u32;
    low
}

/// A picture of several spatial layers is one frame of a file.
fn whole(bytes: Arc<[u8]>, extra: &CodecExtra) -> Arc<[u8]> {
    match extra {
        CodecExtra::Vp9(vp9) => {
            let ends: Vec<usize> = vp9.layers_scheme.iter().copied().flatten().collect();
            superframe::indexed(bytes, &ends)
        }
        _ => bytes,
    }
}

fn codec(codec: Codec) -> Option<TrackCodec> {
    Some(match codec {
        Codec::Opus => TrackCodec::Opus,
        Codec::PCMU => TrackCodec::Pcmu,
        Codec::PCMA => TrackCodec::Pcma,
        Codec::Vp8 => TrackCodec::Vp8,
        Codec::Vp9 => TrackCodec::Vp9,
        Codec::H264 => TrackCodec::H264,
        Codec::H265 => TrackCodec::H265,
        Codec::Av1 => TrackCodec::Av1,
        _ => return None,
    })
}

/// When a key frame is asked for: at once, and then again and again until one comes. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyFrameNeed {
    /// When it is asked for next; `None`: there is one.
    next: Option<Instant>,
    asked: Option<Instant>,
}

impl KeyFrameNeed {
    /// A new track needs one. Servers ask publishers themselves when somebody subscribes, so that it is not asked for at once.
    fn new(now: Instant) -> Self {
        Self { next: Some(now + KEY_FRAME_EVERY), asked: None }
    }

    fn arise(&mut self, now: Instant) {
        if self.next.is_none() {
            let earliest = self.asked.map_or(now, |asked| asked + KEY_FRAME_EVERY);
            self.next = Some(earliest.max(now));
        }
    }

    const fn satisfy(&mut self) {
        self.next = None;
    }

    const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to ask now.
    fn ask(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.asked = Some(now);
        self.next = Some(now + KEY_FRAME_EVERY);
        true
    }
}

#[cfg(test)]
mod tests;
