//! Feeds as a recording has them, in real time, and measurements of what came out at the other end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::media::{self, Attachment, Feed, FeedConsumer, KeyFrames, MediaPipeline, Timeline};
use crate::plan::codec::AudioCodec;
use crate::sink::{SinkContext, SinkEvent, StreamEvent};

/// The content of the video, which determines its bit rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    /// A moving ball; some 200 kbit/s.
    Plain,
    /// Noise, some 25 Mbit/s: fills the network's buffers in a moment.
    Noise,
}

/// Encoded feeds, running.
pub(super) struct FeedFixture {
    pub(super) context: SinkContext,
    pub(super) seen: Vec<StreamEvent>,
    events: mpsc::UnboundedReceiver<SinkEvent>,
    video: MediaPipeline,
    audio: MediaPipeline,
    feeds: [Feed; 2],
    last: Arc<Mutex<Vec<u8>>>,
    time: watch::Receiver<Duration>,
    asked: Arc<AtomicUsize>,
    _attached: [Attachment; 2],
}

/// Records time and bytes of the newest frame.
struct Probe {
    last: Arc<Mutex<Vec<u8>>>,
    time: watch::Sender<Duration>,
}

impl FeedConsumer for Probe {
    fn take(&mut self, sample: &gst::Sample) {
        let buffer = sample.buffer().unwrap();
        *self.last.lock().unwrap() = last_unit(&buffer.map_readable().unwrap()).to_vec();
        self.time.send_replace(buffer.pts().unwrap().into());
    }

    fn end(&mut self) {}
}

/// Puts an encoder's output on media time: `x264enc` counts its buffers' times from a thousand
/// hours, and says so in the segment.
struct OnMediaTime(Feed);

impl FeedConsumer for OnMediaTime {
    fn take(&mut self, sample: &gst::Sample) {
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap();
        let mut buffer = sample.buffer_owned().unwrap();
        let head = buffer.make_mut();
        head.set_pts(segment.to_running_time(head.pts()));
        head.set_dts(segment.to_running_time(head.dts()));
        let caps = sample.caps_owned().unwrap();
        self.0.push(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
    }

    fn end(&mut self) {
        self.0.end();
    }
}

impl FeedFixture {
    /// 320x180 at 30 frames a second with a key frame every two seconds, and a tone.
    pub(super) fn start(picture: Picture) -> Self {
        media::init().unwrap();
        let (video_feed, audio_feed) = (Feed::new("h264"), Feed::new("aac"));
        let timeline = Timeline::new();
        timeline.begin();
        let (pattern, kbps) = match picture {
            Picture::Plain => ("ball", 300u32),
            Picture::Noise => ("snow", 25_000),
        };

        let video = MediaPipeline::new("studio-video");
        let source = video.add("videotestsrc").unwrap();
        source.set_property("is-live", true);
        source.set_property_from_str("pattern", pattern);
        let raw = gst::Caps::builder("video/x-raw").field("format", "I420").field("width", 320);
        let raw = raw.field("height", 180).field("framerate", gst::Fraction::new(30, 1)).build();
        let raw = video.add_caps(&raw).unwrap();
        let encoder = video.add("x264enc").unwrap();
        encoder.set_property_from_str("speed-preset", "ultrafast");
        encoder.set_property_from_str("tune", "zerolatency");
        encoder.set_property("bitrate", kbps);
        encoder.set_property("key-int-max", 60u32);
        let coded = gst::Caps::builder("video/x-h264").field("stream-format", "byte-stream");
        let coded = video.add_caps(&coded.field("alignment", "au").build()).unwrap();
        let raw_time = Feed::new("h264 of the encoder");
        let on_media_time = raw_time.attach(Box::new(OnMediaTime(video_feed.clone())));
        let end = video.add_feed(&raw_time, |sample| sample).unwrap();
        video.link(&[&source, &raw, &encoder, &coded, &end]).unwrap();

        let audio = MediaPipeline::new("studio-audio");
        let source = audio.add("audiotestsrc").unwrap();
        source.set_property("is-live", true);
        let raw = gst::Caps::builder("audio/x-raw").field("rate", 48_000).field("channels", 2).build();
        let raw = audio.add_caps(&raw).unwrap();
        let convert = audio.add("audioconvert").unwrap();
        let encoder = audio.add("avenc_aac").unwrap();
        let end = audio.add_feed(&audio_feed, |sample| sample).unwrap();
        audio.link(&[&source, &convert, &raw, &encoder, &end]).unwrap();

        let (last, (time_set, time)) = (Arc::default(), watch::channel(Duration::ZERO));
        let probe = video_feed.attach(Box::new(Probe { last: Arc::clone(&last), time: time_set }));
        for pipeline in [&video, &audio] {
            timeline.drive(pipeline.gst());
            pipeline.play().unwrap();
        }

        let asked = Arc::<AtomicUsize>::default();
        let (at_ask, key_encoder) = (Arc::clone(&asked), encoder_of(&video));
        let key_frames = KeyFrames::new(move || {
            at_ask.fetch_add(1, Ordering::Relaxed);
            let ask = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
            key_encoder.send_event(gst::event::CustomUpstream::new(ask));
        });
        let (events_in, events) = mpsc::unbounded_channel();
        let context = SinkContext {
            timeline,
            raw_video: None,
            raw_audio: None,
            video: Some(video_feed.clone()),
            audio: BTreeMap::from([(AudioCodec::Aac, audio_feed.clone())]),
            key_frames,
            dir: std::env::temp_dir(),
            events: events_in,
            tasks: TaskTracker::new(),
            abandon: CancellationToken::new(),
        };
        let feeds = [video_feed, audio_feed];
        Self {
            context,
            seen: Vec::new(),
            events,
            video,
            audio,
            feeds,
            last,
            time,
            asked,
            _attached: [probe, on_media_time],
        }
    }

