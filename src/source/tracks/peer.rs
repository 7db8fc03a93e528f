//! The receiving WebRTC peer: a session of `str0m` in frame mode, without sockets or a clock.
//!
//! Its owner hands in packets with their times, and sends the packets that it returns. The peer
//! knows which media section carries which track, and works around two properties of LiveKit's
//! servers (docs/reference/signaling.md): a reused media section is removed before its offer is
//! accepted, and lost audio is requested again although servers do not offer that.

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

/// Reordering buffers that wait for a second retransmission: no packet is lost at 10 % packet loss.
const AUDIO_HOLD: usize = 100;
const AUDIO_HOLD_WITHIN: Duration = Duration::from_secs(2);
const VIDEO_HOLD: usize = 300;
/// Malformed packets that are skipped in one turn: more than arrive in it.
const MOST_BAD: u32 = 1000;
/// Interval of key frame requests. Servers ignore more frequent ones (docs/reference/signaling.md).
const KEY_FRAME_EVERY: Duration = Duration::from_secs(1);

/// Error of the media connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the server's offer is invalid")]
    Offer(#[source] str0m::error::SdpError),
    #[error("the media connection failed")]
    Rtc(#[from] RtcError),
    #[error("an address of this machine can't be used as an ICE candidate")]
    Candidate(#[source] str0m::error::IceError),
}

/// Output of the peer.
#[derive(Debug)]
pub(super) enum Next {
    Send(Transmit),
    Event(PeerEvent),
    /// Nothing to do before this time, unless a packet arrives.
    Wait(Instant),
}

#[derive(Debug)]
pub(super) enum PeerEvent {
    /// Media is connected.
    Connected,
    /// The connection is interrupted and may come back.
    Interrupted,
    /// The connection is back.
    Restored,
    Frame(Frame),
    Report(SenderReport),
}

/// One video frame or one audio packet, as it was published.
#[derive(Debug, Clone)]
pub struct Frame {
    /// `TR_…`
    pub track: Arc<str>,
    pub codec: TrackCodec,
    /// RTP time, which begins anywhere and wraps around.
    pub rtp_time: u32,
    /// Ticks of RTP time per second.
    pub clock_rate: u32,
    /// Time at which its first packet arrived.
    pub received_at: Instant,
    /// Whether it is a key frame. Every audio packet is one.
    pub is_key: bool,
    /// Whether no frame is missing before it.
    pub is_contiguous: bool,
    /// H.264 and H.265 as a byte stream, AV1 as OBUs with sizes.
    pub bytes: Arc<[u8]>,
}

/// A publisher's RTCP sender report: relates RTP time to the publisher's clock.
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
    /// The latest time that `str0m` was given; it must not go back.
    latest: Instant,
    has_offer: bool,
    connected: bool,
    failed: bool,
}

/// One media section while it carries a track.
#[derive(Debug)]
struct Section {
    track: Arc<str>,
    has_nack: bool,
    need: KeyFrameNeed,
    /// Parameter sets of H.265 that wait for their frame.
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

    /// Whether the session can still receive media.
    pub(super) fn is_alive(&self) -> bool {
        !self.failed && self.rtc.is_alive()
    }

    /// Whether media is or was connected.
    pub(super) const fn was_connected(&self) -> bool {
        self.connected
    }

    /// Adds a local address. Returns its candidate for the server; `None` if it was added before.
    pub(super) fn add_local(
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

    /// Adds an address of the server.
    pub(super) fn add_remote(&mut self, now: Instant, candidate: Candidate) {
        if !self.has_offer {
            self.early.push(candidate);
            return;
        }
        self.rtc.add_remote_candidate(candidate);
        self.tick(now);
    }

    /// Accepts the server's offer and returns the answer.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        offer: &proto::SessionDescription,
    ) -> Result<proto::SessionDescription, PeerError> {
        let parsed = SdpOffer::from_sdp_string(&offer.sdp).map_err(PeerError::Offer)?;
        self.update_sections(offer, now);
        let answer = self.rtc.sdp_api().accept_offer(parsed)?;
        self.has_offer = true;
        for candidate in std::mem::take(&mut self.early) {
            self.rtc.add_remote_candidate(candidate);
        }
        self.enable_audio_nack();
        // The ICE agent sends nothing before its first input.
        self.tick(now);
        Ok(proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.to_sdp_string(),
            id: offer.id,
            ..proto::SessionDescription::default()
        })
    }

    /// Removes sections that carry another track than before. They would keep the old depacketizer,
    /// which drops frames with lower sequence numbers.
    fn update_sections(&mut self, offer: &proto::SessionDescription, now: Instant) {
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
            let section = Section { track, has_nack: false, need, parameters: ParameterSets::default() };
            self.sections.insert(mid, section);
        }
        // A track that is subscribed to again starts anew.
        self.sections.retain(|mid, _| live.contains(mid));
    }

    /// Enables requests for lost audio. LiveKit's servers retransmit it without offering that.
    fn enable_audio_nack(&mut self) {
        for (mid, section) in &mut self.sections {
            if section.has_nack || self.rtc.media(*mid).is_none_or(|media| media.kind() != MediaKind::Audio) {
                continue;
            }
            if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(*mid, None) {
                stream.suppress_nack(false);
                section.has_nack = true;
            }
        }
    }

    /// The tracks that sections carry now.
    pub(super) fn tracks(&self) -> HashSet<Arc<str>> {
        self.sections.values().map(|section| Arc::clone(&section.track)).collect()
    }

    /// Requests a key frame of this track until one comes, as often as servers allow.
    pub(super) fn request_key_frame(&mut self, track: &str, now: Instant) {
        for section in self.sections.values_mut().filter(|section| *section.track == *track) {
            section.need.arise(now);
        }
    }

    /// Takes a packet that arrived at `local` from `remote`. Invalid packets are dropped.
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
        // An invalid packet must not end the session.
        if self.rtc.accepts(&input)
            && let Err(error) = self.rtc.handle_input(input)
        {
            tracing::debug!(%error, "invalid packet dropped");
        }
    }

    /// Lets time go on.
    pub(super) fn tick(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        if let Err(error) = self.rtc.handle_input(Input::Timeout(self.latest)) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &RtcError) {
        tracing::warn!(%error, "media connection failed");
        self.failed = true;
    }

    /// Returns the next output. To be called until it is [`Next::Wait`].
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.failed {
            return Next::Wait(now + KEY_FRAME_EVERY);
        }
        let mut bad = 0;
        loop {
            let output = match self.rtc.poll_output() {
                // A malformed packet of one publisher must not end the session.
                Err(RtcError::Packet(mid, _, error)) if bad < MOST_BAD => {
                    bad += 1;
                    tracing::warn!(%mid, %error, "malformed media packet dropped");
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
                    if self.send_key_frame_requests(now) {
                        continue;
                    }
                    let due = self.sections.values().filter_map(|section| section.need.due());
                    return Next::Wait(due.fold(until, Instant::min));
                }
            }
        }
    }

    fn send_key_frame_requests(&mut self, now: Instant) -> bool {
        let mut asked = false;
        for (mid, section) in &mut self.sections {
            if !section.need.take_request(now) {
                continue;
            }
            let Some(mut writer) = self.rtc.writer(*mid) else { continue };
            // Fails for audio, and for a section that has not received packets.
            match writer.request_keyframe(None, KeyframeRequestKind::Pli) {
                Ok(()) => asked = true,
                Err(error) => tracing::trace!(track = %section.track, %error, "key frame not requested"),
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
                self.enable_audio_nack();
                None
            }
            Event::MediaData(data) => {
                let codec = codec(data.params.spec().codec)?;
                let section = self.sections.get_mut(&data.mid)?;
                let bytes = match codec {
                    TrackCodec::H265 => section.parameters.complete(data.data.clone())?,
                    _ => joined(data.data.clone(), &data.codec_extra),
                };
                let is_key = data.is_keyframe() || codec.kind() == super::codec::TrackKind::Audio;
                if is_key {
                    section.need.satisfy();
                } else if !data.contiguous {
                    section.need.arise(now);
                }
                let (track, needs_nack) = (Arc::clone(&section.track), !section.has_nack);
                if needs_nack {
                    self.enable_audio_nack();
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

/// `str0m` extends RTP time beyond 32 bits, not always alike for frames and sender reports.
fn low(time: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "RTP time has 32 bits")]
    let low = time as u32;
    low
}

/// Joins the spatial layers of a VP9 frame.
fn joined(bytes: Arc<[u8]>, extra: &CodecExtra) -> Arc<[u8]> {
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

/// When to request a key frame: immediately, and repeatedly until one comes. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyFrameNeed {
    /// Time of the next request; `None` if none is needed.
    next: Option<Instant>,
    /// Time of the last request.
    requested: Option<Instant>,
}

impl KeyFrameNeed {
    /// The need of a new track. The first request waits, because servers make one themselves when
    /// somebody subscribes.
    fn new(now: Instant) -> Self {
        Self { next: Some(now + KEY_FRAME_EVERY), requested: None }
    }

    fn arise(&mut self, now: Instant) {
        if self.next.is_none() {
            let earliest = self.requested.map_or(now, |requested| requested + KEY_FRAME_EVERY);
            self.next = Some(earliest.max(now));
        }
    }

    const fn satisfy(&mut self) {
        self.next = None;
    }

    const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether to send a request now, and then plans the next one.
    fn take_request(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.requested = Some(now);
        self.next = Some(now + KEY_FRAME_EVERY);
        true
    }
}

#[cfg(test)]
mod tests;
