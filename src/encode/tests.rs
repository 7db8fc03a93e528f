mod sides;

use std::sync::Mutex;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::*;
use crate::media::FeedConsumer;
use crate::plan::encoding::{AudioEncoding, H264Profile};
use crate::plan::graph::X264Plan;

/// Time and key flag of the samples of a feed.
#[derive(Clone, Default)]
struct Collect(Arc<Mutex<Vec<(gst::ClockTime, bool)>>>);

impl FeedConsumer for Collect {
    fn take(&mut self, sample: &gst::Sample) {
        if let Some(buffer) = sample.buffer()
            && let Some(pts) = buffer.pts()
        {
            self.0.lock().unwrap().push((pts, !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)));
        }
    }
    fn end(&mut self) {}
}

/// All that came out of a feed.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<gst::Sample>>>);

impl FeedConsumer for Keep {
    fn take(&mut self, sample: &gst::Sample) {
        self.0.lock().unwrap().push(sample.clone());
    }
    fn end(&mut self) {}
}

fn graph(audio: Vec<AudioEncoding>) -> GraphPlan {
    let video = X264Plan {
        profile: H264Profile::Main,
        bitrate_kbps: 500,
        speed_preset: "superfast",
        b_frames: 0,
        rc_lookahead: 10,
        mb_tree: true,
        threads: 1,
        key_int_max: 300,
        vbv_buf_capacity_ms: 2000,
        option_string: "scenecut=0".to_owned(),
    };
    GraphPlan { video: Some(video), audio, branches: Vec::new() }
}

fn picture(pts: gst::ClockTime) -> gst::Sample {
    let (width, height) = (64, 48);
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "NV12")
        .field("width", width)
        .field("height", height)
        .field("framerate", gst::Fraction::new(30, 1))
        .field("colorimetry", "bt709")
        .build();
    let luma = u8::try_from(pts.mseconds() / 40 % 200).unwrap();
    let mut buffer = gst::Buffer::from_mut_slice(vec![luma; (width * height * 3 / 2) as usize]);
    buffer.get_mut().unwrap().set_pts(pts);
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

fn sound(pts: gst::ClockTime) -> gst::Sample {
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", 48_000i32)
        .field("channels", 2i32)
        .build();
    let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; 1920]);
    buffer.get_mut().unwrap().set_pts(pts);
    buffer.get_mut().unwrap().set_duration(gst::ClockTime::from_mseconds(10));
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

/// Times as a page draws them: irregular, with a pause of two seconds, and one at each second.
fn drawn_at() -> Vec<gst::ClockTime> {
    let regular = (0..90).map(|n| n * 33 + n % 3);
    let after_pause = (0..60).map(|n| 5_000 + n * 40);
    let mut times: Vec<u64> = regular.chain([3_000, 3_500, 4_000, 4_500]).chain(after_pause).collect();
    times.sort_unstable();
    times.dedup();
    times.into_iter().map(gst::ClockTime::from_mseconds).collect()
}

