mod with_processes;

use super::*;
use crate::media::Feed;
use crate::plan::output::{ImageSuffix, ManifestPolicy, NameOrigin};
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
        named: NameOrigin::Given,
        storage: Storage::local(),
        manifest: ManifestPolicy::OnlyWithBackup,
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
    assert_eq!(images[1].name, format!("thumbs/page_{}.jpeg", crate::sink::timestamp::timestamp(date)));
}
