//! A participant that publishes known frames into a LiveKit room, so that recordings can be
//! compared frame by frame.
//!
//! It runs on a thread of its own, ends when it is dropped, and answers key-frame requests by
//! starting its frames anew.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use livekit_protocol as proto;
use livekit_token::{AccessToken, VideoGrants};
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::livekit::LiveKitServer;
use super::recorder::Recorder;

/// Deadline for a room's answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The codecs that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    Opus,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl Codec {
    const fn is_sound(self) -> bool {
        matches!(self, Self::Opus | Self::Pcmu | Self::Pcma)
    }

    /// Some frames of the codec; the first is a key frame.
    pub(crate) fn frames(self) -> Vec<Vec<u8>> {
        const PICTURES: &str = "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";
        const SOUND: &str = "audiotestsrc num-buffers=200 samplesperbuffer=960 wave=white-noise volume=0.2 ! audio/x-raw,rate=48000,channels=2";
        encoded_once(&match self {
            Self::Opus => format!("{SOUND} ! opusenc ! appsink name=out"),
            Self::Pcmu | Self::Pcma => return self.audio("wave=white-noise volume=0.2"),
            Self::Vp8 => format!("{PICTURES} ! vp8enc deadline=1 keyframe-max-dist=30 ! appsink name=out"),
            Self::Vp9 => {
                format!("{PICTURES} ! vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 ! appsink name=out")
            }
            Self::H264 => h264(320, 240),
            Self::H265 => format!(
                "{PICTURES} ! x265enc speed-preset=ultrafast tune=zerolatency key-int-max=30 ! \
                 video/x-h265,stream-format=byte-stream,alignment=au ! appsink name=out"
            ),
            Self::Av1 => format!(
                "{PICTURES} ! av1enc cpu-used=10 usage-profile=realtime keyframe-max-dist=30 lag-in-frames=0 ! \
                 av1parse ! video/x-av1,stream-format=obu-stream,alignment=frame ! appsink name=out"
            ),
        })
    }

    /// Four seconds of a tone of `hertz` (whole numbers, so that it loops without a jump); full
    /// scale is 1.
    pub(crate) fn tone(self, hertz: u32, level: f64) -> Vec<Vec<u8>> {
        match self {
            Self::Opus => {
                encoded_once(&format!(
                    "audiotestsrc num-buffers=250 samplesperbuffer=960 freq={hertz} volume={level} ! \
                     audio/x-raw,rate=48000,channels=1 ! opusenc bitrate=64000 ! appsink name=out"
                ))
                // The encoder has no input before this.
                .split_off(50)[..200]
                    .to_vec()
            }
            _ => self.audio(&format!("freq={hertz} volume={level}")),
        }
    }

    /// Four seconds of telephone audio.
    fn audio(self, of: &str) -> Vec<Vec<u8>> {
        let encoder = if self == Self::Pcmu { "mulawenc" } else { "alawenc" };
        encoded_once(&format!(
            "audiotestsrc num-buffers=200 samplesperbuffer=160 {of} ! audio/x-raw,rate=8000,channels=1 ! {encoder} ! \
             appsink name=out"
        ))
    }

    /// Frames of this size, with one key frame at the beginning.
    pub(crate) fn h264_frames(width: u32, height: u32) -> Vec<Vec<u8>> {
        encoded_once(&h264(width, height))
    }

    /// Step of its RTP clock from frame to frame.
    const fn step(self) -> (u64, u64) {
        match self {
            Self::Opus => (960, 48_000),
            Self::Pcmu | Self::Pcma => (160, 8_000),
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => (3_000, 90_000),
        }
    }

    fn rtc(self, is_redundant: bool) -> Rtc {
        let config = Rtc::builder().clear_codecs();
        // Video comes with audio, if there is any.
        let config = match self {
            Self::Pcmu | Self::Pcma => config,
            _ => config.enable_opus(true, is_redundant),
        };
        match self {
            Self::Opus => config,
            Self::Pcmu => config.enable_pcmu(true, false),
            Self::Pcma => config.enable_pcma(true, false),
            Self::Vp8 => config.enable_vp8(true),
            Self::Vp9 => config.enable_vp9(true),
            Self::H264 => config.enable_h264(true),
            Self::H265 => config.enable_h265(true),
            Self::Av1 => config.enable_av1(true),
        }
        .build(Instant::now())
    }
}

