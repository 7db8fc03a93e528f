//! One connection's pipeline.
//!
//! ```text
//! RTMP  Feed(h264) ─► VideoGate ─► appsrc ─► h264parse ─┐
//!       Feed(aac) ► AudioGate ► appsrc ─► aacparse ─┴─► flvmux ─────► rtmp2sink
//!
//! SRT   Feed(h264) ─► VideoGate ─► appsrc ─► h264parse ─┐
//!       Feed(aac) ► AudioGate ► appsrc ─► aacparse ─┴─► mpegtsmux ──► srtsink
//! ```
//!
//! The sinks neither wait for the clock nor reconnect by themselves: the media comes in real time,
//! and reconnecting is the [`Connection`](super::connection)'s.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::Stream;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use url::form_urlencoded;

use super::keyframe_gate::{AudioGate, KeyframeGate, Times, VideoGate};
use super::srt_uri::srt_uri;
use crate::media::{
    Attachment, Feed, Intake, KeyFrames, MediaPipeline, Overflow, PipelineError, PipelineEvent,
};
use crate::plan::stream_url::Transport;

/// On top of an SRT connection's latency, for the way there and the receiver's own threads.
const LATENCY_MARGIN: Duration = Duration::from_millis(150);

/// The parts of a connection, independent of its address.
#[derive(Debug, Clone)]
pub(super) struct PipelineSpec {
    /// For logs and error texts; without any part of the address.
    pub(super) name: String,
    pub(super) protocol: Transport,
    pub(super) video: Option<Feed>,
    pub(super) audio: Option<Feed>,
    pub(super) key_frames: KeyFrames,
    /// Media that waits for the network, at most.
    pub(super) queue: Duration,
    /// For threads that must not hold up anybody.
    pub(super) tasks: TaskTracker,
}

/// Why a connection's pipeline could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The text is GStreamer's, and may hold the address.
    #[error("the address can't be used: {0}")]
    Address(String),
}

/// A connection: a running pipeline that takes from the feeds. Dropping it brings the pipeline down
/// on another thread.
pub(super) struct StreamPipeline {
    pipeline: Option<MediaPipeline>,
    events: Pin<Box<dyn Stream<Item = PipelineEvent> + Send>>,
    sink: gst::Element,
    counter: &'static str,
    sources: Vec<AppSrc>,
    attachments: Vec<Attachment>,
    gate: KeyframeGate,
    dropped: Arc<AtomicU64>,
    listens: bool,
    /// A look at the sent bytes that has not come back yet.
    looking: Option<JoinHandle<Reading>>,
    /// How long the other end holds what it received, as far as is known.
    latency: Duration,
    tasks: TaskTracker,
}

impl std::fmt::Debug for StreamPipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

impl StreamPipeline {
    /// Builds the pipeline, starts it, attaches the feeds and requests a key frame. May block while
    /// a name is resolved (`srtsink` does that while it starts): call it on a thread that may wait.
    ///
    /// # Errors
    ///
    /// When an element is missing, the address is invalid, or the pipeline does not start.
    pub(super) fn open(spec: &PipelineSpec, address: &str) -> Result<Self, ConnectError> {
        let pipeline = MediaPipeline::new(&spec.name);
        let (muxer, sink) = match spec.protocol {
            Transport::Rtmp => rtmp(&pipeline)?,
            Transport::Srt => srt(&pipeline, address)?,
        };
        set_address(&sink, &uri(spec.protocol, address))?;
        let listens = spec.protocol == Transport::Srt && srt_mode(address) == SrtMode::Listener;
        if listens {
            // A receiver that connects in the middle of a GOP does not have to wait for the next
            // one.
            let key_frames = spec.key_frames.clone();
            sink.connect("caller-added", false, move |_| {
                key_frames.request();
                None
            });
        }
        pipeline.link(&[&muxer, &sink])?;

        let max_time = gst::ClockTime::try_from(spec.queue).unwrap_or(gst::ClockTime::from_seconds(3));
        let overflow = Overflow::SkipToKeyFrame { max_time };
        let (mut sources, mut dropped) = (Vec::new(), None);
        let mut intake = |name: &str, parser: &gst::Element| -> Result<Intake, PipelineError> {
            let intake = Intake::new(name, overflow, false)?;
            pipeline.adopt(intake.element())?;
            pipeline.link(&[intake.element(), parser, &muxer])?;
            sources.push(intake.app_src().clone());
            dropped.get_or_insert_with(|| intake.dropped());
            Ok(intake)
        };
        // Video first: drops are counted at the leading medium.
        let video = match &spec.video {
            Some(feed) => {
                let parser = pipeline.add("h264parse")?;
                if spec.protocol == Transport::Srt {
                    // Who tunes in at any key frame finds the parameter sets there.
                    parser.set_property("config-interval", -1i32);
                }
                Some((feed, intake("video", &parser)?))
            }
            None => None,
        };
        let audio = match &spec.audio {
            Some(feed) => Some((feed, intake("audio", &pipeline.add("aacparse")?)?)),
            None => None,
        };

        let events = pipeline.events();
        pipeline.play()?;

        let times = match spec.protocol {
            Transport::Rtmp => Times::FromZero,
            Transport::Srt => Times::Media,
        };
        let gate = KeyframeGate::default();
        let mut attachments = Vec::new();
        let has_video = video.is_some();
        if let Some((feed, intake)) = audio {
            attachments.push(match has_video {
                true => feed.attach(Box::new(AudioGate::new(gate.clone(), times, intake))),
                false => feed.attach(Box::new(VideoGate::new(gate.clone(), times, intake))),
            });
        }
        if let Some((feed, intake)) = video {
            attachments.push(feed.attach(Box::new(VideoGate::new(gate.clone(), times, intake))));
            spec.key_frames.request();
        }
        Ok(Self {
            events,
            sink,
            counter: match spec.protocol {
                Transport::Rtmp => "out-bytes-total",
                Transport::Srt => "bytes-sent-total",
            },
            sources,
            attachments,
            gate,
            dropped: dropped.unwrap_or_default(),
            listens,
            looking: None,
            latency: Duration::ZERO,
            tasks: spec.tasks.clone(),
            pipeline: Some(pipeline),
        })
    }

