//! Encoded frames of every codec, played in real time.

mod real_time;

use std::sync::Mutex;
use std::time::Instant;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::*;
use crate::media::{Attachment, FeedConsumer};
use crate::plan::encoding::Cadence;
use crate::plan::track::{ParticipantKind, TrackCodec, TrackKind, TrackOrigin};

/// Limited range, BT.709, of videotestsrc's full red, green and blue.
const RED: [u8; 3] = [63, 102, 240];
const GREEN: [u8; 3] = [173, 42, 26];
const BLUE: [u8; 3] = [32, 240, 118];
const BLACK: [u8; 3] = [16, 128, 128];

const SIZE: (u32, u32) = (320, 180);

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Vec<gst::Sample>, bool)>>);

impl FeedConsumer for Kept {
    fn take(&mut self, sample: &gst::Sample) {
        self.0.lock().unwrap().0.push(sample.clone());
    }

    fn end(&mut self) {
        self.0.lock().unwrap().1 = true;
    }
}

impl Kept {
    /// The colour that is shown at a moment, at a place of the frame.
    fn at(&self, at: Duration, place: (u32, u32)) -> [u8; 3] {
        self.find(at, place).expect("a frame by then")
    }

    /// The colour as in `at`; `None` if nothing is shown yet.
    fn find(&self, at: Duration, (x, y): (u32, u32)) -> Option<[u8; 3]> {
        let kept = self.0.lock().unwrap();
        let pts = |sample: &gst::Sample| Duration::from(sample.buffer().unwrap().pts().unwrap());
        let sample = kept.0.iter().rev().find(|sample| pts(sample) <= at)?;
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        assert_eq!((info.width(), info.height()), SIZE);
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
        let byte = |plane: u32, at: u32, row: u32| {
            frame.plane_data(plane).unwrap()
                [(row * frame.plane_stride()[plane as usize].unsigned_abs() + at) as usize]
        };
        Some([byte(0, x, y), byte(1, x / 2 * 2, y / 2), byte(1, x / 2 * 2 + 1, y / 2)])
    }
}

struct Rig {
    view: Box<SingleView>,
    timeline: Timeline,
    kept: Kept,
    counters: Arc<CaptureCounters>,
    _attached: Attachment,
}

impl Rig {
    fn new() -> Self {
        crate::media::init().unwrap();
        let (feed, kept, timeline, counters) =
            (Feed::new("raw video"), Kept::default(), Timeline::new(), Arc::default());
        let attached = feed.attach(Box::new(kept.clone()));
        let cadence = Cadence::AsDrawn { at_least: 5 };
        let pacing = Pacing { cadence, fps: 30, key_interval: Duration::from_secs(2) };
        let view = SingleView::new(feed, SIZE, pacing, Arc::clone(&counters), timeline.clone());
        let view = Box::new(view.unwrap());
        timeline.begin();
        Self { view, timeline, kept, counters, _attached: attached }
    }

    /// Waits, in milliseconds.
    async fn wait(&mut self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.view.advance(self.now());
    }

    /// Waits until a colour is shown in the middle, and `more_ms` longer. Returns the moment.
    async fn until(&mut self, colour: [u8; 3], more_ms: u64) -> Duration {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.kept.find(self.now(), (160, 90)).is_some_and(|seen| is_near(seen, colour)) {
            assert!(Instant::now() < end, "{colour:?} is not shown");
            self.wait(20).await;
        }
        self.wait(more_ms).await;
        self.now()
    }

    /// Plays frames at 30 fps, in real time.
    async fn play(&mut self, sid: &str, codec: TrackCodec, frames: &[(Vec<u8>, bool)]) {
        let from = Instant::now();
        for (n, (bytes, is_key)) in (0u32..).zip(frames) {
            tokio::time::sleep_until((from + Duration::from_secs(1) / 30 * n).into()).await;
            let at = self.timeline.elapsed().unwrap().into();
            let frame = Frame {
                track: sid.into(),
                codec,
                rtp_time: 0,
                clock_rate: 90_000,
                received_at: Instant::now(),
                is_key: *is_key,
                is_contiguous: true,
                bytes: bytes.as_slice().into(),
            };
            self.view.frame(&frame, at, at);
        }
    }

    fn now(&self) -> Duration {
        self.timeline.elapsed().unwrap().into()
    }