fn h264(width: u32, height: u32) -> String {
    format!(
        "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width={width},height={height},framerate=30/1 ! \
         x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 bitrate=500 aud=false ! \
         video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline ! appsink name=out"
    )
}

/// A second of frames, the first three of them white; each can be decoded by itself.
pub(crate) fn flashing() -> Vec<Vec<u8>> {
    let frames = |pattern: &str, count: u32| {
        encoded_once(&format!(
            "videotestsrc num-buffers={count} pattern={pattern} ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! \
             vp8enc deadline=1 keyframe-max-dist=1 ! appsink name=out"
        ))
    };
    [frames("white", 3), frames("black", 27)].concat()
}

/// A second of audio; the first tenth of it is a tone.
pub(crate) fn beeping() -> Vec<Vec<u8>> {
    let audio = |wave: &str, count: u32| {
        encoded_once(&format!(
            "audiotestsrc num-buffers={count} samplesperbuffer=960 freq=1000 wave={wave} volume=0.4 ! \
             audio/x-raw,rate=48000,channels=2 ! opusenc ! appsink name=out"
        ))
    };
    [&audio("sine", 10)[..5], &audio("silence", 50)[..45]].concat()
}

/// [`encoded`], cached for all tests of the run that want the same frames: encoders take much of a
/// machine that runs many tests.
pub(crate) fn encoded_once(pipeline: &str) -> Vec<Vec<u8>> {
    type Encoded = Arc<OnceLock<Vec<Vec<u8>>>>;
    static ALL: Mutex<BTreeMap<String, Encoded>> = Mutex::new(BTreeMap::new());
    let frames = Arc::clone(locked(&ALL).entry(pipeline.to_owned()).or_default());
    frames.get_or_init(|| encoded(pipeline)).clone()
}

/// The buffers of a pipeline at its `appsink name=out`.
pub(crate) fn encoded(pipeline: &str) -> Vec<Vec<u8>> {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(pipeline).unwrap_or_else(|error| {
        panic!("{error}: install what is missing with scripts/packages.sh: {pipeline}")
    });
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    sink.set_property("sync", false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut frames = Vec::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(60)) {
        let buffer = sample.buffer().unwrap();
        if !buffer.flags().contains(gst::BufferFlags::HEADER) || buffer.pts().is_some() {
            frames.push(buffer.map_readable().unwrap().to_vec());
        }
    }
    assert!(sink.is_eos(), "the pipeline stands still");
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}

