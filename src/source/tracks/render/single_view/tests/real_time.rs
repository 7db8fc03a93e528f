//! Tests that play frames in real time.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn vp8_is_decoded_in_every_size() {
    every_size_of(TrackCodec::Vp8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp9_is_decoded_in_every_size() {
    every_size_of(TrackCodec::Vp9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_is_decoded_in_every_size() {
    every_size_of(TrackCodec::H264).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_is_decoded_in_every_size() {
    every_size_of(TrackCodec::H265).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn av1_is_decoded_in_every_size() {
    every_size_of(TrackCodec::Av1).await;
}

/// Chromium sends canvases like this.
#[tokio::test(flavor = "multi_thread")]
async fn full_range_video_keeps_its_colours() {
    for codec in [TrackCodec::H264, TrackCodec::H265, TrackCodec::Vp9] {
        for (size, colours) in [(SIZE, "1:3:5:1"), ((640, 360), "1:3:5:1"), ((640, 360), "1:4:16:4")] {
            let mut rig = Rig::new();
            rig.view.add(&track("TR_1"), rig.now());
            rig.play("TR_1", codec, &frames_in(codec, "red", size, 15, colours)).await;
            let at = rig.until(RED, 100).await;
            let kept = rig.finish().await;
            assert_near(kept.at(at, (160, 90)), RED, &format!("{codec} in {colours}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_switch_without_black_between_and_muting_turns_video_black() {
    let red = frames(TrackCodec::Vp8, "red", (640, 360), 20);
    let blue = frames(TrackCodec::H264, "blue", (640, 360), 20);
    let mut rig = Rig::new();
    rig.view.add(&track("TR_1"), rig.now());
    rig.play("TR_1", TrackCodec::Vp8, &red).await;
    rig.until(RED, 0).await;
    rig.view.add(&track("TR_2"), rig.now());
    let switched = rig.now();
    rig.play("TR_2", TrackCodec::H264, &blue).await;
    let muted = rig.until(BLUE, 100).await;
    rig.view.set_muted("TR_2", true, rig.now());
    rig.view.remove("TR_1", rig.now());
    let black = rig.until(BLACK, 500).await;
    rig.view.set_muted("TR_2", false, rig.now());
    rig.play("TR_2", TrackCodec::H264, &blue).await;
    let again = rig.until(BLUE, 100).await;
    let counters = Arc::clone(&rig.counters);
    let kept = rig.finish().await;
    let ms = Duration::from_millis;
    // The second track's first frame may be late on a busy machine; it is never black meanwhile.
    let mut at = switched;
    let mut seen = Vec::new();
    while at < muted {
        seen.push(kept.at(at, (160, 90))[1] > 200);
        at += ms(10);
    }
    assert!(seen.is_sorted(), "red, then blue: {seen:?}");
    assert_near(kept.at(switched, (160, 90)), RED, "before the second came");
    assert_near(kept.at(muted, (160, 90)), BLUE, "the second");
    // It turns black about 0.3 s after the last frame, or later on a busy machine.
    assert_near(kept.at(muted + ms(50), (160, 90)), BLUE, "a moment later");
    assert_near(kept.at(black, (160, 90)), BLACK, "still muted");
    assert_near(kept.at(again, (160, 90)), BLUE, "unmuted");
    assert!(counters.pictures.load(std::sync::atomic::Ordering::Relaxed) > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_frames_end_nothing() {
    let red = frames(TrackCodec::H264, "red", (640, 360), 20);
    for codec in [TrackCodec::Vp8, TrackCodec::Vp9, TrackCodec::H264, TrackCodec::H265, TrackCodec::Av1] {
        let mut rig = Rig::new();
        rig.view.add(&track("TR_1"), rig.now());
        rig.view.add(&track("TR_2"), rig.now());
        let mut invalid: Vec<(Vec<u8>, bool)> = frames(codec, "green", (320, 180), 5);
        for (n, (bytes, _)) in invalid.iter_mut().enumerate().skip(1) {
            for (at, byte) in bytes.iter_mut().enumerate().skip(3) {
                *byte ^= u8::try_from((at * 31 + n * 7) % 251).unwrap();
            }
        }
        invalid.push((vec![0x10, 2, 0, 0x9d, 1, 0x2a, 0, 0, 0, 0, 7], true));
        invalid.push((Vec::new(), true));
        invalid.push((vec![0xff; 4000], true));
        rig.play("TR_2", codec, &invalid).await;
        // Key frames are requested of tracks that are there.
        assert!(rig.view.take_key_frame_requests().iter().all(|sid| sid == "TR_2"), "{codec}");
        rig.view.remove("TR_2", rig.now());
        assert_eq!(rig.view.take_key_frame_requests(), ["TR_1"]);
        rig.play("TR_1", TrackCodec::H264, &red).await;
        let at = rig.until(RED, 100).await;
        let kept = rig.finish().await;
        assert_near(kept.at(at, (160, 90)), RED, "after invalid frames");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_dropped_or_never_began_leaves_nothing_running() {
    let red = frames(TrackCodec::Vp8, "red", (640, 360), 10);
    let mut rig = Rig::new();
    rig.view.add(&track("TR_1"), rig.now());
    rig.play("TR_1", TrackCodec::Vp8, &red).await;
    let begun = Instant::now();
    drop(rig.view);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());

    let (feed, kept, timeline) = (Feed::new("raw video"), Kept::default(), Timeline::new());
    let _attached = feed.attach(Box::new(kept.clone()));
    let pacing = Pacing { cadence: Cadence::Grid, fps: 30, key_interval: Duration::from_secs(2) };
    let view = SingleView::new(feed, SIZE, pacing, Arc::default(), timeline.clone()).unwrap();
    let view = Box::new(view);
    timeline.end();
    tokio::time::timeout(Duration::from_secs(60), view.finish()).await.unwrap();
    assert!(kept.0.lock().unwrap().1);
    assert!(kept.0.lock().unwrap().0.is_empty());
}