    async fn finish(self) -> Kept {
        self.timeline.end();
        let length = self.timeline.ended().unwrap();
        tokio::time::timeout(Duration::from_secs(60), self.view.finish()).await.unwrap();
        let kept = self.kept.0.lock().unwrap();
        assert!(kept.1, "the feed ends");
        let last = kept.0.last().unwrap().buffer().unwrap();
        assert_eq!(last.pts().unwrap() + last.duration().unwrap(), length);
        assert_eq!(kept.0[0].buffer().unwrap().pts(), Some(gst::ClockTime::ZERO));
        drop(kept);
        self.kept
    }
}

fn track(sid: &str) -> PublishedTrack {
    PublishedTrack {
        sid: sid.to_owned(),
        kind: TrackKind::Video,
        origin: TrackOrigin::Camera,
        publisher: "somebody".to_owned(),
        publisher_kind: ParticipantKind::Standard,
        is_muted: false,
    }
}

/// Encoded frames of one colour, the first of them a key frame.
fn frames(codec: TrackCodec, colour: &str, size: (u32, u32), count: u32) -> Vec<(Vec<u8>, bool)> {
    // VP8 and this encoder's AV1 do not signal their colorimetry.
    let colours = if codec == TrackCodec::Av1 { "bt709" } else { "bt601" };
    frames_in(codec, colour, size, count, colours)
}

/// Frames as in `frames`, with this colorimetry (GStreamer's name).
fn frames_in(
    codec: TrackCodec,
    colour: &str,
    (width, height): (u32, u32),
    count: u32,
    colours: &str,
) -> Vec<(Vec<u8>, bool)> {
    crate::media::init().unwrap();
    let encoder = match codec {
        TrackCodec::Vp9 => "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=1000",
        TrackCodec::H264 => {
            "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=1000 ! video/x-h264,stream-format=byte-stream,alignment=au"
        }
        TrackCodec::H265 => {
            "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=1000 ! video/x-h265,stream-format=byte-stream,alignment=au"
        }
        TrackCodec::Av1 => {
            "av1enc cpu-used=10 usage-profile=realtime keyframe-max-dist=1000 lag-in-frames=0 ! av1parse ! \
             video/x-av1,stream-format=obu-stream,alignment=tu"
        }
        _ => "vp8enc deadline=1 keyframe-max-dist=1000",
    };
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers={count} pattern={colour} ! video/x-raw,format=RGB,width={width},height={height},framerate=30/1 ! \
         videoconvert ! video/x-raw,format=I420,colorimetry={colours} ! {encoder} ! appsink name=out sync=false"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut frames = Vec::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(60)) {
        let buffer = sample.buffer().unwrap();
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        frames.push((buffer.map_readable().unwrap().to_vec(), is_key));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(frames.len() >= count as usize && frames[0].1, "{} frames", frames.len());
    frames
}

fn is_near(seen: [u8; 3], wanted: [u8; 3]) -> bool {
    seen.iter().zip(wanted).all(|(seen, wanted)| seen.abs_diff(wanted) <= 6)
}

#[track_caller]
fn assert_near(seen: [u8; 3], wanted: [u8; 3], what: &str) {
    assert!(is_near(seen, wanted), "{what}: {seen:?} instead of {wanted:?}");
}

/// Plays three sizes of different aspect ratios in one track.
async fn every_size_of(codec: TrackCodec) {
    let wide = frames(codec, "red", (640, 360), 15);
    // Portrait: with black borders left and right.
    let tall = frames(codec, "green", (180, 320), 15);
    let large = frames(codec, "blue", (1280, 720), 10);
    let mut rig = Rig::new();
    rig.view.add(&track("TR_1"), rig.now());
    rig.play("TR_1", codec, &wide).await;
    let first = rig.until(RED, 100).await;
    rig.play("TR_1", codec, &tall).await;
    let second = rig.until(GREEN, 100).await;
    rig.play("TR_1", codec, &large).await;
    let third = rig.until(BLUE, 100).await;
    let kept = rig.finish().await;
    assert_near(kept.at(first, (160, 90)), RED, "the first");
    assert_near(kept.at(first, (2, 2)), RED, "the first one's corner");
    assert_near(kept.at(second, (160, 90)), GREEN, "the second");
    for x in [4, 90, 230, 316] {
        assert_near(kept.at(second, (x, 90)), BLACK, "beside the second");
    }
    assert_near(kept.at(third, (160, 90)), BLUE, "the third");
    assert_near(kept.at(third, (318, 178)), BLUE, "the third one's corner");
}