    pub(super) fn media_time(&self) -> Duration {
        *self.time.borrow()
    }

    pub(super) fn key_frames_asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until media of this time has been encoded.
    pub(super) async fn wait_for_media(&self, until: Duration) {
        let mut time = self.time.clone();
        let reached = time.wait_for(|time| *time >= until);
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap().unwrap();
    }

    /// Reads events until one fits, beginning with those already seen.
    pub(super) async fn until(&mut self, within: Duration, fits: impl Fn(&StreamEvent) -> bool) {
        self.until_all(within, |seen| seen.iter().any(&fits)).await;
    }

    /// Reads events until all that were seen fit.
    pub(super) async fn until_all(&mut self, within: Duration, fit: impl Fn(&[StreamEvent]) -> bool) {
        let reading = async {
            while !fit(&self.seen) {
                let SinkEvent::Stream(_, event) = self.events.recv().await.unwrap() else {
                    panic!("not a stream's event")
                };
                self.seen.push(event);
            }
        };
        let found = tokio::time::timeout(within, reading).await;
        assert!(found.is_ok(), "it did not come: {:#?}", self.seen);
    }

    /// Takes the events that are there.
    pub(super) fn drain(&mut self) {
        while let Ok(SinkEvent::Stream(_, event)) = self.events.try_recv() {
            self.seen.push(event);
        }
    }

    /// Stops encoding, ends the feeds when everything is out, and returns the last unit of the
    /// video.
    pub(super) async fn end(&self) -> Vec<u8> {
        for (pipeline, feed) in [&self.video, &self.audio].into_iter().zip(&self.feeds) {
            let mut events = pipeline.events();
            pipeline.gst().send_event(gst::event::Eos::new());
            pipeline.finished(&mut events, Duration::from_secs(20)).await.unwrap();
            feed.end();
        }
        self.last.lock().unwrap().clone()
    }
}

fn encoder_of(pipeline: &MediaPipeline) -> gst::Element {
    let elements = pipeline.gst().iterate_elements().into_iter().map(Result::unwrap);
    elements.into_iter().find(|e| e.factory().is_some_and(|f| f.name() == "x264enc")).unwrap()
}

/// The data after the last start code: the last slice of the last frame.
fn last_unit(stream: &[u8]) -> &[u8] {
    let start = stream.windows(3).rposition(|three| three == [0, 0, 1]).map_or(0, |at| at + 3);
    let end = stream.iter().rposition(|byte| *byte != 0).map_or(stream.len(), |at| at + 1);
    &stream[start.min(end)..end]
}

/// A server's received stream.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) video_codec: String,
    pub(super) audio_codec: String,
    pub(super) decoded_frames: u64,
    pub(super) begins_with_key_frame: bool,
    /// Times of presentation, in seconds.
    pub(super) video: Vec<f64>,
    pub(super) audio: Vec<f64>,
    pub(super) last_unit: Vec<u8>,
}