    /// The pipeline's events.
    pub(super) fn events(&mut self) -> &mut (impl Stream<Item = PipelineEvent> + Unpin + use<>) {
        &mut self.events
    }

    /// Whether there is media that should be going out. A server that waits for its callers is
    /// never late.
    pub(super) fn is_due(&self) -> bool {
        self.gate.is_open() && !self.listens
    }

    /// Whether it waits for callers instead of calling a server.
    pub(super) const fn listens(&self) -> bool {
        self.listens
    }

    /// Whether any media has come in.
    pub(super) fn has_media(&self) -> bool {
        self.gate.is_open()
    }

    /// Waits until the last bytes have been read at the other end. An SRT receiver hands on what it
    /// got only after the connection's latency, and throws away what it still holds when the
    /// connection is closed; nothing tells when it is through.
    pub(super) async fn linger(&mut self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency + LATENCY_MARGIN).await;
        }
    }

    /// Frames (audio samples without video) dropped because the network was too slow.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes sent so far; `None` if the sink did not answer within `within`. The sink is asked on
    /// another thread, as it may hold its lock while it hangs; there is at most one question at a
    /// time.
    pub(super) async fn sent(&mut self, within: Duration) -> Option<u64> {
        let (sink, counter) = (&self.sink, self.counter);
        let looking = self.looking.get_or_insert_with(|| {
            let sink = sink.clone();
            self.tasks.spawn_blocking(move || read(&sink, counter))
        });
        let answer = tokio::time::timeout(within, looking).await.ok()?;
        self.looking = None;
        let reading = answer.ok()?;
        self.latency = self.latency.max(reading.latency);
        Some(reading.bytes)
    }

    /// Leaves the feeds and lets what is queued flow out; [`PipelineEvent::Eos`] says when it has.
    pub(super) fn end(&mut self) {
        self.attachments.clear();
        for source in &self.sources {
            if let Err(error) = source.end_of_stream() {
                tracing::debug!(element = %source.name(), ?error, "end of stream refused");
            }
        }
    }

    /// Brings the pipeline down. After `within` the thread that does it is left to itself; it holds
    /// nothing but the pipeline.
    pub(super) async fn close(mut self, within: Duration) {
        self.attachments.clear();
        let Some(pipeline) = self.pipeline.take() else { return };
        let name = pipeline.name();
        let closing = self.tasks.spawn_blocking(move || drop(pipeline));
        if tokio::time::timeout(within, closing).await.is_err() {
            tracing::warn!(pipeline = name, ?within, "a connection does not close; it is left to itself");
        }
    }
}

impl Drop for StreamPipeline {
    fn drop(&mut self) {
        self.attachments.clear();
        let pipeline = self.pipeline.take();
        // Without a runtime nobody is held up by waiting here.
        if pipeline.is_some() && tokio::runtime::Handle::try_current().is_ok() {
            self.tasks.spawn_blocking(move || drop(pipeline));
        }
    }
}

