use super::*;
use crate::media::Feed;
use crate::plan::output::ImageSuffix;
use crate::plan::request::Manifest;
use crate::plan::storage::Storage;
use crate::sink::synthetic::{SOON, Stage, output_of};
use crate::sink::{Artifact, ArtifactKind};

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// A colour as BT.709 limited range has it, and as people see it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Colour {
    yuv: [u8; 3],
    rgb: [i32; 3],
}

const BLACK: Colour = Colour { yuv: [16, 128, 128], rgb: [0, 0, 0] };
const WHITE: Colour = Colour { yuv: [235, 128, 128], rgb: [255, 255, 255] };
const RED: Colour = Colour { yuv: [63, 102, 240], rgb: [255, 0, 0] };
const GREEN: Colour = Colour { yuv: [173, 42, 26], rgb: [0, 255, 0] };
const BLUE: Colour = Colour { yuv: [32, 240, 118], rgb: [0, 0, 255] };

fn push(feed: &Feed, at: Duration, colour: Colour) {
    let [y, u, v] = colour.yuv;
    let mut pixels = vec![y; WIDTH * HEIGHT];
    pixels.extend([u, v].iter().cycle().take(WIDTH * HEIGHT / 2));
    let mut buffer = gst::Buffer::from_slice(pixels);
    buffer.make_mut().set_pts(gst::ClockTime::try_from(at).unwrap());
    let caps = "video/x-raw,format=NV12,width=320,height=180,framerate=30/1,pixel-aspect-ratio=1/1,\
                colorimetry=bt709,interlace-mode=progressive";
    feed.push(&gst::Sample::builder().buffer(&buffer).caps(&caps.parse().unwrap()).build());
}

fn plan(interval: Duration) -> ImagesPlan {
    ImagesPlan {
        interval,
        width: 160,
        height: 90,
        prefix: "thumbs/page".to_owned(),
        suffix: ImageSuffix::Index,
        storage: Storage::local(),
        manifest: Manifest::OnlyWithBackup,
    }
}

/// The pixels of an image as a player shows them, and its size.
fn pixel(artifact: &Artifact, x: usize, y: usize, width: usize) -> [i32; 3] {
    let path = artifact.local.to_str().unwrap();
    let pixels =
        output_of("ffmpeg", &["-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    let at = (y * width + x) * 3;
    [0, 1, 2].map(|channel| i32::from(pixels[at + channel]))
}

#[track_caller]
fn assert_colour(found: [i32; 3], colour: Colour) {
    for (found, expected) in found.iter().zip(colour.rgb) {
        assert!((found - expected).abs() <= 6, "{found:?} instead of {colour:?}");
    }
}

async fn take(stage: &mut Stage, plan: &ImagesPlan, pictures: &[(u64, Colour)]) -> Vec<Artifact> {
    let sink = ImagesSink::open(OutputId(2), plan, &stage.context).unwrap();
    let feed = stage.context.raw_video.clone().unwrap();
    for (at, colour) in pictures {
        push(&feed, Duration::from_millis(*at), *colour);
    }
    feed.end();
    sink.finish(SOON).await.unwrap();
    stage.artifacts()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_shows_what_was_on_the_screen_at_its_time() {
    let mut stage = Stage::new();
    // Red until 0.9 s, green until 1.95 s, blue until 3 s sharp, then white.
    let pictures = [
        (0, RED),
        (500, RED),
        (900, GREEN),
        (1400, GREEN),
        (1950, BLUE),
        (2450, BLUE),
        (3000, WHITE),
        (3500, BLACK),
    ];
    let images = take(&mut stage, &plan(Duration::from_secs(1)), &pictures).await;
    let at: Vec<_> = images.iter().map(|image| image.kind.clone()).collect();
    let expected = [0, 1, 2, 3].map(|index| ArtifactKind::Image { index, at: Duration::from_secs(index) });
    assert_eq!(at, expected);
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names[..2], ["thumbs/page_00000.jpeg", "thumbs/page_00001.jpeg"]);
    for (image, colour) in images.iter().zip([RED, GREEN, BLUE, WHITE]) {
        assert_colour(pixel(image, 80, 45, 160), colour);
        assert_eq!(image.size, image.local.metadata().unwrap().len());
    }
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_interval_repeats_a_picture_that_stands() {
    let mut stage = Stage::new();
    let pictures = [(0, RED), (500, GREEN), (1000, BLUE)];
    let images = take(&mut stage, &plan(Duration::from_millis(200)), &pictures).await;
    assert_eq!(images.len(), 6);
    for (image, colour) in images.iter().zip([RED, RED, RED, GREEN, GREEN, BLUE]) {
        assert_colour(pixel(image, 10, 10, 160), colour);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_shape_gets_borders() {
    let mut stage = Stage::new();
    let plan = ImagesPlan { width: 200, height: 200, ..plan(Duration::from_secs(1)) };
    let images = take(&mut stage, &plan, &[(0, RED)]).await;
    // 200 x 112 in the middle.
    assert_colour(pixel(&images[0], 100, 100, 200), RED);
    assert_colour(pixel(&images[0], 100, 20, 200), BLACK);
    assert_colour(pixel(&images[0], 100, 180, 200), BLACK);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names() {
    let mut stage = Stage::new();
    let overwrite = ImagesPlan { suffix: ImageSuffix::NoneOverwrite, ..plan(Duration::from_secs(1)) };
    let images = take(&mut stage, &overwrite, &[(0, RED), (1000, BLUE)]).await;
    assert_eq!((images[0].name.as_str(), images[1].name.as_str()), ("thumbs/page.jpeg", "thumbs/page.jpeg"));
    // The first is still there for who has not stored it yet.
    assert_ne!(images[0].local, images[1].local);

    let mut stage = Stage::new();
    let timestamps = ImagesPlan { suffix: ImageSuffix::Timestamp, ..plan(Duration::from_secs(1)) };
    let images = take(&mut stage, &timestamps, &[(0, RED), (1000, BLUE)]).await;
    let date = stage.context.timeline.wall(gst::ClockTime::SECOND).unwrap();
    assert_eq!(images[1].name, format!("thumbs/page_{}.jpeg", crate::sink::names::timestamp(date)));
}