/// The units of a frame; most codecs have one per frame. Start codes and delimiters are left out.
pub(crate) fn units_of(frame: &[u8], codec: Codec) -> Vec<Vec<u8>> {
    let is_delimiter: fn(u8) -> bool = match codec {
        Codec::H264 => |header| header & 0x1f == 9,
        Codec::H265 => |header| (header >> 1) & 0x3f == 35,
        // A temporal delimiter is empty and is dropped on the way.
        Codec::Av1 => return vec![frame.strip_prefix(&[0x12, 0]).unwrap_or(frame).to_vec()],
        _ => return vec![frame.to_vec()],
    };
    let starts: Vec<usize> =
        frame.windows(3).enumerate().filter(|(_, at)| *at == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([frame.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = &frame[*start..end];
        // The first zero of a four-byte start code.
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        unit[..unit.len() - zeros].to_vec()
    };
    starts.iter().zip(ends).map(unit).filter(|unit| !is_delimiter(unit[0])).collect()
}

/// Decides which frame is sent when.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// One after the other; a key-frame request starts over at the first one.
    InTurn,
    /// By the participant's clock. The track's own clock is faster by `fast` millionths: it makes
    /// more frames than there is time for.
    ByClock { fast: f64 },
}

/// Commands for a published track.
enum Ask {
    Publish {
        codec: Codec,
        frames: Vec<Vec<u8>>,
        order: Order,
        sid: oneshot::Sender<String>,
    },
    Vanish,
    /// `done`: a channel of the standard library, as tests wait for it inside runtimes, too.
    Mute {
        sid: String,
        muted: bool,
        /// Whether the server is notified.
        is_notified: bool,
        done: std::sync::mpsc::Sender<()>,
    },
    Replace {
        sid: String,
        frames: Vec<Vec<u8>>,
        done: std::sync::mpsc::Sender<()>,
    },
}

/// Sent frames of a track, in order.
pub(crate) type Sent = Arc<Mutex<Vec<Arc<[u8]>>>>;

/// A participant that publishes tracks of one codec.
#[derive(Debug)]
pub(crate) struct Publisher {
    asks: Option<mpsc::UnboundedSender<Ask>>,
    sent: Arc<Mutex<HashMap<String, Sent>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

impl Publisher {
    pub(crate) fn join(server: &LiveKitServer, room: &str, identity: &str, codec: Codec) -> Self {
        Self::join_as(server, room, identity, codec, "standard")
    }

    /// The same, with a participant kind: `agent`.
    pub(crate) fn join_as(
        server: &LiveKitServer,
        room: &str,
        identity: &str,
        codec: Codec,
        kind: &str,
    ) -> Self {
        Self::join_with(server, room, identity, codec, kind, false)
    }

    /// The same, with each Opus packet sent a second time in the next one (RFC 2198).
    pub(crate) fn join_redundant(server: &LiveKitServer, room: &str, identity: &str) -> Self {
        Self::join_with(server, room, identity, Codec::Opus, "standard", true)
    }

    fn join_with(
        server: &LiveKitServer,
        room: &str,
        identity: &str,
        codec: Codec,
        kind: &str,
        is_redundant: bool,
    ) -> Self {
        let grants = VideoGrants {
            room_join: true,
            room: room.to_owned(),
            can_publish: Some(true),
            can_subscribe: Some(true),
            ..VideoGrants::default()
        };
        let keys = server.keys();
        let token = AccessToken::with_api_key(&keys.key, &keys.secret).with_identity(identity);
        let token = token.with_kind(kind).with_grants(grants).to_jwt().unwrap();
        let url =
            format!("{}/rtc?protocol=15&version=0.1&sdk=rust&os=linux&auto_subscribe=0", server.ws_url());
        let (asks, asked) = mpsc::unbounded_channel();
        let sent: Arc<Mutex<HashMap<String, Sent>>> = Arc::default();
        let shared = Arc::clone(&sent);
        let (joined, is_joined) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let rtc = codec.rtc(is_redundant);
                let mut participant = Participant::join(&url, &token, rtc, is_redundant, shared).await;
                joined.send(()).unwrap();
                participant.run(asked).await;
            });
        });
        is_joined.recv_timeout(PATIENCE).expect("the publisher joins");
        Self { asks: Some(asks), sent, thread: Some(thread) }
    }

    /// Publishes a track that repeats these frames; returns its sid.
    pub(crate) fn publish(&self, codec: Codec, frames: Vec<Vec<u8>>) -> String {
        self.publish_so(codec, frames, Order::InTurn)
    }

    /// The same, but the participant's clock alone selects the frame, however late it is and
    /// whoever requests a key frame: frames of two tracks for the same time are sent together.
    pub(crate) fn publish_by_clock(&self, codec: Codec, frames: Vec<Vec<u8>>) -> String {
        self.publish_so(codec, frames, Order::ByClock { fast: 0.0 })
    }

    /// The same, with a clock that is faster by `fast` millionths.
    pub(crate) fn publish_by_fast_clock(&self, codec: Codec, frames: Vec<Vec<u8>>, fast: f64) -> String {
        self.publish_so(codec, frames, Order::ByClock { fast })
    }

    fn publish_so(&self, codec: Codec, frames: Vec<Vec<u8>>, order: Order) -> String {
        let (sid, published) = oneshot::channel();
        self.ask(Ask::Publish { codec, frames, order, sid });
        published.blocking_recv().expect("the track is published")
    }

    /// Mutes or unmutes a track. Waits until it is done: on a busy machine the participant would
    /// otherwise do both at once.
    pub(crate) fn mute(&self, sid: &str, muted: bool) {
        let (done, is_done) = std::sync::mpsc::channel();
        self.ask(Ask::Mute { sid: sid.to_owned(), muted, is_notified: true, done });
        is_done.recv_timeout(PATIENCE).expect("the track is muted or not");
    }

    /// Stops or resumes sending a track silently, as if the network lost everything. Its clock
    /// continues.
    pub(crate) fn pause(&self, sid: &str, paused: bool) {
        let (done, is_done) = std::sync::mpsc::channel();
        self.ask(Ask::Mute { sid: sid.to_owned(), muted: paused, is_notified: false, done });
        is_done.recv_timeout(PATIENCE).expect("the track is paused or not");
    }

    /// Sends other frames from now on, from their first one.
    pub(crate) fn replace(&self, sid: &str, frames: Vec<Vec<u8>>) {
        let (done, is_done) = std::sync::mpsc::channel();
        self.ask(Ask::Replace { sid: sid.to_owned(), frames, done });
        is_done.recv_timeout(PATIENCE).expect("the frames are replaced");
    }

    /// Disappears without a goodbye; nothing more is sent.
    pub(crate) fn vanish(self) {
        self.ask(Ask::Vanish);
    }

    /// The frames of a track sent so far.
    pub(crate) fn sent(&self, sid: &str) -> Vec<Arc<[u8]>> {
        let sent = Arc::clone(&locked(&self.sent)[sid]);
        locked(&sent).clone()
    }

    /// Waits until `count` more frames of a track have been sent.
    #[track_caller]
    pub(crate) fn until_sent(&self, recorder: &mut Recorder, sid: &str, more: usize) {
        let all = self.sent(sid).len() + more;
        let is_sent = || (self.sent(sid).len() >= all).then_some(());
        recorder.until(&format!("{more} more frames are sent"), is_sent);
    }

    fn ask(&self, ask: Ask) {
        self.asks.as_ref().expect("it runs").send(ask).expect("the publisher is in the room");
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Participant {
    socket: Socket,
    sending: Side,
    receiving: Side,
    is_redundant: bool,
    /// The offer of a track's section, and the channel that waits for its answer with the track's
    /// sid.
    pending: Option<(SdpPendingOffer, oneshot::Sender<String>, String)>,
    waiting: Vec<Waiting>,
    tracks: Vec<Track>,
    sent: Arc<Mutex<HashMap<String, Sent>>>,
    epoch: Instant,
}

/// A track that the server has not accepted yet.
struct Waiting {
    cid: String,
    codec: Codec,
    frames: Vec<Vec<u8>>,
    order: Order,
    told: oneshot::Sender<String>,
}

/// A peer connection with its socket.
struct Side {
    rtc: Rtc,
    udp: UdpSocket,
    local: SocketAddr,
    target: proto::SignalTarget,
    has_remote: bool,
    early: Vec<Candidate>,
    connected: bool,
}

struct Track {
    sid: String,
    codec: Codec,
    mid: Mid,
    frames: Vec<Vec<u8>>,
    /// Start of counting the frames sent by the clock.
    epoch: Option<Instant>,
    /// Frame duration by the participant's clock.
    period: Duration,
    next: usize,
    ticks: u64,
    due: Instant,
    muted: bool,
    sent: Sent,
}

impl Side {
    async fn new(rtc: Rtc, target: proto::SignalTarget) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = udp.local_addr().unwrap();
        let mut side =
            Self { rtc, udp, local, target, has_remote: false, early: Vec::new(), connected: false };
        side.rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).unwrap());
        side
    }

    fn add(&mut self, candidate: Candidate) {
        if self.has_remote {
            self.rtc.add_remote_candidate(candidate);
            self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        } else {
            self.early.push(candidate);
        }
    }

    fn has_remote(&mut self) {
        self.has_remote = true;
        for candidate in std::mem::take(&mut self.early) {
            self.rtc.add_remote_candidate(candidate);
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
    }

    /// Returns the next deadline, and the sections for which key frames are requested.
    fn drain(&mut self, wanted: &mut Vec<Mid>) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(until) => return until,
                Output::Transmit(transmit) => {
                    drop(self.udp.try_send_to(&transmit.contents, transmit.destination));
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::KeyframeRequest(request)) => wanted.push(request.mid),
                Output::Event(_) => {}
            }
        }
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        if let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, bytes) {
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
        }
    }
}