/// A muxer for RTMP. Its `onMetaData` is sent once, and when the size, the codecs or their
/// parameters have changed.
fn flv(pipeline: &MediaPipeline) -> Result<gst::Element, PipelineError> {
    let muxer = pipeline.add("flvmux")?;
    muxer.set_property("streamable", true);
    // A sample that goes back in time is left out instead of ending the stream.
    muxer.set_property("skip-backwards-streams", true);
    // `onMetaData` is repeated for each tag event. The parsers send one whenever their measured bit
    // rate changes, and there are no others.
    muxer.connect_pad_added(|_, pad| {
        if pad.direction() == gst::PadDirection::Sink {
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| match &info.data {
                Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Tag => {
                    gst::PadProbeReturn::Drop
                }
                _ => gst::PadProbeReturn::Ok,
            });
        }
    });
    Ok(muxer)
}

/// A muxer and a sink for RTMP.
fn rtmp(pipeline: &MediaPipeline) -> Result<(gst::Element, gst::Element), PipelineError> {
    let muxer = flv(pipeline)?;
    let sink = pipeline.add("rtmp2sink")?;
    // Connects with the first media: a server need not wait for a publisher that has nothing yet.
    sink.set_property("async-connect", false);
    sink.set_property("async", false);
    sink.set_property("sync", false);
    sink.set_property("enable-last-sample", false);
    // The protocol's own 128 bytes cost a header for every 128 bytes of media.
    sink.set_property("chunk-size", 4096u32);
    Ok((muxer, sink))
}

/// A muxer and a sink for SRT.
fn srt(pipeline: &MediaPipeline, address: &str) -> Result<(gst::Element, gst::Element), PipelineError> {
    let muxer = pipeline.add("mpegtsmux")?;
    // Seven packets per datagram; otherwise receivers get garbage.
    muxer.set_property("alignment", 7i32);
    let sink = pipeline.add("srtsink")?;
    // A listener sends to who is there. A caller must wait: what it writes before it is connected
    // is lost.
    sink.set_property("wait-for-connection", srt_mode(address) != SrtMode::Listener);
    sink.set_property("auto-reconnect", false);
    sink.set_property("async", false);
    sink.set_property("sync", false);
    sink.set_property("enable-last-sample", false);
    Ok((muxer, sink))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SrtMode {
    Caller,
    Listener,
}

/// The SRT mode: `mode=` sets it, and an address without a host listens. It is read from the
/// address that GStreamer gets, in GStreamer's way: names are decoded and the last one counts. The
/// link-local check lets listeners pass.
pub(super) fn srt_mode(address: &str) -> SrtMode {
    let uri = srt_uri(address);
    // A `#` in the options is escaped there. One in front of them makes all behind it a fragment.
    let uri = uri.split('#').next().unwrap_or_default();
    let (place, query) = uri.split_once('?').unwrap_or((uri, ""));
    let modes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "mode");
    match modes.last().as_ref().map(|(_, mode)| mode.as_ref()) {
        Some("listener") => SrtMode::Listener,
        Some(_) => SrtMode::Caller,
        None if place.starts_with("srt://:") => SrtMode::Listener,
        None => SrtMode::Caller,
    }
}

/// An address as the sinks read it.
fn uri(protocol: Transport, address: &str) -> String {
    match protocol {
        // What librtmp called options (` live=1`) follows a space; rtmp2sink has none.
        Transport::Rtmp => address.split(' ').next().unwrap_or_default().to_owned(),
        Transport::Srt => srt_uri(address),
    }
}

/// Gives the sink its address. Not by the property `location`, which keeps
/// `rtmp://localhost/live/myStream` when it can't read what it is given.
fn set_address(sink: &gst::Element, address: &str) -> Result<(), ConnectError> {
    let Some(handler) = sink.dynamic_cast_ref::<gst::URIHandler>() else {
        return Err(ConnectError::Address(format!("{} takes none", sink.name())));
    };
    handler.set_uri(address).map_err(|error| ConnectError::Address(error.to_string()))
}

/// A sink's statistics of its connection.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    bytes: u64,
    latency: Duration,
}