/// Pushes no faster than the encoder accepts, but lets some frames wait: this tests times, not
/// overload.
async fn push_all(feed: &Feed, encoders: &Encoders, times: &[gst::ClockTime]) {
    let pipeline = encoders.video.as_ref().unwrap().pipeline.gst();
    let intake = pipeline.by_name("pictures").unwrap();
    for some in times.chunks(4) {
        for pts in some {
            feed.push(&picture(*pts));
        }
        let taken = async {
            while intake.property::<u64>("current-level-buffers") > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.expect("the encoder takes what it gets");
    }
}

#[tokio::test]
async fn every_picture_keeps_its_time_and_key_frames_stand_at_their_places() {
    crate::media::init().unwrap();
    let raw = Feed::new("raw");
    let second = Duration::from_secs(1);
    let (encoders, events) = Encoders::start(&graph(Vec::new()), second, Some(&raw), None).unwrap();
    let out = Collect::default();
    let _attached = encoders.video().unwrap().attach(Box::new(out.clone()));
    let times = drawn_at();
    push_all(&raw, &encoders, &times).await;
    raw.end();
    assert_eq!(encoders.dropped_pictures(), 0);
    encoders.finish(events, Duration::from_secs(20)).await.unwrap();

    let frames = out.0.lock().unwrap().clone();
    let came: Vec<_> = frames.iter().map(|(pts, _)| *pts).collect();
    assert_eq!(came, times);
    let keys: Vec<_> = frames.iter().filter(|(_, key)| *key).map(|(pts, _)| pts.mseconds()).collect();
    let mut wanted = vec![0];
    for second in 1..8 {
        wanted.extend(times.iter().map(|t| t.mseconds()).find(|t| *t >= second * 1000));
    }
    wanted.dedup();
    assert_eq!(keys, wanted);
}

#[tokio::test]
async fn an_overload_drops_pictures_counts_them_and_holds_only_frames() {
    crate::media::init().unwrap();
    let raw = Feed::new("raw");
    let (encoders, events) =
        Encoders::start(&graph(Vec::new()), Duration::from_secs(4), Some(&raw), None).unwrap();
    let out = Collect::default();
    let _attached = encoders.video().unwrap().attach(Box::new(out.clone()));
    for n in 0..2000u64 {
        raw.push(&picture(gst::ClockTime::from_mseconds(n)));
    }
    raw.end();
    let dropped = encoders.dropped_pictures();
    encoders.finish(events, Duration::from_secs(20)).await.unwrap();
    let came = out.0.lock().unwrap().len();
    assert!(dropped > 0);
    assert_eq!(came as u64 + dropped, 2000);
}

#[tokio::test]
async fn a_gap_in_the_sound_is_silence_and_not_a_shift() {
    crate::media::init().unwrap();
    for (codec, rate_hz) in [(AudioCodec::Aac, 44_100), (AudioCodec::Opus, 48_000), (AudioCodec::Mp3, 44_100)]
    {
        let raw = Feed::new("raw");
        let mut graph = graph(vec![AudioEncoding { codec, bitrate_kbps: 128, rate_hz }]);
        graph.video = None;
        let (encoders, events) = Encoders::start(&graph, Duration::from_secs(4), None, Some(&raw)).unwrap();
        let out = Collect::default();
        let _attached = encoders.audio()[&codec].attach(Box::new(out.clone()));
        for n in (5..50).chain(150..200) {
            raw.push(&sound(gst::ClockTime::from_mseconds(n * 10)));
        }
        raw.end();
        encoders.finish(events, Duration::from_secs(20)).await.unwrap();
        let times: Vec<_> = out.0.lock().unwrap().iter().map(|(pts, _)| pts.mseconds()).collect();
        let last = *times.last().unwrap();
        assert!((1_940..=2_030).contains(&last), "{codec}: the last packet is at {last} ms");
        assert!(times[0] <= 30, "{codec}: silence from the beginning, not from {} ms", times[0]);
        let widest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest <= 60, "{codec}: a hole of {widest} ms");
    }
}

