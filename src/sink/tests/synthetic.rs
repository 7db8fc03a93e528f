//! Feeds of test frames and tones, as fast as the machine can, for the sinks' tests; with
//! measurements of the results.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Artifact, SinkContext, SinkEvent};
use crate::media::{Feed, FeedConsumer, KeyFrames, MediaPipeline, Timeline};
use crate::plan::codec::AudioCodec;

/// Longer than any of this takes on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// A recording without a source.
pub(super) struct Stage {
    pub(super) context: SinkContext,
    pub(super) events: mpsc::UnboundedReceiver<SinkEvent>,
    pub(super) dir: tempfile::TempDir,
}

impl Stage {
    pub(super) fn new() -> Self {
        crate::media::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let timeline = Timeline::new();
        timeline.begin();
        let codecs = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3];
        let context = SinkContext {
            timeline,
            raw_video: Some(Feed::new("raw video")),
            raw_audio: Some(Feed::new("raw audio")),
            video: Some(Feed::new("h264")),
            audio: codecs.map(|codec| (codec, Feed::new("sound"))).into(),
            key_frames: KeyFrames::none(),
            dir: dir.path().to_owned(),
            events: sender,
            tasks: TaskTracker::new(),
            abandon: CancellationToken::new(),
        };
        Self { context, events, dir }
    }

    /// The reported artifacts so far; panics on a failure.
    pub(super) fn artifacts(&mut self) -> Vec<Artifact> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .filter_map(|event| match event {
                SinkEvent::Artifact(artifact) => Some(artifact),
                SinkEvent::Growing(_) | SinkEvent::Dropped { .. } => None,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Waits until no task of any sink is left.
    pub(super) async fn is_clean(&self) {
        self.context.tasks.close();
        tokio::time::timeout(SOON, self.context.tasks.wait()).await.expect("a task is left");
    }
}

/// End of the feeds after the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    End,
    /// Nothing happens, like after a kill of the recorder.
    Nothing,
}

/// Times of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// Each 1/30 s.
    Constant,
    /// As a page draws: in bursts, off the grid by up to 10 ms, with pauses of half a second.
    AsDrawn,
}

pub(super) const FPS: u64 = 30;

/// `x264enc` shifts its times to a thousand hours, to have room for earlier decoding times, and
/// GStreamer 1.22 then compares the times of key-frame requests with the shifted ones. Frames that
/// already have such times are not shifted.
const ENCODER_ZERO: gst::ClockTime = gst::ClockTime::from_seconds(1000 * 3600);

/// Pushes `seconds` of 320x180 H.264 with a key frame at each full second.
pub(super) async fn play_video(context: &SinkContext, seconds: u64, rate: Rate, after: After) {
    let pipeline = MediaPipeline::new("video source");
    let source = pipeline.add("videotestsrc").unwrap();
    source.set_property("num-buffers", i32::try_from(seconds * FPS).unwrap());
    source.set_property_from_str("pattern", "ball");
    source.set_property("timestamp-offset", i64::try_from(ENCODER_ZERO.nseconds()).unwrap());
    let raw = "video/x-raw,format=NV12,width=320,height=180,framerate=30/1,colorimetry=bt709";
    let raw = pipeline.add_caps(&raw.parse().unwrap()).unwrap();
    let encoder = pipeline.add("x264enc").unwrap();
    encoder.set_property_from_str("speed-preset", "superfast");
    encoder.set_property("bframes", 0u32);
    encoder.set_property("key-int-max", 3000u32);
    encoder.set_property("option-string", "scenecut=0");
    let h264 = "video/x-h264,profile=main,stream-format=byte-stream,alignment=au";
    let h264 = pipeline.add_caps(&h264.parse().unwrap()).unwrap();
    let sink = add_feed(&pipeline, context.video.as_ref().unwrap(), ENCODER_ZERO, after);
    pipeline.link(&[&source, &raw, &encoder, &h264, &sink]).unwrap();

    let second = gst::ClockTime::SECOND;
    raw.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let buffer = info.buffer_mut().unwrap();
        let pts = buffer.pts().unwrap();
        let frame = ((pts - ENCODER_ZERO).nseconds() * FPS + second.nseconds() / 2) / second.nseconds();
        if frame.is_multiple_of(FPS) {
            // With its time: a request for "now" is forgotten while an earlier one is still in the
            // encoder's lookahead.
            let event = gst_video::DownstreamForceKeyUnitEvent::builder().running_time(pts).all_headers(true);
            let event = event.build();
            assert!(pad.push_event(event));
        } else if rate == Rate::AsDrawn {
            let pause = (frame / FPS) % 3 == 1;
            if (pause && !frame.is_multiple_of(15)) || frame % 7 == 3 {
                return gst::PadProbeReturn::Drop;
            }
            let off = gst::ClockTime::from_useconds(frame * 7919 % 10_007);
            buffer.make_mut().set_pts(pts + off);
        }
        gst::PadProbeReturn::Ok
    });
    play(pipeline).await;
}

/// Pushes `seconds` of a tone.
pub(super) async fn play_audio(context: &SinkContext, codec: AudioCodec, seconds: u64, after: After) {
    let pipeline = MediaPipeline::new("audio source");
    let source = pipeline.add("audiotestsrc").unwrap();
    source.set_property("samplesperbuffer", 480i32);
    source.set_property("num-buffers", i32::try_from(seconds * 100).unwrap());
    let raw = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";
    let raw = pipeline.add_caps(&raw.parse().unwrap()).unwrap();
    let convert = pipeline.add("audioconvert").unwrap();
    let encoder = match codec {
        AudioCodec::Aac => pipeline.add("avenc_aac").unwrap(),
        AudioCodec::Opus => pipeline.add("opusenc").unwrap(),
        AudioCodec::Mp3 => {
            let encoder = pipeline.add("lamemp3enc").unwrap();
            encoder.set_property_from_str("target", "bitrate");
            encoder.set_property("cbr", true);
            encoder
        }
    };
    let sink = add_feed(&pipeline, &context.audio[&codec], gst::ClockTime::ZERO, after);
    pipeline.link(&[&source, &raw, &convert, &encoder, &sink]).unwrap();
    play(pipeline).await;
}

