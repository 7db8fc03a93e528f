//! A small JPEG of a feed's next frame, for previews.
//!
//! ```text
//! Feed(raw) ─► next frame ─► appsrc ─► videoscale ─► videoconvert ─► caps ─► jpegenc ─► appsink
//! ```
//!
//! It exists only while a preview is taken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::feed::{Feed, FeedConsumer};
use super::intake::{Intake, Overflow};
use super::pipeline::{MediaPipeline, PipelineError};

/// Deadline of the encoding. A full screen takes some milliseconds; this is for an overloaded
/// machine.
const ENCODED_WITHIN: Duration = Duration::from_secs(3);
/// JPEG quality. In so small an image the difference to 85 is invisible, at a third of the bytes.
const QUALITY: i32 = 75;

/// The next frame of a feed of raw video, as a JPEG of at most this width in pixels. `None` if no
/// frame arrives in time.
///
/// # Errors
///
/// When an element is missing, or the frame can't be encoded.
pub async fn jpeg(feed: &Feed, width: u32, within: Duration) -> Result<Option<Vec<u8>>, PipelineError> {
    let (to, next) = oneshot::channel();
    let attachment = feed.attach(Box::new(Next(Some(to))));
    let sample = timeout(within, next).await;
    drop(attachment);
    match sample {
        Ok(Ok(sample)) => encode(&sample, width).await,
        // Nothing came, or nothing ever will.
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Consumes one frame.
struct Next(Option<oneshot::Sender<gst::Sample>>);

impl FeedConsumer for Next {
    fn take(&mut self, sample: &gst::Sample) {
        if let Some(to) = self.0.take() {
            // Who waited may have gone.
            to.send(sample.clone()).ok();
        }
    }

    fn end(&mut self) {
        self.0 = None;
    }
}

async fn encode(sample: &gst::Sample, width: u32) -> Result<Option<Vec<u8>>, PipelineError> {
    let Some(caps) = sample.caps().and_then(|caps| caps_for(caps, width)) else { return Ok(None) };
    let pipeline = MediaPipeline::new("still");
    // One frame is pushed.
    let mut intake = Intake::new("picture", Overflow::Hold { max_bytes: u64::MAX }, false)?;
    pipeline.adopt(intake.element())?;
    let scale = pipeline.add("videoscale")?;
    // Every pixel counts: the usual way looks at four for each that it makes, and small text is
    // gone.
    scale.set_property_from_str("method", "bilinear2");
    let convert = pipeline.add("videoconvert")?;
    let caps = pipeline.add_caps(&caps)?;
    let encode = pipeline.add("jpegenc")?;
    encode.set_property("quality", QUALITY);
    let (to, encoded) = oneshot::channel();
    let sink = pipeline.add_sink(hand_over(to))?;
    pipeline.link(&[intake.element(), &scale, &convert, &caps, &encode, &sink])?;
    pipeline.play()?;
    intake.take(sample);
    intake.end();
    let done = timeout(ENCODED_WITHIN, encoded).await;
    let frozen = PipelineError::Frozen { pipeline: pipeline.name(), within: ENCODED_WITHIN };
    pipeline.close().await;
    match done {
        Ok(Ok(jpeg)) => Ok(Some(jpeg)),
        Ok(Err(_)) => Err(PipelineError::State { pipeline: "still".to_owned() }),
        Err(_) => Err(frozen),
    }
}

/// Callbacks that hand the first buffer over.
fn hand_over(to: oneshot::Sender<Vec<u8>>) -> gst_app::AppSinkCallbacks {
    let to = Arc::new(Mutex::new(Some(to)));
    let at_end = Arc::clone(&to);
    let take = |to: &Mutex<Option<_>>| to.lock().unwrap_or_else(PoisonError::into_inner).take();
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
            if let (Some(map), Some(to)) = (map, take(&to)) {
                let to: oneshot::Sender<Vec<u8>> = to;
                to.send(map.to_vec()).ok();
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| drop(take(&at_end)))
        .build()
}

/// The size and the colours of the JPEG: full-range BT.601, as JFIF has it (§3).
fn caps_for(picture: &gst::CapsRef, width: u32) -> Option<gst::Caps> {
    let info = gst_video::VideoInfo::from_caps(picture).ok()?;
    let width = width.clamp(2, info.width().max(2));
    let height = u64::from(width) * u64::from(info.height()) / u64::from(info.width().max(1));
    Some(
        gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", i32::try_from(width).ok()?)
            .field("height", i32::try_from(height.max(1)).ok()?)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .field("colorimetry", "1:4:0:0")
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A frame in one colour: limited-range BT.709 in NV12, like the recordings'.
    fn picture(width: u32, height: u32, [y, u, v]: [u8; 3]) -> gst::Sample {
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Nv12, width, height)
            .fps(gst::Fraction::new(30, 1))
            .colorimetry(&"bt709".parse().unwrap())
            .build()
            .unwrap();
        let mut bytes = vec![y; info.size()];
        for uv in bytes[info.offset()[1]..].chunks_mut(2) {
            uv.copy_from_slice(&[u, v]);
        }
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        // In the middle of a recording.
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(4000));
        gst::Sample::builder().buffer(&buffer).caps(&info.to_caps().unwrap()).build()
    }

    /// Width, height and the colour in the middle.
    fn look_at(jpeg: &[u8]) -> (u32, u32, [u8; 3]) {
        let pipeline = MediaPipeline::new("look");
        let mut intake = Intake::new("jpeg", Overflow::Hold { max_bytes: u64::MAX }, false).unwrap();
        pipeline.adopt(intake.element()).unwrap();
        let decode = pipeline.add("jpegdec").unwrap();
        let convert = pipeline.add("videoconvert").unwrap();
        let rgb = gst::Caps::builder("video/x-raw").field("format", "RGB").build();
        let rgb = pipeline.add_caps(&rgb).unwrap();
        let sink = pipeline.add_sink(gst_app::AppSinkCallbacks::builder().build()).unwrap();
        pipeline.link(&[intake.element(), &decode, &convert, &rgb, &sink]).unwrap();
        pipeline.play().unwrap();
        let sample = gst::Sample::builder()
            .buffer(&gst::Buffer::from_slice(jpeg.to_vec()))
            .caps(&gst::Caps::new_empty_simple("image/jpeg"))
            .build();
        intake.take(&sample);
        intake.end();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("it can be decoded");
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let map = sample.buffer().unwrap().map_readable().unwrap();
        let stride = usize::try_from(info.stride()[0]).unwrap();
        let at = stride * (info.height() as usize / 2) + 3 * (info.width() as usize / 2);
        (info.width(), info.height(), [map[at], map[at + 1], map[at + 2]])
    }

    async fn of(sample: gst::Sample, width: u32) -> Vec<u8> {
        let feed = Feed::new("test");
        let pushing = feed.clone();
        let (jpeg, ()) = futures::join!(jpeg(&feed, width, PATIENCE), async { pushing.push(&sample) });
        jpeg.unwrap().expect("a frame arrived")
    }

    #[tokio::test]
    async fn the_next_picture_comes_small_and_in_its_colour() {
        crate::media::init().unwrap();
        // Pure red in BT.709: Kr = 0.2126.
        let red = of(picture(1280, 720, [63, 102, 240]), 480).await;
        let (width, height, [r, g, b]) = look_at(&red);
        assert_eq!((width, height), (480, 270));
        assert!(r > 245 && g < 12 && b < 12, "{r} {g} {b}");
        assert!(red.len() < 16 << 10, "{} bytes", red.len());

        let white = of(picture(320, 180, [235, 128, 128]), 480).await;
        let (width, height, rgb) = look_at(&white);
        assert_eq!((width, height), (320, 180), "nothing is made larger");
        assert!(rgb.iter().all(|part| *part > 250), "{rgb:?}");
    }

    #[tokio::test]
    async fn where_nothing_comes_there_is_no_picture() {
        crate::media::init().unwrap();
        let feed = Feed::new("test");
        assert_eq!(jpeg(&feed, 480, Duration::from_millis(50)).await.unwrap(), None);
        feed.end();
        assert_eq!(jpeg(&feed, 480, PATIENCE).await.unwrap(), None, "at once: it is over");
    }
}