fn read(sink: &gst::Element, counter: &str) -> Reading {
    let Some(stats) = sink.property::<Option<gst::Structure>>("stats") else { return Reading::default() };
    // What was agreed with the other end; a listener has one for each of its callers, and our own
    // wish beside them.
    let agreed = stats.get::<i32>("negotiated-latency-ms").ok();
    let wished = || sink.has_property("latency").then(|| sink.property::<i32>("latency"));
    let latency = agreed.or_else(wished).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    Reading { bytes: stats.get::<u64>(counter).unwrap_or(0), latency: Duration::from_millis(latency) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_who_calls() {
        assert_eq!(srt_mode("srt://h:9000?latency=200"), SrtMode::Caller);
        assert_eq!(srt_mode("srt://h:9000?latency=200&mode=listener"), SrtMode::Listener);
        assert_eq!(srt_mode("srt://:9000"), SrtMode::Listener);
        assert_eq!(srt_mode("srt://:9000?mode=caller"), SrtMode::Caller);
        for caller in [
            "mode=listener&mode=caller",
            "mode=listener&m%6fde=caller",
            "mode=listener&mode",
            "mode=listener&streamid=#x&mode=caller",
        ] {
            assert_eq!(srt_mode(&format!("srt://h:9000?{caller}")), SrtMode::Caller, "{caller}");
        }
        for listener in
            ["mode=caller&m%6Fde=liste%6eer", "a#&mode=listener", "streamid=#!::r=a&mode=listener"]
        {
            assert_eq!(srt_mode(&format!("srt://h:9000?{listener}")), SrtMode::Listener, "{listener}");
        }
        assert_eq!(srt_mode("srt://h:9000#?mode=listener"), SrtMode::Caller);
    }

    /// By what the sink itself has understood.
    #[test]
    fn the_mode_is_the_one_that_gstreamer_reads() {
        crate::media::init().unwrap();
        for address in [
            "srt://127.0.0.1:9000?latency=200",
            "srt://127.0.0.1:9000?streamid=#!::r=a&mode=listener",
            "srt://127.0.0.1:9000?mode=listener&streamid=#x&mode=caller",
            "srt://127.0.0.1:9000#?mode=listener",
        ] {
            let sink = crate::media::make("srtsink").unwrap();
            set_address(&sink, &uri(Transport::Srt, address)).unwrap();
            let mode = sink.property_value("mode");
            let (_, mode) = gst::glib::EnumValue::from_value(&mode).unwrap();
            assert_eq!(mode.nick() == "listener", srt_mode(address) == SrtMode::Listener, "{address}");
        }
    }

    /// The `onMetaData` in what RTMP is sent of six seconds of media.
    #[test]
    fn metadata_is_sent_once() {
        crate::media::init().unwrap();
        let pipeline = MediaPipeline::new("test");
        let muxer = flv(&pipeline).unwrap();
        let sink = pipeline.add("appsink").unwrap();
        sink.set_property("sync", false);
        pipeline.link(&[&muxer, &sink]).unwrap();
        let source = pipeline.add("videotestsrc").unwrap();
        source.set_property("num-buffers", 180i32);
        source.set_property_from_str("pattern", "ball");
        let raw = gst::Caps::builder("video/x-raw").field("format", "I420").field("width", 160);
        let raw = raw.field("height", 90).field("framerate", gst::Fraction::new(30, 1)).build();
        let raw = pipeline.add_caps(&raw).unwrap();
        let encoder = pipeline.add("x264enc").unwrap();
        encoder.set_property_from_str("speed-preset", "ultrafast");
        encoder.set_property("key-int-max", 60u32);
        let parser = pipeline.add("h264parse").unwrap();
        pipeline.link(&[&source, &raw, &encoder, &parser, &muxer]).unwrap();
        let source = pipeline.add("audiotestsrc").unwrap();
        // 6 s in buffers of 1024 samples at 44.1 kHz.
        source.set_property("num-buffers", 258i32);
        let encoder = pipeline.add("avenc_aac").unwrap();
        let parser = pipeline.add("aacparse").unwrap();
        let convert = pipeline.add("audioconvert").unwrap();
        pipeline.link(&[&source, &convert, &encoder, &parser, &muxer]).unwrap();
        pipeline.play().unwrap();
        let sink = sink.downcast::<gstreamer_app::AppSink>().unwrap();
        let mut kinds = Vec::new();
        // Nothing comes after the end of the stream.
        while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(60)) {
            let buffer = sample.buffer().unwrap().map_readable().unwrap();
            kinds.extend(buffer.first().copied());
        }
        // A tag is a buffer, and begins with its kind: 9 of video, 8 of audio, 18 of a script.
        let count = |kind: u8| kinds.iter().filter(|found| **found == kind).count();
        assert!(count(9) >= 180 && count(8) >= 250, "{} of video, {} of audio", count(9), count(8));
        assert_eq!(count(18), 1);
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_not_replaced() {
        crate::media::init().unwrap();
        let pipeline = MediaPipeline::new("test");
        let (_, sink) = rtmp(&pipeline).unwrap();
        for address in ["rtmp://", "http://host/app/key", "rtmp://host", "nonsense"] {
            assert!(set_address(&sink, address).is_err(), "{address}");
        }
        set_address(&sink, &uri(Transport::Rtmp, "rtmp://host:1936/app/inst/key?a=b live=1")).unwrap();
        assert_eq!(sink.property::<String>("application"), "app/inst");
        assert_eq!(sink.property::<String>("stream"), "key?a=b");
    }
}