/// A second of silence, then a tone, until 1.5 s.
fn tone_from_a_second_on() -> Vec<gst::Sample> {
    const STEP: u64 = 480;
    let piece = |n: u64| {
        let mut sample = sound(gst::ClockTime::from_mseconds(n * 10)).buffer_owned().unwrap();
        let bytes: Vec<u8> = (n * STEP..(n + 1) * STEP)
            .map(|at| if at < 48_000 { 0.0 } else { f64::from(u32::try_from(at - 48_000).unwrap()) })
            .map(|at| ((at * std::f64::consts::TAU / 48.0).sin() * 16_000.0) as i16)
            .flat_map(|value| [value.to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        sample.get_mut().unwrap().copy_from_slice(0, &bytes).unwrap();
        gst::Sample::builder().buffer(&sample).caps(&crate::media::pcm::caps()).build()
    };
    (0..150).map(piece).collect()
}

/// Decodes encoded audio to interleaved raw audio with these fields.
fn decoded(element: &str, fields: &str, encoded: &[gst::Sample]) -> Vec<gst::Sample> {
    let launch = format!(
        "appsrc name=in format=time ! {element} ! audioconvert ! audio/x-raw,{fields},layout=interleaved ! \
         appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let from = pipeline.by_name("in").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for sample in encoded {
        from.push_sample(sample).unwrap();
    }
    from.end_of_stream().unwrap();
    let all = std::iter::from_fn(|| out.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    all
}

/// When a decoder lets sound be heard for the first time, and for the last, in milliseconds.
fn heard(element: &str, encoded: &[gst::Sample]) -> (f64, f64) {
    let mut loud = Vec::new();
    for sample in decoded(element, "format=S16LE", encoded) {
        let (buffer, caps) = (sample.buffer().unwrap(), sample.caps().unwrap().structure(0).unwrap());
        let (rate, channels) =
            (f64::from(caps.get::<i32>("rate").unwrap()), caps.get::<i32>("channels").unwrap());
        let start = buffer.pts().unwrap().nseconds() as f64 / 1e6;
        let map = buffer.map_readable().unwrap();
        let frames = map.chunks_exact(2 * usize::try_from(channels).unwrap()).enumerate();
        let is_loud = |frame: &[u8]| i16::from_le_bytes([frame[0], frame[1]]).unsigned_abs() > 4_000;
        loud.extend(
            frames.filter(|(_, frame)| is_loud(frame)).map(|(at, _)| start + at as f64 * 1000.0 / rate),
        );
    }
    (*loud.first().expect("a tone"), *loud.last().unwrap())
}

/// Encoded audio keeps its time, whatever encoder delay is added, and its end is complete.
#[tokio::test]
async fn sound_is_heard_at_its_time() {
    crate::media::init().unwrap();
    let cases = [
        (AudioCodec::Aac, 48_000, "avdec_aac"),
        (AudioCodec::Aac, 44_100, "avdec_aac"),
        (AudioCodec::Aac, 16_000, "avdec_aac"),
        (AudioCodec::Mp3, 48_000, "avdec_mp3"),
        (AudioCodec::Mp3, 32_000, "avdec_mp3"),
        (AudioCodec::Opus, 48_000, "opusdec"),
    ];
    for (codec, rate_hz, decoder) in cases {
        let raw = Feed::new("raw");
        let mut graph = graph(vec![AudioEncoding { codec, bitrate_kbps: 96, rate_hz }]);
        graph.video = None;
        let (encoders, events) = Encoders::start(&graph, Duration::from_secs(4), None, Some(&raw)).unwrap();
        let out = Keep::default();
        let _attached = encoders.audio()[&codec].attach(Box::new(out.clone()));
        tone_from_a_second_on().iter().for_each(|sample| raw.push(sample));
        raw.end();
        encoders.finish(events, Duration::from_secs(20)).await.unwrap();
        let encoded = out.0.lock().unwrap().clone();
        let begins = encoded[0].buffer().unwrap().pts().unwrap();
        assert!(begins < gst::ClockTime::from_useconds(50), "{codec} begins at {begins}");
        let caps = encoded[0].caps().unwrap().structure(0).unwrap();
        // LAME would encode at 32 kHz what is to have 48 and 96 kbit/s.
        assert_eq!(caps.get::<i32>("rate").unwrap(), i32::try_from(rate_hz).unwrap(), "{codec}");
        let (first, last) = heard(decoder, &encoded);
        // An eighth of a wave to be loud, and what a codec smears before an attack.
        assert!((first - 1000.0).abs() < 1.5, "{codec} at {rate_hz} Hz: heard at {first:.2} ms");
        assert!((last - 1500.0).abs() < 1.5, "{codec} at {rate_hz} Hz: heard until {last:.2} ms");
    }
}

/// A repeated frame, as the grid has them on a static page, is coded as a skipped frame of a few
/// bytes.
#[tokio::test]
async fn frames_that_repeat_are_skipped_frames() {
    crate::media::init().unwrap();
    let raw = Feed::new("raw");
    let (encoders, events) =
        Encoders::start(&graph(Vec::new()), Duration::from_secs(10), Some(&raw), None).unwrap();
    let out = Keep::default();
    let _attached = encoders.video().unwrap().attach(Box::new(out.clone()));
    let times: Vec<_> = (0..90).map(|n| gst::ClockTime::from_nseconds(n * 1_000_000_000 / 30)).collect();
    let intake = encoders.video.as_ref().unwrap().pipeline.gst().by_name("pictures").unwrap();
    for pts in &times {
        // The same content at another time.
        let mut buffer = picture(gst::ClockTime::from_seconds(4)).buffer_owned().unwrap();
        buffer.get_mut().unwrap().set_pts(*pts);
        let caps = picture(*pts).caps_owned().unwrap();
        raw.push(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
        let taken = async {
            while intake.property::<u64>("current-level-buffers") > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.expect("the encoder takes what it gets");
    }
    raw.end();
    encoders.finish(events, Duration::from_secs(20)).await.unwrap();
    let frames = out.0.lock().unwrap().clone();
    let came: Vec<_> = frames.iter().map(|sample| sample.buffer().unwrap().pts().unwrap()).collect();
    assert_eq!(came, times);
    let sizes: Vec<_> = frames.iter().map(|sample| sample.buffer().unwrap().size()).collect();
    assert!(sizes[30..].iter().all(|size| *size < 60), "{sizes:?}");
}

#[tokio::test]
async fn a_limit_in_the_middle_halves_the_pictures_and_moves_no_key_frame() {
    crate::media::init().unwrap();
    let raw = Feed::new("raw");
    let second = Duration::from_secs(1);
    let (encoders, events) = Encoders::start(&graph(Vec::new()), second, Some(&raw), None).unwrap();
    let out = Collect::default();
    let _attached = encoders.video().unwrap().attach(Box::new(out.clone()));
    let times: Vec<_> = (0..240).map(|n| gst::ClockTime::from_nseconds(n * 1_000_000_000 / 30)).collect();
    push_all(&raw, &encoders, &times[..120]).await;
    encoders.thinning().limit(15);
    push_all(&raw, &encoders, &times[120..]).await;
    raw.end();
    assert_eq!(encoders.dropped_pictures(), 0, "what is left out on purpose is not dropped");
    encoders.finish(events, Duration::from_secs(20)).await.unwrap();

    let frames = out.0.lock().unwrap().clone();
    let half = frames.iter().filter(|(pts, _)| *pts >= times[120]).count();
    assert_eq!(frames.len() - half, 120);
    assert!((60..=64).contains(&half), "{half} of 120");
    let keys: Vec<_> = frames.iter().filter(|(_, key)| *key).map(|(pts, _)| pts.mseconds()).collect();
    assert_eq!(keys, [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
}