impl Participant {
    async fn join(
        url: &str,
        token: &str,
        rtc: Rtc,
        is_redundant: bool,
        sent: Arc<Mutex<HashMap<String, Sent>>>,
    ) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let sending = Side::new(rtc, proto::SignalTarget::Publisher).await;
        let receiving = Side::new(Rtc::new(Instant::now()), proto::SignalTarget::Subscriber).await;
        let (waiting, tracks) = (Vec::new(), Vec::new());
        let (pending, epoch) = (None, Instant::now());
        Self { socket, sending, receiving, is_redundant, pending, waiting, tracks, sent, epoch }
    }

    async fn run(&mut self, mut asked: mpsc::UnboundedReceiver<Ask>) {
        let (mut first, mut second) = ([0; 2048], [0; 2048]);
        let mut pings = tokio::time::interval(Duration::from_secs(5));
        loop {
            self.send_due();
            let mut wanted = Vec::new();
            let wake = self.sending.drain(&mut wanted).min(self.receiving.drain(&mut Vec::new()));
            for track in self.tracks.iter_mut().filter(|track| wanted.contains(&track.mid)) {
                track.next = 0;
            }
            let due = self.tracks.iter().filter(|track| !track.muted).map(|track| track.due);
            let wake = due.fold(wake, Instant::min);
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(Ask::Vanish) => return,
                    Some(ask) => self.on_ask(ask).await,
                    None => break,
                },
                message = self.socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some(message) = proto::SignalResponse::decode(bytes).unwrap().message {
                            self.on_message(message).await;
                        }
                    }
                    Some(Ok(_)) => {}
                    // The room is closed.
                    Some(Err(_)) | None => return,
                },
                Ok((len, from)) = self.sending.udp.recv_from(&mut first) => self.sending.receive(from, &first[..len]),
                Ok((len, from)) = self.receiving.udp.recv_from(&mut second) => self.receiving.receive(from, &second[..len]),
                _ = pings.tick() => {
                    self.send(Request::PingReq(proto::Ping { timestamp: 1, rtt: 0 })).await;
                }
                () = tokio::time::sleep_until(wake.into()) => {
                    let now = Instant::now();
                    self.sending.rtc.handle_input(Input::Timeout(now)).unwrap();
                    self.receiving.rtc.handle_input(Input::Timeout(now)).unwrap();
                }
            }
        }
        let leave = proto::LeaveRequest::default();
        self.send(Request::Leave(leave)).await;
        drop(self.socket.close(None).await);
    }

    fn send_due(&mut self) {
        if !self.sending.connected {
            return;
        }
        let now = Instant::now();
        for track in self.tracks.iter_mut().filter(|track| track.due <= now) {
            let (step, rate) = track.codec.step();
            if track.muted {
                // The clock continues.
                while track.due <= now {
                    (track.due, track.ticks) = (track.due + track.period, track.ticks + step);
                }
                continue;
            }
            // A sender report describes the due time of a frame.
            let moment = track.due;
            (track.due, track.ticks) = (track.due + track.period, track.ticks + step);
            let Some(writer) = self.sending.rtc.writer(track.mid) else { continue };
            let pt = writer.payload_params().next().unwrap().pt();
            if let Some(epoch) = track.epoch {
                let place = (moment - epoch).as_secs_f64() * rate as f64 / step as f64;
                track.next = place.round() as usize;
            }
            let frame: Arc<[u8]> = track.frames[track.next % track.frames.len()].clone().into();
            track.next += 1;
            let time = MediaTime::new(track.ticks, str0m::media::Frequency::new(rate as u32).unwrap());
            writer.write(pt, moment, time, Arc::clone(&frame)).unwrap();
            locked(&track.sent).push(frame);
            // str0m wants all output taken after each write.
            let mut wanted = Vec::new();
            self.sending.drain(&mut wanted);
            if wanted.contains(&track.mid) {
                track.next = 0;
            }
        }
    }

    async fn on_ask(&mut self, ask: Ask) {
        match ask {
            // A participant that has disappeared does nothing.
            Ask::Vanish => {}
            Ask::Publish { codec, frames, order, sid } => {
                let cid = format!("cid-{}", self.tracks.len() + self.waiting.len());
                let kind = if codec.is_sound() { proto::TrackType::Audio } else { proto::TrackType::Video };
                let source = if codec.is_sound() {
                    proto::TrackSource::Microphone
                } else {
                    proto::TrackSource::Camera
                };
                self.send(Request::AddTrack(proto::AddTrackRequest {
                    cid: cid.clone(),
                    name: cid.clone(),
                    r#type: kind.into(),
                    source: source.into(),
                    width: 320,
                    height: 240,
                    disable_red: !self.is_redundant,
                    ..proto::AddTrackRequest::default()
                }))
                .await;
                self.waiting.push(Waiting { cid, codec, frames, order, told: sid });
            }
            Ask::Mute { sid, muted, is_notified, done } => {
                if is_notified {
                    self.send(Request::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted })).await;
                }
                if let Some(track) = self.tracks.iter_mut().find(|track| track.sid == sid) {
                    track.muted = muted;
                    track.next = 0;
                }
                done.send(()).ok();
            }
            Ask::Replace { sid, frames, done } => {
                if let Some(track) = self.tracks.iter_mut().find(|track| track.sid == sid) {
                    (track.frames, track.next) = (frames, 0);
                }
                done.send(()).ok();
            }
        }
    }

    async fn on_message(&mut self, message: Response) {
        match message {
            Response::Offer(offer) => {
                let parsed = SdpOffer::from_sdp_string(&offer.sdp).unwrap();
                let answer = self.receiving.rtc.sdp_api().accept_offer(parsed).unwrap();
                self.receiving.has_remote();
                self.send(Request::Answer(proto::SessionDescription {
                    r#type: "answer".to_owned(),
                    sdp: answer.to_sdp_string(),
                    id: offer.id,
                    ..proto::SessionDescription::default()
                }))
                .await;
            }
            Response::Answer(answer) => {
                let parsed = SdpAnswer::from_sdp_string(&answer.sdp).unwrap();
                let (pending, told, sid) = self.pending.take().expect("an offer was made");
                self.sending.rtc.sdp_api().accept_answer(pending, parsed).unwrap();
                self.sending.has_remote();
                drop(told.send(sid));
            }
            Response::Trickle(trickle) => {
                let init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).unwrap();
                let Ok(candidate) = Candidate::from_sdp_string(init["candidate"].as_str().unwrap()) else {
                    return;
                };
                if candidate.proto() == Protocol::Udp {
                    let is_sending = trickle.target() == self.sending.target;
                    if is_sending { self.sending.add(candidate) } else { self.receiving.add(candidate) }
                }
            }
            Response::TrackPublished(published) => {
                let at = self.waiting.iter().position(|waiting| waiting.cid == published.cid).unwrap();
                let Waiting { cid, codec, frames, order, told } = self.waiting.swap_remove(at);
                let sid = published.track.unwrap().sid;
                let kind = if codec.is_sound() { MediaKind::Audio } else { MediaKind::Video };
                let mut api = self.sending.rtc.sdp_api();
                let mid =
                    api.add_media(kind, Direction::SendOnly, Some("stream".to_owned()), Some(cid), None);
                let (offer, pending) = api.apply().unwrap();
                let before = self.pending.replace((pending, told, sid.clone()));
                assert!(before.is_none(), "one offer at a time");
                self.send(Request::Offer(proto::SessionDescription {
                    r#type: "offer".to_owned(),
                    sdp: offer.to_sdp_string(),
                    id: 1,
                    ..proto::SessionDescription::default()
                }))
                .await;
                let sent = Sent::default();
                locked(&self.sent).insert(sid.clone(), Arc::clone(&sent));
                let (next, ticks, muted) = (0, 0, false);
                let (epoch, fast) = match order {
                    Order::InTurn => (None, 0.0),
                    Order::ByClock { fast } => (Some(self.epoch), fast),
                };
                let (step, rate) = codec.step();
                let period = Duration::from_secs_f64(step as f64 / rate as f64 / (1.0 + fast / 1e6));
                // The epoch plus a whole number of seconds, so that all tracks have a frame there.
                let due = epoch.map_or_else(Instant::now, |epoch| {
                    epoch + Duration::from_secs(epoch.elapsed().as_secs() + 1)
                });
                self.tracks.push(Track {
                    sid,
                    codec,
                    mid,
                    frames,
                    epoch,
                    period,
                    next,
                    ticks,
                    due,
                    muted,
                    sent,
                });
            }
            _ => {}
        }
    }

    async fn send(&mut self, request: Request) {
        let bytes = proto::SignalRequest { message: Some(request) }.encode_to_vec();
        // A closed room is noticed where messages are read.
        drop(self.socket.send(Message::Binary(bytes.into())).await);
    }
}