impl Received {
    /// Reads a file by ffprobe; `scratch` is a file to write to.
    pub(super) fn read(file: &Path, scratch: &Path) -> Self {
        let entries = "packet=codec_type,pts_time,flags:stream=codec_type,codec_name,nb_read_frames";
        let probe =
            run("ffprobe", &["-v", "error", "-count_frames", "-show_entries", entries, "-of", "json"], file);
        let json: serde_json::Value = serde_json::from_slice(&probe).unwrap();
        let of = |kind: &'static str, list: &str| -> Vec<serde_json::Value> {
            let all = json[list].as_array().cloned().unwrap_or_default();
            all.into_iter().filter(|one| one["codec_type"] == kind).collect()
        };
        let times = |kind| -> Vec<f64> {
            of(kind, "packets").iter().map(|p| p["pts_time"].as_str().unwrap().parse().unwrap()).collect()
        };
        let stream = |kind: &'static str| of(kind, "streams").into_iter().next().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let scratch = scratch.to_str().unwrap();
        let copy =
            ["-v", "error", "-y", "-c:v", "copy", "-bsf:v", "h264_mp4toannexb", "-an", "-f", "h264", scratch];
        run_on("ffmpeg", &["-i"], file, &copy);
        Self {
            video_codec: text(&stream("video")["codec_name"]),
            audio_codec: text(&stream("audio")["codec_name"]),
            decoded_frames: text(&stream("video")["nb_read_frames"]).parse().unwrap_or(0),
            begins_with_key_frame: of("video", "packets")
                .first()
                .is_some_and(|p| text(&p["flags"]).contains('K')),
            video: times("video"),
            audio: times("audio"),
            last_unit: last_unit(&fs::read(scratch).unwrap()).to_vec(),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        span(&self.video)
    }

    /// The longest step between two neighbours.
    pub(super) fn longest_video_step(&self) -> f64 {
        longest_step(&self.video)
    }

    pub(super) fn longest_audio_step(&self) -> f64 {
        longest_step(&self.audio)
    }

    /// Delay of the audio's start after the video's.
    pub(super) fn start_offset(&self) -> f64 {
        self.audio.first().unwrap_or(&f64::NAN) - self.video.first().unwrap_or(&f64::NAN)
    }

    /// Delay of the audio's end after the video's.
    pub(super) fn end_offset(&self) -> f64 {
        self.audio.last().unwrap_or(&f64::NAN) - self.video.last().unwrap_or(&f64::NAN)
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} and {}: {:.3} s from {:?}, {} frames of which {} decode, {} of sound, key first {}, \
             steps {:.3} and {:.3} s, sound {:+.3} s at the start and {:+.3} s at the end",
            self.video_codec,
            self.audio_codec,
            self.seconds(),
            self.video.first(),
            self.video.len(),
            self.decoded_frames,
            self.audio.len(),
            self.begins_with_key_frame,
            self.longest_video_step(),
            self.longest_audio_step(),
            self.start_offset(),
            self.end_offset(),
        )
    }
}

fn span(times: &[f64]) -> f64 {
    times.last().unwrap_or(&0.0) - times.first().unwrap_or(&0.0)
}

fn longest_step(times: &[f64]) -> f64 {
    times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max)
}

fn run(program: &str, args: &[&str], file: &Path) -> Vec<u8> {
    run_on(program, args, file, &[])
}

#[expect(clippy::disallowed_methods, reason = "a measuring tool, waited for at once")]
fn run_on(program: &str, before: &[&str], file: &Path, after: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(before).arg(file).args(after).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