/// A feed carries media time; `zero` is where the pipeline's times begin.
fn add_feed(pipeline: &MediaPipeline, feed: &Feed, zero: gst::ClockTime, after: After) -> gst::Element {
    let (feed, ended) = (feed.clone(), feed.clone());
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let mut buffer = sample.buffer_owned().unwrap();
            let media = |time: Option<gst::ClockTime>| time.map(|time| time.saturating_sub(zero));
            let (pts, dts) = (media(buffer.pts()), media(buffer.dts()));
            buffer.make_mut().set_pts(pts);
            buffer.make_mut().set_dts(dts);
            let caps = sample.caps_owned().unwrap();
            feed.push(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            if after == After::End {
                ended.end();
            }
        })
        .build();
    pipeline.add_sink(callbacks).unwrap()
}

async fn play(pipeline: MediaPipeline) {
    let mut events = pipeline.events();
    pipeline.play().unwrap();
    pipeline.finished(&mut events, SOON).await.unwrap();
    pipeline.close().await;
}

/// Notes the times of what passes a feed.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(Arc<Mutex<Vec<Duration>>>);

impl FeedConsumer for Times {
    fn take(&mut self, sample: &gst::Sample) {
        self.0.lock().unwrap().push(sample.buffer().unwrap().pts().unwrap().into());
    }
    fn end(&mut self) {}
}

impl Times {
    pub(super) fn seconds(&self) -> Vec<f64> {
        self.0.lock().unwrap().iter().map(Duration::as_secs_f64).collect()
    }
}

/// Runs a program that measures, and returns what it printed.
#[allow(clippy::disallowed_methods, reason = "a test measures with programs that the recorder never starts")]
pub(super) fn output_of(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {arguments:?}: {errors}");
    output.stdout
}

/// One packet as ffprobe sees it; times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Packet {
    pub(super) pts: f64,
    pub(super) duration: f64,
    pub(super) is_key: bool,
}

/// ffprobe's result by codec.
#[derive(Debug, Default)]
pub(super) struct Probe {
    pub(super) packets: BTreeMap<String, Vec<Packet>>,
    /// Hash of each stream's parameters (SPS, PPS, AudioSpecificConfig, …).
    pub(super) parameters: BTreeMap<String, String>,
    /// Seconds.
    pub(super) duration: Option<f64>,
}

impl Probe {
    pub(super) fn of(path: &Path) -> Self {
        let path = path.to_str().unwrap();
        let entries = "packet=stream_index,pts_time,duration_time,flags:stream=index,codec_name,extradata_hash:\
                       format=duration";
        let options =
            ["-v", "error", "-of", "json", "-show_data_hash", "md5", "-show_entries", entries, path];
        let json: serde_json::Value = serde_json::from_slice(&output_of("ffprobe", &options)).unwrap();
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        let number = |value: &serde_json::Value| value.as_str().and_then(|value| value.parse().ok());
        let mut probe = Self { duration: number(&json["format"]["duration"]), ..Self::default() };
        let streams = json["streams"].as_array().unwrap();
        for stream in streams {
            let codec = text(&stream["codec_name"]).unwrap();
            let hash = text(&stream["extradata_hash"]).unwrap_or_default();
            probe.parameters.insert(codec.clone(), hash);
            probe.packets.insert(codec, Vec::new());
        }
        for packet in json["packets"].as_array().unwrap() {
            let stream = usize::try_from(packet["stream_index"].as_u64().unwrap()).unwrap();
            let codec = text(&streams[stream]["codec_name"]).unwrap();
            probe.packets.entry(codec).or_default().push(Packet {
                pts: number(&packet["pts_time"]).unwrap_or(f64::NAN),
                duration: number(&packet["duration_time"]).unwrap_or(0.0),
                is_key: text(&packet["flags"]).unwrap().contains('K'),
            });
        }
        probe
    }

    pub(super) fn times(&self, codec: &str) -> Vec<f64> {
        self.packets[codec].iter().map(|packet| packet.pts).collect()
    }

    /// When a stream's last packet ends.
    pub(super) fn end(&self, codec: &str) -> f64 {
        self.packets[codec].last().map_or(0.0, |packet| packet.pts + packet.duration)
    }
}

/// Decodes everything and fails where a decoder complains, of the file as a whole or of what is in
/// it.
pub(super) fn plays(path: &Path) {
    let path = path.to_str().unwrap();
    output_of("ffmpeg", &["-v", "warning", "-i", path, "-f", "null", "-"]);
}

/// The same, but fails only at what is in it.
pub(super) fn decodes(path: &Path) {
    let path = path.to_str().unwrap();
    output_of("ffmpeg", &["-v", "error", "-xerror", "-i", path, "-f", "null", "-"]);
}

#[track_caller]
pub(super) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "at {index}: {found} instead of {expected}");
    }
}

/// A disk of its own, of so many kilobytes.
pub(super) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(super) fn new(kilobytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        // Needs root, as the display and the browser's tests do.
        output_of("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", dir.path().to_str().unwrap()]);
        Self(dir)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        output_of("umount", &["--lazy", self.0.path().to_str().unwrap()]);
    }
}
